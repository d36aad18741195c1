"""Masks as run lengths, pixels and label maps: encode, decode, compare.

Run lengths follow "CVAT for video 1.1": row by row inside the mask's box, alternating, the first
run of zeros (0 when the box's first pixel is set). *Canonical* means: the box is tight and no run
after the first has length zero. CVAT itself writes masks that are not canonical.

Between run lengths and pixels stand *intervals*: half-open ranges [start, end) of set pixels in
the box's row-major order. They make cropping and comparing possible without decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvat_io.model import Mask
from cvat_io.runtext import format_rle as format_rle
from cvat_io.runtext import parse_rle as parse_rle


def encode(pixels: NDArray[Any], left: int = 0, top: int = 0) -> Mask | None:
    """Make the canonical mask of all nonzero pixels.

    `pixels`: (height, width), bool or integer, anywhere in the image: `left`, `top` are the image
    coordinates of its first pixel. Returns None when no pixel is set.
    """
    found = pixels if pixels.dtype == np.bool_ else pixels != 0
    rows = np.flatnonzero(found.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(found[rows[0] : rows[-1] + 1].any(axis=0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    flat = found[y0:y1, x0:x1].ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # A leading 0 in `bounds` stands for the empty run of zeros that a set first pixel needs.
    head = [0, 0] if flat[0] else [0]
    bounds = np.concatenate((head, changes, [flat.size]))
    return Mask(left + x0, top + y0, x1 - x0, y1 - y0, np.diff(bounds).astype(np.int32))


def encode_labels(labels: NDArray[Any]) -> dict[int, Mask]:
    """Make the canonical masks of all nonzero labels of a label map, in one pass.

    `labels`: integer (H, W), 0 is background. Returns masks by label, labels ascending.
    """
    width = labels.shape[1]
    flat = np.ascontiguousarray(labels).ravel()
    change = np.empty(flat.size, dtype=np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=change[1:])
    change[::width] = True  # intervals never cross a row: their columns give the tight box
    starts = np.flatnonzero(change)
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    kept = np.flatnonzero(values)
    if kept.size == 0:
        return {}
    order = kept[np.argsort(values[kept], kind="stable")]
    values, starts, ends = values[order], starts[order], ends[order]
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    last = np.append(first[1:], values.size)
    rows, x0 = np.divmod(starts, width)
    x1 = x0 + (ends - starts)
    lefts, rights = np.minimum.reduceat(x0, first), np.maximum.reduceat(x1, first)
    masks = {}
    for i in range(first.size):
        part = slice(first[i], last[i])
        left, top, wide = int(lefts[i]), int(rows[first[i]]), int(rights[i] - lefts[i])
        high = int(rows[last[i] - 1]) - top + 1
        begin = (rows[part] - top) * wide + (x0[part] - left)
        end = begin + (x1[part] - x0[part])
        masks[int(values[first[i]])] = _from_intervals(left, top, wide, high, begin, end)
    return masks


def decode(mask: Mask) -> NDArray[np.bool_]:
    """Return the pixels of the mask's box: bool (height, width)."""
    ones = np.zeros(mask.runs.size, dtype=np.bool_)
    ones[1::2] = True
    return np.repeat(ones, mask.runs).reshape(mask.height, mask.width)


def paint(mask: Mask, canvas: NDArray[Any], value: Any) -> None:
    """Set `canvas` (H, W, ...) to `value` where the mask is set; the box must lie inside it."""
    view = canvas[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width]
    view[decode(mask)] = value


def area(mask: Mask) -> int:
    """Count the set pixels."""
    return int(mask.runs[1::2].sum(dtype=np.int64))


def tight(mask: Mask) -> Mask | None:
    """Return the canonical mask of the same pixels, or None when no pixel is set.

    Works on run lengths only; a mask that is canonical already is returned as it is.
    """
    bounds = np.cumsum(mask.runs, dtype=np.int64)
    starts, ends = bounds[0 : bounds.size - 1 : 2], bounds[1::2]
    if not (mask.runs[1:] > 0).all():
        starts, ends = _join(starts, ends)
        if starts.size == 0:
            return None
    elif starts.size == 0:
        return None
    first_row, x0 = np.divmod(starts, mask.width)
    last_row, x1 = np.divmod(ends - 1, mask.width)
    top, bottom = int(first_row[0]), int(last_row[-1])
    # An interval that goes on into the next row touches the box's last and first column.
    crosses = bool((first_row != last_row).any())
    left = 0 if crosses else int(x0.min())
    right = mask.width - 1 if crosses else int(x1.max())
    wide, high = right - left + 1, bottom - top + 1
    if (wide, high) == (mask.width, mask.height):
        if bool((mask.runs[1:] > 0).all()):
            return mask
    elif wide == mask.width:
        starts, ends = starts - top * wide, ends - top * wide
    else:
        starts = (first_row - top) * wide + (x0 - left)
        ends = (last_row - top) * wide + (x1 - left) + 1
    return _from_intervals(mask.left + left, mask.top + top, wide, high, starts, ends)


