"""Computing one span in a test, and stopping it at will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.plan import RunInputs, RunPlan, SpanPlan
from tracker.segmenters.protocol import Segmenter
from worker.compute import SpanOutcome, compute_span


def compute(
    given: RunInputs,
    plan: RunPlan,
    span: SpanPlan,
    folder: Path,
    *,
    fence: int = 1,
    stop_after: int | None = None,
    make_segmenter: Callable[[], Segmenter] | None = None,
) -> SpanOutcome:
    """Compute, and stop when asked the `stop_after`-th time."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_after

    folder.mkdir(exist_ok=True)
    return compute_span(
        given,
        plan,
        span,
        folder=folder,
        fence=fence,
        device="cpu",
        on_progress=lambda done, total: None,
        should_stop=should_stop,
        make_segmenter=make_segmenter,
    )
