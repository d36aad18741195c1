"""A small film made by arithmetic, with the exact mask of everything in it.

Textured balls and boxes drift over a panning ground: they cross, leave the picture, enter late,
come nearer and turn. Every mask is exact: an object's visible pixels, those that it covers by half
or more and that nothing before it covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
LabelMap = NDArray[np.uint16]
Field = NDArray[np.float32]

BALL = "ball"
BOX = "box"

_TILE = 256  # side of a texture, pixels; textures repeat without a seam
_PAN = (0.9, 0.25)  # ground's motion, pixels per frame at 480x270


@dataclass(frozen=True, slots=True)
class _Body:
    """One object. Lengths are parts of the picture's height, times are frames.

    `path`: x and y at frame 0, then their change per frame. `sway`: how far and in how many frames
    it swings up and down. `size`: radius at frame 0, then its change per frame.
    """

    kind: str
    path: tuple[float, float, float, float]
    sway: tuple[float, float]
    size: tuple[float, float]
    spin: float  # radians per frame
    dark: tuple[int, int, int]
    light: tuple[int, int, int]

    def place(self, time: int) -> tuple[float, float, float, float]:
        """Centre x, centre y, radius and angle at `time`."""
        x, y, dx, dy = self.path
        reach, period = self.sway
        swing = reach * sin(2 * pi * time / period)
        return (
            x + dx * time,
            y + dy * time + swing,
            self.size[0] + self.size[1] * time,
            (self.spin * time),
        )


# Drawn from the farthest to the nearest; object i + 1 is the i-th. x runs from 0 to 1.78 at 16:9.
_BODIES = (
    # Crosses the whole picture behind the others.
    _Body(BOX, (0.25, 0.36, 0.0165, 0.001), (0.03, 40), (0.13, 0.0002), 0.025,
          (26, 70, 120), (120, 196, 240)),
    # Comes nearer.
    _Body(BALL, (1.25, 0.66, -0.0035, 0.0005), (0.04, 50), (0.10, 0.0013), 0.02,
          (120, 30, 24), (246, 150, 84)),
    # Leaves at the left at about frame 25 and stays away.
    _Body(BALL, (0.34, 0.74, -0.0185, 0.001), (0.02, 30), (0.11, 0.0), -0.05,
          (22, 92, 52), (168, 226, 120)),
    # Enters from the right at about frame 16.
    _Body(BOX, (2.10, 0.26, -0.0125, 0.0015), (0.03, 44), (0.12, 0.0004), -0.02,
          (86, 34, 110), (232, 150, 236)),
    # The nearest: crosses the first two and shrinks.
    _Body(BALL, (1.62, 0.40, -0.0150, 0.0008), (0.05, 60), (0.15, -0.0008), -0.03,
          (132, 92, 10), (252, 222, 110)),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """`length` frames of `width` x `height` pixels; iterate it for (image, label map) pairs.

    `objects`: label ("ball" or "box") by object number, the numbers being 1..N.
    A shorter clip is the beginning of a longer one.
    """

    length: int
    width: int
    height: int
    objects: dict[int, str]
    _ground: Image
    _skins: tuple[Image, ...]

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Image, LabelMap]]:
        return (self.frame(index) for index in range(self.length))

    def frame(self, index: int) -> tuple[Image, LabelMap]:
        """RGB uint8 (H, W, 3) and label map uint16 (H, W) of frame `index`."""
        if not 0 <= index < self.length:
            raise IndexError(f"frame {index} of {self.length}")
        picture = self._draw_ground(index)
        labels = np.zeros((self.height, self.width), dtype=np.uint16)
        for number, (body, skin) in enumerate(zip(_BODIES, self._skins, strict=True), start=1):
            self._draw_body(picture, labels, number, body, skin, index)
        return np.rint(picture).astype(np.uint8), labels

    def _draw_ground(self, time: int) -> Field:
        scale = self.height / 270
        x = np.arange(self.width, dtype=np.float32) / scale + _PAN[0] * time
        y = np.arange(self.height, dtype=np.float32) / scale + _PAN[1] * time
        ground = _sample(self._ground, *np.meshgrid(x, y))
        light = np.linspace(1.08, 0.82, self.height, dtype=np.float32)
        return np.asarray(np.clip(ground * light[:, None, None], 0, 255), dtype=np.float32)

    def _draw_body(
        self, picture: Field, labels: LabelMap, number: int, body: _Body, skin: Image, time: int
    ) -> None:
        x, y, size, angle = (v * f for v, f in zip(
            body.place(time), (self.height, self.height, self.height, 1.0), strict=True
        ))  # fmt: skip
        reach = 1.5 * size + 2
        left, right = max(0, int(x - reach)), min(self.width, int(x + reach) + 1)
        top, bottom = max(0, int(y - reach)), min(self.height, int(y + reach) + 1)
        if left >= right or top >= bottom:
            return
        window = np.s_[top:bottom, left:right]
        across, down = np.meshgrid(
            np.arange(left, right, dtype=np.float32) - np.float32(x),
            np.arange(top, bottom, dtype=np.float32) - np.float32(y),
        )
        # A soft shadow, a little lower: it belongs to the ground, not to the mask.
        away, _ = _distance(body.kind, across, down - np.float32(0.12 * size), size, angle)
        shade = 1.0 - 0.35 * np.clip(0.5 - away / (0.25 * size), 0, 1)
        picture[window] *= shade[..., None]

        away, (u, v) = _distance(body.kind, across, down, size, angle)
        cover = np.clip(0.5 - away, 0, 1)
        texture = _sample(skin, u / size * 60 + 128, v / size * 60 + 128)
        texture *= _light(body.kind, across / size, down / size)[..., None]
        picture[window] += cover[..., None] * (np.clip(texture, 0, 255) - picture[window])
        labels[window][cover >= 0.5] = number


def make_clip(frames: int = 60, width: int = 480, height: int = 270, seed: int = 0) -> Clip:
    """The clip; the same arguments give the same pixels. `seed` changes the textures only."""
    random = np.random.default_rng(seed)
    ground = _texture(random, (52, 66, 58), (168, 172, 140), coarsest=4)
    skins = tuple(_texture(random, body.dark, body.light, coarsest=8) for body in _BODIES)
    objects = {number: body.kind for number, body in enumerate(_BODIES, start=1)}
    return Clip(frames, width, height, objects, ground, skins)


def _texture(
    random: np.random.Generator,
    dark: tuple[int, int, int],
    light: tuple[int, int, int],
    coarsest: int,
) -> Image:
    """Cloudy noise (octaves of smoothed random grids) between two colours, RGB, seamless."""
    field = np.zeros((_TILE, _TILE), dtype=np.float32)
    cells, weight = coarsest, 1.0
    while cells <= 64:
        grid = random.random((cells, cells), dtype=np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        side = wrapped.shape[0] * _TILE // cells
        margin = 2 * _TILE // cells
        smooth = cv2.resize(wrapped, (side, side), interpolation=cv2.INTER_CUBIC)
        field += weight * smooth[margin : margin + _TILE, margin : margin + _TILE]
        cells, weight = cells * 2, weight * 0.7
    low, high = np.percentile(field, [2, 98])
    part = np.clip((field - low) / (high - low), 0, 1)[..., None]
    mixed = np.array(dark) * (1 - part) + np.array(light) * part
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _sample(texture: Image, x: Field, y: Field) -> Field:
    """Colours (H, W, 3) float32 of a repeating texture at any coordinates."""
    return np.asarray(
        cv2.remap(
            texture.astype(np.float32),
            np.asarray(x, dtype=np.float32) % _TILE,
            np.asarray(y, dtype=np.float32) % _TILE,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        ),
        dtype=np.float32,
    )


def _distance(
    kind: str, across: Field, down: Field, size: float, angle: float
) -> tuple[Field, tuple[Field, Field]]:
    """Pixels from the outline (negative inside), and the coordinates that turn with the body."""
    u = np.asarray(across * cos(angle) + down * sin(angle), dtype=np.float32)
    v = np.asarray(down * cos(angle) - across * sin(angle), dtype=np.float32)
    if kind == BALL:
        return np.asarray(np.hypot(u, v) - size, dtype=np.float32), (u, v)
    corner = 0.2 * size  # radius of the rounded corners
    p, q = np.abs(u) - (size - corner), np.abs(v) - (size - corner)
    outside = np.hypot(np.maximum(p, 0), np.maximum(q, 0))
    inside = np.minimum(np.maximum(p, q), 0)
    return np.asarray(outside + inside - corner, dtype=np.float32), (u, v)


def _light(kind: str, across: Field, down: Field) -> Field:
    """Brightness factor: balls are lit from the upper left, boxes are flat."""
    if kind == BOX:
        return np.asarray(1.0 - 0.12 * down, dtype=np.float32)
    height = np.sqrt(np.clip(1.0 - across**2 - down**2, 0, 1))
    facing = -0.45 * across - 0.55 * down + 0.7 * height
    return np.asarray(0.45 + 0.8 * np.clip(facing, 0, 1), dtype=np.float32)
