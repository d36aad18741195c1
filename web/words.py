"""Numbers and times in words, for the pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from errors import one_line
from jobs.options import KeyFrames, Mode, RunOptions
from jobs.views import PlannedSpanView, PlanView, WorkerView

MOST_SPANS = 4  # named one by one in a plan
_PASSES = {
    "both": "from both sides",
    "forward": "forward",
    "backward": "backward",
    "learn": "learning the objects",
    "assemble": "writing the result",
}


def size(count: int) -> str:
    """Return a number of bytes in words: 48_213_311 -> "48 MB" (powers of 1000)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 10 and unit != "B" else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: 130 -> "2 min 10 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def masks(count: float) -> str:
    """Return what a correction repairs, rounded as on the job page: 2.5 -> "about 3 masks"."""
    whole = math.floor(count + 0.5)
    return f"about {whole} {'mask' if whole == 1 else 'masks'}" if whole else "less than one mask"


def moment(at: float) -> str:
    """Return a time as "2026-11-21 10:45 UTC"."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def clock(at: float) -> str:
    """Return a time of day as "10:45:03 UTC", for lines that follow each other."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"


def iso(at: float) -> str:
    """Return a time for the `datetime` attribute."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def few(numbers: Sequence[int], most: int = 6) -> str:
    """Return frame numbers for a card: all when few, else the first ones and how many there are."""
    if len(numbers) <= most:
        return ", ".join(map(str, numbers)) or "none"
    return ", ".join(map(str, numbers[: most - 1])) + f" … {numbers[-1]} ({len(numbers)})"


def count(number: int, noun: str) -> str:
    """Return "1 frame" or "60 frames"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent, and never "0 %" of something: 3, 1000 -> "0.3 %"."""
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 1 else f"{max(percent, 0.1):.1f} %"


def breakable(name: str) -> Markup:
    """Return a name as HTML in which lines may break after each `_` and `-`."""
    text = str(escape(name))  # neither character occurs in what escaping writes
    return Markup(text.replace("_", "_<wbr>").replace("-", "-<wbr>"))  # noqa: S704


def passes(direction: str) -> str:
    """Return how a span is computed, for people: `direction` as in `SpanView`."""
    return _PASSES.get(direction, direction)


def waiting(workers: Sequence[WorkerView]) -> tuple[str, ...]:
    """Say which workers wait, and for what."""
    return tuple(f"Worker {worker.name} {worker.trouble}." for worker in workers if worker.trouble)


def plan(planned: PlanView, options: RunOptions) -> str:
    """Say in words what a run with `options` would compute."""
    keys, spans = planned.key_frames, planned.spans
    if not spans and planned.writes:
        gone = {each.kind for each in planned.changes} <= {"deleted", "placed"}
        what = "masks are only taken away" if gone else "what you changed is taken over as it is"
        return f"Nothing to compute: {what}. {_stay(keys, options.keyframes)}"
    if not spans:
        return "Nothing to compute: every frame asked for is there already."
    named = [_span(span) for span in spans[:MOST_SPANS]]
    if len(spans) > MOST_SPANS:
        named.append(f"and {len(spans) - MOST_SPANS} more")
    frames = f"Computes {count(planned.frames_total, 'frame')}"
    if options.mode is Mode.RESEGMENT:
        frames = f"Recomputes {recomputed(planned.frames_total, planned.frames_in_job)}"
    sentences = [f"{frames} in {count(len(spans), 'span')}: {', '.join(named)}."]
    if options.mode is Mode.INITIAL and options.frames.strip():
        sentences.append("Of these, only the frames you named are filled.")
    sentences.append(_stay(keys, options.keyframes))
    return " ".join(sentences)


def recomputed(done: int, of: int) -> str:
    """Return "29 of 60 frames": how much of a job is computed."""
    return f"{done:,} of {count(of, 'frame')}"


def expected(planned: PlanView) -> str:
    """Say about how long a run would take, and how many objects it follows."""
    if not planned.spans:
        return ""
    least = count(planned.objects, "object")
    return (
        f"Follows at least {least}. Takes about {duration(max(1.0, planned.expected.seconds))} "
        f"({planned.expected.basis})."
    )


def changes(planned: PlanView) -> tuple[str, ...]:
    """Say what a person changed since our last result, a line for each kind and label."""
    lines = [
        f"{_KINDS[each.kind].format(label=one_line(each.label, 60), was=one_line(each.was, 60))}: "
        f"{count(each.masks, 'mask')}, {_on(each.frames)}"
        for each in planned.changes
    ]
    if planned.changes_left_out:
        lines.append(f"and {count(planned.changes_left_out, 'further kind')} of change")
    if planned.given_up:
        lines.append(f"No key frame any more: {_on(planned.given_up)}")
    return tuple(lines)


def conflicts(planned: PlanView) -> tuple[str, ...]:
    """What could be taken in two ways, and how it is taken."""
    more = planned.conflicts_left_out
    return (*planned.conflicts, *([f"And {more:,} more such places."] if more else []))


def beyond(planned: PlanView) -> tuple[str, ...]:
    """What becomes of objects where the computed frames do not tell it."""
    more = planned.beyond_left_out
    return (*planned.beyond, *([f"And so of {count(more, 'further object')}."] if more else []))


_KINDS = {
    "added": 'Added, "{label}"',
    "edited": 'Edited, "{label}"',
    "moved": 'Moved from "{was}" to "{label}"',
    "attributes": 'Other attributes, "{label}"',
    "deleted": 'Deleted, "{label}"',
    "placed": 'Occluded or z-order alone, "{label}" (kept, nothing is computed for it)',
}


def _on(frames: str) -> str:
    return f"frame {frames}" if frames.isdecimal() else f"frames {frames}"


def _span(span: PlannedSpanView) -> str:
    frames = f"{span.start}" if span.start == span.stop else f"{span.start} to {span.stop}"
    return f"{frames} {passes(span.direction)}"


def _stay(keys: Sequence[int], kind: KeyFrames) -> str:
    if not keys:
        return "No frame is a key frame."
    frames = f"Key frame {keys[0]}" if len(keys) == 1 else f"Key frames {few(keys)}"
    if kind is KeyFrames.PARTIAL:
        verb = "keeps" if len(keys) == 1 else "keep"
        return f"{frames} {verb} what you drew, and other objects go on through."
    return f"{frames} {'stays' if len(keys) == 1 else 'stay'} as drawn."
