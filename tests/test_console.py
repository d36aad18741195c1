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


def test_in_a_log_a_plain_line_tells_each_tenth_and_none_is_repeated(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads a log sees that it goes on, in lines that stand for themselves, on stderr."""
    monkeypatch.setattr("console._HURRY_SECONDS", 0.0)
    with progress("Tracking") as bar:
        bar.advance(0, 60)
        for share in range(0, 101, 5):
            bar.learn(f"{share}%")
        for done in range(1, 61):
            bar.advance(done, 60)
        bar.tell("cuda:0 has too little memory.")
    out, shown = capfd.readouterr()
    lines = shown.splitlines()
    assert out == ""
    assert "\r" not in shown
    assert [line for line in lines if "Learning" in line][:2] == [
        "Learning the objects 10%.",
        "Learning the objects 20%.",
    ]
    frames = [line for line in lines if line.startswith("Tracking")]
    assert frames[0] == "Tracking: 6 of 60 frames (10%)."
    assert frames[-1] == "Tracking: 60 of 60 frames (100%)."
    assert len(frames) == 10
    assert lines[-1] == "cuda:0 has too little memory."


def test_what_takes_a_moment_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("Tracking") as bar:
        bar.learn("50%")
        bar.advance(1, 1)
    assert capfd.readouterr() == ("", "")


def test_what_stands_still_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("console._HURRY_SECONDS", 0.0)
    monkeypatch.setattr("console._SILENT_SECONDS", 0.0)
    with progress("Tracking") as bar:
        bar.advance(0, 9000)
    assert capfd.readouterr().err == "Tracking: 0 of 9000 frames (0%).\n"
