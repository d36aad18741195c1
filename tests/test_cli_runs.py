"""Promise: what the page does with a run, the command line does too, with the same sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

import cli
from config import load
from jobs.service import Jobs
from jobs.views import Priority, RunState


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
