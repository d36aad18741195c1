"""The propagator itself: carry masks along the motion, look where they went, decide every pixel."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tracker.engines import Power
from tracker.propagators.builtin import model as models
from tracker.propagators.builtin.backbone import backbone
from tracker.propagators.builtin.contest import Contest
from tracker.propagators.builtin.power import device_of, working
from tracker.propagators.builtin.recipe import Recipe
from tracker.propagators.builtin.regions import Region, regions
from tracker.propagators.builtin.search import Search
from tracker.propagators.builtin.window import Window, boxes_of, resized
from tracker.propagators.flow.matching import Field, floats, motion
from tracker.propagators.flow.surroundings import surroundings
from tracker.propagators.flow.warp import warp
from tracker.protocol import Image, LabelMap, Step

_REACH = 0.15  # how far from its prior a mask may lie, in parts of the object's size
_LEAST_REACH = 3  # and at least, in cells of two pixels of the input
_OUT = -30.0  # logit of what lies further away
_DENIED = 0.1  # part of its pixels that an object must keep from one frame to the next
_WHOLE = 0.25  # part of its area in the key frame from which an object is there in full
_DOUBTED = 0.2  # how sure a mask is that only motion speaks for
_ABSENT = 0.5  # how sure it is that an object without a mask is really absent
_LEFT = 0.9  # the same where its last pixels were at the edge of the frame


class BuiltinPropagator:
    """Carries masks by motion and by what was learned; see `tracker.protocol.Propagator`.

    Its state is the key frame given to `start` and the last frame with its label map, and nothing
    else: that is what makes it restartable to the bit.
    """

    def __init__(self, recipe: Recipe, power: Power, learned: bytes | None) -> None:
        """`learned`: what `learn` returned; without it masks are carried by motion alone.

        Raises ValueError when `learned` is no such thing.
        """
        self._recipe = recipe
        self._power = power
        self._device = device_of(power)
        known = models.from_bytes(learned) if learned else None
        if learned and known is None:
            raise ValueError("what was learned from this job cannot be read")
        self._model: models.Model | None = None
        if known is not None:
            model = known.model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._model = model.eval()
        self._net = backbone(self._device)
        self._search = Search()
        self._count = 0
        self._last: tuple[Image, LabelMap] | None = None

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame (`labels` may be all background)."""
        self._count = 0
        self._search = Search.for_objects(image, labels)
        self.remember(image, labels)

    def remember(self, image: Image, labels: LabelMap) -> None:
        """Take `labels` as the state at `image`."""
        self._count = max(self._count, int(labels.max(initial=0)))
        self._last = image, labels.copy()

    @torch.inference_mode()
    def step(self, image: Image) -> Step:
        """Carry the masks to `image`, the neighbour of the frame given last."""
        if self._last is None:
            raise RuntimeError("step() before start()")
        with working(self._power):
            return self._step(image, *self._last)

    def _step(self, image: Image, last: Image, before: LabelMap) -> Step:
        height, width = before.shape
        moved = np.zeros_like(before)
        if before.any():
            part = surroundings(before)
            x, y = motion(last[part], image[part], self._recipe.motion)
            moved[part] = warp(before[part], x, y)
        confidence = self._absent(before)
        if self._model is None:
            self._last = image, moved.copy()
            return Step(moved, confidence)
        contest = Contest(height, width)
        for region in regions(boxes_of(moved), width, height, self._recipe.pixels):
            for number, window, logits, sure in self._look(region, image, moved):
                contest.claim(number, logits, window)
                confidence[number - 1] = sure
        labels = contest.winners()
        self._keep_denied(moved, labels, confidence)
        self._bring_back(image, labels, confidence)
        self._last = image, labels.copy()
        return Step(labels, confidence)

    def _look(
        self, region: Region, image: Image, moved: LabelMap
    ) -> list[tuple[int, Window, Field, float]]:
        """Of each object of a region: number, window, logits (h, w) and how sure they are."""
        window = region.window
        size = window.width // 2, window.height // 2
        seen = window.cut(moved, cv2.BORDER_REPLICATE)
        rest = resized(np.where(seen > 0, np.float32(1), np.float32(0)), *size)
        numbers = list(region.parts)
        own = [resized(np.where(seen == n, np.float32(1), np.float32(0)), *size) for n in numbers]
        shown = torch.from_numpy(window.shown(image)).permute(2, 0, 1)[None].to(self._device)
        fields = self._logits(shown, region, own, rest)
        if self._recipe.mirrored:
            flipped = self._logits(
                shown.flip(3), _mirrored(region), [_flip(f) for f in own], _flip(rest)
            )
            fields = [floats((a + _flip(b)) / 2) for a, b in zip(fields, flipped, strict=True)]
        found = []
        for number, prior, logits in zip(numbers, own, fields, strict=True):
            top, bottom, left, right = (side // 2 for side in region.parts[number])
            prior = prior[top:bottom, left:right]
            logits = np.where(_near(prior), logits, np.float32(_OUT))
            found.append((number, _sub(window, region.parts[number]), logits, _sureness(logits)))
        return found

    def _logits(
        self, shown: torch.Tensor, region: Region, own: list[Field], rest: Field
    ) -> list[Field]:
        """The decoder's say on every object of a region: logits of its part, (h, w)."""
        model = self._model
        assert model is not None
        images = shown.float()
        shared = model.shared(model.scaled(self._net(images)), images)
        found = []
        for prior, sides in zip(own, region.parts.values(), strict=True):
            top, bottom, left, right = sides
            planes = np.stack([prior, np.maximum(rest - prior, 0)])
            half = planes[None, :, top // 2 : bottom // 2, left // 2 : right // 2]
            given = torch.from_numpy(np.ascontiguousarray(half)).to(self._device)
            fine, _ = model.logits(shared.part(*sides), given)
            found.append(fine[0, 0].cpu().numpy())
        return found

    def _absent(self, before: LabelMap) -> NDArray[np.float32]:
        """Confidence of objects that get no mask; `before` is the last frame's label map."""
        edge = np.concatenate([before[0], before[-1], before[:, 0], before[:, -1]])
        at_edge = np.bincount(edge, minlength=self._count + 1) > 0
        return np.where(at_edge, np.float32(_LEFT), np.float32(_ABSENT))[1:]

    def _keep_denied(
        self, moved: LabelMap, labels: LabelMap, confidence: NDArray[np.float32]
    ) -> None:
        """Keep objects whole that the decoder all at once knows nothing of.

        What hides an object takes it piece by piece. One that is there in full and then denied at
        one stroke is a failure of what was learned: its mask stays where motion carried it, as
        doubtful, for a person to see.
        """
        carried = np.bincount(moved.ravel(), minlength=self._count + 1)
        decided = np.bincount(labels.ravel(), minlength=self._count + 1)
        for number in np.nonzero(decided[1:] < _DENIED * carried[1:])[0] + 1:
            if carried[number] > _WHOLE * self._search.area(int(number)):
                labels[(moved == number) & (labels == 0)] = number
                confidence[number - 1] = _DOUBTED

    def _bring_back(self, image: Image, labels: LabelMap, confidence: NDArray[np.float32]) -> None:
        """Look for objects that are not in `labels`, and put in what is surely one of them."""
        present = np.bincount(labels.ravel(), minlength=self._count + 1)[1:] > 0
        lost = self._search.known(np.nonzero(~present)[0] + 1)
        if not lost:
            return
        height, width = labels.shape
        whole = {0: (0, 0, width, height)}
        claims = np.zeros_like(labels)
        for region in regions(whole, width, height, self._recipe.pixels):
            size = region.window.width // 2, region.window.height // 2
            taken = np.where(labels > 0, np.float32(1), np.float32(0))
            rest = resized(region.window.cut(taken, cv2.BORDER_CONSTANT), *size)
            shown = torch.from_numpy(region.window.shown(image)).permute(2, 0, 1)[None]
            empty = [np.zeros((size[1], size[0]), dtype=np.float32)]
            logits = self._logits(shown.to(self._device), region, empty, rest)[0]
            contest = Contest(height, width)
            contest.claim(1, logits, _sub(region.window, region.parts[0]))
            claims = contest.winners()
        for number, mask in self._search.found(image, claims, labels, lost):
            labels[mask] = number
            confidence[number - 1] = _ABSENT


def _near(prior: Field) -> NDArray[np.bool_]:
    """Where the object may be, given where it was carried."""
    inside = (prior > 0.4).astype(np.uint8)
    reach = max(_LEAST_REACH, round(_REACH * float(np.count_nonzero(inside)) ** 0.5))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return np.asarray(cv2.dilate(inside, kernel) > 0)


def _sureness(logits: Field) -> float:
    """The expected IoU of the mask that is decided with the one that the logits speak of."""
    chance = 1 / (1 + np.exp(-np.clip(logits, -_REACH_LOGIT, _REACH_LOGIT)))
    inside = chance > 0.5
    count = np.count_nonzero(inside)
    return float(chance[inside].sum() / (count + chance[~inside].sum())) if count else _ABSENT


_REACH_LOGIT = 30.0


def _sub(window: Window, part: tuple[int, int, int, int]) -> Window:
    """The window of a part of another's input."""
    top, bottom, left, right = part
    across = (window.right - window.left) / window.width
    down = (window.bottom - window.top) / window.height
    return Window(
        round(window.left + left * across),
        round(window.top + top * down),
        round(window.left + right * across),
        round(window.top + bottom * down),
        window.scale,
        right - left,
        bottom - top,
    )


def _mirrored(region: Region) -> Region:
    width = region.window.width
    parts = {
        number: (top, bottom, width - right, width - left)
        for number, (top, bottom, left, right) in region.parts.items()
    }
    return replace(region, parts=parts)


def _flip(field: Field) -> Field:
    return np.ascontiguousarray(field[:, ::-1])
