"""Promise: a job's live session keeps what people draw, bit by bit, and can be taken back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import Settings
from cvat_io.masks import area, encode, encode_labels
from cvat_io.model import Mask
from cvat_io.result import read_note
from errors import ConflictError, InputError, NotFoundError
from jobs import audit, db, session_accept
from jobs.options import Mode, RunOptions
from jobs.service import Jobs
from jobs.session_edits import RangeAction
from jobs.session_masks import runs_text
from jobs.sessions import Sessions
from jobs.views import JobState
from tests.helpers.clips import contents, hud, masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.worker.loops import a_loop, running, wait_for

CLIP = tiny_clip(12)


@pytest.fixture
def sessions(jobs: Jobs, export: Path) -> Sessions:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    return jobs.sessions


def sent(mask: Mask) -> dict[str, Any]:
    return {"box": [mask.left, mask.top, mask.width, mask.height], "runs": runs_text(mask)}


def square(x: int, y: int, side: int = 6) -> Mask:
    found = encode(np.ones((side, side), dtype=np.bool_), x, y)
    assert found is not None
    return found


def masks(sessions: Sessions, frame: int) -> dict[int, dict[str, Any]]:
    return {each["object"]: each for each in sessions.frame("264", frame)["masks"]}


def test_a_session_begins_from_the_export_with_its_key_frames_and_objects(
    sessions: Sessions,
) -> None:
    view = sessions.view("264")
    assert view.key_frames == (0, 6, 11)
    assert view.computed == "0,6,11"
    assert [(each.number, each.label) for each in view.objects] == [(1, "object"), (2, "thing")]
    assert (view.engine, view.accepted, view.changed, view.stale) == ("flow", None, False, "")
    truth = encode_labels(CLIP.maps[6])
    assert {n: (each["box"], each["runs"]) for n, each in masks(sessions, 6).items()} == {
        number: (sent(mask)["box"], sent(mask)["runs"]) for number, mask in truth.items()
    }
    assert sessions.frame("264", 6)["origin"] == "human"
    assert sessions.frame("264", 5) == {
        "frame": 5, "key": False, "origin": "none", "version": 0, "masks": [],
    }  # fmt: skip


def test_an_edit_makes_the_frame_a_persons_and_takes_pixels_from_what_it_covers(
    sessions: Sessions,
) -> None:
    first = encode_labels(CLIP.maps[6])[1]
    cover = Mask(first.left, first.top, first.width, first.height // 2, np.array([0, 72], np.int32))
    done = sessions.edit("264", 6, [{"object": 2, **sent(cover)}])
    assert done.changed == "6"
    found = masks(sessions, 6)
    assert found[2]["runs"] == "0,72"
    assert found[1]["box"] == [first.left, first.top + 6, 12, 6]
    sessions.edit("264", 3, [{"object": 1, **sent(square(0, 0))}])
    sessions.edit("264", 3, [{"object": 2, **sent(square(3, 0)), "under": True}])
    assert masks(sessions, 3)[1]["box"] == [0, 0, 6, 6]
    assert masks(sessions, 3)[2]["box"] == [6, 0, 3, 6]
    assert sessions.view("264").key_frames == (0, 3, 6, 11)
    sessions.edit("264", 3, [{"object": 1, "mask": None}])
    assert list(masks(sessions, 3)) == [2]


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        ({"box": [60, 0, 12, 6], "runs": "0,72"}, "reaches out of the frame of 64 x 48"),
        ({"box": [0, 0, 6, 6], "runs": "0,35"}, "add up to 35 pixels instead of the 36"),
        ({"box": [0, 0, 6, 6], "runs": "36"}, "no pixel"),
        ({"box": [0, 0, 6], "runs": "0,36"}, "give .left, top, width, height."),
        ({"box": [0, 0, 6, 6], "runs": "0,x"}, '"x", which is no whole number'),
        ({"box": [0, 0, 6, 6], "runs": None}, "a text of numbers"),
    ],
)
def test_a_mask_that_cannot_be_is_refused_in_a_sentence(
    sessions: Sessions, mask: dict[str, Any], what: str
) -> None:
    before = sessions.view("264").version
    with pytest.raises(InputError, match=what):
        sessions.edit("264", 3, [{"object": 1, **mask}])
    assert sessions.view("264").version == before


def test_what_is_not_there_is_said_in_a_sentence(sessions: Sessions) -> None:
    with pytest.raises(InputError, match="12 is no frame of the job: this job has frames 0 to 11"):
        sessions.frame("264", 12)
    with pytest.raises(NotFoundError, match=r"no object 9 .*there are: 1, 2"):
        sessions.edit("264", 3, [{"object": 9, **sent(square(0, 0))}])
    with pytest.raises(NotFoundError, match='no job "nobody"'):
        sessions.view("nobody")


def test_undo_and_redo_are_of_ones_own_changes_and_leave_alone_what_others_did_since(
    sessions: Sessions,
) -> None:
    before = masks(sessions, 6)
    with audit.acting("anna"):
        sessions.edit("264", 6, [{"object": 1, **sent(square(1, 1))}])
        sessions.edit("264", 6, [{"object": 1, **sent(square(2, 2))}])
    with audit.acting("ben"):
        assert not sessions.view("264").can_undo
        with pytest.raises(ConflictError, match="nothing of yours to undo"):
            sessions.take_back("264", "undo")
        sessions.edit("264", 6, [{"object": 2, **sent(square(40, 30))}])
    with audit.acting("anna"):
        assert sessions.take_back("264", "undo").changed == "6"
        assert masks(sessions, 6)[1]["box"] == [1, 1, 6, 6]
        sessions.take_back("264", "undo")
        assert masks(sessions, 6)[1] == before[1]
        assert masks(sessions, 6)[2]["box"] == [40, 30, 6, 6], "Ben's stays"
        sessions.take_back("264", "redo")
        sessions.take_back("264", "redo")
        assert masks(sessions, 6)[1]["box"] == [2, 2, 6, 6]
        with pytest.raises(ConflictError, match="nothing to redo"):
            sessions.take_back("264", "redo")
    with audit.acting("ben"):
        sessions.edit("264", 6, [{"object": 1, **sent(square(9, 9))}])
    with audit.acting("anna"):
        sessions.take_back("264", "undo")
        assert masks(sessions, 6)[1]["box"] == [9, 9, 6, 6], "the later one wins"


def test_changes_tell_exactly_what_came_after_a_version(sessions: Sessions) -> None:
    version = sessions.view("264").version
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    middle = sessions.edit("264", 4, [{"object": 1, **sent(square(1, 1))}]).version
    sessions.on_objects("264", "rename", 1, "car")
    assert sessions.changes("264", version).frames == "3-4"
    later = sessions.changes("264", middle)
    assert (later.frames, later.objects) == ("", True)
    assert sessions.changes("264", later.version).objects is False
    assert sessions.changes("264", 0).frames == "0-11", "who saw nothing reads all"


def test_ranges_delete_forget_and_accept(sessions: Sessions) -> None:
    done = sessions.on_range("264", RangeAction.DELETE, [1], 5, 11)
    assert (done.changed, done.key_frames) == ("5-11", "6,11")
    assert list(masks(sessions, 6)) == [2]
    assert list(masks(sessions, 0)) == [1, 2]
    sessions.take_back("264", "undo")
    assert list(masks(sessions, 6)) == [1, 2]
    sessions.set_key("264", 6, False)
    assert sessions.view("264").key_frames == (0, 11)
    sessions.on_range("264", RangeAction.FORGET, [1], 6, 11)
    assert list(masks(sessions, 6)) == [2]
    assert sessions.view("264").computed == "0,11", "to be computed again, whatever else is there"
    sessions.take_back("264", "undo")
    assert (sessions.view("264").computed, list(masks(sessions, 6))) == ("0,6,11", [1, 2])
    sessions.on_range("264", RangeAction.FORGET, None, 0, 11)
    assert masks(sessions, 6) == {}
    assert sessions.view("264").computed == "0,11", "key frames are not forgotten"
    sessions.take_back("264", "undo")
    assert list(masks(sessions, 6)) == [1, 2]
    sessions.on_range("264", RangeAction.ACCEPT, None, 0, 11)
    assert sessions.view("264").key_frames == (0, 6, 11)
    with pytest.raises(InputError, match="run backward: write 3 to 5"):
        sessions.on_range("264", RangeAction.DELETE, None, 5, 3)


def test_objects_are_added_named_labelled_merged_split_ended_and_started(
    sessions: Sessions,
) -> None:
    made = sessions.on_objects("264", "add", "left hand", "object").object
    assert made == 3
    sessions.edit("264", 3, [{"object": 3, **sent(square(50, 40))}])
    sessions.on_objects("264", "merge", [1, 3], 1)
    assert [each.number for each in sessions.view("264").objects] == [1, 2]
    assert masks(sessions, 3)[1]["box"] == [50, 40, 6, 6]
    split = sessions.on_objects("264", "split", 1, 6)
    assert split.object == 4, "a number is never given twice"
    assert [sorted(masks(sessions, frame)) for frame in (0, 6, 11)] == [[1, 2], [2, 4], [2, 4]]
    assert sessions.on_objects("264", "end", 4, 6).key_frames == "11"
    assert sessions.on_objects("264", "start", 2, 6).key_frames == "0"
    assert [sorted(masks(sessions, frame)) for frame in (0, 6, 11)] == [[1], [2, 4], [2]]
    sessions.on_objects("264", "relabel", 4, "thing")
    assert masks(sessions, 6)[4]["label"] == "thing"
    for _ in range(3):
        sessions.take_back("264", "undo")
    assert [sorted(masks(sessions, frame)) for frame in (0, 6, 11)] == [[1, 2], [2, 4], [2, 4]]
    assert masks(sessions, 6)[4]["label"] == "object"
    with pytest.raises(InputError, match='different labels, "thing" and "object"'):
        sessions.on_objects("264", "merge", [1, 2], 2)
    with pytest.raises(InputError, match='no label "ghost"'):
        sessions.on_objects("264", "add", "", "ghost")


def test_copying_takes_all_masks_of_a_neighbour_or_some(sessions: Sessions) -> None:
    sessions.copy("264", 1, 0, None)
    assert masks(sessions, 1) == {
        number: {**mask, "occluded": False} for number, mask in masks(sessions, 0).items()
    }
    sessions.copy("264", 2, 0, [2])
    assert list(masks(sessions, 2)) == [2]
    with pytest.raises(InputError, match="Frame 5 has no mask to copy"):
        sessions.copy("264", 3, 5, None)


def test_accepting_publishes_a_verified_result_in_which_a_persons_pixels_are_exact(
    sessions: Sessions, jobs: Jobs
) -> None:
    sessions.edit("264", 3, [{"object": 2, **sent(square(20, 20))}])
    done = sessions.accept("264", None)
    assert sessions.accept("264", None) == done, "the same masks are one run"
    detail = jobs.job("264")
    assert detail.job.state is JobState.COMPLETED
    run = detail.runs[0]
    assert (run.number, run.options.mode, run.engine) == (1, Mode.PANEL, "flow")
    path = jobs.result("264", done.run)
    found = masks_by_frame(path)
    assert sorted(found) == [0, 3, 6, 11]
    for index in (0, 6, 11):
        assert contents(found[index]) == contents(shapes_of(CLIP, index, index))
    assert area(found[3][0].mask) == 36
    note = read_note(path)
    assert note is not None
    assert note["key_frames"] == "0,3,6,11"
    assert detail.growth is not None
    assert detail.growth.human_frames == 4
    assert sessions.view("264").changed is False
    sessions.edit("264", 3, [{"object": 2, **sent(square(21, 20))}])
    assert sessions.view("264").changed is True
    assert sessions.accept("264", 5).run == 2
    assert sorted(masks_by_frame(jobs.result("264", 2))) == [0, 3, 6, 11]


def test_a_session_of_a_result_keeps_its_masks_and_scores_and_a_correction_can_be_re_segmented(
    sessions: Sessions, jobs: Jobs, settings: Settings
) -> None:
    jobs.start_run("264", RunOptions(engine="flow"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    view = sessions.view("264")
    assert (view.key_frames, view.computed) == ((0, 6, 11), "0-11")
    frame = sessions.frame("264", 3)
    assert frame["origin"] == "result"
    assert all(0 <= mask["score"] <= 1 for mask in frame["masks"])
    before = masks_by_frame(jobs.result("264"))
    sessions.edit("264", 3, [{"object": 1, **sent(square(20, 20))}])
    done = sessions.accept("264", None)
    after = masks_by_frame(jobs.result("264", done.run))
    assert sorted(after) == sorted(before)
    for number in set(before) - {3}:
        assert contents(after[number]) == contents(before[number])
    assert sessions.view("264").stale == ""
    jobs.start_run("264", RunOptions(mode=Mode.RESEGMENT, engine="flow", frames="3"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    assert "Run 3 was completed since" in sessions.view("264").stale
    sessions.reset("264")
    assert sessions.view("264").stale == ""
    assert sessions.view("264").can_undo is False


def test_a_name_tells_objects_apart_in_an_export_too(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    """Promise: an object is known by its name, also where it is the only one of its label."""
    named = [
        replace(shape, attributes=(("track_id", name),))
        for frame, name in ((0, "a"), (1, "b"), (2, ""))
        for shape in shapes_of(CLIP, 0, frame)
        if shape.label == "object"
    ]
    path = write_clip(tmp_path / "265.zip", CLIP, [], masks=named)
    with path.open("rb") as stream:
        jobs.receive("265.zip", stream)
    found = Sessions(settings, jobs.database, jobs.files).view("265").objects
    assert [(each.number, each.name) for each in found] == [(1, "a"), (2, "b")]


def test_other_tracks_ignored_labels_and_attributes_survive(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, ignore_labels=frozenset({"HUD"}))
    named = [
        replace(shape, attributes=(("track_id", "a"),), z_order=3)
        for shape in shapes_of(CLIP, 0, 0)
        if shape.label == "object"
    ]
    path = write_clip(tmp_path / "265.zip", CLIP, [], masks=named, extra=[hud(2), hud(0)])
    with path.open("rb") as stream:
        jobs.receive("265.zip", stream)
    sessions = Sessions(settings, jobs.database, jobs.files)
    assert [(each.number, each.name) for each in sessions.view("265").objects] == [(1, "a")]
    assert [each["object"] for each in sessions.frame("265", 2)["masks"]] == [0]
    sessions.edit("265", 1, [{"object": 1, **sent(square(9, 9))}])
    sessions.on_objects("265", "rename", 1, "b")
    found = masks_by_frame(jobs.result("265", sessions.accept("265", None).run))
    assert {frame: sorted(shape.label for shape in shapes) for frame, shapes in found.items()} == {
        0: ["HUD", "object"], 1: ["object"], 2: ["HUD"],
    }  # fmt: skip
    drawn = next(shape for shape in found[1] if shape.label == "object")
    assert (drawn.attributes, drawn.z_order) == ((("track_id", "b"),), 3)


def test_a_session_goes_with_its_job_and_a_panel_run_cannot_be_started(
    sessions: Sessions, jobs: Jobs
) -> None:
    sessions.view("264")
    with pytest.raises(InputError, match="made by accepting frames"):
        jobs.start_run("264", RunOptions(mode=Mode.PANEL))
    sessions.on_range("264", RangeAction.DELETE, None, 0, 11)
    with pytest.raises(ConflictError, match="no mask up to that frame"):
        sessions.accept("264", None)
    jobs.delete_job("264")
    with pytest.raises(NotFoundError):
        sessions.view("264")


def test_who_asks_for_changes_of_what_nobody_opened_is_told_to_open_it(
    sessions: Sessions,
) -> None:
    with pytest.raises(NotFoundError, match="open its panel first"):
        sessions.version("264")
    with pytest.raises(NotFoundError, match='no job "nobody"'):
        sessions.changes("nobody", 0)


@pytest.mark.postgres
def test_a_result_that_takes_long_to_verify_is_accepted_on_postgresql_too(
    settings: Settings, postgres_url: str, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = session_accept.verify_result

    def slowly(*given: Any, **named: Any) -> None:
        time.sleep(1.5)  # longer than a transaction may rest
        verify(*given, **named)

    jobs = Jobs(replace(settings, database_url=postgres_url))
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.database.close()  # only connections from here on are ended so soon
    monkeypatch.setattr(db, "FROZEN_SECONDS", 1)
    monkeypatch.setattr(session_accept, "verify_result", slowly)
    assert jobs.sessions.accept("264", None).run == 1
    jobs.close()
