"""How long a run is likely to take: from earlier runs' measured speed, else a rough default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from errors import InputError
from jobs.models import LEARN, Revision, Run, Span
from jobs.spans import Passes, SpanPlan
from jobs.views import ExpectedView, RunState

AUTO = "auto"
_LATEST = 20  # runs that are looked at
_PIXELS = 480 * 854  # of a frame for which the defaults hold
_SCALE = (0.25, 8.0)  # what another size may cost, less and more

# Seconds for one frame of one pass, and for learning: one worker on two cores of a server's
# processor (docs/quality.md, docs/performance.md), no GPU.
_DEFAULTS: Mapping[str, tuple[float, float]] = {
    "flow": (0.05, 0.0),
    "builtin-fast": (0.04, 6.0),
    "builtin": (0.09, 15.0),
    "builtin-best": (0.15, 36.0),
    "deaot-t": (0.5, 0.0),
    "deaot-swinb-l": (3.0, 0.0),
}
_ANY_DEAOT, _ANY_OTHER = (1.0, 0.0), (2.0, 0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """`visit`: seconds of one frame in one pass; `learning`: seconds before the first frame.

    `engine`, `size` (width, height): of what was measured. `runs`: of how many runs; 0: a default.
    """

    engine: str
    size: tuple[int, int]
    visit: float
    learning: float
    runs: int


def visits_of(spans: Iterable[tuple[str, int]]) -> int:
    """How many frames all passes see: (direction, frames) of each span; two passes see each twice.

    Directions are those of `SpanView`; learning and writing see none.
    """
    factor = {Passes.BOTH.value: 2, Passes.FORWARD.value: 1, Passes.BACKWARD.value: 1}
    return sum(factor.get(direction, 0) * frames for direction, frames in spans)


def expect(spans: Sequence[SpanPlan], size: tuple[int, int], pace: Pace, workers: int = 1) -> float:
    """Seconds that the spans are likely to take on so many workers like the measured one."""
    if not spans:
        return 0.0
    many = max(1, min(workers, len(spans)))
    visits = visits_of((span.direction.value, span.frames_total) for span in spans)
    pixels, measured = size[0] * size[1], pace.size[0] * pace.size[1]
    scale = min(max(pixels / measured, _SCALE[0]), _SCALE[1]) if pixels and measured else 1.0
    return pace.learning + visits * pace.visit * scale / many


def view(
    spans: Sequence[SpanPlan], size: tuple[int, int], pace: Pace, workers: int = 1
) -> ExpectedView:
    """What `expect` says, and what it rests on."""
    if pace.runs:
        measured = "one earlier run" if pace.runs == 1 else f"{pace.runs} earlier runs"
        basis = f"measured in {measured} of {pace.engine}"
        if pace.size != size and 0 not in (*pace.size, *size):
            basis += f" at {pace.size[0]} x {pace.size[1]}"
    else:
        basis = f"a rough default for {pace.engine}, of which no run was measured here yet"
    return ExpectedView(seconds=round(expect(spans, size, pace, workers), 1), basis=basis)


def default_pace(engine: str) -> Pace:
    """A rough guess for an engine that was not measured here."""
    name = "builtin" if engine == AUTO else engine
    other = _ANY_DEAOT if name.startswith("deaot") else _ANY_OTHER
    visit, learning = _DEFAULTS.get(name, other)
    return Pace(name, (_PIXELS, 1), visit, learning, 0)


def measured_pace(session: Session, engine: str, size: tuple[int, int]) -> Pace:
    """The median of the latest finished runs of an engine, those of this size if there are any."""
    if engine == AUTO:
        engine = _auto_took(session) or AUTO
    rows = session.execute(
        select(
            Run.id,
            Revision.summary["width"].as_integer(),
            Revision.summary["height"].as_integer(),
        )
        .join(Revision, (Revision.job_id == Run.job_id) & (Revision.number == Run.revision))
        .where(Run.engine == engine, Run.state == RunState.DONE.value, Run.frames_total > 0)
        .order_by(Run.id.desc())
        .limit(_LATEST)
    ).all()
    sizes = {run: (width or 0, height or 0) for run, width, height in rows}
    same = [run for run, its in sizes.items() if its == size]
    wanted = same or [run for run, its in sizes.items() if its == next(iter(sizes.values()))]
    spans: dict[int, list[tuple[str, int, float]]] = {}
    for run, direction, frames, seconds in session.execute(
        select(Span.run_id, Span.direction, Span.frames_total, Span.seconds).where(
            Span.run_id.in_(wanted)
        )
    ):
        spans.setdefault(run, []).append((direction, frames, seconds))
    paces = [pace for each in spans.values() if (pace := _pace_of(each)) is not None]
    if not paces:
        return default_pace(engine)
    visit, learning = (median(values) for values in zip(*paces, strict=True))
    return Pace(engine, sizes[wanted[0]], visit, learning, len(paces))


def reported_pace(report: Path, engine: str) -> Pace:
    """The speed that a REPORT.json tells. Raises InputError where it tells none of this engine."""
    try:
        data: dict[str, Any] = json.loads(report.read_bytes())
        name, learning = str(data["engine"]), float(data["learning_seconds"])
        size = (int(data.get("width", 0)), int(data.get("height", 0)))
        spans = [
            (str(s["direction"]), int(s["frames"]), float(s["seconds"])) for s in data["spans"]
        ]
    except OSError as exc:
        raise InputError(
            f"{report} cannot be read ({exc.strerror}): give a REPORT.json of an earlier run."
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError(
            f"{report} is no REPORT.json of ours: give one of an earlier run."
        ) from exc
    found = _pace_of([*spans, (LEARN, 0, learning)])
    if found is None or engine not in (AUTO, name):
        return default_pace(engine)
    return Pace(name, size, *found, 1)


def _pace_of(spans: Sequence[tuple[str, int, float]]) -> tuple[float, float] | None:
    """Seconds a visit and seconds of learning of one run; None where nothing was timed."""
    visits = visits_of((direction, frames) for direction, frames, _ in spans)
    passes = {each.value for each in Passes}
    busy = sum(seconds for direction, _, seconds in spans if direction in passes)
    if not visits or busy <= 0:
        return None
    learning = sum(seconds for direction, _, seconds in spans if direction == LEARN)
    return busy / visits, learning


def _auto_took(session: Session) -> str | None:
    """The engine of the latest finished run that was left to choose."""
    return session.scalars(
        select(Run.engine)
        .where(Run.state == RunState.DONE.value, Run.options["engine"].as_string() == AUTO)
        .order_by(Run.id.desc())
        .limit(1)
    ).one_or_none()
