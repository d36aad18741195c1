"""Promise: taking a change back costs nobody what they drew, whatever came between.

Other people may have drawn on the same frame since, or on the same object, and an engine may have
computed the frame anew: a person's pixels are there afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from config import Settings
from cvat_io.model import MaskShape
from errors import InputError
from jobs import audit, session_change
from jobs.service import Jobs
from jobs.session_change import Change
from jobs.session_edits import RangeAction
from jobs.session_masks import Origin, pack
from jobs.session_models import SessionEdit
from jobs.session_state import COMPUTED
from jobs.sessions import Sessions
from tests.helpers.clips import masks_by_frame
from tests.jobs.test_sessions import masks, sent, sessions, square

assert sessions  # the fixture


def compute(sessions: Sessions, frame: int, numbers: tuple[int, ...] = (1, 2), y: int = 30) -> None:
    """Write what an engine says of a frame, as a worker does: squares that lie at `y`."""
    with sessions.changing("264") as state:
        change = Change(state)
        for number in numbers:
            label = state.objects[number]["label"]
            shape = MaskShape(frame, label, square(3 * number, y, 3), source="auto")
            change.put(frame, number, Origin.COMPUTED, pack(shape, 0.2, ""))
        change.frames[frame] = (False, COMPUTED, "")
        change.write(by_person=False)


def test_a_frame_that_another_drew_on_stays_a_persons(sessions: Sessions) -> None:
    compute(sessions, 3)
    with audit.acting("anna"):
        sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    with audit.acting("ben"):
        sessions.edit("264", 3, [{"object": 2, **sent(square(40, 20))}])
    with audit.acting("anna"):
        sessions.take_back("264", "undo")
    assert 3 in sessions.view("264").key_frames, "else the next step writes over Ben's mask"
    assert masks(sessions, 3)[2]["box"] == [40, 20, 6, 6]
    assert masks(sessions, 3)[1]["box"] == [3, 30, 3, 3]


def test_ones_own_frame_is_free_again_once_all_is_taken_back(sessions: Sessions) -> None:
    compute(sessions, 3)
    before = sessions.frame("264", 3)["masks"]
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    sessions.edit("264", 3, [{"object": 2, **sent(square(40, 20))}])
    sessions.take_back("264", "undo")
    sessions.take_back("264", "undo")
    assert 3 not in sessions.view("264").key_frames
    assert sessions.frame("264", 3)["masks"] == before


def test_a_key_frame_that_was_let_go_comes_back_as_it_was_drawn(sessions: Sessions) -> None:
    sessions.edit("264", 6, [{"object": 1, **sent(square(1, 1))}])
    drawn = masks(sessions, 6)
    sessions.set_key("264", 6, key=False)
    compute(sessions, 6)
    assert masks(sessions, 6) != drawn
    sessions.take_back("264", "undo")
    assert 6 in sessions.view("264").key_frames
    assert masks(sessions, 6) == drawn


def test_what_was_drawn_is_drawn_again_over_what_was_computed_meanwhile(
    sessions: Sessions,
) -> None:
    compute(sessions, 3)
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    sessions.take_back("264", "undo")
    compute(sessions, 3, y=20)
    sessions.take_back("264", "redo")
    assert 3 in sessions.view("264").key_frames
    assert masks(sessions, 3)[1]["box"] == [1, 1, 6, 6]


def test_an_object_that_another_drew_does_not_go(sessions: Sessions, jobs: Jobs) -> None:
    with audit.acting("anna"):
        made = sessions.on_objects("264", "add", "", "object").object
    assert made is not None
    with audit.acting("ben"):
        sessions.edit("264", 4, [{"object": made, **sent(square(44, 20))}])
    with audit.acting("anna"):
        sessions.take_back("264", "undo")
    assert made in [each.number for each in sessions.view("264").objects]
    found = masks_by_frame(jobs.result("264", sessions.accept("264", None).run))
    assert [(s.mask.left, s.mask.top) for s in found[4]] == [(44, 20)]


def test_an_object_goes_with_what_was_only_computed_of_it(sessions: Sessions) -> None:
    made = sessions.on_objects("264", "add", "", "object").object
    assert made is not None
    sessions.edit("264", 4, [{"object": made, **sent(square(44, 20))}])
    compute(sessions, 5, (made,))
    sessions.take_back("264", "undo")
    sessions.take_back("264", "undo")
    assert made not in [each.number for each in sessions.view("264").objects]
    assert made not in masks(sessions, 5)


def test_a_change_of_too_many_masks_is_refused_and_changes_nothing(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_change, "MOST_ROWS", 10)
    before = sessions.view("264").version
    with pytest.raises(InputError, match="more than 10 masks at once: choose fewer frames"):
        sessions.on_range("264", RangeAction.ABSENT, None, 0, 11)
    assert sessions.view("264").version == before


def undone(sessions: Sessions) -> int:
    """How many changes can be taken back, one after the other."""
    count = 0
    while sessions.view("264").can_undo:
        sessions.take_back("264", "undo")
        count += 1
    return count


def test_the_oldest_changes_are_forgotten_once_there_are_too_many(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_change, "MOST_EDITS", 3)
    for x in range(5):
        sessions.edit("264", 3, [{"object": 1, **sent(square(x, 1))}])
    assert undone(sessions) == 3
    assert masks(sessions, 3)[1]["box"] == [1, 1, 6, 6]


def test_the_oldest_changes_are_forgotten_once_they_take_too_much_room_and_the_last_never_is(
    jobs: Jobs, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(times: int) -> None:
        for x in range(times):
            sessions.edit("264", 3, [{"object": 1, **sent(square(x, 1))}])

    draw(2)
    with jobs.database.read() as session:
        sizes = session.scalars(select(func.length(SessionEdit.change))).all()
    monkeypatch.setattr(session_change, "MOST_EDITS_BYTES", int(max(sizes) * 3.5))
    draw(6)
    assert undone(sessions) == 3
    monkeypatch.setattr(session_change, "MOST_EDITS_BYTES", 1)
    draw(6)
    assert undone(sessions) == 1
    assert masks(sessions, 3)[1]["box"] == [4, 1, 6, 6], "the others stay as they are"


@pytest.mark.postgres
def test_postgresql_counts_the_bytes_of_changes_too(
    settings: Settings, postgres_url: str, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_change, "MOST_EDITS_BYTES", 1)
    jobs = Jobs(replace(settings, database_url=postgres_url))
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    for x in range(3):
        jobs.sessions.edit("264", 3, [{"object": 1, **sent(square(x, 1))}])
    assert undone(jobs.sessions) == 1
    jobs.close()
