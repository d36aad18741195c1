"""The verb `check`: what an export holds, what a run would do, what CVAT will do with a result."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from config import Settings
from errors import InputError

if TYPE_CHECKING:
    from jobs.options import RunOptions

DONE = 0
NOT_ALL_KEPT = 3  # of `relay check --result` alone, with nothing on stderr


def run_options(options: argparse.Namespace, settings: Settings) -> RunOptions:
    """The options of a run as they were typed."""
    from jobs.options import Direction, KeyFrames, MemoryKeeps, Mode, Prompts, RunOptions

    return RunOptions(
        mode=Mode(options.mode),
        engine=options.engine or settings.engine,
        frames=options.frames,
        direction=Direction(options.direction),
        keyframes=KeyFrames(options.keyframes),
        seed=options.seed,
        prompts=Prompts(options.prompts),
        segmenter=options.segmenter,
        memory_frames=options.memory_frames,
        memory_gap=options.memory_gap,
        memory_keeps=MemoryKeeps(options.memory_keeps),
        refine=options.refine,
        stop_at_divergence=options.stop_at_divergence,
        min_speck=options.min_speck,
        min_hole=options.min_hole,
    )


def check(options: argparse.Namespace, settings: Settings) -> int:
    """Say what an export holds and what a run would do, or what CVAT will do with a result."""
    if options.result is not None:
        return _foresee(options, settings)
    if options.export_for is not None:
        raise InputError("--export says which job a result is for: give --result RESULT.zip too.")
    if options.export is None:
        raise InputError("Nothing to check: give EXPORT.zip, or --result RESULT.zip.")
    from cvat_io.check import inspect, require_trackable
    from cvat_io.describe import describe

    inspection = inspect(options.export, settings.limits, settings.ignore_labels)
    for line in describe(inspection):
        print(line)
    require_trackable(
        inspection, images_elsewhere=options.images is not None, prompted=options.prompts != "off"
    )
    print("This export can be tracked.")
    for line in _planned(options, settings):
        print(line)
    return DONE


def _planned(options: argparse.Namespace, settings: Settings) -> Iterator[str]:
    """Say what `relay track` with these options would compute, and about how long it would take."""
    from jobs import expect
    from jobs.options import require_previous
    from jobs.plan import RunInputs, draft
    from jobs.planned import plan_view
    from web import words

    chosen = run_options(options, settings)
    require_previous(chosen, options.previous)
    drafted = draft(
        RunInputs(
            annotations=options.export,
            images=options.images or options.export,
            previous=options.previous,
            options=chosen,
            engine=chosen.engine,
            ignore_labels=settings.ignore_labels,
            limits=settings.limits,
        )
    )
    pace = expect.default_pace(chosen.engine)
    if options.report is not None:
        pace = expect.reported_pace(options.report, chosen.engine)
    size = (drafted.meta.width or 0, drafted.meta.height or 0)
    planned = plan_view(drafted, expect.view(drafted.plan.spans, size, pace))
    yield words.plan(planned, chosen)
    if told := words.expected(planned):
        yield told
    yield from (f"Changed     {line}" for line in words.changes(planned))
    yield from (f"Conflict    {line}" for line in words.conflicts(planned))
    yield from (f"Beyond      {line}" for line in words.beyond(planned))
    yield from (f"Note        {line}" for line in planned.notes)


def _foresee(options: argparse.Namespace, settings: Settings) -> int:
    """Say what CVAT will do with a result."""
    from cvat_io.forecast import Fate
    from cvat_io.preflight import describe_forecast, foresee, require_taken

    if options.export is not None:
        raise InputError("Give EXPORT.zip behind --export where --result is checked.")
    job, forecast = foresee(options.result, options.export_for, settings.limits)
    for line in describe_forecast(job, forecast):
        print(line)
    require_taken(options.result, forecast)
    if forecast.fate is Fate.NOTED:
        print("CVAT will keep all of it.")
        return DONE
    print("CVAT will take it, but not all of it as it is.")
    return NOT_ALL_KEPT
