"""Promise: a push puts nothing back that somebody took away, and takes nothing out of its group."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.target import read_target
from errors import ConflictError, InputError

JOB = read_target("264")


def with_one_frame_less(export: Path, folder: Path) -> Path:
    """A result that replaces what is there: the masks of an export but for those of frame 7."""
    out = folder / "second.zip"
    with open_export(export, Limits()) as opened:
        kept = [shape for shape in opened.tracks() if shape.frame != 7]
        write_result(out, opened, sorted(kept, key=lambda shape: shape.frame), {})
    return out


def test_a_job_that_was_emptied_since_it_was_pulled_stays_empty(
    cvat, connect, settings, filled
) -> None:
    job = cvat.jobs[264]
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        job.shapes.clear()
        job.changes += 1
        with pytest.raises(ConflictError, match="Somebody has changed job 264"):
            push(server, result, settings)
        assert job.shapes == []
        assert push(server, result, settings, replace=True).way is Way.REPLACE
    assert len(job.shapes) == 16


def test_a_job_that_was_empty_when_it_was_pulled_is_filled(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    """Its key frames came from elsewhere: an export of the same head, drawn on by a program."""
    job = cvat.jobs[264]
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        job.shapes.clear()
        bare = pull(server, JOB, settings, out=tmp_path / "bare.zip")
        pushed = tmp_path / "pushed.zip"
        with open_export(bare, Limits()) as export, open_export(result, Limits()) as full:
            write_result(pushed, export, sorted(full.tracks(), key=lambda s: s.frame), {})
        assert push(server, pushed, settings).way is Way.APPEND
    assert len(job.shapes) == 16


def test_groups_go_only_with_leave(cvat, connect, settings, filled, tmp_path: Path) -> None:
    job = cvat.jobs[264]
    job.shapes[0]["group"] = 3
    with connect() as server:
        push(server, filled(pull(server, JOB, settings)), settings)
        second = with_one_frame_less(pull(server, JOB, settings), tmp_path)
        with pytest.raises(ConflictError, match="take 1 shapes of job 264 out of their groups"):
            push(server, second, settings)
        assert job.shapes[0]["group"] == 3
        assert push(server, second, settings, replace=True).way is Way.REPLACE
    assert len(job.shapes) == 14


def test_a_mask_that_is_there_twice_is_not_made_one(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    """Drawn twice to the pixel, once with a name: the reader knows one of them."""
    job = cvat.jobs[264]
    twin = next(s for s in job.shapes if (s["frame"], s["label_id"]) == (0, 1))
    named = [{"spec_id": 11, "value": "bob"}]
    job.shapes.append({**twin, "id": 99, "attributes": named})
    with connect() as server:
        push(server, filled(pull(server, JOB, settings)), settings)
        second = with_one_frame_less(pull(server, JOB, settings), tmp_path)
        with pytest.raises(ConflictError, match="has 1 masks twice"):
            push(server, second, settings)
    assert sum(shape["attributes"] == named for shape in job.shapes) == 1


def test_an_export_without_images_is_not_taken_of_a_job_with_deleted_frames(
    cvat, connect, settings, tmp_path: Path
) -> None:
    job = cvat.jobs[264]
    out = tmp_path / "264.zip"
    with connect() as server:
        assert pull(server, JOB, settings, out=out, with_images=False).exists()
        job.deleted = {5}
        job.changes += 1
        with pytest.raises(InputError, match="pull it with images"):
            pull(server, JOB, settings, out=out, with_images=False)
        with open_export(pull(server, JOB, settings, out=out), Limits()) as export:
            assert 5 not in export.images
