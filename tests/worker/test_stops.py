"""Promise: a run that stops at divergence leaves out, of each object, what lies behind the first
bad frame of a pass; nothing else changes, and it says which frames are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import cli
from config import Settings
from errors import InputError
from jobs.frames_text import format_frames
from jobs.options import Direction, KeyFrames, RunOptions
from tests.helpers.clips import (
    LABELS,
    Clip,
    content,
    masks_by_frame,
    shapes_of,
    tiny_clip,
    write_clip,
)
from worker.local import track

FRAMES = 14
NAMED = [replace(label, attributes=LABELS[0].attributes) for label in LABELS]  # all have names


def clip_with_a_cut() -> Clip:
    """From frame 7 on the film shows another ground and other squares."""
    one, other = tiny_clip(FRAMES, objects=3), tiny_clip(FRAMES, objects=3, seed=3)
    images = [(one if i < 7 else other).images[i][:, :: 1 if i < 7 else -1] for i in range(FRAMES)]
    return Clip([np.ascontiguousarray(image) for image in images], one.maps, one.kinds)


def export_of(folder: Path, keys: list[int]) -> Path:
    """Two objects that a human named "1" and "3", so that drifting masks find them again."""
    clip = clip_with_a_cut()
    masks = [
        replace(shape, attributes=(("track_id", name),))
        for key in keys
        for name, shape in zip("13", shapes_of(clip, key, key, without=frozenset({2})), strict=True)
    ]
    return write_clip(folder / "e.zip", clip, (), masks=masks, labels=NAMED)


def run(export: Path, folder: Path, limit: float, **options) -> tuple[dict, dict]:
    """The report, and the masks by frame."""
    folder.mkdir()
    track(
        export,
        folder / "r.zip",
        options=RunOptions(engine="flow", stop_at_divergence=limit, **options),
        settings=Settings(),
        report=folder / "report.json",
    )
    return json.loads((folder / "report.json").read_text()), masks_by_frame(folder / "r.zip")


def expected(report: dict, number: int, keys: list[int], limit: float) -> list[int]:
    """Frames of an object that are to be left out, by the scores of the same run without limit."""
    scores = {d["frame"]: d["score"] for d in report["divergence"] if d["object"] == number}
    there = {d["frame"] for d in report["divergence"] if d["object"] == number and "gone" not in d}
    found = []
    for low, high in zip([-1, *keys], [*keys, FRAMES], strict=True):
        bad = [f for f, score in scores.items() if low < f < high and score >= limit]
        if bad:
            first = min(bad) if low >= 0 else 0
            last = max(bad) if high < FRAMES else FRAMES
            found += [f for f in there if low < f < high and first <= f <= last]
    return sorted(found)


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([0], {}),
        ([FRAMES - 1], {}),
        ([0, FRAMES - 1], {}),
        ([2, 11], {}),
        ([2, 11], {"keyframes": KeyFrames.PARTIAL}),
        ([0, 9], {"direction": Direction.FORWARD}),
    ],
)
def test_what_lies_behind_the_first_bad_frame_of_a_pass_is_left_out(
    tmp_path: Path, keys: list[int], options: dict
) -> None:
    export = export_of(tmp_path, keys)
    before, all_masks = run(export, tmp_path / "all", 0, **options)
    limit = median(d["score"] for d in before["divergence"])
    after, masks = run(export, tmp_path / "some", limit, **options)

    gone = {n: expected(before, n, keys, limit) for n in (1, 2)}
    told = {each["object"]: each["frames"] for each in after["left_out"]}
    assert told == {n: format_frames(frames, 1) for n, frames in gone.items() if frames}
    assert any(gone.values())
    assert before["left_out"] == []
    names = {1: (("track_id", "1"),), 2: (("track_id", "3"),)}
    for frame in range(FRAMES):
        missing = [names[n] for n, frames in gone.items() if frame in frames]
        kept = [content(s) for s in all_masks.get(frame, []) if s.attributes not in missing]
        assert [content(s) for s in masks.get(frame, [])] == kept
    assert [d["score"] for d in after["divergence"]] == [d["score"] for d in before["divergence"]]


def test_the_command_names_what_is_left_out_and_the_frame_to_correct_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = export_of(tmp_path, [0])
    given = ["track", str(export), "--out", str(tmp_path / "r.zip"), "--engine", "flow"]
    report = tmp_path / "report.json"
    assert cli.main([*given, "--stop-at-divergence", "0.3", "--report", str(report)]) == 0
    said = capsys.readouterr().out
    facts = json.loads(report.read_text())
    for each in facts["left_out"]:
        assert f"Left out: {each['label']} (object {each['object']}) on {each['frames']}" in said
    assert facts["left_out"]
    assert f"Next frame to correct: {facts['next_frame']['frame']}, " in said
    assert facts["next_frame"]["reason"] in said


@pytest.mark.parametrize("limit", ["1.5", "-0.1", "nan", "half"])
def test_a_limit_that_cannot_be_is_refused(
    tmp_path: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["track", "e.zip", "--out", str(tmp_path / "r.zip"), "--stop-at-divergence", limit]
    assert cli.main(given) == 2
    assert "give a number from 0 to 1" in capsys.readouterr().err


def test_a_limit_beyond_its_range_is_refused_where_no_command_line_was(tmp_path: Path) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(4), [0])
    with pytest.raises(InputError, match="Stopping at divergence 2 cannot be"):
        run(export, tmp_path / "r", 2.0)


def test_objects_that_vanish_are_noted_with_the_frame_on_which_they_do(tmp_path: Path) -> None:
    """Also between masks of the frames around, so that the next frame to correct can be found."""
    clip = clip_with_a_cut()
    masks = [
        replace(shape, attributes=(("track_id", f"{key}-{k}"),))  # each is seen from one side only
        for key in (0, FRAMES - 1)
        for k, shape in enumerate(shapes_of(clip, key, key))
    ]
    report, _ = run(
        write_clip(tmp_path / "e.zip", clip, (), masks=masks, labels=NAMED), tmp_path / "out", 0.0
    )
    frames = [entry["frame"] for entry in report["divergence"]]
    gone = {entry["frame"] for entry in report["divergence"] if entry.get("gone")}
    assert gone
    assert gone <= {entry["frame"] for entry in report["divergence"] if not entry.get("gone")}
    assert frames == sorted(frames)
    assert report["next_frame"]["frame"] in frames
