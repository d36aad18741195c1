"""Rough masks to train with: what a mask may look like after it was carried from the last frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tracker.propagators.builtin.samples import Mask, Sample, waves
from tracker.propagators.builtin.window import resized

_FAR, _NEAR = 0.12, 0.04  # by which priors are off, part of the object's size
_OFTEN_FAR = 0.25
_BENT = 0.06
_GROWN = 0.03
_SMALLEST = 0.04  # half axis of a piece, part of the object's size
_CROSS = np.ones((3, 3), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """How far priors are from the truth.

    `vague`: share of priors that are a mere blob, or nothing. `pieces`: how often a piece is lost
    or gained, `piece`: its half axes at most, part of the object's size, `gained`: how often it is
    gained. What a decoder is not to rely on, it learns to do without.
    """

    vague: float
    pieces: float
    piece: float
    gained: float


# Later frames show what a single key frame does not: there what motion carried is the better guide.
# Where several have shown an object, its looks are, and find the limbs that motion loses.
LIGHT = Wear(vague=0.05, pieces=0.5, piece=0.2, gained=0.5)
HEAVY = Wear(vague=0.15, pieces=0.6, piece=0.3, gained=0.4)


def priors(
    sample: Sample, count: int, random: np.random.Generator, wear: Wear = LIGHT
) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
    """`count` rough masks of a sample's object and of all others: uint8 (count, 2, S/2, S/2)."""
    side = sample.mask.shape[0] // 2
    own, others = resized(sample.mask, side, side), resized(sample.others, side, side)
    size = max(4.0, float(np.count_nonzero(own > 127)) ** 0.5)
    found = np.zeros((count, 2, side, side), dtype=np.uint8)
    for planes in found:
        vague = random.random() < wear.vague
        planes[0] = _blob(own, random) if vague else _worn(own, size, random, wear)
        if others.any():
            planes[1] = _worn(others, size, random, wear)
    return found


def _worn(mask: Mask, size: float, random: np.random.Generator, wear: Wear) -> Mask:
    """`mask` displaced, bent, grown or shrunk, with a piece lost or gained."""
    rows, columns = np.nonzero(mask > 127)
    if len(rows) == 0:
        return mask
    worn = _moved(mask, (columns.mean(), rows.mean()), size, random)
    grow = round(random.uniform(-_GROWN, _GROWN) * size)
    if grow:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grow) + 1,) * 2)
        worn = np.asarray((cv2.dilate if grow > 0 else cv2.erode)(worn, kernel), dtype=np.uint8)
    border = np.nonzero(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _CROSS) > 127)
    if len(border[0]) and random.random() < wear.pieces:
        pick = int(random.integers(0, len(border[0])))
        axes = [max(1, round(v)) for v in random.uniform(_SMALLEST, wear.piece, 2) * size]
        at = int(border[1][pick]), int(border[0][pick])
        value = 255 if random.random() < wear.gained else 0
        cv2.ellipse(worn, at, axes, float(random.uniform(0, 180)), 0, 360, value, -1)
    blur = random.uniform(0, 1.5)
    if blur > 0.4:
        worn = np.asarray(cv2.GaussianBlur(worn, (0, 0), blur), dtype=np.uint8)
    return worn


def _moved(
    mask: Mask, centre: tuple[float, float], size: float, random: np.random.Generator
) -> Mask:
    side = mask.shape[0]
    far = _FAR if random.random() < _OFTEN_FAR else _NEAR
    turn, scale = random.uniform(-far, far), np.exp(random.uniform(-far, far))
    shift = random.uniform(-far, far, 2) * size
    span = np.arange(side, dtype=np.float32)
    across, down = np.meshgrid(
        span - np.float32(centre[0] + shift[0]), span - np.float32(centre[1] + shift[1])
    )
    cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
    bend = random.uniform(0, _BENT) * size
    x = cos * across - sin * down + centre[0] + waves(random, side, bend)
    y = sin * across + cos * down + centre[1] + waves(random, side, bend)
    moved = cv2.remap(
        mask,
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, dtype=np.uint8)


def _blob(mask: Mask, random: np.random.Generator) -> Mask:
    """A blurred ellipse where the object is; sometimes nothing, as when an object was lost."""
    blob = np.zeros_like(mask)
    rows, columns = np.nonzero(mask > 127)
    if len(rows) == 0 or random.random() < 0.5:
        return blob
    at = round(float(columns.mean())), round(float(rows.mean()))
    axes = [max(1, round(1.3 * float(side.std()) + 1)) for side in (columns, rows)]
    cv2.ellipse(blob, at, axes, 0, 0, 360, 255, -1)
    return np.asarray(cv2.GaussianBlur(blob, (0, 0), max(1.0, 0.25 * min(axes))), dtype=np.uint8)
