"""The propagator itself: carry masks along the motion, look where they went, decide every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tracker.engines import Power
from tracker.power import device_of, precision, working
from tracker.propagators.builtin import model as models
from tracker.propagators.builtin.backbone import Features, backbone
from tracker.propagators.builtin.contest import Contest
from tracker.propagators.builtin.edges import sharpened
from tracker.propagators.builtin.hues import Hues
from tracker.propagators.builtin.recall import CELL, Memory, cells, described, identities, unit
from tracker.propagators.builtin.recipe import Recipe
from tracker.propagators.builtin.regions import Region, regions
from tracker.propagators.builtin.search import Search
from tracker.propagators.builtin.window import Window, boxes_of, resized
from tracker.propagators.flow.matching import Field, floats, motion
from tracker.propagators.flow.surroundings import surroundings
from tracker.propagators.flow.warp import warp
from tracker.protocol import Image, LabelMap, Step

Claim = tuple[Field, Field]
"""Logits and strength (h, w) of one object, see `Contest.claim`."""

_REACH = 0.25  # how far from its prior a mask may lie, in parts of the object's size
_SLIVER = 2.5  # a remnant of an object reaches so many times further, as far as the whole does
_LEAST_REACH = 3  # and at least, in cells of two pixels of the input
_OUT = -30.0  # logit of what lies further away
_TRUST = 5.0  # logits that full trust in what is remembered counts
# Which of several objects a place is: what its own logits count at most, what looking like the one
# and not like the others counts, and what it counts that motion carried it there.
_SPLIT, _APART, _HELD = 2.0, 4.0, 3.0
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

    replays = False

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
        self._memory: Memory | None = None
        self._trust = 0.0
        self._known: Memory | None = None  # which object is which
        self._numbers: tuple[int, ...] = ()
        self._hues = Hues()
        if known is not None:
            model = known.model.to(  # type: ignore[call-overload]
                self._device, precision(self._device), memory_format=torch.channels_last
            )
            self._model = model.eval()
            dtype = precision(self._device)
            self._trust = _TRUST * known.trust
            self._memory = Memory(
                known.memory.keys.to(self._device, dtype), known.memory.values.to(self._device)
            )
        self._net = backbone(self._device)
        self._search = Search()
        self._count = 0
        self._last: tuple[Image, LabelMap] | None = None

    def start(self, image: Image, labels: LabelMap) -> None:
        """Forget everything and begin at a key frame (`labels` may be all background)."""
        self._count = 0
        self._search = Search.for_objects(image, labels)
        with working(self._power):
            self._meet(image, labels)
        self.remember(image, labels)

    @torch.inference_mode()
    def _meet(self, image: Image, labels: LabelMap) -> None:
        """Remember which object is which, where there are several."""
        self._hues = Hues.of_objects(image, labels)
        self._known, self._numbers = None, tuple(int(n) for n in np.unique(labels) if n)
        if self._model is not None and len(self._numbers) > 1:
            own = cells(self._net, image, labels, self._recipe.pixels, self._device)
            assert own is not None
            known = identities(own, self._model.scale())
            self._known, self._numbers = known, own.numbers

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
            for number, window, (logits, strength), sure in self._look(region, image, moved):
                contest.claim(number, logits, strength, window)
                confidence[number - 1] = sure
        labels = contest.winners()
        gone = np.bincount(labels.ravel(), minlength=self._count + 1)[1:] == 0
        confidence[gone] = self._absent(before)[gone]
        self._keep_denied(moved, labels, confidence)
        self._bring_back(image, labels, confidence)
        self._last = image, labels.copy()
        return Step(labels, confidence)

    def _look(
        self, region: Region, image: Image, moved: LabelMap
    ) -> Iterator[tuple[int, Window, Claim, float]]:
        """Of each object of a region: number, window, claim and how sure it is, one by one.

        A claim may be as large as the frame: it is to be used before the next one is asked for.
        """
        window = region.window
        size = window.width // 2, window.height // 2
        seen = window.cut(moved, cv2.BORDER_REPLICATE)
        rest = resized(np.where(seen > 0, np.float32(1), np.float32(0)), *size)
        numbers = list(region.parts)
        own = [resized(np.where(seen == n, np.float32(1), np.float32(0)), *size) for n in numbers]
        shown = torch.from_numpy(window.shown(image)).permute(2, 0, 1)[None].to(self._device)
        asked = [[number] for number in numbers]
        fields = self._logits(shown, region, asked, own, rest)
        if self._recipe.mirrored:
            flipped = self._logits(
                shown.flip(3), _mirrored(region), asked, [_flip(f) for f in own], _flip(rest)
            )
            fields = [_mean(one, other) for one, other in zip(fields, flipped, strict=True)]
        tints = resized(window.shown(image), *size)
        for number, prior, (logits, strength) in zip(numbers, own, fields, strict=True):
            top, bottom, left, right = (side // 2 for side in region.parts[number])
            prior = prior[top:bottom, left:right]
            full = self._search.area(number) * (window.scale / 2) ** 2
            near = _near(prior, full)
            sides = np.s_[top:bottom, left:right]
            strength = strength + self._hues.odds(number, tints[sides])
            logits, strength = (np.where(near, it, np.float32(_OUT)) for it in (logits, strength))
            place = _sub(window, region.parts[number])
            sure = _sureness(logits)
            part = place.cut(image)
            if part.size > 3 * logits.size:
                logits = sharpened(logits, np.ascontiguousarray(tints[sides]), part)
            yield number, place, (logits, strength), sure

    def _logits(
        self,
        shown: torch.Tensor,
        region: Region,
        asked: list[list[int]],
        own: list[Field],
        rest: Field,
    ) -> list[Claim]:
        """What is said of every part of a region: logits and strength (h, w), see `Contest.claim`.

        `asked`: for each part which objects may be seen in it. `own`: for each the prior, `rest`:
        that of all objects, both (H/2, W/2).
        """
        model = self._model
        assert model is not None
        images = shown.float()
        features = self._net(images)
        shared = model.shared(model.scaled(features), images)
        remembered = self._recall(features, asked)
        found = []
        for objects, prior, recall, sides in zip(
            asked, own, remembered, region.parts.values(), strict=True
        ):
            top, bottom, left, right = sides
            planes = np.stack([prior, np.maximum(rest - prior, 0)])
            half = planes[None, :, top // 2 : bottom // 2, left // 2 : right // 2]
            given = torch.from_numpy(np.ascontiguousarray(half))
            given = given.to(self._device, precision(self._device))
            part = recall[None, :, top // CELL : bottom // CELL, left // CELL : right // CELL].to(
                given.dtype
            )
            fine, _ = model.logits(shared.part(*sides), given, part)
            told = functional.interpolate(
                part.float(), size=fine.shape[-2:], mode="bilinear", align_corners=False
            )
            fine = fine.float() + self._trust * (told[:, :1] - 0.5)
            strength = fine.clamp(-_SPLIT, _SPLIT) + _HELD * given[:, :1]
            if self._known is not None and set(objects) <= set(self._numbers):
                strength = strength + _APART * (told[:, :1] - told[:, 1:])
            found.append((fine[0, 0].cpu().numpy(), strength[0, 0].cpu().numpy()))
        return found

    def _recall(self, features: Features, asked: list[list[int]]) -> torch.Tensor:
        """What the key frames say of a look: (K, 2, H/CELL, W/CELL), as the decoder takes it."""
        model, memory = self._model, self._memory
        assert model is not None
        assert memory is not None
        looks = unit(described(features)[0], model.scale())
        everything = memory.read(looks)[:, 0]
        planes = []
        shares = None
        if self._known is not None:
            shares = self._known.read(looks)
            shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
        for objects in asked:
            own = everything
            columns = [self._numbers.index(n) for n in objects if n in self._numbers]
            if shares is not None and columns:
                own = everything * shares[:, columns].sum(1)
            planes.append(torch.stack([own, everything - own]))
        return torch.stack(planes).view(len(asked), 2, *features.s16.shape[-2:])

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
            claim = self._logits(shown.to(self._device), region, [lost], empty, rest)[0]
            contest = Contest(height, width)
            contest.claim(1, *claim, _sub(region.window, region.parts[0]))
            claims = contest.winners()
        for number, mask in self._search.found(image, claims, labels, lost):
            labels[mask] = number
            confidence[number - 1] = _ABSENT


def _near(prior: Field, full: float) -> NDArray[np.bool_]:
    """Where the object may be, given where it was carried and its area when it is there in full."""
    inside = (prior > 0.4).astype(np.uint8)
    size = float(np.count_nonzero(inside)) ** 0.5
    if np.isfinite(full):
        size = max(size, min(_SLIVER * size, full**0.5))
    reach = max(_LEAST_REACH, round(_REACH * size))
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


def _mean(one: Claim, mirrored: Claim) -> Claim:
    first, second = (floats((a + _flip(b)) / 2) for a, b in zip(one, mirrored, strict=True))
    return first, second


def _flip(field: Field) -> Field:
    return np.ascontiguousarray(field[:, ::-1])
