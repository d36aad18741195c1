"""Frames as people type them ("12,40-60") and as a result's note keeps them.

Numbers are CVAT's own absolute frame numbers. A range holds the frames of the job that lie in it,
so "30-36" means 30, 33, 36 in a job whose step is 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from errors import InputError, one_line

_ITEM = re.compile(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?")


def parse_frames(text: str, frames: range) -> tuple[int, ...]:
    """The frames that `text` names, ascending, each once; () for an empty text.

    `frames`: all frames of the job. Items are separated by commas or semicolons, empty ones are
    passed over. Raises InputError that names the item and the job's frames.
    """
    found: set[int] = set()
    for each in parse_ranges(text, frames):
        found.update(each)
    return tuple(sorted(found))


def parse_ranges(text: str, frames: range) -> Iterator[range]:
    """The frames of each item of `text`, read as `parse_frames` does, however many they are."""
    for raw in re.split(r"[,;]", text):
        item = one_line(raw, 40)
        if not item:
            continue
        match = _ITEM.fullmatch(item)
        if match is None:
            raise InputError(
                f'The frames "{item}" cannot be read: give numbers and ranges such as 12,40-60; '
                f"{describe(frames)}."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise InputError(
                f'The frames "{item}" run backward: write {last}-{first}; {describe(frames)}.'
            )
        if first < frames.start or last >= frames.stop:
            raise InputError(f'The frames "{item}" lie outside the job: {describe(frames)}.')
        # The first valid frame at or after `first`.
        begin = frames.start + -(-(first - frames.start) // frames.step) * frames.step
        inside = range(begin, last + 1, frames.step)
        if not inside:
            raise InputError(f'"{item}" is no frame of the job: {describe(frames)}.')
        yield inside


def noted_frames(
    note: Mapping[str, Any] | None, frames: range, name: str
) -> tuple[int, ...] | None:
    """The key frames that the note of archive `name` lists; None where it lists none at all.

    Raises InputError that names the archive where the job cannot have what is listed: nobody typed
    it, so that no other one can be asked for.
    """
    listed = (note or {}).get("key_frames")
    if listed is None:
        return None
    if isinstance(listed, str):
        try:
            return parse_frames(listed, frames)
        except InputError as exc:
            raise _ill_noted(f'"{one_line(listed[:200], 40)}"', frames, name) from exc
    raise _ill_noted("no list of frames", frames, name)


def _ill_noted(what: str, frames: range, name: str) -> InputError:
    return InputError(
        f"The zip comment of {name} gives {what} as the result's key frames, which cannot be "
        f"({describe(frames)}): give the result as it was written, or start an initial run."
    )


def format_frames(frames: Iterable[int], step: int = 1) -> str:
    """Ascending frames as text: runs of neighbours (in steps of `step`) become ranges."""
    parts: list[str] = []
    first = last = -1
    for frame in frames:
        if first >= 0 and frame == last + step:
            last = frame
            continue
        if first >= 0:
            parts.append(_item(first, last))
        first = last = frame
    if first >= 0:
        parts.append(_item(first, last))
    return ",".join(parts)


def format_few(frames: Sequence[int], step: int = 1, most: int = 12) -> str:
    """As `format_frames`, but of more than `most` ranges only the first ones and how many more."""
    items = format_frames(frames, step).split(",")
    if len(items) <= most:
        return ", ".join(items)
    shown = ",".join(items[:most])
    told = sum(1 for frame in frames if frame <= int(items[most - 1].rpartition("-")[2]))
    return f"{shown.replace(',', ', ')} and {len(frames) - told} more"


def describe(frames: range) -> str:
    """The job's frames in words, to end a sentence with."""
    if not frames:
        return "this job has no frames"
    if len(frames) == 1:
        return f"this job has only frame {frames[0]}"
    every = "" if frames.step == 1 else f" in steps of {frames.step}"
    return f"this job has frames {frames[0]} to {frames[-1]}{every}"


def _item(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
