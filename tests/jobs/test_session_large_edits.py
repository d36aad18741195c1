"""Promise: an edit of many megabytes holds nobody up, least of all where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobs.sessions as module
from cvat_io.model import Mask
from errors import ConflictError, InputError
from jobs.service import Jobs
from jobs.sessions import Sessions
from tests.helpers.clips import tiny_clip, write_clip
from tests.jobs.test_sessions import sent, sessions, square

assert sessions  # the fixture


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Let somebody else do something while the masks of an edit are read."""
    read = module.mask_from

    def read_and_do(*given: Any) -> Mask:
        monkeypatch.setattr(module, "mask_from", read)
        do()
        return read(*given)

    monkeypatch.setattr(module, "mask_from", read_and_do)


def test_what_can_be_seen_at_once_is_refused_before_any_mask_is_read(sessions: Sessions) -> None:
    bad = {"box": [0, 0, 8, 8], "runs": "nonsense"}
    with pytest.raises(InputError, match="99 is no frame of the job"):
        sessions.edit("264", 99, [{"object": 1, **bad}])
    with pytest.raises(InputError, match="no object 77"):
        sessions.edit("264", 3, [{"object": 1, **bad}, {"object": 77, **bad}])
    with pytest.raises(InputError, match="more run lengths than its box of 8 x 8 pixels can need"):
        sessions.edit("264", 3, [{"object": 1, **bad, "runs": "0," * 1_000_000 + "64"}])
    with pytest.raises(InputError, match="add up to 9 pixels instead of the 64 of its box"):
        sessions.edit("264", 3, [{"object": 1, **bad, "runs": "4,5"}])


def test_others_save_while_the_masks_of_an_edit_are_read(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"object": 2, **sent(square(40, 20))}
    meanwhile(monkeypatch, lambda: sessions.edit("264", 3, [other]))
    sessions.edit("264", 3, [{"object": 1, **sent(square(1, 1))}])
    found = {mask["object"]: mask["box"] for mask in sessions.frame("264", 3)["masks"]}
    assert found == {1: [1, 1, 6, 6], 2: [40, 20, 6, 6]}


def test_masks_of_frames_that_went_meanwhile_are_not_drawn_on_those_of_another_size(
    jobs: Jobs, sessions: Sessions, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_all() -> None:
        write_clip(export, tiny_clip(12, width=32, height=32), [0])
        with export.open("rb") as stream:
            jobs.receive("264.zip", stream)
        sessions.reset("264")

    sessions.view("264")
    meanwhile(monkeypatch, replace_all)
    with pytest.raises(ConflictError, match="begun anew with frames of another size"):
        sessions.edit("264", 3, [{"object": 1, **sent(square(40, 20))}])
    assert sessions.view("264").key_frames == (0,)
