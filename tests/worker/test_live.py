"""Promise: a worker steps through a live session at once, keeps to what people say, loses nothing.

The session's masks follow a correction from the frame on where it was made, a person's pixels are
never altered, and what a successor goes on with is what stands on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from config import Settings
from cvat_io.masks import decode, encode, encode_labels, iou
from cvat_io.model import Mask
from errors import ConflictError, NotFoundError
from jobs.db import Database
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.session_edits import RangeAction
from jobs.session_masks import from_dict, runs_text
from jobs.session_models import SessionStep
from jobs.sessions import Sessions
from jobs.views import SpanState
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_loop, running
from worker import live_leases

CLIP = tiny_clip(30)


@pytest.fixture
def sessions(jobs: Jobs, tmp_path: Path) -> Sessions:
    path = write_clip(tmp_path / "264.zip", CLIP, [0, 20])
    with path.open("rb") as stream:
        jobs.receive("264.zip", stream)
    return jobs.sessions


@pytest.fixture
def worker(settings: Settings, jobs: Jobs) -> Iterator[None]:
    # Two threads would wait for each other beside other work.
    with running(a_loop(replace(settings, threads=1), jobs.database)):
        wait(lambda: bool(jobs.workers()))
        yield


def wait(there: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.01)


def ended(sessions: Sessions, step: int, job_id: str = "264") -> tuple[str, dict[str, Any], str]:
    wait(lambda: sessions.step(job_id, step)[0] not in ("queued", "leased"))
    state, answer, error = sessions.step(job_id, step)
    return state, answer or {}, error


def steps(sessions: Sessions, first: int, last: int, stop_at: float | None = None) -> dict:
    state, answer, error = ended(sessions, sessions.ask_step("264", first, last, stop_at))
    assert (state, error) == ("done", "")
    return answer


def masks(sessions: Sessions, frame: int) -> dict[int, Mask]:
    found = sessions.frame("264", frame)["masks"]
    return {each["object"]: from_dict(each, each["object"], frame).mask for each in found}


def sent(mask: Mask) -> dict[str, Any]:
    return {"box": [mask.left, mask.top, mask.width, mask.height], "runs": runs_text(mask)}


def square(x: int, y: int, side: int = 6) -> Mask:
    found = encode(np.ones((side, side), dtype=np.bool_), x, y)
    assert found is not None
    return found


@pytest.mark.usefixtures("worker")
def test_steps_follow_the_objects_in_either_direction_and_are_stored(sessions: Sessions) -> None:
    answer = steps(sessions, 0, 1)
    assert answer["frame"] == 1
    assert 0 < answer["seconds"]["model"] < answer["seconds"]["total"]
    steps(sessions, 1, 5)
    steps(sessions, 20, 17)
    assert sessions.view("264").computed == "0-5,17-20"
    for frame in (1, 5, 19, 17):
        truth, found = encode_labels(CLIP.maps[frame]), masks(sessions, frame)
        assert {n: iou(truth[n], found[n]) > 0.8 for n in truth} == {1: True, 2: True}
    told = sessions.frame("264", 5)
    assert (told["origin"], told["key"]) == ("computed", False)
    assert all(0 <= mask["score"] <= 1 and mask["why"] for mask in told["masks"])


@pytest.mark.usefixtures("worker")
def test_a_step_from_a_frame_without_masks_starts_at_the_nearest_that_has_some(
    sessions: Sessions,
) -> None:
    answer = steps(sessions, 4, 5)
    assert answer["frame"] == 5
    assert sessions.view("264").computed == "0-5,20"


@pytest.mark.usefixtures("worker")
def test_key_frames_are_never_written_onto_and_are_the_new_start(sessions: Sessions) -> None:
    before = sessions.frame("264", 20)
    sessions.edit("264", 10, [{"object": 1, **sent(square(2, 40))}, {"object": 2, "mask": None}])
    drawn = sessions.frame("264", 10)
    steps(sessions, 0, 22)
    assert sessions.frame("264", 10) == drawn
    assert sessions.frame("264", 20)["masks"] == before["masks"]
    assert set(masks(sessions, 12)) <= {1}, "the key frame says that object 2 is gone"
    assert set(masks(sessions, 22)) == {1, 2}


@pytest.mark.usefixtures("worker")
def test_steps_follow_a_correction_from_there_on(sessions: Sessions) -> None:
    steps(sessions, 0, 8)
    assert sessions.view("264").outdated == ""
    moved = encode_labels(CLIP.maps[4])[2]
    sessions.edit("264", 4, [{"object": 1, "mask": None}, {"object": 2, **sent(moved)}])
    assert sessions.view("264").outdated == "5-8"
    assert set(masks(sessions, 6)) == {1, 2}, "nothing is computed before somebody asks"
    steps(sessions, 4, 6)
    assert [set(masks(sessions, frame)) for frame in (3, 5, 6, 8)] == [{1, 2}, {2}, {2}, {1, 2}]
    assert sessions.view("264").outdated == "7-8"


@pytest.mark.usefixtures("worker")
def test_what_a_person_took_away_stays_away_and_what_the_pass_does_not_follow_stays(
    sessions: Sessions,
) -> None:
    steps(sessions, 0, 3)
    sessions.on_objects("264", "end", 1, 1)
    steps(sessions, 1, 4)
    assert [set(masks(sessions, frame)) for frame in (1, 2, 4)] == [{1, 2}, {2}, {2}]
    sessions.edit("264", 4, [{"object": 1, **sent(encode_labels(CLIP.maps[4])[1])}])
    steps(sessions, 4, 5)
    assert set(masks(sessions, 5)) == {1, 2}, "who draws it again wants it followed"
    made = sessions.on_objects("264", "add", "", "thing").object
    sessions.edit("264", 9, [{"object": made, **sent(square(50, 42, 4))}])
    sessions.set_key("264", 9, False)
    steps(sessions, 5, 9)
    assert made in masks(sessions, 9)


@pytest.mark.usefixtures("worker")
def test_a_play_stops_by_itself_at_divergence_and_says_why(sessions: Sessions) -> None:
    answer = steps(sessions, 0, 15, stop_at=0.0)
    assert answer["stopped"]["frame"] == 1
    last = sessions.view("264").last
    assert last is not None
    assert last.stopped is not None
    assert last.stopped.label in ("object", "thing")
    assert last.stopped.reason
    assert sessions.view("264").computed == "0-1,20"


@pytest.mark.usefixtures("worker")
def test_a_person_stops_a_play_at_the_frame_at_hand(
    sessions: Sessions, jobs: Jobs, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "long.zip", tiny_clip(600), [0])
    with path.open("rb") as stream:
        jobs.receive("long.zip", stream)
    step = sessions.ask_step("long", 0, 599, None)
    behind = sessions.ask_step("long", 599, 598, None)
    wait(lambda: sessions.view("long").computed.startswith("0-"))
    busy = sessions.view("long").busy
    assert busy is not None
    assert (busy.id, busy.from_, busy.to, busy.waiting) == (step, 0, 599, False)
    assert sessions.stop("long") == 2
    assert ended(sessions, step, "long")[0] == "stopped"
    assert ended(sessions, behind, "long")[0] == "stopped"
    known = sessions.view("long").computed
    assert known.count(",") == 0, "nothing is skipped"


@pytest.mark.usefixtures("worker")
def test_clicks_and_boxes_become_masks_and_nothing_is_saved(sessions: Sessions) -> None:
    version = sessions.view("264").version
    truth = encode_labels(CLIP.maps[0])[1]
    box = [truth.left, truth.top, truth.left + truth.width, truth.top + truth.height]
    middle = [truth.left + 6.5, truth.top + 6.5, 1]
    state, answer, _ = ended(sessions, sessions.ask_segment("264", 0, [middle], box))
    assert state == "done"
    found = from_dict({**answer["mask"], "label": ""}, 1, 0).mask
    assert iou(found, truth) > 0.6
    assert 0 < answer["score"] <= 1
    assert sessions.view("264").version == version


@pytest.mark.usefixtures("worker")
def test_clicks_mend_the_mask_that_is_there(sessions: Sessions) -> None:
    """One on what is missing; the rest of the mask is not forgotten."""
    truth = encode_labels(CLIP.maps[0])[1]
    half = encode(decode(truth)[:, : truth.width // 2], truth.left, truth.top)
    assert half is not None
    sessions.edit("264", 0, [{"object": 1, **sent(half)}])
    missing = [truth.left + 0.75 * truth.width, truth.top + truth.height / 2, 1]
    asked = sessions.ask_segment("264", 0, [missing], None, mended=1)
    _, answer, _ = ended(sessions, asked)
    mended = from_dict({**answer["mask"], "label": ""}, 1, 0).mask
    assert iou(mended, truth) > iou(half, truth) + 0.2
    with pytest.raises(NotFoundError, match="no object 9"):
        sessions.ask_segment("264", 0, [missing], None, mended=9)


@pytest.mark.usefixtures("worker")
def test_an_engine_that_learns_learns_once_from_the_sessions_key_frames(
    sessions: Sessions, jobs: Jobs
) -> None:
    sessions.choose_engine("264", "builtin", "")
    assert ended(sessions, sessions.ask_prepare("264", 0, False))[0] == "done"
    assert sessions.view("264").learned is True
    [file] = (jobs.files.revision("264", 1) / "session").glob("learned-builtin-*.npz")
    stamp = file.stat().st_mtime_ns
    steps(sessions, 0, 2)
    assert file.stat().st_mtime_ns == stamp
    assert set(masks(sessions, 2)) <= {1, 2}


@pytest.mark.usefixtures("worker")
def test_what_cannot_be_computed_fails_with_a_sentence(sessions: Sessions) -> None:
    sessions.on_range("264", RangeAction.DELETE, None, 0, 29)
    state, _, error = ended(sessions, sessions.ask_step("264", 3, 4, None))
    assert (state, "There is no mask on frame 3" in error) == ("failed", True)
    last = sessions.view("264").last
    assert last is not None
    assert last.error == error
    sessions.choose_engine("264", "deaot-t", "")
    assert "relay models get" in ended(sessions, sessions.ask_step("264", 3, 4, None))[2]


def test_without_a_worker_it_says_so_at_once(sessions: Sessions) -> None:
    with pytest.raises(ConflictError, match=r"No worker is running: start one with"):
        sessions.ask_step("264", 0, 1, None)


def test_another_worker_goes_on_with_the_very_masks_of_the_first(
    sessions: Sessions, jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    def all_of(job_id: str) -> list[dict]:
        found = sessions.frames(job_id, 0, 29)
        return [{**frame, "version": 0} for frame in found]

    with running(a_loop(settings, jobs.database, "alone")):
        wait(lambda: bool(jobs.workers()))
        steps(sessions, 0, 12)
    alone = all_of("264")
    path = write_clip(tmp_path / "265.zip", CLIP, [0, 20])
    with path.open("rb") as stream:
        jobs.receive("265.zip", stream)
    for name, (first, last) in {"one": (0, 4), "two": (4, 9), "three": (9, 12)}.items():
        with running(a_loop(settings, jobs.database, name)):
            wait(lambda name=name: name in {worker.name for worker in jobs.workers()})
            step = sessions.ask_step("265", first, last, None)
            assert ended(sessions, step, "265")[0] == "done"
    assert all_of("265") == alone


def test_a_vanished_workers_request_is_done_by_another_and_fails_the_second_time(
    sessions: Sessions, jobs: Jobs, settings: Settings, database: Database
) -> None:
    def take(holder: str) -> live_leases.StepLease:
        with database.write() as session:
            lease = live_leases.claim(session, holder, "gone", left_seconds=0.0)
        assert lease is not None
        return lease

    def expire() -> None:
        with database.write() as session:
            session.execute(update(SessionStep).values(lease_until=1.0))

    with running(a_loop(settings, database, "short")):
        wait(lambda: bool(jobs.workers()))
    assert sessions.view("264").worker == ""
    with running(a_loop(settings, database, "w")):
        wait(lambda: bool(jobs.workers()))
        steps(sessions, 0, 1)
    with database.write() as session:
        session.add(
            SessionStep(
                job_id="264",
                kind="step",
                arguments={"from": 1, "to": 3},
                actor="",
                state="queued",
                created=0.0,
            )
        )
    first = take("gone#1")
    expire()
    second = take("gone#2")
    assert second.fence == first.fence + 2
    with database.write() as session:
        assert live_leases.end(session, first) is False, "late: the request is another's"
    expire()
    with database.write() as session:
        assert live_leases.claim(session, "gone#3", "gone", left_seconds=0.0) is None
        step = session.scalars(select(SessionStep).order_by(SessionStep.id.desc())).first()
        assert step is not None
        assert step.state == "failed"
        assert "Gave up after 2 attempts" in step.error


def test_a_worker_that_is_busy_with_a_span_hands_it_back_for_a_step(
    sessions: Sessions, jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "long.zip", tiny_clip(900), [0])
    with path.open("rb") as stream:
        jobs.receive("long.zip", stream)
    jobs.start_run("long", RunOptions(engine="flow"))
    with running(a_loop(settings, jobs.database)):
        wait(lambda: (jobs.job("long").runs[0].frames_done or 0) > 3)
        answer = steps(sessions, 0, 1)
        assert answer["frame"] == 1
        span = jobs.job("long").runs[0].spans[1]
        assert (span.state, span.attempts) == (SpanState.QUEUED, 0), "unharmed"
        assert span.frames_done > 3


def test_two_sessions_take_turns_on_one_worker(
    sessions: Sessions, jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "long.zip", tiny_clip(900), [0])
    with path.open("rb") as stream:
        jobs.receive("long.zip", stream)
    with running(a_loop(settings, jobs.database)):
        wait(lambda: bool(jobs.workers()))
        play = sessions.ask_step("long", 0, 899, None)
        wait(lambda: sessions.view("long").computed.startswith("0-"))
        assert steps(sessions, 0, 1)["frame"] == 1
        assert sessions.step("long", play)[0] in ("queued", "leased")
        before = len(sessions.view("long").computed)
        wait(lambda: len(sessions.view("long").computed) >= before)
        sessions.stop("long")
        assert ended(sessions, play, "long")[0] == "stopped"


def test_edits_made_while_it_plays_are_followed(
    sessions: Sessions, jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "long.zip", tiny_clip(200), [0])
    with path.open("rb") as stream:
        jobs.receive("long.zip", stream)
    with running(a_loop(settings, jobs.database)):
        wait(lambda: bool(jobs.workers()))
        play = sessions.ask_step("long", 0, 199, None)
        wait(lambda: "0-" in sessions.view("long").computed)
        sessions.edit("long", 150, [{"object": 1, **sent(square(3, 30))}])
        drawn = sessions.frame("long", 150)
        assert ended(sessions, play, "long")[0] == "done"
    assert sessions.frame("long", 150) == drawn
    assert sessions.view("long").computed == "0-199"
