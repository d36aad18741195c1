"""Promise: whatever dies while somebody steps through a session, no stored frame is lost.

Whoever comes next goes on from the last stored frame, with the very masks of an undisturbed pass.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from bench.house import child_of
from bench.processes import wait_for
from bench.synthetic import ENGINE, write_job
from errors import InputError
from tests.faults.conftest import Place, in_lane, installation

FRAMES = 60


def _session(place: Place, job: int, milliseconds: int) -> str:
    export = write_job(
        place.tmp / f"{job}.zip", job=job, frames=FRAMES, keys=[0], milliseconds=milliseconds
    )
    job_id = place.house.receive(export)
    place.house.jobs.sessions.choose_engine(job_id, ENGINE, "")
    return job_id


def _frames(place: Place, job_id: str) -> list[dict[str, Any]]:
    """All frames, without the versions, in which two sessions differ."""
    found = place.house.jobs.sessions.frames(job_id, 0, FRAMES - 1)
    return [{**frame, "version": 0} for frame in found]


def _play(place: Place, job_id: str) -> int:
    return place.house.jobs.sessions.ask_step(job_id, 0, FRAMES - 1, None)


def _going(place: Place, job_id: str, least: int) -> None:
    """Wait until so many frames of a session are stored."""
    sessions = place.house.jobs.sessions

    def there() -> bool:
        busy = sessions.view(job_id).busy
        return busy is not None and busy.done >= least

    wait_for(there, f"frames of job {job_id}", 60)


def _ended(place: Place, job_id: str, step: int) -> str:
    sessions = place.house.jobs.sessions
    wait_for(lambda: sessions.step(job_id, step)[0] not in ("queued", "leased"), "the request", 120)
    state, _, error = sessions.step(job_id, step)
    return error or state


def _undisturbed(place: Place, job: int) -> list[dict[str, Any]]:
    job_id = _session(place, job, 0)
    assert _ended(place, job_id, _play(place, job_id)) == "done"
    return _frames(place, job_id)


@in_lane(installation)
def test_a_killed_worker_in_the_middle_of_a_play_is_replaced(place: Place) -> None:
    house = place.house
    (one,) = house.workers("one")
    job_id = _session(place, 801, 80)
    step = _play(place, job_id)
    _going(place, job_id, 5)
    os.kill(child_of(one), signal.SIGKILL)
    one.kill()
    stored = len(_known(place, job_id))
    house.workers("two")
    assert _ended(place, job_id, step) == "done"
    again = len(house.begun(801)) - (FRAMES - 1)
    place.count(f"session: {again} frames computed again, 1 allowed; {stored} were stored")
    assert 0 <= again <= 1
    assert _frames(place, job_id) == _undisturbed(place, 802)


@in_lane(installation)
def test_a_stopped_worker_hands_its_request_back_unharmed(place: Place) -> None:
    house = place.house
    (one,) = house.workers("one")
    house.worker("two").kill()
    job_id = _session(place, 803, 80)
    step = _play(place, job_id)
    _going(place, job_id, 3)
    assert one.end() == 0
    assert house.jobs.sessions.step(job_id, step)[0] == "queued"
    house.workers("two")
    assert _ended(place, job_id, step) == "done"
    assert len(house.begun(803)) == FRAMES - 1, "no frame is computed twice"


@in_lane(installation)
def test_a_frame_that_kills_its_worker_twice_fails_with_a_sentence(place: Place) -> None:
    house = place.house
    export = write_job(
        place.tmp / "804.zip", job=804, frames=9, keys=[0], milliseconds=20, deadly=[4]
    )
    job_id = house.receive(export)
    house.jobs.sessions.choose_engine(job_id, ENGINE, "")
    house.workers("one", "two")
    step = house.jobs.sessions.ask_step(job_id, 0, 8, None)
    assert "Gave up after 2 attempts" in _ended(place, job_id, step)
    assert house.jobs.sessions.view(job_id).computed == "0-3", "what was stored stays"


@in_lane(installation)
def test_two_people_edit_one_session_while_it_plays(place: Place) -> None:
    house = place.house
    house.workers("one")
    job_id = _session(place, 805, 30)
    sessions = house.jobs.sessions
    mask = sessions.frame(job_id, 0)["masks"][0]
    step = _play(place, job_id)
    _going(place, job_id, 2)
    drawn = {"object": mask["object"], "box": mask["box"], "runs": mask["runs"]}
    failed: list[InputError] = []

    def edit(frames: range) -> None:
        try:
            for frame in frames:
                sessions.edit(job_id, frame, [drawn])
        except InputError as exc:
            failed.append(exc)

    people = [threading.Thread(target=edit, args=(range(first, FRAMES, 10),)) for first in (35, 38)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert _ended(place, job_id, step) == "done"
    assert failed == []
    view = sessions.view(job_id)
    assert view.key_frames == (0, 35, 38, 45, 48, 55, 58)
    assert view.computed == f"0-{FRAMES - 1}"
    for frame in view.key_frames[1:]:
        found = {each["object"]: each for each in sessions.frame(job_id, frame)["masks"]}
        assert found[mask["object"]]["runs"] == mask["runs"]


def _known(place: Place, job_id: str) -> list[int]:
    found = place.house.jobs.sessions.frames(job_id, 0, FRAMES - 1)
    return [frame["frame"] for frame in found if frame["origin"] != "none"]
