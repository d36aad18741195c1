"""Spans: which frames lie between which key frames, and which passes fill them. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from jobs.options import Direction, KeyFrames


class Passes(StrEnum):
    """Which passes fill a span."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"  # fused, weighed by the distance in time from either anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanPlan:
    """Consecutive frames that one worker computes.

    `start`, `stop`: first and last computed frame, inclusive. `anchors`: the key frames that its
    passes start from, meet or end at, ascending. `frames_total`: frames with an image from `start`
    to `stop`, each of which gets a record.
    """

    ordinal: int
    start: int
    stop: int
    direction: Passes
    anchors: tuple[int, ...]
    frames_total: int

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> SpanPlan:
        """From `dataclasses.asdict`, or the same read back from JSON."""
        return SpanPlan(
            ordinal=data["ordinal"],
            start=data["start"],
            stop=data["stop"],
            direction=Passes(data["direction"]),
            anchors=tuple(data["anchors"]),
            frames_total=data["frames_total"],
        )


def plan_spans(
    sequence: Sequence[int],
    key_frames: Sequence[int],
    *,
    direction: Direction,
    keyframes: KeyFrames,
    fill: frozenset[int] | None = None,
    changed: frozenset[int] | None = None,
    wanted: Callable[[Gap], bool] | None = None,
) -> tuple[SpanPlan, ...]:
    """The spans of a run in order of time.

    `sequence`: frames that have an image, ascending; `key_frames`: ascending, all in it.
    `fill`: only these frames are wanted (None: all). `changed`: only gaps that these frames lie
    in or beside are computed (None: all), and of these only those that are `wanted`.
    """
    if not key_frames:
        return ()
    if keyframes is KeyFrames.PARTIAL:
        # Any change may travel through all key frames.
        wholes = [] if changed == frozenset() else [_whole(sequence, key_frames, direction)]
    else:
        wholes = gaps(sequence, key_frames, direction, changed)
    spans: list[SpanPlan] = []
    for gap in wholes:
        needed = _needed(gap.passes, gap.frames, fill)
        if needed and (wanted is None or wanted(gap)):
            spans.append(
                SpanPlan(
                    ordinal=len(spans),
                    start=needed[0],
                    stop=needed[-1],
                    direction=gap.passes,
                    # A forward span that stops early never meets the anchors behind its end.
                    anchors=(
                        gap.anchors if needed[-1] == gap.frames[-1] else _met(gap.anchors, needed)
                    ),
                    frames_total=len(needed),
                )
            )
    return tuple(spans)


class Gap(NamedTuple):
    """Consecutive frames that are no key frames, with the key frames on their sides (`anchors`)."""

    passes: Passes
    anchors: tuple[int, ...]
    frames: Sequence[int]

    @property
    def begins(self) -> tuple[int, ...]:
        """Those of the anchors that passes start from.

        What a forward pass finds does not depend on the key frame that it ends at.
        """
        return self.anchors[:1] if self.passes is Passes.FORWARD else self.anchors


def gaps(
    sequence: Sequence[int],
    keys: Sequence[int],
    direction: Direction,
    changed: frozenset[int] | None,
) -> list[Gap]:
    """Every gap that a change touches, in order of time: all where `changed` is None.

    Those before the first key frame are left out where only forward passes are made.
    """
    found: list[Gap] = []
    between = Passes.BOTH if direction is Direction.BOTH else Passes.FORWARD
    news = None if changed is None else sorted(changed)
    for before, after in zip([None, *keys], [*keys, None], strict=True):
        low = 0 if before is None else bisect_right(sequence, before)
        high = len(sequence) if after is None else bisect_left(sequence, after)
        anchors = tuple(key for key in (before, after) if key is not None)
        # What a forward pass finds does not depend on the key frame that it ends at.
        end = after
        if after is not None and before is not None and between is Passes.FORWARD:
            end = after - 1
        if low >= high or not _touched(news, before, end):
            continue
        if before is None:
            if direction is Direction.BOTH:
                found.append(Gap(Passes.BACKWARD, anchors, sequence[low:high]))
        elif after is None:
            found.append(Gap(Passes.FORWARD, anchors, sequence[low:high]))
        else:
            found.append(Gap(between, anchors, sequence[low:high]))
    return found


def _touched(news: Sequence[int] | None, before: int | None, after: int | None) -> bool:
    """Whether one of the ascending `news` lies in a gap or on one of its sides."""
    if news is None:
        return True
    first = 0 if before is None else bisect_left(news, before)
    return first < len(news) and (after is None or news[first] <= after)


def _whole(sequence: Sequence[int], keys: Sequence[int], direction: Direction) -> Gap:
    """One span over everything; its passes cross the key frames."""
    if len(sequence) == 1:
        return Gap(Passes.FORWARD, tuple(keys), ())
    if direction is Direction.BOTH:
        return Gap(Passes.BOTH, tuple(keys), sequence)
    return Gap(Passes.FORWARD, tuple(keys), sequence[bisect_right(sequence, keys[0]) :])


def _needed(passes: Passes, frames: Sequence[int], fill: frozenset[int] | None) -> Sequence[int]:
    """The part of a gap that must be computed to fill what is wanted."""
    if fill is None:
        return frames
    wanted = [index for index, frame in enumerate(frames) if frame in fill]
    if not wanted:
        return ()
    if passes is Passes.FORWARD:
        return frames[: wanted[-1] + 1]
    if passes is Passes.BACKWARD:
        return frames[wanted[0] :]
    return frames


def _met(anchors: tuple[int, ...], frames: Sequence[int]) -> tuple[int, ...]:
    return tuple(anchor for anchor in anchors if anchor <= frames[-1])
