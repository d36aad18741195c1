"""Training material from a key frame: its objects moved, bent, repainted and relit at random.

After Khoreva et al., "Lucid Data Dreaming for Video Object Segmentation" (IJCV 2019): what later
frames may look like is made from the one frame that is known. Repainting is ours: a part of the
object, or of what is round it, gets a colour or a texture that nobody has seen. It teaches to go by
the prior and by edges wherever looks say nothing, so that the side of a car that turns into view is
kept and not cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.propagators.builtin.window import Box, Window, around, box_of, fit, resized
from tracker.protocol import Example, Image

Field = NDArray[np.float32]
Mask = NDArray[np.uint8]

_SCALE, _TURN, _SHIFT = 0.2, 0.25, 0.12  # of a sample: natural log, radians, part of the object
_FLIPPED = 0.3
_BENT = 0.02  # part of the object's size
_CUT_OUT = 0.5  # share of samples whose object moves on its own before what lies behind it
_CALM = 0.7  # how far what lies behind is moved, in parts of the above
_ROOM = 0.25  # part of a window that is kept round it, for samples to move in


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture (S, S, 3) and masks 0 or 255 (S, S) of one object and of all others."""

    image: Image
    mask: Mask
    others: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The surroundings of one object of a key frame, at the scale at which the network sees it.

    `mask`, `others`: 0 .. 255, of the object and of all others. `behind`: the image without the
    object. `size`: the object's larger side in pixels; `centre`: (x, y); `span`: width and height
    of the object's window.
    """

    image: Image
    mask: Mask
    others: Mask
    behind: Image
    size: float
    centre: tuple[float, float]
    span: tuple[float, float]


def scene(example: Example, number: int, pixels: float, random: np.random.Generator) -> Scene:
    """The scene of object `number`, or of a place without any for 0, at `pixels` of the input."""
    labels = example.labels
    height, width = labels.shape
    own = labels == number if number else np.zeros(labels.shape, dtype=bool)
    left, top, right, bottom = box = box_of(own) or _anywhere(width, height, random)
    window = fit(around(box, width, height), pixels)
    wide = _widened(window)
    mask, others = (
        resized(_cut_mask(wide, where), wide.width, wide.height)
        for where in (own, (labels > 0) & ~own)
    )
    shown = wide.shown(example.image)
    return Scene(
        image=shown,
        mask=mask,
        others=others,
        behind=_filled_up(shown, mask),
        size=max(right - left, bottom - top) * wide.scale,
        centre=(
            ((left + right) / 2 - wide.left) * wide.scale,
            ((top + bottom) / 2 - wide.top) * wide.scale,
        ),
        span=(window.width, window.height),
    )


def sample(scene: Scene, side: int, random: np.random.Generator) -> Sample:
    """What the scene may look like in another frame, `side` pixels wide and high."""
    x, y = _places(scene, side, 1.0, random)
    image = _seen(scene.image, x, y)
    mask, others = _seen(scene.mask, x, y, empty=True), _seen(scene.others, x, y, empty=True)
    if random.random() < _CUT_OUT:
        x, y = _places(scene, side, _CALM, random)
        image = _blended(_seen(scene.behind, x, y), image, mask)
        others = _seen(scene.others, x, y, empty=True)
        others[mask > 127] = 0
    image = _repainted(image, mask, scene.size, random)
    return Sample(_relit(image, random), _hard(mask), _hard(others))


def _cut_mask(window: Window, where: NDArray[np.bool_]) -> Mask:
    return window.cut(np.where(where, np.uint8(255), np.uint8(0)), cv2.BORDER_CONSTANT)


def _anywhere(width: int, height: int, random: np.random.Generator) -> Box:
    length = max(1, min(height, width) // 3)
    left = int(random.integers(0, width - length + 1))
    top = int(random.integers(0, height - length + 1))
    return left, top, left + length, top + length


def _places(
    scene: Scene, side: int, part: float, random: np.random.Generator
) -> tuple[Field, Field]:
    """For every pixel of a sample where in the scene it comes from; `part`: how wildly."""
    scale = np.exp(random.uniform(-_SCALE, _SCALE) * part)
    turn = random.uniform(-_TURN, _TURN) * part
    mirror = -1.0 if random.random() < _FLIPPED else 1.0
    # Samples are smaller than the window of a large object: they show all parts of it in turn.
    reach = np.maximum(0.0, (np.array(scene.span) * scale - side) / 2)
    off = random.uniform(-1, 1, 2) * (reach + _SHIFT * min(scene.size * scale, side))
    span = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    across, down = np.meshgrid(span + np.float32(off[0]), span + np.float32(off[1]))
    cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
    x = (cos * across - sin * down) * mirror + scene.centre[0]
    y = sin * across + cos * down + scene.centre[1]
    bend = _BENT * min(scene.size, 1.5 * side) * part
    x, y = x + waves(random, side, bend), y + waves(random, side, bend)
    return x.astype(np.float32), y.astype(np.float32)


def waves(random: np.random.Generator, side: int, height: float) -> Field:
    """A smooth random field (`side`, `side`) of standard deviation about `height`."""
    coarse = random.standard_normal((int(random.integers(3, 8)),) * 2).astype(np.float32)
    fine = cv2.resize(coarse * np.float32(height), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, dtype=np.float32)


def _seen(
    image: NDArray[np.uint8], x: Field, y: Field, *, empty: bool = False
) -> NDArray[np.uint8]:
    border = cv2.BORDER_CONSTANT if empty else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border), dtype=np.uint8)


def _hard(mask: Mask) -> Mask:
    return np.where(mask > 127, np.uint8(255), np.uint8(0))


def _blended(ground: Image, top: NDArray[Any], mask: Mask) -> Image:
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.8)[..., None].astype(np.float32) / 255
    return _bytes(np.asarray(ground + (top.astype(np.float32) - ground) * alpha))


def _bytes(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _repainted(image: Image, mask: Mask, size: float, random: np.random.Generator) -> Image:
    """`image` with one to three pieces of the object, or of what is round it, as never seen."""
    side = mask.shape[0]
    inside = mask > 127
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        return image
    for _ in range(int(random.integers(1, 4))):
        pick = int(random.integers(0, len(rows)))
        axes = [max(2, round(v)) for v in random.uniform(0.08, 0.4, 2) * min(size, side)]
        piece = np.zeros_like(mask)
        at = int(columns[pick]), int(rows[pick])
        cv2.ellipse(piece, at, axes, float(random.uniform(0, 180)), 0, 360, 255, -1)
        chance = random.random()  # mostly a part of the object; sometimes across its border
        if chance < 0.85:
            piece[~inside if chance < 0.6 else inside] = 0
        image = _blended(image, _paint(image, random), piece)
    return image


def _paint(image: Image, random: np.random.Generator) -> NDArray[Any]:
    """Other colours with the same texture, what is elsewhere in the picture, or plain paint."""
    side = image.shape[0]
    kind = random.random()
    if kind < 0.5:
        swapped = image[..., random.permutation(3)].astype(np.float32)
        return np.asarray(swapped * np.exp(random.uniform(-0.7, 0.7)) + random.uniform(-60, 60, 3))
    if kind < 0.85:
        far = [int(v) for v in random.integers(side // 4, 3 * side // 4, 2)]
        return np.roll(image, far, (0, 1))
    return np.asarray(random.uniform(0, 255, 3) + waves(random, side, 25.0)[..., None])


def _relit(image: Image, random: np.random.Generator) -> Image:
    """Other light: gain, lift, gamma; sometimes out of focus or blurred by motion."""
    gain = np.exp(random.uniform(-0.15, 0.15) + random.uniform(-0.06, 0.06, 3))
    lift, gamma = random.uniform(-20, 20), np.exp(random.uniform(-0.25, 0.25))
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    table = _bytes(255 * gain * levels**gamma + lift)
    lit = np.asarray(cv2.LUT(image, table[:, None, :]), dtype=np.uint8)
    chance = random.random()
    if chance < 0.2:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), random.uniform(0.5, 2.0)), dtype=np.uint8)
    elif chance < 0.35:
        lit = np.asarray(cv2.filter2D(lit, -1, _streak(random)), dtype=np.uint8)
    return lit


def _streak(random: np.random.Generator) -> Field:
    """The kernel of a straight motion blur."""
    length = int(random.integers(3, 12))
    kernel = np.zeros((length, length), dtype=np.float32)
    middle, angle = (length - 1) / 2, random.uniform(0, np.pi)
    dx, dy = middle * np.cos(angle), middle * np.sin(angle)
    start, end = (middle - dx, middle - dy), (middle + dx, middle + dy)
    cv2.line(kernel, [round(v) for v in start], [round(v) for v in end], 1.0)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def _filled_up(image: Image, mask: Mask) -> Image:
    """`image` with the object replaced by what is round it, from coarse to fine."""
    hidden = cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0
    weight = np.where(hidden, np.float32(0), np.float32(1))
    colour = image.astype(np.float32) * weight[..., None]
    levels = [(colour, weight)]
    while min(levels[-1][1].shape) > 2:
        levels.append(tuple(cv2.pyrDown(plane) for plane in levels[-1]))  # type: ignore[arg-type]
    colour, weight = levels[-1]
    fill: NDArray[Any] = colour / np.maximum(weight, 1e-4)[..., None]
    for colour, weight in reversed(levels[:-1]):
        fill = np.asarray(cv2.pyrUp(fill, dstsize=(weight.shape[1], weight.shape[0])))
        share = np.clip(weight * 4, 0, 1)[..., None]
        fill = fill + (colour / np.maximum(weight, 1e-4)[..., None] - fill) * share
    return np.where(hidden[..., None], _bytes(fill), image)


def _widened(window: Window) -> Window:
    across = round((window.right - window.left) * _ROOM)
    down = round((window.bottom - window.top) * _ROOM)
    left, right = window.left - across, window.right + across
    top, bottom = window.top - down, window.bottom + down
    return Window(
        left,
        top,
        right,
        bottom,
        window.scale,
        max(1, round((right - left) * window.scale)),
        max(1, round((bottom - top) * window.scale)),
    )
