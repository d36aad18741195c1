"""Promise: a session stays what it began from until it is begun anew, and then all of it is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errors import NotFoundError
from jobs import session_accept, session_room
from jobs.service import Jobs
from jobs.sessions import Sessions
from tests.helpers.clips import write_clip
from tests.jobs.test_sessions import CLIP, sent, sessions, square

assert sessions  # the fixture


def test_a_new_revision_makes_it_stale_and_never_changes_it(
    sessions: Sessions, jobs: Jobs, export: Path
) -> None:
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    write_clip(export, CLIP, [0, 5])
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    view = sessions.view("264")
    assert "Revision 2 of the export arrived" in view.stale
    assert view.key_frames == (0, 3, 6, 11)
    sessions.reset("264")
    assert sessions.view("264").key_frames == (0, 5)


def test_who_waits_for_changes_while_it_begins_anew_is_told_of_all_frames(
    sessions: Sessions, jobs: Jobs, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sessions.view("264").version
    write_clip(export, CLIP, [0, 5])
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    write_base, told = session_room.write_base, []

    def meanwhile(*given: Any) -> None:
        monkeypatch.setattr(session_room, "write_base", write_base)
        told.append(sessions.changes("264", seen))
        write_base(*given)

    monkeypatch.setattr(session_room, "write_base", meanwhile)
    sessions.reset("264")
    assert [(each.frames, each.objects) for each in told] == [("0-11", True)]


def test_frames_of_a_job_with_a_step_begin_anew_from_what_was_accepted(
    jobs: Jobs, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "1995.zip", CLIP, [0, 1, 6], start=1995, step=3)
    with path.open("rb") as stream:
        jobs.receive("1995.zip", stream)
    sessions = jobs.sessions
    sessions.edit("1995", 2001, [{"object": 1, **sent(square(1, 1))}])
    assert sessions.accept("1995", None).run == 1
    sessions.reset("1995")
    view = sessions.view("1995")
    assert view.key_frames == (1995, 1998, 2001, 2013)
    assert sessions.frame("1995", 2001)["masks"][0]["box"] == [1, 1, 6, 6]
    assert sessions.accept("1995", 2010).run == 2


def test_a_reset_while_it_is_accepted_publishes_nothing_and_leaves_no_file(
    sessions: Sessions, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = session_accept.write

    def write_and_reset(*given: Any) -> session_accept.Written:
        written = write(*given)
        sessions.reset("264")
        return written

    monkeypatch.setattr(session_accept, "write", write_and_reset)
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    with pytest.raises(NotFoundError, match="was reset meanwhile"):
        sessions.accept("264", None)
    assert sessions.view("264").accepted is None
    assert jobs.job("264").runs == ()
    assert not jobs.files.run("264", 1, 1).exists()


def test_a_revision_behind_a_result_asks_for_a_run_and_not_for_a_reset_without_end(
    sessions: Sessions, jobs: Jobs, export: Path
) -> None:
    sessions.accept("264", None)
    write_clip(export, CLIP, [0, 5])
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    assert "Revision 2" in sessions.view("264").stale
    assert "start a run of it, then reset" in sessions.view("264").stale
