"""What is learned from a job, and how it is kept: the decoder and the scale of its features."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.builtin.backbone import WIDTHS, Features
from tracker.propagators.builtin.decoder import Decoder, Shared

_FORM = 1  # of the file; files of another form are not read
_EPSILON = 1e-3


class Model(nn.Module):
    """The decoder, and mean and gain by which every feature channel is brought to one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder()
        self.means = nn.ParameterList(_plane(width, 0.0) for width in WIDTHS)
        self.gains = nn.ParameterList(_plane(width, 1.0) for width in WIDTHS)

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
                ((maps.float() - mean) * gain).contiguous(memory_format=torch.channels_last)
                for maps, mean, gain in zip(features, self.means, self.gains, strict=True)
            )
        )

    def shared(self, scaled: Features, images: Tensor) -> Shared:
        """What the decoder takes from images (N, 3, H, W) RGB 0 .. 255 and their features."""
        return self.decoder.shared(scaled, functional.avg_pool2d(images.float(), 4) / 64.0 - 2.0)

    def logits(self, shared: Shared, prior: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder.forward`."""
        fine, coarse = self.decoder(shared, prior)
        return fine, coarse

    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that training changes."""
        return self.decoder.parameters()


def _plane(width: int, value: float) -> nn.Parameter:
    return nn.Parameter(torch.full((1, width, 1, 1), value), requires_grad=False)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A model, and the name of the engine that it was made for."""

    model: Model
    engine: str


def to_bytes(learned: Learned) -> bytes:
    """An .npz file: arrays of float32 by name, and a note; equal models give equal bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        name: value.detach().cpu().numpy() for name, value in learned.model.state_dict().items()
    }
    note = json.dumps({"form": _FORM, "engine": learned.engine})
    arrays["note"] = np.frombuffer(note.encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def from_bytes(data: bytes) -> Learned | None:
    """What `to_bytes` wrote; None for anything else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            note = json.loads(arrays["note"].tobytes())
            if note["form"] != _FORM:
                return None
            state = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "note"}
            model = Model()
            model.load_state_dict(state)
            return Learned(model, str(note["engine"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError):
        return None
    except (BadZipFile, zlib.error):
        return None
