"""Prove that a re-segmentation left alone what it had no business with, mask by mask."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from config import Limits
from cvat_io.defaults import Defaults
from cvat_io.lineage import Lineage
from cvat_io.masks import tight
from cvat_io.model import MaskShape
from cvat_io.reader import Export, open_export
from cvat_io.verify import VerificationError

_Held = dict[int, Counter[tuple[bytes, bytes]]]
"""By frame: how often a mask is there (its pixels and what CVAT keeps; all else beside it)."""


def verify_carried(
    result: Path,
    export: Export,
    previous: Export,
    *,
    key_frames: Collection[int],
    ignore_labels: frozenset[str],
    sequence: Collection[int],
    kept: Callable[[int], frozenset[int] | None],
    limits: Limits,
) -> None:
    """Raise VerificationError unless masks that should stay are the previous result's to the byte.

    Looked at are frames that are not among `key_frames`, and labels that are not ignored. `kept`
    says of a frame whose masks (by object of the previous result) have to stay, None for all; then
    there must be no other one. Occluded flag and z-order are the export's where it has the same
    mask. On frames without an image (none of `sequence`) all masks stay, unless the export lacks
    them all: then the frame was deleted in CVAT. A mask of a human, which is on a frame that is
    theirs no more, stays only where the export still has masks.
    """
    keys, there = frozenset(key_frames), frozenset(sequence)
    defaults = Defaults(export.meta.labels)

    def concerns(shape: MaskShape) -> bool:
        return shape.frame not in keys and shape.label not in ignore_labels

    # The export only says how masks are placed, and which frames still hold any.
    placed: dict[int, dict[bytes, list[bytes]]] = {}
    for shape in export.tracks():
        if isinstance(shape, MaskShape) and concerns(shape):
            same = placed.setdefault(shape.frame, {}).setdefault(_as_set(shape, defaults), [])
            same.append(_placed(shape))

    lineage = Lineage.of(previous)
    expected: _Held = {}
    for shape in previous.tracks():
        if not isinstance(shape, MaskShape) or not concerns(shape):
            continue
        frame = shape.frame
        stay = kept(frame) if frame in there else None
        if stay is not None and lineage.object_of(shape) not in stay:
            continue
        if frame not in placed and (frame not in there or shape.source != "auto"):
            continue
        same = placed.get(frame, {}).get(_as_set(shape, defaults), [])
        place = same.pop(0) if same else _placed(shape)
        expected.setdefault(frame, Counter())[_whole(shape), place] += 1

    own = replace(limits, archive_ratio=2**31, archive_bytes=2**63)
    with open_export(result, own) as written:
        for shape in written.tracks():
            if not isinstance(shape, MaskShape) or not concerns(shape):
                continue
            held = expected.get(shape.frame, Counter())
            mask = _whole(shape), _placed(shape)
            if held[mask] > 0:
                held[mask] -= 1
            elif shape.frame not in there or kept(shape.frame) is None:
                raise VerificationError(
                    f"frame {shape.frame} has a mask that the previous result has not, though "
                    "nothing was to be computed there"
                )
    for frame in sorted(expected):
        if +expected[frame]:
            raise VerificationError(f"frame {frame} lacks a mask that was to stay as it was")


def _as_set(shape: MaskShape, defaults: Defaults) -> bytes:
    """Pixels, label and attributes that a person set: what an export after an import still has."""
    said = repr(sorted(defaults.set_of(shape))).encode()
    return hashlib.blake2b(_pixels(shape) + said, digest_size=16).digest()


def _whole(shape: MaskShape) -> bytes:
    beside = repr((shape.source, shape.group_id, shape.attributes)).encode()
    return hashlib.blake2b(_pixels(shape) + beside, digest_size=16).digest()


def _pixels(shape: MaskShape) -> bytes:
    """Pixels and label, in 16 bytes."""
    mask = tight(shape.mask) or shape.mask
    box = (mask.left, mask.top, mask.width, mask.height)
    state = hashlib.blake2b(repr((shape.label, box)).encode(), digest_size=16)
    state.update(mask.runs.tobytes())
    return state.digest()


def _placed(shape: MaskShape) -> bytes:
    return b"%d %d" % (shape.occluded, shape.z_order)
