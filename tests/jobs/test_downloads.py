"""Promise: a download that nobody waits for any more ends at once and leaves nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from config import Settings
from cvat_io.forms import TOLERANCE, Form
from errors import InputError, NotFoundError
from jobs.db import open_database
from jobs.downloads import Downloads, Making, Wanted
from jobs.options import RunOptions
from jobs.service import Jobs
from tests.helpers.clips import tiny_clip, write_clip
from worker.heartbeat import Identity
from worker.loop import SpanLoop


@pytest.fixture
def jobs(settings: Settings, tmp_path: Path):
    """Jobs with a result of job 7."""
    jobs = Jobs(settings)
    with write_clip(tmp_path / "7.zip", tiny_clip(4), [0]).open("rb") as stream:
        jobs.receive("7.zip", stream)
    jobs.start_run("7", RunOptions(engine="flow"))
    database = open_database(settings)
    loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    database.close()
    yield jobs
    jobs.close()


def left(jobs: Jobs) -> list[Path]:
    return list(jobs.files.tmp.iterdir())


def begun(downloads: Downloads, form: Form, **values) -> Making:
    making = downloads.begin(Wanted(job_id="7", form=form, **values))
    assert not making.poll()
    return making


@pytest.mark.parametrize("form", list(Form))
def test_what_is_given_up_is_gone_and_gives_its_place_back(jobs: Jobs, form: Form) -> None:
    downloads = Downloads(jobs.database, jobs.files)
    for _ in range(3):  # more than there are places
        making = begun(downloads, form, shard_mb=1 if form is Form.CVAT else None)
        making.close()
        making.close()
    assert left(jobs) == []


def test_what_failed_gives_its_place_back_too(jobs: Jobs) -> None:
    downloads = Downloads(jobs.database, jobs.files)
    for _ in range(3):
        making = begun(downloads, Form.POLYGONS, tolerance=-1.0)
        while not making.poll():
            time.sleep(0.05)
        with pytest.raises(InputError, match="give a number from 0 to 100"):
            making.take()
        making.close()
    assert left(jobs) == []


def test_equal_wishes_share_one_making_and_others_do_not(jobs: Jobs) -> None:
    """Also where one says what another one leaves open; who goes takes nothing from the others."""
    downloads = Downloads(jobs.database, jobs.files)
    first = begun(downloads, Form.POLYGONS)
    same = [
        begun(downloads, Form.POLYGONS, tolerance=TOLERANCE),
        begun(downloads, Form.POLYGONS, run=1),
    ]
    assert downloads.take_slot()  # one of two is taken
    downloads.give_slot()
    other = begun(downloads, Form.POLYGONS, tolerance=0.0)
    assert not downloads.take_slot()
    first.close()
    made = []
    for making in same:
        while not making.poll():
            time.sleep(0.05)
        made.append(making.take())
    for making in same:
        making.close()
    data = [each.file.read() for each in made]
    assert data[0] == data[1]
    assert len(data[0]) == made[0].bytes == made[1].bytes
    assert made[0].notes == made[1].notes != ()
    other.close()
    assert left(jobs) == []
    assert downloads.take_slot()
    assert downloads.take_slot()


def test_what_failed_is_told_to_all_who_waited(jobs: Jobs) -> None:
    downloads = Downloads(jobs.database, jobs.files)
    both = [begun(downloads, Form.POLYGONS, tolerance=-1.0) for _ in range(2)]
    for making in both:
        while not making.poll():
            time.sleep(0.05)
        with pytest.raises(InputError, match="give a number from 0 to 100"):
            making.take()
    for making in both:
        making.close()
    assert left(jobs) == []


def test_parts_are_packed_once_for_all_who_wait(jobs: Jobs) -> None:
    downloads = Downloads(jobs.database, jobs.files)
    both = [begun(downloads, Form.CVAT, shard_mb=1) for _ in range(2)]
    data = []
    for making in both:
        while not making.poll():
            time.sleep(0.05)
        data.append(making.take().file.read())
    assert data[0] == data[1]
    for making in both:
        making.close()
    assert left(jobs) == []


def test_a_run_that_is_not_there_is_named(jobs: Jobs) -> None:
    with pytest.raises(NotFoundError, match="Job 7 has no such result"):
        Downloads(jobs.database, jobs.files).begin(Wanted(job_id="7", form=Form.COCO, run=9))
