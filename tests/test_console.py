"""Promise: on a terminal long work shows how far it is; elsewhere stderr is for what matters."""

from __future__ import annotations

import io

import pytest

from console import progress
from errors import InputError


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


def test_elsewhere_it_is_silent_and_what_was_told_follows_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whoever reads stderr finds one line there where input is refused, and no bar ever."""
    with progress("Tracking") as bar:
        bar.learn("40%")
        bar.advance(1, 60)
        bar.tell("cuda:0 has too little memory.")
        bar.tell("cuda:0 has too little memory.")
        assert capfd.readouterr() == ("", "")
    assert capfd.readouterr() == ("", "cuda:0 has too little memory.\n")


def test_where_work_fails_the_refusal_stands_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with progress("Tracking") as bar:
            bar.tell("cuda:0 has too little memory.")
            raise InputError("The image of frame 7 is damaged.")

    with pytest.raises(InputError):
        work()
    assert capfd.readouterr() == ("", "")
