"""Promise: a live session is a layer like any other: the same masks by frame, all of it at a
glance, up to date after every change; and it is told which frames do not follow a correction yet.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from jobs.layer_views import Presence
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.session_edits import RangeAction
from jobs.views import JobState
from tests.worker.loops import a_loop, running, wait_for

SQUARE = {"object": 1, "box": [20, 20, 4, 2], "runs": "0,8"}


@pytest.fixture
def computed(jobs: Jobs, export: Path, settings: Settings) -> Jobs:
    """A job whose frames were all computed by a run; its key frames are 0, 6 and 11."""
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine="flow"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    return jobs


def read(jobs: Jobs, what: str, *frames: int) -> Any:
    """What a layer's answer holds."""
    answer = getattr(jobs.layers, what)("264", "session", *frames)
    return json.loads(answer.body.text)


def lanes(jobs: Jobs, part: str) -> dict[int, list[int]]:
    found = read(jobs, "timeline")["objects"]
    return {each["object"]: list(base64.b64decode(each[part])) for each in found}


def test_it_is_listed_once_begun_and_shown_first_while_it_holds_changes(computed: Jobs) -> None:
    assert "session" not in [each.name for each in computed.layers.listed("264").layers]
    computed.sessions.view("264")
    assert computed.layers.listed("264").layers[0].name == "session"
    assert computed.layers.listed("264").default == "run-1"
    computed.sessions.edit("264", 3, [SQUARE])
    assert computed.layers.listed("264").default == "session"
    computed.sessions.accept("264", None)
    assert computed.layers.listed("264").default == "run-2"


def test_its_masks_are_those_of_the_session(computed: Jobs) -> None:
    computed.sessions.edit("264", 3, [SQUARE])
    entries = read(computed, "masks", 2, 4)["frames"]
    assert [(each["frame"], each["key"]) for each in entries] == [(2, False), (3, True), (4, False)]
    for entry in entries:
        own = computed.sessions.frame("264", entry["frame"])["masks"]
        assert [(each["object"], each["box"], each["runs"]) for each in entry["masks"]] == [
            (each["object"], each["box"], each["runs"]) for each in own
        ]
    assert all("score" not in mask for mask in entries[1]["masks"])
    assert all(0 <= mask["score"] <= 1 for mask in entries[0]["masks"])


def test_a_timeline_asked_for_again_is_that_of_somebody_who_asks_first(
    computed: Jobs, settings: Settings
) -> None:
    computed.sessions.view("264")
    before = lanes(computed, "presence")
    assert before[1][0] == Presence.KEY
    assert before[1][1] == Presence.COMPUTED
    assert lanes(computed, "scores")[1][0] == 255
    assert lanes(computed, "scores")[1][1] < 255
    computed.sessions.edit("264", 3, [SQUARE])
    computed.sessions.on_range("264", RangeAction.ABSENT, [2], 7, 9)
    computed.sessions.on_objects("264", "relabel", 1, "thing")
    seen = read(computed, "timeline")
    assert seen["key_frames"] == [0, 3, 6, 11]
    assert lanes(computed, "presence")[1][3] == Presence.KEY
    assert set(lanes(computed, "presence")[2][7:10]) == {Presence.ABSENT}
    others = Jobs(settings)
    assert read(others, "timeline") == seen
    others.close()
    computed.sessions.reset("264")
    assert lanes(computed, "presence") == before


def test_frames_behind_a_correction_are_outdated_up_to_the_next_key_frame(computed: Jobs) -> None:
    assert computed.sessions.view("264").outdated == ""
    computed.sessions.edit("264", 3, [SQUARE])
    assert computed.sessions.view("264").outdated == "4-5"
    computed.sessions.edit("264", 6, [SQUARE])
    assert computed.sessions.view("264").outdated == "4-5,7-10"
    computed.sessions.on_range("264", RangeAction.FORGET, None, 4, 5)
    assert computed.sessions.view("264").outdated == "7-10"
