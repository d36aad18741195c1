"""Promise: on a terminal long work shows how far it is, also before the first frame."""

from __future__ import annotations

import io

import pytest

from console import progress


class Terminal(io.StringIO):
    """Text written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_learning_is_named_and_then_frames_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("Tracking") as bar:
        bar.advance(0, 60)
        bar.learn("40%")
        shown = terminal.getvalue()
        assert "Learning the objects 40%" in shown
        bar.learn()
        bar.advance(60, 60)
    assert "Tracking" in terminal.getvalue().removeprefix(shown)


def test_nothing_is_shown_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("Tracking") as bar:
        bar.learn("1%")
        bar.advance(1, 2)
    assert capfd.readouterr() == ("", "")
