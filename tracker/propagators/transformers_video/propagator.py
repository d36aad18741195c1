"""A published video model of the `transformers` library as a propagator.

Each frame is one frame of the library's streaming session. What a model remembers of a frame is
what the library makes of it, as long as nobody says otherwise; where a person (or a key frame, or
a successor's files) says that the frame's masks are others, those are given to the model as mask
prompts of the same frame, before the next frame is looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import InputError
from tracker.engines import Power
from tracker.power import working
from tracker.propagators.transformers_video.contest import Decision, decide
from tracker.propagators.transformers_video.session import Session
from tracker.protocol import Image, LabelMap, Step

_GIVEN = 10.0  # the library's own logit for a pixel of a mask that was given


class VideoModelPropagator:
    """Follows objects with one of the library's video models (Ravi et al. 2024, section 4).

    Its state depends on every frame since the key frame, by way of the memories. A successor calls
    `start` with the key frame and then `remember` with *every* frame that was done and its label
    map, in order (`replays`): each is computed again as `step` would, and where that
    gives the same label map (it does on the same kind of machine) the state is equal to the bit.
    Otherwise the label map that was given wins.

    `model`, `processor`: the library's, see `loading`. `keep_all`: forget nothing, for tests.
    `offload`: memories in main memory where the model is on a GPU.
    """

    replays = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        power: Power,
        *,
        keep_all: bool = False,
        offload: bool = True,
    ) -> None:
        self._model = model
        self._processor = processor
        self._power = power
        self._keep_all = keep_all
        self._offload = offload
        self._session: Session | None = None
        self._frame = -1  # of the session; -1 before `start`
        self._image: Image | None = None
        self._followed = False  # whether the current frame was reached by `step`
        self._most = 0  # the largest object number
        self._native: LabelMap  # what the model remembers of the current frame
        self._decision: Decision  # what is to be remembered of it
        self._clicks: dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    @property
    def held(self) -> int:
        """Bytes that the memory of past frames takes; bounded, whatever the number of frames."""
        return self._session.held if self._session is not None else 0

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame; objects may come later by `remember`."""
        _check(image, labels)
        with working(self._power):
            self._session = None
            self._frame = 0
            self._most = 0
            self._followed = False
            self._arrive(image)
            self._native = np.zeros_like(labels)
            self._take(labels)
            self._settle()

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
        with working(self._power):
            size = image.shape[0], image.shape[1]
            pixels = session.pixels(image)
            logits, score = session.click(self._frame, pixels, number, *every, size)
            alone = decide(
                [(number, logits, score)], lambda low: session.upscale(low, size), size, self._most
            )
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
            session.look(frame, session.pixels(image))
            objects = ((number, *session.answer(frame, number)) for number in session.numbers)
            self._decision = decide(
                objects, lambda low: session.upscale(low, size), size, self._most
            )
        self._native = self._decision.labels

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
                self._model, self._processor, keep_all=self._keep_all, offload=self._offload
            )
        numbers = [int(number) for number in np.unique(labels) if number]
        followed = self._session.numbers
        masks = {number: labels == number for number in sorted({*numbers, *followed})}
        self._session.give(self._frame, self._session.pixels(self._image), masks)
        self._native = labels


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
