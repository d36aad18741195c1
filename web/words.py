"""Numbers and times in words, for the pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from jobs.views import KeyFrames, Mode, RunOptions, WorkerView

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


def plan(planned: dict[str, Any], options: RunOptions) -> str:
    """Say in words what `Jobs.plan` returned for `options`."""
    keys, spans = planned["key_frames"], planned["spans"]
    if not spans:
        return "Nothing to compute: every frame asked for is there already."
    named = [_span(span) for span in spans[:MOST_SPANS]]
    if len(spans) > MOST_SPANS:
        named.append(f"and {len(spans) - MOST_SPANS} more")
    sentences = [
        f"Computes {count(planned['frames_total'], 'frame')} in {count(len(spans), 'span')}: "
        f"{', '.join(named)}."
    ]
    if options.mode is Mode.INITIAL and options.frames.strip():
        sentences.append("Of these, only the frames you named are filled.")
    sentences.append(_stay(keys, options.keyframes))
    return " ".join(sentences)


def _span(span: dict[str, Any]) -> str:
    start, stop = span["start"], span["stop"]
    frames = f"{start}" if start == stop else f"{start} to {stop}"
    return f"{frames} {passes(span['direction'])}"


def _stay(keys: Sequence[int], kind: KeyFrames) -> str:
    frames = f"Key frame {keys[0]}" if len(keys) == 1 else f"Key frames {few(keys)}"
    if kind is KeyFrames.PARTIAL:
        verb = "keeps" if len(keys) == 1 else "keep"
        return f"{frames} {verb} what you drew, and other objects go on through."
    return f"{frames} {'stays' if len(keys) == 1 else 'stay'} as drawn."
