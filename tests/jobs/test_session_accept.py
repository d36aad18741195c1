"""Promise: accepting the same masks is one run, however often, from wherever and after whatever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from config import Limits, Settings
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from errors import ConflictError, NotFoundError
from jobs import session_accept
from jobs.options import Mode, RunOptions
from jobs.ours import Origins
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.helpers.trips import exported, key_frames, run
from tests.jobs.test_sessions import sent, square
from tests.worker.loops import a_loop, running, wait_for

ROOT = Path(__file__).resolve().parents[2]
# Another server: it accepts once it is told to, and dies where the last argument says so.
_OTHER = """
import os, sys
from pathlib import Path
from config import Settings
from errors import ConflictError
from jobs import session_accept
from jobs.service import Jobs
data, url, dies = sys.argv[1:]
jobs = Jobs(Settings(data_dir=Path(data), downloads_path=Path(data) / "none", database_url=url))
if dies:
    setattr(session_accept, dies, lambda *_: os._exit(9))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(jobs.sessions.accept("264", None).run)
except ConflictError as exc:
    print(exc)
jobs.close()
"""


@pytest.fixture
def jobs(settings: Settings, export: Path, either_url: str) -> Iterator[Jobs]:
    jobs = Jobs(replace(settings, database_url=either_url))
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.sessions.view("264")
    yield jobs
    jobs.close()


def other(jobs: Jobs, dies: str = "") -> subprocess.Popen[str]:
    of = jobs.settings
    found = subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(of.data_dir), of.database_url, dies],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    return found


def folders(jobs: Jobs) -> list[str]:
    return sorted(path.name for path in jobs.files.run("264", 1, 0).parent.glob("*"))


def test_servers_that_accept_at_once_publish_one_run(jobs: Jobs) -> None:
    others = [other(jobs) for _ in range(3)]
    for each in others:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    said = {each.communicate()[0].strip() for each in others}
    assert "1" in said
    assert all("being accepted just now: wait a moment" in text for text in said - {"1"})
    assert jobs.sessions.accept("264", None).run == 1
    assert [run.number for run in jobs.job("264").runs] == [1]
    assert folders(jobs) == ["1"]


def test_while_somebody_accepts_others_are_told_so(jobs: Jobs) -> None:
    with session_accept.alone(jobs.files, "264"), pytest.raises(ConflictError, match="wait a mom"):
        jobs.sessions.accept("264", None)
    assert jobs.sessions.accept("264", None).run == 1


def test_a_crash_before_the_run_is_on_record_leaves_nothing_once_it_is_repeated(jobs: Jobs) -> None:
    dead = other(jobs, "publish")
    dead.communicate("\n")
    assert dead.returncode == 9
    assert folders(jobs) == ["1"]
    assert jobs.job("264").runs == ()
    done = jobs.sessions.accept("264", None)
    assert [run.number for run in jobs.job("264").runs] == [done.run]
    assert folders(jobs) == [str(done.run)]
    assert sorted(masks_by_frame(jobs.result("264", done.run))) == [0, 6, 11]


def test_a_crash_behind_the_record_gives_that_run_once_it_is_repeated(jobs: Jobs) -> None:
    dead = other(jobs, "settle")
    dead.communicate("\n")
    assert dead.returncode == 9
    assert jobs.sessions.accept("264", None).run == 1
    assert folders(jobs) == ["1"]
    assert jobs.result("264", 1).is_file()


def test_a_job_that_is_received_anew_meanwhile_keeps_its_own_runs_and_gets_no_other(
    jobs: Jobs, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, own = session_accept.write, list[int]()

    def write_and_begin_anew(*given: Any) -> session_accept.Written:
        monkeypatch.setattr(session_accept, "write", write)
        written = write(*given)
        jobs.delete_job("264")
        with export.open("rb") as stream:
            jobs.receive("264.zip", stream)
        own.append(jobs.sessions.accept("264", 5).run)
        return written

    monkeypatch.setattr(session_accept, "write", write_and_begin_anew)
    with pytest.raises(NotFoundError, match="reset meanwhile"):
        jobs.sessions.accept("264", None)
    assert [run.number for run in jobs.job("264").runs] == own
    assert jobs.result("264", own[0]).is_file()


def test_what_was_accepted_before_something_else_is_known_as_long_as_nothing_changes(
    jobs: Jobs,
) -> None:
    sessions = jobs.sessions
    assert sessions.accept("264", 5).run == 1
    assert sessions.accept("264", None).run == 2
    assert sessions.accept("264", 5).run == 1
    assert sessions.accept("264", 11).run == 2, "the last frame is all frames"
    sessions.set_key("264", 6, False)
    assert sessions.accept("264", 5).run == 3
    assert sessions.accept("264", None).run == 4


def test_a_name_given_in_the_panel_stands_in_the_labels_own_attribute(jobs: Jobs) -> None:
    sessions = jobs.sessions
    made = [
        sessions.on_objects("264", "add", name, label).object
        for name, label in (("red ball", "object"), ("", "object"), ("blue ball", "thing"))
    ]
    sessions.on_objects("264", "rename", 1, "first")
    drawn = [{"object": number, **sent(square(2 + 8 * k, 36))} for k, number in enumerate(made)]
    sessions.edit("264", 3, drawn)
    done = sessions.accept("264", None)
    found = masks_by_frame(jobs.result("264", done.run))
    assert [(s.label, s.attributes) for s in sorted(found[3], key=lambda s: s.mask.left)] == [
        ("object", (("track_id", "red ball"),)),
        ("object", ()),
        ("thing", ()),  # it has no such attribute
    ]
    assert {s.label: s.attributes for s in found[0]} == {
        "object": (("track_id", "first"),),
        "thing": (),
    }
    sessions.reset("264")
    names = {each.number: each.name for each in sessions.view("264").objects}
    assert [names[number] for number in (1, *made) if number] == ["first", "red ball", "", ""]


def test_what_a_person_emptied_stays_a_key_frame_through_accepting_and_what_follows(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    sessions = jobs.sessions
    jobs.start_run("264", RunOptions(engine="flow"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    sessions.reset("264")
    sessions.edit("264", 8, [{"object": number, "mask": None} for number in (1, 2)])
    first = sessions.accept("264", None)
    path = jobs.result("264", first.run)
    assert key_frames(path) == [0, 6, 8, 11]
    assert sorted(masks_by_frame(path)) == [frame for frame in range(12) if frame != 8]
    growth = jobs.job("264").growth
    assert growth is not None
    assert (growth.human_frames, growth.labelled_frames) == (4, 11)
    # It is of the base now, and no edit says it again.
    sessions.reset("264")
    assert sessions.view("264").key_frames == (0, 6, 8, 11)
    sessions.edit("264", 3, [{"object": 1, **sent(square(20, 20))}])
    again = jobs.result("264", sessions.accept("264", None).run)
    assert key_frames(again) == [0, 3, 6, 8, 11]
    # Another frame is corrected in CVAT: the frame beside it stays empty.
    now = exported(again)
    now[7] = [replace(s, mask=replace(s.mask, top=s.mask.top + 1)) for s in now[7]]
    export = write_clip(tmp_path / "now.zip", tiny_clip(12), (), masks=[*chain(*now.values())])
    run(export, tmp_path / "r.zip", previous=again, mode=Mode.RESEGMENT)
    assert key_frames(tmp_path / "r.zip") == [0, 3, 6, 7, 8, 11]
    assert 8 not in masks_by_frame(tmp_path / "r.zip")


def test_emptied_frames_alone_are_nothing_to_accept(jobs: Jobs) -> None:
    view = jobs.sessions.view("264")
    for frame in view.key_frames:
        gone = [{"object": each.number, "mask": None} for each in view.objects]
        jobs.sessions.edit("264", frame, gone)
    with pytest.raises(ConflictError, match="no mask up to that frame"):
        jobs.sessions.accept("264", None)


def test_key_frames_that_a_model_of_cvat_drew_are_known_to_be_a_persons(
    jobs: Jobs, tmp_path: Path
) -> None:
    """Promise: whatever wrote "auto" on a key frame, a result tells a person's masks from ours."""
    clip = tiny_clip(12)
    drawn = [replace(shape, source="auto") for shape in shapes_of(clip, 0, 0)]
    with write_clip(tmp_path / "265.zip", clip, (), masks=drawn).open("rb") as stream:
        jobs.receive("265.zip", stream)
    jobs.sessions.view("265")
    for _ in range(2):  # the second session begins from the result of the first
        result = jobs.result("265", jobs.sessions.accept("265", None).run)
        with open_export(result, Limits()) as archive:
            origins = Origins.of(archive)
            masks = [shape for shape in archive.tracks() if isinstance(shape, MaskShape)]
        assert [shape.source for shape in masks] == ["auto", "auto"]
        assert not any(map(origins.made, masks))
        jobs.sessions.reset("265")
