"""What is fuzzed: all that reads an export, to its pixels, and the result that is written of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from config import Limits
from cvat_io.check import inspect, require_trackable
from cvat_io.describe import describe
from cvat_io.model import MaskShape
from cvat_io.preflight import describe_forecast, foresee
from cvat_io.reader import open_export
from cvat_io.result import read_note, write_result
from cvat_io.verify import verify_result
from errors import MAX_SENTENCE, InputError
from jobs.options import RunOptions
from jobs.plan import RunInputs, plan_run
from tracker.frames import ZipFrames

# Pictures stay small, so that most of the time goes into reading and not into decoding.
LIMITS = Limits(archive_bytes=2**28, archive_members=2000, image_pixels=10**6)


def judge(path: Path) -> str:
    """Read `path` as every door does: "" when it can be tracked, else the sentence that refuses it.

    Raises whatever is neither: that is a crash.
    """
    read_note(path)
    with contextlib.suppress(InputError):
        for line in describe_forecast(*foresee(path, None, LIMITS)):
            assert line.isprintable(), line
    try:
        _read(path)
    except InputError as exc:
        sentence = str(exc)
        if not 0 < len(sentence) <= MAX_SENTENCE or not sentence.isprintable():
            raise AssertionError(f"no sentence for people: {sentence!r}") from exc
        return sentence
    return ""


def _read(path: Path) -> None:
    inspection = inspect(path, LIMITS)
    for line in describe(inspection):
        assert line.isprintable(), line
    with open_export(path, LIMITS) as export:
        images = tuple(export.images.values())
        masks = [track for track in export.tracks() if isinstance(track, MaskShape)]
        for each in masks:
            assert int(each.mask.runs.sum(dtype="i8")) == each.mask.width * each.mask.height
            assert each.frame in export.meta.frames
        result = path.with_suffix(".result")
        write_result(result, export, sorted(masks, key=lambda each: each.frame), {})
        verify_result(result, export, {each.frame for each in masks}, frozenset(), LIMITS)
    require_trackable(inspection)
    plan_run(
        RunInputs(
            annotations=path,
            images=path,
            previous=None,
            options=RunOptions(),
            engine="flow",
            ignore_labels=frozenset(),
            limits=LIMITS,
        )
    )
    with ZipFrames(path, images, LIMITS.image_pixels) as frames:
        for index in range(min(3, len(frames))):
            frames.read(index)
