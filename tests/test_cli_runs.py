"""Promise: what the page does with a run, the command line does too, with the same sentences."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

import cli
from config import load
from jobs.options import Priority
from jobs.service import Jobs
from jobs.views import JobState, RunState
from tests.helpers.clips import tiny_clip, write_clip
from tests.helpers.trips import exported, run
from tests.worker.loops import a_loop, running, wait_for


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """A DATA_DIR of its own for this process's command line, and what lies in it."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return Jobs(load())


def test_runs_are_paused_resumed_cancelled_and_retried(relay: Jobs, export: Path) -> None:
    def state() -> RunState:
        run = relay.job("264").job.run
        assert run is not None
        return run.state

    assert cli.main(["submit", str(export), "--priority", "low"]) == 0
    run = relay.job("264").job.run
    assert run is not None
    assert run.options.priority is Priority.LOW
    for verb, expected in (
        ("pause", RunState.PAUSED),
        ("resume", RunState.QUEUED),
        ("cancel", RunState.CANCELLED),
        ("retry", RunState.QUEUED),
    ):
        assert cli.main([verb, "264"]) == 0
        assert state() is expected
    relay.close()


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_what_cannot_be_done_is_one_sentence(
    relay: Jobs, export: Path, verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with export.open("rb") as stream:
        relay.receive("264.zip", stream)
    for job in ("264", "none"):
        assert cli.main([verb, job]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert job in err
    relay.close()


def test_what_is_done_is_not_queued_a_second_time_unasked(
    relay: Jobs, export: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Promise: the same bytes with the same options say so and cost nothing, unless --again."""
    submit = ["submit", str(export), "--engine", "flow"]
    assert cli.main(submit) == 0
    with running(a_loop(load(), relay.database)):
        wait_for(relay, "264", JobState.COMPLETED)
    capfd.readouterr()
    assert cli.main([*submit, "--priority", "low", "--wait"]) == 0
    out, err = capfd.readouterr()
    assert out == "264\n"
    assert "run 1 did just this; --again" in err
    assert len(relay.job("264").runs) == 1
    assert cli.main([*submit, "--frames", "2"]) == 0
    relay.cancel("264")
    assert cli.main([*submit, "--again"]) == 0
    assert len(relay.job("264").runs) == 3
    relay.close()


def test_check_says_what_changed_what_is_computed_and_about_how_long(
    tmp_path: Path, export: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Promise: `relay check` shows the plan before it runs: changes, frames, objects, seconds."""
    previous, report = tmp_path / "previous.zip", tmp_path / "report.json"
    run(export, previous, report=report)
    now = exported(previous)
    now[3] = [replace(s, mask=replace(s.mask, left=s.mask.left + 1)) for s in now[3][:1]]
    now[8] = [replace(s, occluded=True) for s in now[8]]
    edited = write_clip(
        tmp_path / "now.zip", tiny_clip(12), (), masks=[*chain(*now.values())], with_images=False
    )
    capfd.readouterr()
    asked = ["--mode", "resegment", "--previous", str(previous), "--images", str(export)]
    code = cli.main(["check", str(edited), *asked, "--engine", "flow", "--report", str(report)])
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    assert "Recomputes 4 of 12 frames in 2 spans: 1 to 2 from both sides, 4 to 5 from" in out
    assert "Follows at least 2 objects. Takes about " in out
    assert "(measured in one earlier run of flow)" in out
    assert 'Edited, "object": 1 mask, frame 3' in out
    assert 'Deleted, "thing": 1 mask, frame 3' in out
    assert "(kept, nothing is computed for it): 1 mask, frame 8" in out
    assert out.count("Key frame") == 1
    assert "Key frames 0, 3, 6, 11 stay as drawn." in out
    assert "Masks on    12 frames: 0-11\n" in out
    assert 'Beyond      Object 2 ("thing"): its 6 masks on frames 6-11 stay, since key' in out
    out_path = tmp_path / "again.zip"
    assert cli.main(["track", str(edited), "--out", str(out_path), *asked, "--engine", "flow"]) == 0
    assert "4 of 12 frames recomputed" in "".join(capfd.readouterr())


def test_a_report_that_is_none_is_one_sentence(
    tmp_path: Path, export: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Promise: a wrong --report is named, and a missing one costs nothing but a rough guess."""
    (tmp_path / "r.json").write_text("[]")
    for path in ("r.json", "none.json"):
        assert cli.main(["check", str(export), "--report", str(tmp_path / path)]) == 2
        assert capfd.readouterr().err.count(path) == 1
    assert cli.main(["check", str(export), "--engine", "flow"]) == 0
    assert "a rough default for flow, of which no run was measured" in capfd.readouterr().out
