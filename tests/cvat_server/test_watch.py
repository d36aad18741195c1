"""Promise: what people save in a job is pulled by itself, whenever they save and whatever fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_server.poll import Poll
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.target import read_target
from errors import InputError
from tests.helpers.clips import masks_by_frame
from tests.helpers.cvat_standin import Job

JOB = read_target("264")


@pytest.mark.parametrize("version", ["2.80.0", "2.60.1"])
def test_what_is_saved_right_behind_our_push_is_pulled(
    cvat, connect, settings, filled, version: str
) -> None:
    """Whether all went in as one import or as shapes."""
    job = cvat.jobs[264]
    cvat.version = version
    looks = []

    def saves_behind_the_second(job: Job) -> None:
        looks.append(job)
        if len(looks) == 2:
            job.shapes = [shape for shape in job.shapes if shape["frame"] != 3]
            job.changes += 1

    with connect() as server:
        result = filled(pull(server, JOB, settings))
        cvat.on_read = saves_behind_the_second
        assert push(server, result, settings).way is not Way.NOTHING
    cvat.on_read = lambda job: None
    job.state = "completed"
    assert Poll(settings, connect).look() == [JOB]
    assert set(masks_by_frame(settings.downloads_path / "264.zip")) == {0, 1, 2, 4, 5, 6, 7}
    assert Poll(settings, connect).look() == []


def test_what_is_saved_before_a_push_is_known_to_have_ended_is_pulled(
    cvat, connect, settings, filled
) -> None:
    """The last batch arrived, unheard, so that the next push finds all there and notes it."""
    job = cvat.jobs[264]
    cvat.version = "2.60.1"
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        cvat.dies_at, cvat.dies_after = 1, True
        with pytest.raises(InputError, match="0 of 12"):
            push(server, result, settings)
        cvat.on_read = lambda job: job.draw(3)
        assert push(server, result, settings).way is Way.NOTHING
    cvat.on_read = lambda job: None
    job.state = "completed"
    assert Poll(settings, connect).look() == [JOB]


def test_an_archive_that_could_not_take_its_place_is_pulled_again(cvat, connect, settings) -> None:
    """A job is seen once its archive is there, and not before."""
    archive: Path = settings.downloads_path / "264.zip"
    cvat.jobs[264].state = "completed"
    cvat.on_export = lambda job: archive.mkdir()  # so that the rename fails
    troubles: list[str] = []
    assert Poll(settings, connect, on_trouble=troubles.append).look() == []
    assert "Is a directory" in troubles[0]
    cvat.on_export = lambda job: None
    archive.rmdir()
    assert Poll(settings, connect).look() == [JOB]
    assert [file.name for file in archive.parent.iterdir()] == ["264.zip"]
    assert Poll(settings, connect).look() == []
