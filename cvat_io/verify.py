"""Hold a result against its export before anybody sees it. What fails here is our own fault."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from config import Limits
from cvat_io.masks import tight
from cvat_io.model import MaskShape, Meta
from cvat_io.reader import ANNOTATIONS, Export, open_export
from cvat_io.xmlstream import Source, attributes, empty, events, free
from errors import InputError

_Drawn = dict[int, dict[bytes, set[bytes]]]
"""By frame and pixels: what may stand beside the pixels (a human may draw the same mask twice)."""


_Places = Mapping[int, Collection[int]]
"""By frame, which of the masks that are not ignored: k of the k-th in file order."""
_NONE: _Places = {}


class VerificationError(Exception):
    """The result breaks a promise; it must not be published."""


def verify_result(
    result: Path,
    export: Export,
    key_frames: Collection[int],
    ignore_labels: frozenset[str],
    limits: Limits,
    additions_allowed: bool = False,
    previous: Export | None = None,
    anew: _Places = _NONE,
    ours: _Places = _NONE,
) -> None:
    """Raise VerificationError unless the result keeps every promise of the format.

    One XML and nothing else; head and other tracks as in the export; on `key_frames` exactly the
    export's masks, pixel by pixel with all attributes (at least these where `additions_allowed`:
    there passes may add objects that a human left out); masks with an ignored label exactly as in
    the export, on every frame; all masks canonical, on valid frames, with known labels; one mask
    a track, closed by CVAT's rule; track ids unique.

    Of the export's masks on key frames those of `anew` need not be there, and those of `ours` have
    the source "auto" in the result: an earlier run made both, as `previous` must show.

    On other frames only masks that we made may be lost: those that `previous`, our last result,
    has with the same label and pixels; without it, those whose source is "auto".
    """
    with zipfile.ZipFile(result) as archive:
        names = archive.namelist()
    if names != [ANNOTATIONS]:
        raise VerificationError(f"the result holds {len(names)} files instead of {ANNOTATIONS}")
    # Still scenes pack better than any stranger's file may.
    own = replace(limits, archive_ratio=2**31, archive_bytes=2**63)
    try:
        with open_export(result, own) as written:
            if written.meta.xml != export.meta.xml:
                raise VerificationError("the head differs from the export's")
            _check_others(written, export)
            keys = frozenset(key_frames)
            drawn, made = _drawn(export, keys, ignore_labels, anew, ours)
            _check_masks(written, drawn, keys, ignore_labels, additions_allowed)
            _check_made(made, previous)
            _check_kept(written, export, keys, ignore_labels, previous)
            _check_tracks(written.source(), export.meta)
    except InputError as exc:
        raise VerificationError(f"the result cannot be read: {exc}") from exc


def _check_others(written: Export, export: Export) -> None:
    pairs = zip_longest(written.others(), export.others())
    for index, (ours, theirs) in enumerate(pairs):
        if ours is None or theirs is None or ours.xml != theirs.xml:
            raise VerificationError(f"other track number {index} differs from the export's")


def _drawn(
    export: Export,
    key_frames: frozenset[int],
    ignore_labels: frozenset[str],
    anew: _Places,
    ours: _Places,
) -> tuple[_Drawn, dict[int, set[bytes]]]:
    """What must be in the result, and what is said to be made by an earlier run (its pixels)."""
    drawn: _Drawn = {}
    made: dict[int, set[bytes]] = {}
    places: Counter[int] = Counter()
    for track in export.tracks():
        if not isinstance(track, MaskShape):
            continue
        frame, ignored = track.frame, track.label in ignore_labels
        if frame not in key_frames and not ignored:
            continue
        k = -1
        if not ignored:
            k, places[frame] = places[frame], places[frame] + 1
        is_anew, is_ours = k in anew.get(frame, ()), k in ours.get(frame, ())
        if is_anew or is_ours:
            made.setdefault(frame, set()).add(_digests(track)[0])
            track = replace(track, source="auto")
        if not is_anew:
            pixels, beside = _digests(track)
            drawn.setdefault(frame, {}).setdefault(pixels, set()).add(beside)
    return drawn, made


def _check_made(made: dict[int, set[bytes]], previous: Export | None) -> None:
    """Check that an earlier run made what is taken for that."""
    if not made:
        return
    for track in previous.tracks() if previous is not None else ():
        if isinstance(track, MaskShape) and track.frame in made and track.source == "auto":
            made[track.frame].discard(_digests(track)[0])
    for frame in sorted(made):
        if made[frame]:
            raise VerificationError(
                f"frame {frame} has a mask that is taken for one of an earlier run, and is none"
            )


def _check_masks(
    written: Export,
    drawn: _Drawn,
    key_frames: frozenset[int],
    ignore_labels: frozenset[str],
    additions_allowed: bool,
) -> None:
    found: set[tuple[int, bytes]] = set()
    for track in written.tracks():
        if not isinstance(track, MaskShape):
            continue
        if tight(track.mask) is not track.mask:
            raise VerificationError(f"a mask on frame {track.frame} is not canonical")
        ignored = track.label in ignore_labels
        if track.frame not in key_frames and not ignored:
            continue
        pixels, beside = _digests(track)
        if beside in drawn.get(track.frame, {}).get(pixels, ()):
            found.add((track.frame, pixels))
        elif ignored or not additions_allowed:
            raise VerificationError(
                f'frame {track.frame} has a mask "{track.label}" that its human did not draw'
            )
    for frame, masks in sorted(drawn.items()):
        if any((frame, pixels) not in found for pixels in masks):
            raise VerificationError(f"frame {frame} lacks a mask of its human")


def _check_kept(
    written: Export,
    export: Export,
    key_frames: frozenset[int],
    ignore_labels: frozenset[str],
    previous: Export | None,
) -> None:
    """Check that no mask of a human is lost from a frame that was taken for none of theirs."""
    theirs: dict[int, set[bytes]] = {}
    for track in export.tracks():
        if (
            isinstance(track, MaskShape)
            and track.frame not in key_frames
            and track.label not in ignore_labels
            and (previous is not None or track.source != "auto")
        ):
            theirs.setdefault(track.frame, set()).add(_digests(track)[0])
    for found in (previous, written):
        if found is None or not any(theirs.values()):
            continue
        for track in found.tracks():
            if isinstance(track, MaskShape) and track.frame in theirs:
                theirs[track.frame].discard(_digests(track)[0])
    for frame in sorted(theirs):
        if theirs[frame]:
            raise VerificationError(f"frame {frame} lost a mask that is in the export")


def _digests(shape: MaskShape) -> tuple[bytes, bytes]:
    """Label and pixels, and all else that must stay of a mask, in 16 bytes each."""
    mask = tight(shape.mask) or shape.mask
    place = (shape.label, mask.left, mask.top, mask.width, mask.height)
    pixels = hashlib.blake2b(repr(place).encode(), digest_size=16)
    pixels.update(mask.runs.tobytes())
    beside = (shape.source, shape.occluded, shape.z_order, shape.group_id, shape.attributes)
    return pixels.digest(), hashlib.blake2b(repr(beside).encode(), digest_size=16).digest()


def _check_tracks(source: Source, meta: Meta) -> None:
    """Check what the reader does not give: ids and closing shapes."""
    ids: set[str] = set()
    shapes: list[dict[str, str]] = []
    try:
        for event, element, depth in events(source, ANNOTATIONS):
            if event == "start":
                continue
            if depth == 3:
                if element.tag == "mask":
                    shapes.append(dict(attributes(element)))
                if shapes:
                    empty(element)
            elif depth == 2:
                if element.tag == "track":
                    number = element.get("id", "")
                    if shapes and number in ids:
                        raise VerificationError(f"two tracks have the id {number}")
                    ids.add(number)
                    if shapes:
                        _check_closing(shapes, meta)
                shapes = []
                free(element)
    finally:
        source.close()


def _check_closing(shapes: list[dict[str, str]], meta: Meta) -> None:
    first = shapes[0]
    frame = int(first["frame"])
    closing = frame + meta.step
    expected = [first | {"keyframe": "1", "outside": "0"}]
    if closing < meta.stop_frame:
        expected.append(first | {"frame": str(closing), "keyframe": "1", "outside": "1"})
    if shapes != expected:
        raise VerificationError(f"a mask on frame {frame} is not closed as CVAT does")
