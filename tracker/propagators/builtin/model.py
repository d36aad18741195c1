"""What is learned from a job, and how it is kept: the decoder and the scale of its features."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.builtin.backbone import WIDTHS, Features
from tracker.propagators.builtin.decoder import Decoder, Shared
from tracker.propagators.builtin.recall import WIDTH, Memory

_FORM = 2  # of the file; files of another form are not read
_EPSILON = 1e-3
_LARGEST = 32 * 2**20  # bytes of a file
_MOST_CELLS = 16_384
_LENGTH = 1.01  # of a key
# How numpy and the unpackers answer bytes that are no such file.
_UNREADABLE = (
    ArithmeticError, AttributeError, BadZipFile, EOFError, LZMAError, LookupError, MemoryError,
    OSError, RuntimeError, SyntaxError, TokenError, TypeError, ValueError, zlib.error,
)  # fmt: skip


class Model(nn.Module):
    """The decoder, and mean and gain by which every feature channel is brought to one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder()
        self.means = nn.ParameterList(_plane(width, 0.0) for width in WIDTHS)
        self.gains = nn.ParameterList(_plane(width, 1.0) for width in WIDTHS)

    def begin(self, seed: int) -> None:
        """Take the weights to begin with from `seed`.

        PyTorch's own way, with numbers that only this model draws: other threads of the process
        draw from the common ones at any time.
        """
        numbers = torch.Generator().manual_seed(seed)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_uniform_(part.weight, a=5**0.5, generator=numbers)
                if part.bias is not None:
                    bound = part.weight[0].numel() ** -0.5
                    nn.init.uniform_(part.bias, -bound, bound, generator=numbers)

    def measure(self, features: Sequence[Features]) -> None:
        """Take the scale of every channel from `features`."""
        with torch.no_grad():
            for index, (mean, gain) in enumerate(zip(self.means, self.gains, strict=True)):
                values = torch.cat([maps[index].float().flatten(2) for maps in features])
                spread, level = torch.std_mean(values, dim=(0, 2))
                mean.copy_(level[None, :, None, None])
                gain.copy_(1 / (spread[None, :, None, None] + _EPSILON))

    def scaled(self, features: Features) -> Features:
        """`features` with every channel brought to mean 0 and deviation 1."""
        return Features(
            *(
                ((maps.to(mean.dtype) - mean) * gain).contiguous(memory_format=torch.channels_last)
                for maps, mean, gain in zip(features, self.means, self.gains, strict=True)
            )
        )

    def shared(self, scaled: Features, images: Tensor) -> Shared:
        """What the decoder takes from images (N, 3, H, W) RGB 0 .. 255 and their features."""
        colours = functional.avg_pool2d(images.float(), 4) / 64.0 - 2.0
        return self.decoder.shared(scaled, colours.to(scaled.s4.dtype))

    def logits(self, shared: Shared, prior: Tensor, recall: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder.forward`."""
        fine, coarse = self.decoder(shared, prior, recall)
        return fine, coarse

    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and gain of what describes a cell, (WIDTH,) each; see `recall.unit`."""
        mean = torch.cat([level.flatten() for level in (self.means[3], self.means[4])])
        # Both levels have the same say, whatever their number of channels.
        even = (level / level.shape[1] ** 0.5 for level in (self.gains[3], self.gains[4]))
        return mean.detach(), torch.cat([level.flatten() for level in even]).detach()

    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that training changes."""
        return self.decoder.parameters()


def _plane(width: int, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full((1, width, 1, 1), value), requires_grad=False)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model, what is object in the key frames, and the name of the engine they are made for.

    `trust`: in [0, 1], what the memory's own word counts beside the decoder's.
    """

    model: Model
    memory: Memory
    trust: float
    engine: str


def to_bytes(learned: Learned) -> bytes:
    """An .npz file: arrays by name, and a note; equal contents give equal bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        name: value.detach().cpu().numpy() for name, value in learned.model.state_dict().items()
    }
    arrays["memory.keys"], arrays["memory.values"] = (
        part.detach().cpu().numpy().astype(np.float16)
        for part in (learned.memory.keys, learned.memory.values)
    )
    note = json.dumps({"form": _FORM, "engine": learned.engine, "trust": learned.trust})
    arrays["note"] = np.frombuffer(note.encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def from_bytes(data: bytes) -> Learned | None:
    """What `to_bytes` wrote; None for anything else, whatever it is."""
    try:
        with ZipFile(io.BytesIO(data)) as packed:
            if sum(member.file_size for member in packed.infolist()) > _LARGEST:
                return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return _read(arrays)
    except _UNREADABLE:
        return None


def _read(arrays: NpzFile) -> Learned | None:
    note = json.loads(arrays["note"].tobytes())
    trust = float(note["trust"])
    if note["form"] != _FORM or not 0 <= trust <= 1:
        return None
    found = {name: arrays[name] for name in arrays.files if name != "note"}
    if not all(bool(np.isfinite(array).all()) for array in found.values()):
        return None
    keys, values = found.pop("memory.keys"), found.pop("memory.values")
    if keys.dtype != np.float16 or values.dtype != np.float16 or not 0 < len(keys) <= _MOST_CELLS:
        return None
    if keys.shape[1:] != (WIDTH,) or values.shape != (len(keys), 1):
        return None
    if np.abs(keys).max() > _LENGTH or values.min() < 0 or values.max() > 1:
        return None
    if any(array.dtype != np.float32 for array in found.values()):
        return None
    model = Model()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in found.items()})
    memory = Memory(torch.from_numpy(keys).float(), torch.from_numpy(values).float())
    return Learned(model, memory, trust, str(note["engine"]))