def tight_many(given: Sequence[Mask]) -> list[Mask | None]:
    """Do what `tight` does for each mask; those that are canonical are told in one pass over all.

    Three times as fast for masks of some hundred runs, as long as there are some tens of them.
    """
    if not given:
        return []
    # Whole pairs of runs (zeros, ones); zeros behind the last pair are looked at by themselves.
    pairs = [mask.runs[: mask.runs.size & ~1] for mask in given]
    counts = np.array([runs.size // 2 for runs in pairs])
    if not counts.all():
        return [tight(mask) for mask in given]
    runs = np.concatenate(pairs)
    first = np.cumsum(counts) - counts
    bounds = np.cumsum(runs, dtype=np.int64)
    width = np.array([mask.width for mask in given])
    origin = bounds[2 * first] - runs[2 * first]
    x0 = (bounds[0::2] - np.repeat(origin, counts)) % np.repeat(width, counts)
    x1 = x0 + runs[1::2]
    lefts, rights = np.minimum.reduceat(x0, first), np.maximum.reduceat(x1, first)
    # Ones that go beyond the last column go on in the first one.
    sound = ((lefts == 0) | (rights > width)) & (rights >= width) & (runs[2 * first] < width)
    inner = runs > 0
    inner[2 * first] = True
    sound &= np.logical_and.reduceat(inner, 2 * first)
    return [
        mask
        if fine and (mask.runs.size % 2 == 0 or 0 < mask.runs[-1] < mask.width)
        else tight(mask)
        for mask, fine in zip(given, sound.tolist(), strict=True)
    ]


def same_pixels(a: Mask, b: Mask) -> bool:
    """Tell whether both masks set exactly the same pixels of the image."""
    one, two = tight(a), tight(b)
    if one is None or two is None:
        return one is two
    return (one.left, one.top, one.width, one.height) == (
        two.left,
        two.top,
        two.width,
        two.height,
    ) and np.array_equal(one.runs, two.runs)


def iou(a: Mask, b: Mask) -> float:
    """Return intersection over union in [0, 1]; two empty masks have 1."""
    left, top = max(a.left, b.left), max(a.top, b.top)
    right = min(a.left + a.width, b.left + b.width)
    bottom = min(a.top + a.height, b.top + b.height)
    common = 0
    if left < right and top < bottom:
        views = (
            decode(m)[top - m.top : bottom - m.top, left - m.left : right - m.left] for m in (a, b)
        )
        common = int(np.count_nonzero(np.logical_and(*views)))
    union = area(a) + area(b) - common
    return common / union if union else 1.0


def without(mask: Mask, others: Sequence[Mask]) -> Mask | None:
    """Take the pixels of other masks away; the mask itself where none is in it, None if all are."""
    pixels = None
    for other in others:
        left, top = max(mask.left, other.left), max(mask.top, other.top)
        right = min(mask.left + mask.width, other.left + other.width)
        bottom = min(mask.top + mask.height, other.top + other.height)
        if left >= right or top >= bottom:
            continue
        if pixels is None:
            pixels = decode(mask)
        theirs = decode(other)[top - other.top : bottom - other.top, left - other.left :]
        view = pixels[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
        view &= ~theirs[:, : right - left]
    return mask if pixels is None else encode(pixels, mask.left, mask.top)


def _join(
    starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Drop empty intervals and join those that touch."""
    kept = ends > starts
    starts, ends = starts[kept], ends[kept]
    if starts.size < 2:
        return starts, ends
    apart = starts[1:] != ends[:-1]
    return starts[np.append(True, apart)], ends[np.append(apart, True)]


def _from_intervals(
    left: int,
    top: int,
    width: int,
    height: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> Mask:
    """Make the mask of at least one interval, given ascending, in a box that is tight."""
    starts, ends = _join(starts, ends)
    size = width * height
    bounds = np.empty(2 * starts.size + 1, dtype=np.int64)
    bounds[0] = 0
    bounds[1::2] = starts
    bounds[2::2] = ends
    tail = [size] if int(ends[-1]) < size else []
    runs = np.diff(np.concatenate((bounds, tail))).astype(np.int32)
    return Mask(left, top, width, height, runs)
