"""What key frames showed, cell by cell, and which parts of another picture look like it.

A memory that is read by likeness of features is the idea of Oh et al., "Video Object Segmentation
using Space-Time Memory Networks" (ICCV 2019). Here the features are frozen and nothing of the
memory is trained: the decoder is taught how far to trust what it says. It finds the limb that
motion lost, and tells objects apart where one comes out from behind another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracker.propagators.builtin.backbone import WIDTHS, Backbone, Features
from tracker.propagators.builtin.regions import regions
from tracker.propagators.builtin.window import boxes_of, resized
from tracker.protocol import Image, LabelMap

CELL = 16  # pixels of the input on a side
WIDTH = WIDTHS.s16 + WIDTHS.s32  # numbers that describe a cell
SHARPNESS = 20.0  # by which likeness, at most 1, is multiplied before the softmax
_TRACE = 0.05  # of a cell: less of an object does not count


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """M cells of one key frame, described as by `described`: (M, WIDTH), not yet scaled.

    `numbers`: the objects seen in them. `shares`: (M, N), which part of a cell is which of these.
    """

    looks: Tensor
    numbers: tuple[int, ...]
    shares: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Cells by their looks: `keys` (M, WIDTH) of length 1, `values` (M, V) what they stand for."""

    keys: Tensor
    values: Tensor

    def read(self, queries: Tensor, sharpness: float = SHARPNESS) -> Tensor:
        """(N, V): the mean value of the cells that look like `queries`, (N, WIDTH) of length 1."""
        weights = torch.softmax((queries @ self.keys.T).float() * sharpness, 1)
        return weights @ self.values

    def contrast(self) -> float:
        """In [0, 1], how well it tells what it knows apart: for `objects` of key frames."""
        said, true = self.read(self.keys)[:, 0], self.values[:, 0]
        inside, outside = true.sum(), (1 - true).sum()
        if not inside or not outside:
            return 0.0
        own, other = (said * true).sum() / inside, (said * (1 - true)).sum() / outside
        return float((own - other).clamp(0, 1))


def described(features: Features) -> Tensor:
    """What every cell of N images looks like: (N, H/CELL * W/CELL, WIDTH), row by row."""
    size = features.s16.shape[-2:]
    deep = functional.interpolate(features.s32, size=size, mode="bilinear", align_corners=False)
    return torch.cat([features.s16, deep], 1).flatten(2).transpose(1, 2)


def cells(net: Backbone, image: Image, labels: LabelMap, pixels: int, device: str) -> Cells | None:
    """The cells of a key frame's objects and of what is round them; None without any object.

    `pixels`: of the look at a single object.
    """
    height, width = labels.shape
    boxes = boxes_of(labels)
    if not boxes:
        return None
    numbers = tuple(boxes)
    looks, shares = [], []
    for region in regions(boxes, width, height, pixels):
        window = region.window
        shown = torch.from_numpy(window.shown(image)).permute(2, 0, 1)[None].to(device)
        looks.append(described(net(shown.float()))[0].float())
        seen = window.cut(labels, cv2.BORDER_CONSTANT)
        size = window.width // CELL, window.height // CELL
        own = np.zeros((len(numbers), size[1], size[0]), dtype=np.float32)
        present = set(np.unique(seen).tolist())  # those of other regions as well
        for plane, number in zip(own, numbers, strict=True):
            if number in present:
                plane[:] = resized(np.where(seen == number, np.uint8(255), np.uint8(0)), *size)
        own /= 255
        shares.append(torch.from_numpy(own).flatten(1).T.to(device))
    return Cells(torch.cat(looks), numbers, torch.cat(shares))


def objects(own: Cells, scale: Sequence[Tensor], most: int, random: np.random.Generator) -> Memory:
    """What is object and what is not in one key frame: values (M, 1), M at most `most`."""
    chosen = torch.from_numpy(np.sort(random.permutation(len(own.looks))[:most]))
    return Memory(
        unit(own.looks[chosen], scale), own.shares[chosen].sum(1, keepdim=True).clamp(max=1)
    )


def joined(memories: Sequence[Memory], device: str) -> Memory:
    """All of several memories with values of one kind, (M, 1); of none: one that knows nothing."""
    if not memories:
        return Memory(torch.zeros(1, WIDTH, device=device), torch.zeros(1, 1, device=device))
    return Memory(
        torch.cat([each.keys for each in memories]), torch.cat([each.values for each in memories])
    )


def identities(own: Cells, scale: Sequence[Tensor]) -> Memory:
    """Which object is which, in one key frame: values (M, N) in the order of its `numbers`."""
    there = own.shares.sum(1) > _TRACE
    there[own.shares.argmax(0)] = True  # a tiny object is remembered too
    return Memory(unit(own.looks[there], scale), own.shares[there])


def unit(looks: Tensor, scale: Sequence[Tensor]) -> Tensor:
    """`looks` (..., WIDTH) brought to one scale by mean and gain (WIDTH,), and to length 1."""
    mean, gain = scale
    return functional.normalize((looks.to(mean.dtype) - mean) * gain, dim=-1)
