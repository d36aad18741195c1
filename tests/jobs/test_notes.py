"""Promise: options that change nothing are told of in a sentence before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import Limits
from errors import InputError
from jobs.options import Direction, MemoryKeeps, Prompts, RunOptions
from jobs.plan import RunInputs, RunPlan, plan_run
from tests.helpers.clips import tiny_clip, write_clip
from tests.helpers.shapes import add_tracks, box, polygon, track


def noted(export: Path, **options: object) -> tuple[str, ...]:
    engine = str(options.setdefault("engine", "flow"))
    given = RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),
        engine=engine,
        ignore_labels=frozenset(),
        limits=Limits(),
    )
    plan = plan_run(given)
    assert RunPlan.from_json(plan.to_json()) == plan
    return plan.notes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ()),
        ({"engine": "auto", "memory_frames": 4, "seed": 7}, ()),  # not settled yet which it is
        ({"engine": "builtin-fast", "seed": 7}, ()),
        ({"engine": "deaot-l", "memory_frames": 4}, ()),
        ({"engine": "deaot-b", "memory_gap": 5}, ()),
        ({"refine": True, "segmenter": "sam-vit-b"}, ()),
        ({"memory_frames": 4}, ("memory-frames changes nothing here: only the deaot engines",)),
        (
            {"engine": "builtin", "memory_gap": 4, "memory_keeps": MemoryKeeps.NEWEST},
            ("memory-gap and memory-keeps change nothing here: only the deaot engines",),
        ),
        (
            {"engine": "deaot-b", "memory_frames": 4},
            ("memory-frames changes nothing here: without memory-gap deaot-b remembers the key",),
        ),
        ({"seed": 7}, ("seed changes nothing here: flow draws no random numbers",)),
        ({"prompts": Prompts.BOXES}, ("prompts asks for masks of every rectangle, but",)),
        (
            {"prompts": Prompts.BOTH},
            ("prompts asks for masks of every rectangle, but", "prompts asks for masks of every p"),
        ),
        ({"segmenter": "sam-vit-b"}, ("The segmenter sam-vit-b is asked nothing here: only",)),
        (
            {"refine": True, "segmenter": "sam-vit-b", "direction": Direction.FORWARD},
            ("refine changes nothing here: no frame lies between two key frames",),
        ),
        (
            {"refine": True, "segmenter": "sam-vit-b", "frames": "8"},
            ("refine changes nothing here: no frame lies between two key frames",),
        ),
    ],
)
def test_options_that_change_nothing_are_told_of_in_a_sentence(
    tmp_path: Path, options: dict[str, object], said: tuple[str, ...]
) -> None:
    """Nobody is refused for them, and nobody waits for what they would do."""
    export = write_clip(tmp_path / "e.zip", tiny_clip(10), (0, 6))
    notes = noted(export, **options)
    assert len(notes) == len(said)
    assert all(map(str.startswith, notes, said)), notes


def test_shapes_that_are_there_are_not_missed_and_one_without_a_pixel_is_refused(
    tmp_path: Path,
) -> None:
    """By the plan: before a worker has begun with anything."""
    clip = tiny_clip(6)
    path = write_clip(tmp_path / "e.zip", clip, (0,))
    export = add_tracks(path, track(91, "object", box((3, 3, 9, 9), 3)))
    assert noted(export, prompts=Prompts.BOXES, segmenter="sam-vit-b") == ()
    for number, shape in enumerate(
        (polygon(((5, 5), (5.02, 9.02), (5.01, 9.03)), 2), box((5.1, 5.1, 5.2, 5.2), 2))
    ):
        path = write_clip(tmp_path / f"{number}.zip", clip, (0,))
        with pytest.raises(InputError, match=r"frame 2 \(track 93\) covers no pixel"):
            noted(add_tracks(path, track(93, "object", shape)), prompts=Prompts.BOTH)
