"""A published video model of the `transformers` library as a propagator.

Each frame is one frame of the library's streaming session. What a model remembers of a frame is
what the library makes of it, as long as nobody says otherwise; where a person (or a key frame, or
a successor's files) says that the frame's masks are others, those are given to the model as mask
prompts of the same frame, before the next frame is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from errors import InputError
from tracker.engines import Power
from tracker.fits import NOT_AT_ALL, PROCESSOR, FoundFits, make_room
from tracker.power import working
from tracker.propagators.transformers_video.contest import Decision, decide
from tracker.propagators.transformers_video.session import Session
from tracker.protocol import Image, LabelMap, Step

_GIVEN = 10.0  # the library's own logit for a pixel of a mask that was given
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to run, and the words for it. A device that is too small gets the next one."""

    words: str
    offload: bool = False  # memories of frames lie in main memory
    device: str = ""  # empty: the one that was asked for


FITS = (
    Fit("all of it"),
    Fit("what it remembers of earlier frames in the machine's main memory", offload=True),
    Fit(PROCESSOR, device="cpu"),
)


class VideoModelPropagator:
    """Follows objects with one of the library's video models (Ravi et al. 2024, section 4).

    Its state depends on every frame since the key frame, by way of the memories. A successor calls
    `start` with the key frame and then `remember` with *every* frame that was done and its label
    map, in order (`replays`): each is computed again as `step` would, and where that
    gives the same label map (it does on the same kind of machine) the state is equal to the bit.
    Otherwise the label map that was given wins.

    What does not fit into a GPU's memory, at whichever frame, goes on there in the next of `FITS`.
    """

    replays = True

    def __init__(
        self,
        model_on: Callable[[str], tuple[Any, Any]],
        power: Power,
        *,
        name: str = "",
        keep_all: bool = False,
        found: FoundFits | None = None,
    ) -> None:
        """`model_on(device)`: the library's model there and its processor, see `loading`.

        The device is in PyTorch's words, "" is the one that was asked for. `name`: of the model.
        `keep_all`: forget nothing, for tests. `found`: what earlier propagators found to fit.
        """
        self._model_on = model_on
        self._power = power
        self._name = name
        self._keep_all = keep_all
        self._found = found or FoundFits()
        self._fit = 0
        self._session: Session | None = None
        self._frame = -1  # of the session; -1 before `start`
        self._image: Image | None = None
        self._followed = False  # whether the current frame was reached by `step`
        self._most = 0  # the largest object number
        self._native: LabelMap  # what the model remembers of the current frame
        self._decision: Decision  # what is to be remembered of it
        self._clicks: dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        self._model, self._processor = self._fitting(lambda: model_on(FITS[self._fit].device))

    @property
    def held(self) -> int:
        """Bytes that the memory of past frames takes; bounded, whatever the number of frames."""
        return self._session.held if self._session is not None else 0

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame; objects may come later by `remember`."""
        _check(image, labels)
        with working(self._power):
            self._session = None
            self._shrink_to(self._found.of(self._asked(image, len(np.setdiff1d(labels, 0)))))
            self._frame = 0
            self._most = 0
            self._followed = False
            self._arrive(image)
            self._native = np.zeros_like(labels)
            self._take(labels)
            self._settle()
        self._tell()

    def step(self, image: Image) -> Step:
        """Carry all objects to `image`; equal calls give equal results, to the bit on a CPU."""
        with working(self._power):
            self._advance(image)
        self._followed = True
        return self._answer()

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` for the truth at `image`.

        Directly after `step` (or further corrections) of that same image: a correction of it. In
        all other cases: the next frame, as a successor gives it. Objects that are new are followed
        from here on; those that `labels` lacks are gone until the model finds them again.
        """
        _check(image, labels)
        self._check_begun()
        with working(self._power):
            if not (self._followed and self._is_current(image)):
                self._advance(image)
                self._followed = False
            self._clicks.clear()
            self._take(labels)

    def click(
        self,
        image: Image,
        number: int,
        points: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> Step:
        """Correct object `number` on the current frame by clicks; later frames follow.

        `points`: float32 (K, 2), x and y in pixels; `labels` (K,): 1 on the object, 0 not. Clicks
        of one frame add up. Pixels that others hold more strongly stay theirs. Returns the frame
        as it is now. Raises InputError when the object is not followed yet or a click is outside;
        ValueError when `image` is not the frame given last.
        """
        self._check_begun()
        if not self._is_current(image):
            raise ValueError("clicks are for the frame that was given last")
        session = self._session
        if session is None or number not in session.numbers:
            raise InputError(
                f"Object {number} is not followed yet: draw its mask on this frame first."
            )
        earlier = self._clicks.get(number)
        every = _clicks(image, points, labels)
        if earlier is not None:
            every = np.concatenate([earlier[0], every[0]]), np.concatenate([earlier[1], every[1]])
        self._clicks[number] = every
        size = image.shape[0], image.shape[1]

        def clicked() -> Decision:
            logits, score = session.click(self._frame, session.pixels(image), number, *every, size)
            return decide(
                [(number, logits, score)], lambda low: session.upscale(low, size), size, self._most
            )

        with working(self._power):
            alone = self._fitting(clicked)
        self._decision = _fused(self._decision, alone, number)
        return self._answer()

    def _arrive(self, image: Image) -> None:
        self._image = image.copy()
        self._clicks.clear()

    def _is_current(self, image: Image) -> bool:
        return self._image is not None and np.array_equal(self._image, image)

    def _check_begun(self) -> None:
        if self._frame < 0:
            raise RuntimeError("a propagator begins with start")

    def _answer(self) -> Step:
        return Step(self._decision.labels.copy(), self._decision.confidence.copy())

    def _take(self, labels: LabelMap) -> None:
        """The label map of the current frame is this one, whatever the model says."""
        self._most = max(self._most, int(labels.max()))
        if self._frame > 0 and np.array_equal(labels, self._decision.labels):
            return
        best = np.where(labels > 0, np.float32(_GIVEN), np.float32(0))
        self._decision = Decision(labels.copy(), best, np.ones(self._most, np.float32))

    def _advance(self, image: Image) -> None:
        self._check_begun()
        self._settle()
        self._frame += 1
        self._arrive(image)
        session, frame = self._session, self._frame
        size = image.shape[0], image.shape[1]
        if session is None:
            self._decision = decide([], lambda low: low, size, self._most)
        else:
            self._fitting(lambda: session.look(frame, session.pixels(image)))
            self._decision = self._fitting(lambda: self._decided(session, frame, size))
        self._native = self._decision.labels

    def _decided(self, session: Session, frame: int, size: tuple[int, int]) -> Decision:
        objects = ((number, *session.answer(frame, number)) for number in session.numbers)
        return decide(objects, lambda low: session.upscale(low, size), size, self._most)

    def _settle(self) -> None:
        """Let the model remember the current frame with the label map that was decided for it.

        Where that is what the model itself decided there is nothing to do: so the state depends
        on frames and label maps alone, not on the way in which a label map came about.
        """
        labels = self._decision.labels
        if self._image is None or np.array_equal(labels, self._native):
            return
        if self._session is None:
            self._session = Session(
                self._model,
                self._processor,
                keep_all=self._keep_all,
                offload=FITS[self._fit].offload,
            )
        session, image = self._session, self._image
        numbers = [int(number) for number in np.unique(labels) if number]
        masks = {number: labels == number for number in sorted({*numbers, *session.numbers})}
        self._fitting(lambda: session.give(self._frame, session.pixels(image), masks))
        self._native = labels

    def _fitting(self, do: Callable[[], T]) -> T:
        """Do it in the first way that fits; `do` may be called again."""
        missing: torch.OutOfMemoryError | None = None
        while True:
            try:
                if missing is not None:
                    self._shrink_to(self._fit + 1)
                    self._tell()
                return do()
            except torch.OutOfMemoryError as exc:
                # Without the calls that failed, which hold what they had computed.
                missing = exc.with_traceback(None)
            if self._fit + 1 == len(FITS):
                raise InputError(NOT_AT_ALL) from missing
            make_room()
            words = FITS[self._fit + 1].words
            _LOG.warning("%s is too small for it all: going on with %s", self._power.device, words)

    def _shrink_to(self, fit: int) -> None:
        """Go on in the way of that number, unless it is in a smaller one already."""
        if fit <= self._fit:
            return
        self._fit = fit
        if FITS[fit].device:
            self._model, self._processor = self._model_on(FITS[fit].device)
        if self._session is not None:
            self._session.shrink(self._model, offload=FITS[fit].offload)

    def _asked(self, image: Image, count: int) -> Hashable:
        """All that decides how much memory is needed of which device."""
        return self._name, self._power.device, image.shape, count

    def _tell(self) -> None:
        """Remember and say in which smaller way it goes on, if it does."""
        if self._fit and self._image is not None:
            count = len(self._session.numbers) if self._session is not None else 0
            self._found.note(self._asked(self._image, count), self._fit)
            self._power.on_smaller(FITS[self._fit].words)


def _fused(before: Decision, alone: Decision, number: int) -> Decision:
    """`before`, with object `number` as it is in `alone` wherever no other holds the pixel more."""
    free = (before.labels == 0) | (before.labels == number) | (alone.best > before.best)
    own = (alone.labels == number) & free
    lost = (before.labels == number) & ~own
    labels = np.where(own, np.uint16(number), np.where(lost, np.uint16(0), before.labels))
    best = np.where(own, alone.best, np.where(lost, np.float32(0), before.best))
    confidence = before.confidence.copy()
    confidence[number - 1] = alone.confidence[number - 1]
    return Decision(labels, best, confidence)


def _clicks(
    image: Image, points: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    where = np.asarray(points, np.float32).reshape(-1, 2)
    what = np.asarray(labels, np.int64).reshape(-1)
    if not len(where) or len(where) != len(what):
        raise InputError("Clicks need as many labels as points, one at least.")
    height, width = image.shape[:2]
    outside = ~np.isfinite(where).all(1) | (where < -0.5).any(1) | (where > (width, height)).any(1)
    if outside.any():
        x, y = where[outside][0]
        raise InputError(
            f"The click at ({x:g}, {y:g}) is outside of the frame of {width} x {height} pixels: "
            "click on the frame."
        )
    return where, what


def _check(image: Image, labels: LabelMap) -> None:
    if image.shape[:2] != labels.shape:
        raise ValueError(f"label map {labels.shape} does not fit the image {image.shape}")
