"""What a person changed since our last result, and so which key frames there are now."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from config import Limits
from cvat_io.defaults import Defaults
from cvat_io.model import Meta
from cvat_io.reader import open_export
from cvat_io.result import read_note
from cvat_io.shards import part_of
from errors import InputError
from jobs.compare import compare_frame
from jobs.frame_change import FrameChange, Names
from jobs.frames_text import noted_frames
from jobs.sheet import Seen, Sheet, changed_frames, masks_on, placed_frames, read_sheet

_SEVERAL = 3  # frames of ours: somebody may well have redrawn all, where there are fewer
_MOST_PLACED = 1000  # frames that differ in occluded flags and z-orders alone and are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`key_frames`: all frames that are a human's, ascending.

    `changed`: those that are new or differ, and those that are a human's no more: what lies
    beside any of them is computed again. `whole`: those of them that count as different in all
    their masks. `borrowed`: key frames that the export lacks, whose masks are the previous
    result's. `compared`: what differs on a frame, mask by mask; frames that differ in occluded
    flags and z-orders alone are there too. `sides`: objects (as the previous result numbers them)
    and their labels on the other key frames beside changed ones. `unknown`: frames, ascending, of
    which the previous result does not say which objects their masks show. `seen`: the objects of
    the previous result. `imported`: whether the export was made after our result was imported.
    """

    key_frames: tuple[int, ...]
    changed: frozenset[int]
    whole: frozenset[int] = frozenset()
    borrowed: frozenset[int] = frozenset()
    compared: Mapping[int, FrameChange] = field(default_factory=dict)
    sides: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    unknown: tuple[int, ...] = ()
    seen: Mapping[int, Seen] = field(default_factory=dict)
    imported: bool = True

    @property
    def given_up(self) -> tuple[int, ...]:
        """Frames, ascending, that were a human's and are no more."""
        return tuple(sorted(self.changed.difference(self.key_frames)))


def find_changes(
    annotations: Path,
    previous: Path | None,
    typed: Collection[int],
    *,
    sequence: Collection[int],
    reuse_previous: bool,
    ignore_labels: Collection[str],
    limits: Limits,
) -> Changes:
    """Compare an export with our previous result, frame by frame and mask by mask.

    `typed`: frames that a person names as corrected; `sequence`: frames that have an image. With
    `reuse_previous` what the export lacks is taken from the previous result: an empty frame is no
    wish to delete, and key frames that were drawn once stay.
    Without `previous` the masks' sources must tell ours from theirs, or frames must be typed.
    Raises InputError when neither is so, when `previous` is of another job, and when it was made
    while a label was ignored that is not ignored now.

    An export that was made without importing our result holds a human's masks and nothing else:
    as in an initial run every frame that has some is a key frame, and an empty one says nothing.
    """
    with open_export(annotations, limits) as export:
        if part := part_of(export.comment):
            raise InputError(
                f"{annotations.name} is part {part} of a result, and what the others hold would be "
                "taken for deleted: bring all parts into CVAT and export the job there."
            )
        meta = export.meta
        defaults = Defaults(meta.labels)
        now = read_sheet(export, ignore_labels, defaults)
    if previous is None:
        return _by_source(now, typed, reuse_previous)

    with open_export(previous, limits) as result:
        require_same_job(result.meta, meta, previous.name)
        if part := part_of(result.comment):
            raise InputError(
                f"{previous.name} is part {part} of a result, and what the others hold would be "
                "taken for deleted: give the whole result (--previous RESULT.zip)."
            )
        before = read_sheet(result, ignore_labels, defaults)
    _require_labels(before, meta, previous.name)
    old = _old_key_frames(previous, before, meta)
    _require_followed(before, old, previous.name)
    changed = set(changed_frames(now, before))
    imported = _imported(now, before, before.frames.keys() - old, sequence)
    whole = set(typed)
    if imported and not reuse_previous:
        keys = old | changed
    elif imported:
        changed &= now.frames.keys()
        keys = old | changed
    else:
        keys = now.frames.keys() | (old if reuse_previous else set())
        # Of frames that nobody drew, neither now nor before, nothing is known.
        changed = (changed & (now.frames.keys() if reuse_previous else keys | old)) | (keys - old)
        whole |= changed
    changed.update(typed)
    keys = keys | set(typed)
    if reuse_previous and not changed:
        raise InputError(
            "Reusing the previous result needs the frames to start from: type the frames that "
            "are right as they are, such as 12,40-60."
        )
    # A frame that was deleted in CVAT has lost masks and image: nothing starts or ends there.
    gone = (changed | keys) - set(sequence) - now.frames.keys()
    keys, changed = keys - gone, changed - gone
    placed = set(placed_frames(now, before)) if imported else set()
    return _compared(
        (annotations, previous),
        Changes(
            key_frames=tuple(sorted(keys)),
            changed=frozenset(changed),
            whole=frozenset(whole & changed),
            borrowed=frozenset(keys - now.frames.keys()) if reuse_previous else frozenset(),
            unknown=tuple(sorted(f for f, record in before.frames.items() if not record.known)),
            seen=before.objects,
            imported=imported,
        ),
        placed=sorted(placed - changed)[:_MOST_PLACED],
        names=before.names,
        defaults=defaults,
        ignore_labels=ignore_labels,
        limits=limits,
    )


