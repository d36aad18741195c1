"""A part of an image as the built-in segmenter sees it: a grid of cells with looks, as a graph.

Looks are colours in CIE Lab and the features of the frozen network that the built-in propagator
uses too (`tracker.propagators.builtin.backbone`). Cells are joined with their eight neighbours.
Beside them stand the network's levels as they are, up to the classes of ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from tracker.power import product
from tracker.propagators.builtin.backbone import STRIDE, backbone
from tracker.protocol import Image
from tracker.segmenters.builtin_classes import classes
from tracker.segmenters.protocol import Mask

Field = NDArray[np.float32]

LONGEST = 512  # pixels of the longer side as the network sees it, at most
PIXELS = 512 * 288  # that it sees in all, about
_CELL = 4  # pixels of it along a cell
_LIGHT, _HUE = 24.0, 25.0  # units of Lab that count as a step of one
_COLOUR, _LOOK = 0.3, 1.0  # what such a step costs in colours, and one in features
_STRANGE = 0.9  # what a step away from the seeds' colours costs along a cell
_MODEL = 24  # colours of seeds, at most
_WAY = 0.02  # what a cell's way costs where nothing changes
LEVELS = ("colour", "s4", "s8", "s16", "s32", "classes")
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True, slots=True)
class Window:
    """Whole pixels of an image: columns `left` .. `right` - 1, rows `top` .. `bottom` - 1."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def part(self) -> tuple[slice, slice]:
        """The window as an index of an array (H, W)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def holds(self, other: Window) -> bool:
        """Whether `other` lies in it."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )


