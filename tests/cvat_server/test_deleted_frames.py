"""Promise: what lies on a frame that was deleted in CVAT, which no export tells of, is left there.

A frame that is restored gets back all that was drawn on it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.state import Memories
from cvat_server.target import read_target
from errors import ConflictError
from tests.helpers.clips import masks_by_frame, tiny_clip
from tests.helpers.cvat_standin import Job

JOB = read_target("264")


@pytest.fixture
def job(cvat) -> Job:
    """Frames 0, 3 and 5 are drawn, the fourth is deleted then; two jobs of a task, step 2."""
    found = cvat.jobs[264] = Job(tiny_clip(8), first=8, step=2)
    for index in (0, 3, 5):
        found.draw(index)
    found.deleted = {11}
    return found


def on(job: Job, frame: int) -> list[dict]:
    return [dict(shape) for shape in job.shapes if shape["frame"] == frame]


@pytest.mark.parametrize("version", ["2.80.0", "2.60.1"])
@pytest.mark.parametrize("restored", [False, True])
def test_a_push_leaves_it_as_it_is(
    cvat, job: Job, connect, settings, filled, version: str, restored: bool
) -> None:
    cvat.version = version
    before = on(job, 11)
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        assert 11 * 2 not in masks_by_frame(result)
        if restored:  # meanwhile: the result knows nothing of what is on it
            job.deleted = set()
        done = push(server, result, settings)
        assert (done.way, done.sent, done.masks) == (
            Way.APPEND if cvat.version == "2.80.0" else Way.SHAPES, 10, 14,
        )  # fmt: skip
        assert on(job, 11) == before
        assert Memories(settings).read(JOB).pushed
        assert push(server, result, settings).way is Way.NOTHING
    assert len(job.shapes) == 16


def test_a_frame_that_is_deleted_before_the_push_gets_nothing_and_loses_nothing(
    cvat, connect, settings, filled
) -> None:
    job = cvat.jobs[264]
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        job.deleted = {5, 6}
        drawn = on(job, 5)
        done = push(server, result, settings)
        assert (done.way, done.sent, done.masks) == (Way.APPEND, 10, 12)
        assert (on(job, 5), on(job, 6)) == (drawn, [])
        job.deleted = set()
        assert push(server, result, settings).sent == 2
    assert len(job.shapes) == 16


def test_what_would_take_it_away_is_refused_unless_asked(
    job: Job, connect, settings, filled, tmp_path: Path
) -> None:
    second = tmp_path / "second.zip"
    with connect() as server:
        push(server, filled(pull(server, JOB, settings)), settings)
        with open_export(pull(server, JOB, settings), Limits()) as export:
            kept = [shape for shape in export.tracks() if shape.frame != 15 * 2]
            write_result(second, export, sorted(kept, key=lambda shape: shape.frame), {})
        before = list(job.shapes)
        with pytest.raises(ConflictError, match="would remove 2 shapes of job 264 on frames"):
            push(server, second, settings)
        assert job.shapes == before
        assert push(server, second, settings, replace=True).way is Way.REPLACE
    assert on(job, 11) == []


def test_a_frame_that_is_deleted_while_a_job_is_exported_is_noticed(
    cvat, connect, settings
) -> None:
    def once(job: Job) -> None:
        cvat.on_export = lambda job: None
        job.deleted = {5}

    cvat.on_export = once
    with connect() as server:
        assert set(masks_by_frame(pull(server, JOB, settings))) == {0}
