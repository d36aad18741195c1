"""Promise: what was drawn in the studio and accepted can be tracked by the queue, to the pixel."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits, Settings
from cvat_io.masks import decode
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from errors import ConflictError
from jobs.options import Mode, RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.sequences import make_folder, settled
from tests.jobs.test_components import draw, square


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        downloads_path=tmp_path / "downloads",
        sequences_path=tmp_path / "sequences",
    )


@pytest.fixture
def opened(jobs: Jobs, settings: Settings) -> Jobs:
    make_folder(settings.sequences_path / "hand", 12)
    jobs.sequences.open("hand")
    settled(jobs.sequences, "hand")
    return jobs


def test_accepted_key_frames_become_a_revision_that_runs_start_from(opened: Jobs) -> None:
    opened.sessions.on_objects("_hand", "add", "", "left")
    draw(opened, 2, {1: square(5, 8)})
    draw(opened, 8, {1: square(9, 8)})
    opened.sessions.accept("_hand", None)
    opened.sequences.drawn.keep("_hand")
    job = opened.job("_hand").job
    assert (job.kind, job.state, job.revision.number) == ("sequence", JobState.READY, 2)
    assert job.revision.key_frames == (2, 8)
    assert {label.name: label.objects for label in job.revision.labels}["left"] == 2
    with open_export(opened.files.revision("_hand", 2) / "export.xml", Limits()) as export:
        shapes = [shape for shape in export.tracks() if isinstance(shape, MaskShape)]
    for shape, expected in zip(shapes, (square(5, 8), square(9, 8)), strict=True):
        assert decode(shape.mask).all()
        assert (shape.mask.left, shape.mask.top) == tuple(int(a.min()) for a in
                                                          expected.nonzero()[::-1])  # fmt: skip
    assert opened.plan("_hand", RunOptions(engine="flow")).frames_total == 10
    again = opened.plan("_hand", RunOptions(engine="flow", mode=Mode.RESEGMENT))
    assert again.frames_total <= 10
    assert opened.start_run("_hand", RunOptions(engine="flow")).number == 2

    opened.cancel("_hand")
    opened.sequences.drawn.keep("_hand")  # the same again makes nothing
    assert opened.job("_hand").job.revision.number == 2
    assert list(opened.files.tmp.iterdir()) == []
    assert opened.sequences.open("hand").state == "ready"
    assert opened.job("_hand").job.revision.number == 2


def test_what_was_not_accepted_is_refused_with_what_to_do(opened: Jobs, export: Path) -> None:
    with pytest.raises(ConflictError, match="accept"):
        opened.sequences.drawn.keep("_hand")
    with export.open("rb") as stream:
        opened.receive(export.name, stream)
    with pytest.raises(ConflictError, match="no sequence"):
        opened.sequences.drawn.keep("264")
