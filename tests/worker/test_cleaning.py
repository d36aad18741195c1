"""Promise: specks and pin-holes below a size go from masks that were made, and a human's masks,
carried ones and everybody's pixels stay as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import cli
from config import Settings
from cvat_io.masks import decode, encode
from cvat_io.model import Mask, MaskShape
from jobs.options import KeyFrames, Mode, RunOptions
from tests.helpers.clips import (
    Clip,
    content,
    contents,
    hud,
    masks_by_frame,
    tiny_clip,
    write_clip,
)
from worker.cleaning import Cleaner
from worker.local import track

FRAMES, LEAST = 10, 15


def torn_clip() -> Clip:
    """Squares in front of the colours of other squares, so that masks come out torn."""
    clip = tiny_clip(FRAMES, objects=3)
    noise = np.random.default_rng(5)
    images = []
    for time, image in enumerate(clip.images):
        torn = image.copy()
        spots = noise.random(image.shape[:2]) < 0.03 * time
        torn[spots] = image[::-1, ::-1][spots]
        images.append(torn)
    return Clip(images, clip.maps, clip.kinds)


def run(export: Path, out: Path, **options) -> tuple[dict, dict[int, list[MaskShape]]]:
    previous = options.pop("previous", None)
    track(
        export,
        out,
        options=RunOptions(engine="flow", **options),
        settings=Settings(ignore_labels=frozenset({"HUD"})),
        report=out.with_suffix(".json"),
        previous=previous,
    )
    return json.loads(out.with_suffix(".json").read_text()), masks_by_frame(out)


def picture(mask: Mask) -> NDArray[np.bool_]:
    """On a canvas of the clip's size."""
    canvas = np.zeros((48, 64), bool)
    canvas[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width] = decode(mask)
    return canvas


def small_parts(mask: Mask) -> tuple[int, int]:
    """How many pieces and holes below the size a mask has, by another library."""
    pixels = picture(mask)
    numbers, _ = ndimage.label(pixels, np.ones((3, 3)))
    sizes = np.bincount(numbers.ravel())[1:]
    gaps, _ = ndimage.label(ndimage.binary_fill_holes(pixels) & ~pixels)
    return int((sizes < LEAST).sum()), int((np.bincount(gaps.ravel())[1:] < LEAST).sum())


def hull(mask: Mask) -> NDArray[np.bool_]:
    """A mask with all its holes filled."""
    return np.asarray(ndimage.binary_fill_holes(picture(mask)))


@pytest.mark.parametrize("keyframes", list(KeyFrames))
def test_a_run_cleans_what_it_made_and_nothing_else(tmp_path: Path, keyframes: KeyFrames) -> None:
    ragged = np.ones((9, 9), bool)
    ragged[4, 4] = False  # a human's own hole and speck
    ragged[0, 1:] = False
    drawn = encode(ragged, 20, 36)
    assert drawn is not None
    own = [MaskShape(frame=9, label="thing", mask=drawn)]
    export = write_clip(tmp_path / "e.zip", torn_clip(), [0], extra=[hud(4), *own])
    _, before = run(export, tmp_path / "before.zip", keyframes=keyframes)
    report, after = run(
        export, tmp_path / "after.zip", keyframes=keyframes, min_speck=LEAST, min_hole=LEAST
    )

    changed = 0
    assert report["cleaned"]["specks"] > 0
    assert report["cleaned"]["holes"] > 0
    for frame in range(FRAMES):
        assert len(after[frame]) == len(before[frame])  # nothing vanishes
        for was, now in zip(before[frame], after[frame], strict=True):
            if was.source != "auto":
                assert content(was) == content(now)
                continue
            changed += content(was) != content(now)
            specks, holes = small_parts(now.mask)
            assert specks <= (picture(now.mask).sum() < LEAST)
            others = [s for s in after[frame] if s is not now]
            assert not holes or any((picture(s.mask) & hull(now.mask)).any() for s in others)
        owners = sum(picture(shape.mask).astype(int) for shape in after[frame])
        assert owners.max() == 1
    assert changed > FRAMES