@dataclass(frozen=True, eq=False)
class Look:
    """A window's cells. `looks`: float32 (h, w, C), distances in them are distances in looks.

    `colours`: float32 (h, w, 3), Lab, a step of one being clearly another colour. `levels`: by
    `LEVELS`, float32 (h', w', C'), each at its own resolution. `deep`: float32 (h'', w'', 1280),
    what the network tells classes by, nowhere negative.
    """

    window: Window
    looks: Field
    colours: Field
    levels: dict[str, Field]
    deep: Field
    _ends: tuple[NDArray[np.int32], NDArray[np.int32]]
    _lengths: Field
    _costs: Field

    @staticmethod
    def at(image: Image, window: Window, pixels: int = PIXELS) -> Look:
        """See `window` of `image`, RGB uint8 (H, W, 3), at about `pixels` whatever its size."""
        part = image[window.part]
        scale = (pixels / (window.width * window.height)) ** 0.5
        scale = min(scale, LONGEST / max(window.width, window.height))
        wide, high = (
            max(1, round(side * scale / STRIDE)) * STRIDE for side in (window.width, window.height)
        )
        shrinks = wide < window.width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        shown = np.asarray(cv2.resize(part, (wide, high), interpolation=method), dtype=np.uint8)
        size = wide // _CELL, high // _CELL
        small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        colours = np.asarray(lab / np.array([_LIGHT, _HUE, _HUE]), dtype=np.float32)
        levels, deep = _seen(shown)
        features = _joined(levels, size)
        ends, lengths, costs = _graph(colours, features)
        looks = np.concatenate([colours * 0.5, features * 2], axis=2).astype(np.float32)
        levels["colour"] = np.asarray(cv2.blur(colours, (3, 3)), dtype=np.float32)
        return Look(window, looks, colours, levels, deep, ends, lengths, costs)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.looks.shape[0], self.looks.shape[1]

    def distances(self, seeds: Mask, *, alike: bool = False) -> Field:
        """From the nearest of `seeds`, bool (h, w), along the way that changes least, (h, w).

        `alike`: a way is also the longer the less its colours are those of the seeds. Without a
        seed everything is endlessly far.
        """
        if not seeds.any():
            return np.full(self.size, np.inf, dtype=np.float32)
        one, other = self._ends
        costs = self._costs
        if alike:
            unlike = self.unlike("colour", seeds, _MODEL).ravel()
            costs = costs + self._lengths * (_STRANGE / 2) * (unlike[one] + unlike[other])
        count = self.looks.shape[0] * self.looks.shape[1]
        ways = csr_matrix((costs, (one, other)), shape=(count, count))
        found = dijkstra(ways, directed=False, indices=np.flatnonzero(seeds), min_only=True)
        return np.asarray(found, dtype=np.float32).reshape(self.size)

    def unlike(self, level: str, seeds: Mask, most: int) -> Field:
        """How far each cell is in `level` from the seed that it is most like, (h, w).

        Of `seeds`, bool (h, w), at least one, about `most` are asked, evenly in their order.
        """
        planes = self.levels[level]
        high, wide, _ = planes.shape
        rows, columns = np.nonzero(seeds)
        step = -(-len(rows) // most)
        places = np.unique(
            rows[::step] * high // self.size[0] * wide + columns[::step] * wide // self.size[1]
        )
        flat = planes.reshape(high * wide, -1)
        some = flat[places]
        squares = (flat**2).sum(axis=1)[:, None] + (some**2).sum(axis=1) - 2 * product(flat, some.T)
        far = np.sqrt(np.maximum(squares.min(axis=1), 0)).reshape(high, wide)
        return self.spread(far)

    def spread(self, field: NDArray[np.floating]) -> Field:
        """A `field` of any resolution (h', w') at that of the cells, (h, w)."""
        scaled = cv2.resize(
            field.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_LINEAR
        )
        return np.asarray(scaled, dtype=np.float32).reshape(self.size)


def _seen(shown: Image) -> tuple[dict[str, Field], Field]:
    """What the network makes of the picture, its levels alike in say, and its last features."""
    pixels = torch.from_numpy(shown).permute(2, 0, 1)[None].float()
    found = backbone("cpu")(pixels)
    deep, scores = classes(found.s32)
    levels = {
        name: _alike(level[0].float().numpy())
        for name, level in zip(LEVELS[1:], (found.s4, found.s8, found.s16, found.s32), strict=False)
    }
    return {**levels, "classes": _alike(scores)}, np.ascontiguousarray(deep.transpose(1, 2, 0))


def _alike(field: Field) -> Field:
    """A level (C, h, w) as (h, w, C), its cells at a distance of about one from their mean."""
    field = field - field.mean(axis=(1, 2), keepdims=True)
    field = field / (np.sqrt((field**2).mean() * field.shape[0]) + 1e-6)
    return np.ascontiguousarray(field.transpose(1, 2, 0), dtype=np.float32)


def _joined(levels: dict[str, Field], size: tuple[int, int]) -> Field:
    """The levels that are fine enough to tell borders, at `size` (columns, rows), in one."""
    scaled = [
        cv2.resize(levels[name], size, interpolation=cv2.INTER_LINEAR).reshape(*size[::-1], -1)
        for name in ("s4", "s8", "s16")
    ]
    return np.asarray(np.concatenate(scaled, axis=2) / np.sqrt(len(scaled)), dtype=np.float32)


def _graph(
    colours: Field, features: Field
) -> tuple[tuple[NDArray[np.int32], NDArray[np.int32]], Field, Field]:
    """Both ends of every pair of neighbours, how far apart they lie in cells, what a way costs."""
    high, wide = colours.shape[:2]
    cells = np.arange(high * wide, dtype=np.int32).reshape(high, wide)
    ones, others, lengths, costs = [], [], [], []
    for down, right in _STEPS:
        one = np.s_[: high - down, max(0, -right) : wide - max(0, right)]
        other = np.s_[down:, max(0, right) : wide - max(0, -right)]
        cost = _WAY + _COLOUR * np.linalg.norm(colours[one] - colours[other], axis=2)
        cost = cost + _LOOK * np.linalg.norm(features[one] - features[other], axis=2)
        ones.append(cells[one].ravel())
        others.append(cells[other].ravel())
        lengths.append(np.full(cost.size, np.hypot(down, right), dtype=np.float32))
        costs.append(cost.ravel() * lengths[-1])
    ends = np.concatenate(ones), np.concatenate(others)
    return ends, np.concatenate(lengths), np.concatenate(costs).astype(np.float32)
