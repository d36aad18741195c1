"""A part of an image as the built-in segmenter sees it: a grid of cells with looks, as a graph.

Looks are colours in CIE Lab and the features of the frozen network that the built-in propagator
uses too (`tracker.propagators.builtin.backbone`). Cells are joined with their eight neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from tracker.propagators.builtin.backbone import STRIDE, backbone
from tracker.protocol import Image
from tracker.segmenters.protocol import Mask

Field = NDArray[np.float32]

LONGEST = 512  # pixels of the longer side as the network sees it
_CELL = 4  # pixels of it along a cell
_LIGHT, _HUE = 24.0, 25.0  # units of Lab that count as a step of one
_COLOUR, _LOOK = 0.3, 1.0  # what such a step costs in colours, and one in features
_STRANGE = 0.9  # what a step away from the seeds' colours costs along a cell
_MODEL = 24  # colours of seeds, at most
_WAY = 0.02  # what a cell's way costs where nothing changes
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

    `colours`: float32 (h, w, 3), Lab, a step of one being clearly another colour.
    """

    window: Window
    looks: Field
    colours: Field
    _ends: tuple[NDArray[np.int32], NDArray[np.int32]]
    _lengths: Field
    _costs: Field

    @staticmethod
    def at(image: Image, window: Window) -> Look:
        """See `window` of `image`, RGB uint8 (H, W, 3), at `LONGEST` pixels whatever its size."""
        part = image[window.part]
        wide, high = (
            max(1, round(side * LONGEST / max(part.shape[:2]) / STRIDE)) * STRIDE
            for side in (window.width, window.height)
        )
        shrinks = wide < window.width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        shown = np.asarray(cv2.resize(part, (wide, high), interpolation=method), dtype=np.uint8)
        size = wide // _CELL, high // _CELL
        small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        colours = np.asarray(lab / np.array([_LIGHT, _HUE, _HUE]), dtype=np.float32)
        features = _features(shown, size)
        ends, lengths, costs = _graph(colours, features)
        looks = np.concatenate([colours * 0.5, features * 2], axis=2)
        return Look(window, looks.astype(np.float32), colours, ends, lengths, costs)

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
            unlike = self._unlike(seeds).ravel()
            costs = costs + self._lengths * (_STRANGE / 2) * (unlike[one] + unlike[other])
        count = self.looks.shape[0] * self.looks.shape[1]
        ways = csr_matrix((costs, (one, other)), shape=(count, count))
        found = dijkstra(ways, directed=False, indices=np.flatnonzero(seeds), min_only=True)
        return np.asarray(found, dtype=np.float32).reshape(self.size)

    def _unlike(self, seeds: Mask) -> Field:
        """How far each cell's colour is from that of the seed that it is most like, (h, w)."""
        soft = np.asarray(cv2.blur(self.colours, (3, 3)), dtype=np.float32)
        some = soft[seeds]
        nearest = np.full(self.size, np.inf, dtype=np.float32)
        for colour in some[:: -(-len(some) // _MODEL)]:
            nearest = np.minimum(nearest, np.linalg.norm(soft - colour, axis=2))
        return nearest


def _features(shown: Image, size: tuple[int, int]) -> Field:
    """What the network makes of the picture, at `size` (columns, rows), each level alike in say."""
    pixels = torch.from_numpy(shown).permute(2, 0, 1)[None].float()
    found = backbone("cpu")(pixels)
    levels = []
    for level in (found.s4, found.s8, found.s16):
        field = level[0].float().numpy()
        field = field - field.mean(axis=(1, 2), keepdims=True)
        field = field / (np.sqrt((field**2).mean() * field.shape[0]) + 1e-6)
        planes = np.ascontiguousarray(field.transpose(1, 2, 0))
        scaled = cv2.resize(planes, size, interpolation=cv2.INTER_LINEAR)
        levels.append(scaled.reshape(size[1], size[0], -1))
    return np.asarray(np.concatenate(levels, axis=2) / np.sqrt(len(levels)), dtype=np.float32)


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