def test_a_hole_stays_open_where_another_mask_lies() -> None:
    ring = np.ones((7, 7), bool)
    ring[2:5, 2:5] = False
    around, inside = encode(ring, 10, 10), encode(np.ones((1, 2), bool), 12, 13)
    assert around is not None
    assert inside is not None
    cleaner = Cleaner(0, 10)
    (filled,) = cleaner.clean([around], [inside])
    expected = picture(around)
    expected[12:15, 12:15] = True
    expected[13, 12:14] = False
    assert np.array_equal(picture(filled), expected)
    assert (cleaner.specks, cleaner.holes) == (0, 1)
    made = cleaner.clean([around, inside], [])  # also where the other one was made too
    assert np.array_equal(picture(made[0]), expected)
    assert made[1] is inside


def test_a_speck_of_another_object_does_not_keep_a_hole_open() -> None:
    ring = np.ones((7, 7), bool)
    ring[3, 3] = False
    around = encode(ring, 10, 10)
    other = np.zeros((30, 40), bool)
    other[13, 13] = other[25:29, 30:36] = True
    torn = encode(other)
    assert around is not None
    assert torn is not None
    cleaner = Cleaner(4, 4)
    whole, rest = cleaner.clean([around, torn], [])
    assert picture(whole).sum() == 49
    assert (rest.left, rest.top, rest.width, rest.height) == (30, 25, 6, 4)
    assert (cleaner.specks, cleaner.holes) == (1, 1)


def test_cleaned_masks_that_come_back_from_cvat_are_no_corrections(tmp_path: Path) -> None:
    clip = torn_clip()
    export = write_clip(tmp_path / "e.zip", clip, [0, 9])
    options = {"min_speck": LEAST, "min_hole": LEAST}
    _, masks = run(export, tmp_path / "r.zip", **options)
    everything = [replace(s, source="manual") for f in sorted(masks) for s in masks[f]]
    again = write_clip(tmp_path / "again.zip", clip, [], masks=everything)
    options |= {"mode": Mode.RESEGMENT, "previous": tmp_path / "r.zip"}
    report, same = run(again, tmp_path / "same.zip", **options)
    assert report["frames_tracked"] == 0
    assert report["cleaned"] == {"specks": 0, "holes": 0}
    assert "min-speck changes nothing here" in " ".join(report["notices"])
    assert all(contents(same[frame]) == contents(masks[frame]) for frame in range(FRAMES))

    kept = [shape for shape in everything if shape.frame != 4]
    edited = write_clip(tmp_path / "edited.zip", clip, [4], extra=kept)  # exact masks on frame 4
    report, renewed = run(edited, tmp_path / "renewed.zip", **options)
    assert report["frames_tracked"] == 7  # those beside the correction, between its key frames
    assert report["cleaned"]["specks"] > 0
    assert contents(renewed[0]) == contents(masks[0])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--min-speck", "-1"], "give a whole number from 0 to 1000000"),
        (["--min-hole", "many"], "give a whole number from 0 to 1000000"),
    ],
)
def test_a_size_that_cannot_be_is_refused(
    tmp_path: Path, given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["track", "e.zip", "--out", str(tmp_path / "r.zip"), *given]) == 2
    assert sentence in capsys.readouterr().err


def test_the_command_says_how_much_was_cleaned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = write_clip(tmp_path / "e.zip", torn_clip(), [0])
    report = tmp_path / "report.json"
    given = ["track", str(export), "--out", str(tmp_path / "r.zip"), "--engine", "flow"]
    assert cli.main([*given, "--min-speck", "15", "--min-hole", "1", "--report", str(report)]) == 0
    facts = json.loads(report.read_text())
    specks = facts["cleaned"]["specks"]
    assert specks > 0
    assert f"Cleaned: {specks} specks removed, 0 holes filled." in capsys.readouterr().out
    assert any(notice.startswith("min-hole 1 changes nothing") for notice in facts["notices"])
