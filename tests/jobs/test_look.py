"""Promise: the list of jobs is narrowed to a label and ordered as a person asks."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from config import Settings
from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape
from jobs.look import Sort
from jobs.models import Run
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState


@pytest.fixture
def settings(settings: Settings, either_url: str) -> Settings:
    return replace(settings, database_url=either_url)


def put(jobs: Jobs, folder: Path, name: str, drawn: str, length: int) -> None:
    """An export with two labels, one of which is drawn."""
    picture = io.BytesIO()
    Image.new("RGB", (16, 12)).save(picture, "PNG")
    mask = encode(np.ones((3, 4), dtype=np.uint8))
    assert mask is not None
    path = folder / f"{name}.zip"
    write_export(
        path, frames=((number, picture.getvalue()) for number in range(length)), width=16,
        height=12, labels=[Label(drawn, "#ff0000", "any"), Label("HUD", "#00ff00", "any")],
        masks=[MaskShape(frame=0, label=drawn, mask=mask)], stop_frame=length - 1,
    )  # fmt: skip
    with path.open("rb") as stream:
        jobs.receive(path.name, stream)


def ids(jobs: Jobs, **look: object) -> list[str]:
    return [job.id for job in jobs.list_jobs(**look).jobs]


def test_a_label_finds_the_jobs_in_which_it_is_drawn(jobs: Jobs, tmp_path: Path) -> None:
    for name, drawn in (("a", "car"), ("b", "ca_"), ("c", "cab"), ("d", 'x" or \\ 100%')):
        put(jobs, tmp_path, name, drawn, 5)
    assert jobs.labels() == ("ca_", "cab", "car", 'x" or \\ 100%')
    assert ids(jobs, label="ca_") == ["b"]
    assert ids(jobs, label='x" or \\ 100%') == ["d"]
    assert ids(jobs, label="HUD") == ids(jobs, label="ca") == ids(jobs, label="%") == []
    assert jobs.list_jobs(label="car", search="b").total == 0
    boxes = jobs.list_boxes(label="cab")
    assert [job.id for job in boxes[JobState.READY].jobs] == ["c"]
    assert boxes[JobState.READY].counts["ready"] == 1
    assert jobs.counts()["ready"] == 4

    put(jobs, tmp_path, "a", "bike", 5)
    jobs.delete_job("b")
    assert jobs.labels() == ("bike", "cab", 'x" or \\ 100%'), "of what is there now"
    assert ids(jobs, label="car") == []


def test_jobs_come_in_the_order_that_is_asked_for(jobs: Jobs, tmp_path: Path) -> None:
    for name, length in (("b", 10), ("A", 30), ("c", 20)):
        put(jobs, tmp_path, name, "car", length)
    assert ids(jobs) == ["c", "A", "b"]
    assert ids(jobs, sort=Sort.OLDEST) == ["b", "A", "c"]
    assert ids(jobs, sort=Sort.NAME) == ["A", "b", "c"]
    assert ids(jobs, sort=Sort.FRAMES) == ["A", "c", "b"]
    for name, flagged in (("c", 15), ("A", 20)):
        jobs.start_run(name, RunOptions(engine="flow"))
        with jobs.database.write() as session:
            session.execute(update(Run).where(Run.job_id == name).values(flagged_frames=flagged))
    assert ids(jobs, sort=Sort.DOUBT) == ["c", "A", "b"], "by the share, the unknown last"
    assert ids(jobs, sort=Sort.DOUBT, limit=1, offset=1) == ["A"]
    boxes = jobs.list_boxes(sort=Sort.DOUBT)
    assert [job.id for job in boxes[JobState.QUEUED].jobs] == ["c", "A"]
    told = {"frame": 7, "object": 1, "label": "car", "score": 0.5, "why": "bent", "reason": ""}
    for name, repairs in (("c", 0.7), ("A", 11)):  # 11 is no float, and sorts before 0.7 as text
        found = {**told, "repairs": repairs, "iou_gain": 0.1}
        with jobs.database.write() as session:
            session.execute(update(Run).where(Run.job_id == name).values(next_frame=found))
    assert ids(jobs, sort=Sort.REPAIR) == ["A", "c", "b"], "what is expected, nothing known last"
    assert ids(jobs, sort=Sort.REPAIR, limit=1) == ["A"]
    run = jobs.job("A").job.run
    assert run is not None
    assert run.next_frame is not None
    assert (run.next_frame.run, run.next_frame.frame, run.next_frame.repairs) == (1, 7, 11)
