"""The propagator: label maps in, label maps out, with the network's own memory between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errors import InputError
from tracker.engines import Power
from tracker.fits import NOT_AT_ALL, PROCESSOR, FoundFits, make_room
from tracker.power import device_of, working
from tracker.propagators.deaot.batch import Batcher, Clip
from tracker.propagators.deaot.decide import decided, sureness
from tracker.propagators.deaot.decoder import MOST
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.picture import LONGEST, network_size, normalised, shrunk
from tracker.propagators.deaot.tracker import Memories, Tracker
from tracker.protocol import Image, LabelMap, Step

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to run, and the words for it. A device that is too small gets the next one."""

    words: str
    spans: bool = False  # whether several may be computed in a batch
    together: int = 4  # groups of ten objects at once
    longest: int = LONGEST  # pixels of the longer side that the network is shown
    device: str = ""  # empty: the one that was asked for


FITS = (
    Fit("all of it", spans=True),
    Fit("one span at a time"),
    Fit("ten objects at a time", together=1),
    Fit("ten objects at a time and frames of 640 pixels", together=1, longest=640),
    Fit(PROCESSOR, device="cpu"),
)
_ONE_SPAN = 1  # of `FITS`: all that a key frame needs, which is computed alone, but no batch


class DeAOTPropagator:
    """Carries masks with DeAOT; see `tracker.protocol.Propagator`.

    Its state is the whole history since the key frame: a successor replays it with `remember`.
    """

    replays = True

    def __init__(
        self,
        network: Callable[[str], DeAOT],
        power: Power,
        memories: Memories,
        *,
        precision: torch.dtype | None = None,
        found: FoundFits | None = None,
        batcher: Callable[[DeAOT], Batcher] | None = None,
    ) -> None:
        """`network(device)` is one that is ready to run there.

        `batcher(network)`: where those who share it stand in line; None: nobody else uses it.
        `precision`: bfloat16 or float16 where the device is a graphics card, None for its best;
        float32 for results that are equal to a processor's. `found`: what earlier propagators of
        this network found to fit.
        """
        self._network_on = network
        self._power = power
        self._memories = memories
        self._precision = precision
        self._found = found or FoundFits()
        self._batcher_of = batcher or (lambda network: Batcher())
        self._fit = 0
        try:
            self._take(FITS[0])
        except torch.OutOfMemoryError as exc:
            self._shrink(exc)
        self._numbers = np.zeros(0, dtype=np.uint16)  # of the network's objects 1, 2, ...
        self._count = 0  # largest number given so far
        self._size = 0, 0
        self._last: Image | None = None
        self._pending: LabelMap | None = None  # decided for the last frame, not remembered yet

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame (`labels` may be all background).

        Where the device's memory does not hold that, it goes on in a smaller way and says so.
        """
        what = self._asked(labels)
        known = self._found.of(what)
        while True:
            try:
                if self._fit < known:
                    self._fit = known
                    self._take(FITS[known])
                with self._running(), self._batcher.alone():
                    self._begin(image, labels)
                    if self._device.type == "cuda" and len(self._numbers):
                        # Shows whether a step fits too, all of whose memory is taken now.
                        self._tracker.carry()
                        self._begin(image, labels)
                break
            except torch.OutOfMemoryError as exc:
                self._shrink(exc)
        if self._fit:
            self._found.note(what, self._fit)
            self._power.on_smaller(FITS[self._fit].words)

    def _asked(self, labels: LabelMap) -> Hashable:
        """All that decides how much memory is needed of which device."""
        variant, groups = self.network.variant, -(-len(np.setdiff1d(labels, 0)) // MOST)
        size = network_size(*labels.shape, corners=variant.corners)
        return variant.name, self._power.device, size, groups, self._memories, self._precision

    def _begin(self, image: Image, labels: LabelMap) -> None:
        self._tracker = self._fresh()
        self._numbers = np.zeros(0, dtype=np.uint16)
        self._count = int(labels.max(initial=0))
        self._pending = None
        corners = self.network.variant.corners
        self._size = network_size(*labels.shape, corners=corners, longest=FITS[self._fit].longest)
        self._tracker.look(self._shown(image))
        self._last = image
        self._meet(labels)

    def _take(self, fit: Fit) -> None:
        self.network = self._network_on(fit.device or device_of(self._power))
        self._batcher = self._batcher_of(self.network)
        self._device = next(self.network.parameters()).device
        self._tracker = self._fresh()

    def _fresh(self) -> Tracker:
        together = min(self._memories.together, FITS[self._fit].together)
        return Tracker(self.network, replace(self._memories, together=together))

    def _shrink(self, exc: torch.OutOfMemoryError) -> None:
        """Take the next smaller way to run. Raises InputError where there is none."""
        while True:
            self._fit = max(self._fit, _ONE_SPAN) + 1
            if self._fit == len(FITS):
                raise InputError(NOT_AT_ALL) from exc
            words = FITS[self._fit].words
            _LOG.warning("%s is too small for it all: going on with %s", self._power.device, words)
            make_room()
            try:
                self._take(FITS[self._fit])
            except torch.OutOfMemoryError as again:
                exc = again
            else:
                return

    def step(self, image: Image) -> Step:
        """Carry the masks to `image`, the neighbour of the frame given last."""
        if self._last is None:
            raise RuntimeError("step() before start()")
        with _in_words(), self._running():
            logits = self._advance(image)
            if not logits:
                return Step(np.zeros(image.shape[:2], dtype=np.uint16), self._nobody())
            found = decided(logits, image.shape[:2], corners=self.network.variant.corners)
            sure = sureness(logits).cpu().numpy()
            labels = self._named(found.cpu().numpy())
        self._pending = labels.copy()
        confidence = self._nobody()
        confidence[self._numbers.astype(np.int64) - 1] = sure
        return Step(labels, confidence)

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` as the state at `image`: the frame stepped last, or the one after it.

        Objects that were never given before are met there.
        """
        if self._last is None:
            raise RuntimeError("remember() before start()")
        self._count = max(self._count, int(labels.max(initial=0)))
        with _in_words(), self._running():
            if self._pending is None or not np.array_equal(image, self._last):
                self._advance(image)
            self._pending = None
            with self._batcher.alone():
                if np.isin(labels, np.append(self._numbers, 0)).all():
                    self._update(labels)
                else:
                    self._meet(labels)

    def remembered(self) -> list[int]:
        """Long-term memories of each group of objects, frames."""
        return self._tracker.remembered()

    def remembered_bytes(self) -> int:
        """Bytes of the memories that every step reads."""
        return self._tracker.remembered_bytes()

    def _advance(self, image: Image) -> list[Tensor]:
        """Logits of each group on the next frame, in a batch with other spans where there are any.

        What was decided for the last frame is remembered before, unless someone has said otherwise.
        """
        decided = self._pending if len(self._numbers) else None
        clip = Clip(
            self._tracker,
            self._shown(image),
            None if decided is None else self._known(decided),
        )
        logits, crowded = self._batcher.advance(
            clip, alike=(self._size, self._precision), most=self._spans()
        )
        if crowded and self._fit < _ONE_SPAN:
            self._fit = _ONE_SPAN
            _LOG.warning(
                "%s is too small for it all: going on with %s",
                self._power.device,
                FITS[self._fit].words,
            )
            self._power.on_smaller(FITS[self._fit].words)
        self._pending = None
        self._last = image
        return logits

    def _spans(self) -> int:
        """How many may be in a batch. Translated networks are made for frames of one span."""
        return self._power.spans if FITS[self._fit].spans and not self._power.compiled else 1

    def _shown(self, image: Image) -> Tensor:
        """`image` as the network takes it, float (1, 3, H, W) on its device."""
        shown = normalised(image, self._size)
        if self._device.type != "cpu":
            shown = shown.pin_memory().to(self._device, non_blocking=True)
        return shown.contiguous(memory_format=torch.channels_last)

    def _meet(self, labels: LabelMap) -> None:
        fresh = np.setdiff1d(np.unique(labels), np.append(self._numbers, 0))
        self._numbers = np.concatenate([self._numbers, fresh]).astype(np.uint16)
        if len(self._numbers):
            self._tracker.meet(self._known(labels), len(self._numbers))

    def _update(self, labels: LabelMap) -> None:
        if len(self._numbers):
            self._tracker.update(self._known(labels))

    def _known(self, labels: LabelMap) -> Tensor:
        """A label map with the network's own numbers, at its size and on its device."""
        table = np.zeros(max(self._count, int(labels.max(initial=0))) + 1, dtype=np.uint16)
        table[self._numbers] = np.arange(1, len(self._numbers) + 1)
        return shrunk(table[labels], self._size).to(self._device)

    def _named(self, found: NDArray[np.int32]) -> LabelMap:
        return np.concatenate([np.zeros(1, dtype=np.uint16), self._numbers])[found]

    def _nobody(self) -> NDArray[np.float32]:
        """Confidence of objects that the network was never shown: they are surely absent."""
        return np.ones(self._count, dtype=np.float32)

    @contextmanager
    def _running(self) -> Iterator[None]:
        half: AbstractContextManager[object] = nullcontext()
        precision = self._precision or torch.bfloat16
        if self._device.type == "cuda" and precision is not torch.float32:
            half = torch.autocast("cuda", precision)
        with working(self._power), torch.inference_mode(), half:
            yield


@contextmanager
def _in_words() -> Iterator[None]:
    """What a device without memory says in the middle of a video, as a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise InputError(
            "The graphics card's memory was taken by something else in the middle of the video: "
            "start the run again when it is free, or choose a smaller engine (`relay models`)."
        ) from exc