def _compared(
    archives: tuple[Path, Path],
    changes: Changes,
    *,
    placed: Collection[int],
    names: Names,
    defaults: Defaults,
    ignore_labels: Collection[str],
    limits: Limits,
) -> Changes:
    """Look at the masks of frames that differ; `archives`: the export and the previous result."""
    looked = {*changes.changed, *placed} - changes.borrowed
    sides = _beside(changes.changed, changes.key_frames) - looked
    if not looked:
        return changes
    with open_export(archives[0], limits) as export:
        now = masks_on(export, looked, ignore_labels)
    with open_export(archives[1], limits) as result:
        before = masks_on(result, looked | sides, ignore_labels)
    compared: dict[int, FrameChange] = {}
    known = dict(names)
    for frame in sorted(looked):
        shapes = [shape for shape, _ in now[frame]]
        compared[frame] = compare_frame(frame, before[frame], shapes, known, defaults)
        # A name that an object was given on one frame is its name on all.
        known = {**compared[frame].named, **known}
    return replace(
        changes,
        compared=compared,
        sides={
            frame: {number: shape.label for shape, number in before[frame] if number}
            for frame in sides
        },
    )


def _beside(changed: Collection[int], keys: Sequence[int]) -> set[int]:
    """The key frames next to changed frames, on either side."""
    found: set[int] = set()
    for frame in changed:
        low, high = bisect_left(keys, frame), bisect_right(keys, frame)
        found.update(keys[max(0, low - 1) : low], keys[high : high + 1])
    return found


def require_same_job(other: Meta, meta: Meta, name: str) -> None:
    """Refuse archive `name` when its frames or their size are not those of `meta`."""
    if other.frames != meta.frames:
        raise InputError(
            f"{name} has {_range(other.frames)}, but the export has {_range(meta.frames)}: give "
            "one of the same job."
        )
    sizes = (other.width, other.height, meta.width, meta.height)
    if None not in sizes and sizes[:2] != sizes[2:]:
        raise InputError(
            f"{name} has frames of {other.width}x{other.height} pixels, but those of the export "
            f"have {meta.width}x{meta.height}: give one of the same job."
        )


def _by_source(now: Sheet, typed: Collection[int], reuse_previous: bool) -> Changes:
    if reuse_previous:
        raise InputError("There is no previous result to reuse: run this job first.")
    if not typed and not now.any_auto:
        raise InputError(
            "Re-segmentation cannot tell your masks from ours in this export: give our previous "
            "result too (--previous RESULT.zip), or the frames that you corrected."
        )
    keys = {*now.human_frames, *typed}
    # Without a previous result and typed frames, any of the human's frames may be new.
    changed = frozenset(typed or keys)
    return Changes(key_frames=tuple(sorted(keys)), changed=changed, whole=changed)


def _imported(now: Sheet, before: Sheet, ours: Collection[int], sequence: Collection[int]) -> bool:
    """Whether the export was made after our result, with masks on the frames `ours`, was imported.

    People empty a few frames, and leave some as they are. Where more than half of ours are empty,
    or some are and of several others none is as we made it, nobody emptied them: they were never
    there. A single frame that looks like ours proves nothing, since a mask that a human copies
    along a still scene equals ours to the pixel.
    """
    there = set(ours) & (set(sequence) | now.frames.keys())
    filled = there & now.frames.keys()
    same = any(now.frames[frame].digest == before.frames[frame].digest for frame in filled)
    empty = len(there) - len(filled)
    return 2 * empty <= len(there) and (same or not empty or len(filled) < _SEVERAL)


def _old_key_frames(previous: Path, before: Sheet, meta: Meta) -> set[int]:
    noted = noted_frames(read_note(previous), meta.frames, previous.name)
    return set(before.human_frames if noted is None else noted)


def _require_labels(before: Sheet, meta: Meta, name: str) -> None:
    unknown = sorted(before.labels - {label.name for label in meta.labels})
    if unknown:
        raise InputError(
            f'{name} has masks of the label "{unknown[0]}", which the export no longer knows: add '
            "the label again in CVAT, or start an initial run."
        )


def _require_followed(before: Sheet, keys: Collection[int], name: str) -> None:
    """Refuse to take what a human drew under a label that was ignored for what a run made."""
    for label, frames in sorted(before.unfollowed.items()):
        lost = [frame for frame in frames if frame not in keys]
        if lost:
            raise InputError(
                f'{name} was made while the label "{label}" was ignored, and what you drew under '
                f"it, as on frame {lost[0]}, would be replaced: ignore it again "
                f"(IGNORE_LABELS={label}), or start an initial run."
            )


def _range(frames: range) -> str:
    if not frames:
        return "no frames"
    every = "" if frames.step == 1 else f" in steps of {frames.step}"
    return f"frames {frames[0]} to {frames[-1]}{every}"
