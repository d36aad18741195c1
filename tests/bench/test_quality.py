"""Promise: `make bench-quality` scores what the product makes, on the frames that it says.

A clip with exact masks is laid out in both ways that are known, so every figure can be foretold.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.clips import ONE, clip_names, find_clip, read_mask, write_footage
from bench.quality import key_frames, main, means, score
from config import Limits
from cvat_io.masks import encode
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from errors import InputError
from tests.helpers.clips import Clip, masks_by_frame, tiny_clip

LENGTH = 9


def in_our_layout(data: Path, clip: Clip, *, without: frozenset[int] = frozenset()) -> Path:
    """One object, 0 and 255; the frames `without` have no mask file."""
    for kind in ("images", "masks"):
        (data / "squares" / kind).mkdir(parents=True)
    for index, (image, labels) in enumerate(zip(clip.images, clip.maps, strict=True)):
        folder = data / "squares"
        Image.fromarray(image).save(folder / "images" / f"{index:05d}.jpg", quality=95)
        if index not in without:
            mask = np.where(labels > 0, ONE, 0).astype(np.uint8)
            Image.fromarray(mask).save(folder / "masks" / f"{index:05d}.png")
    return data


def in_davis_layout(data: Path, clip: Clip) -> Path:
    """Several objects, as palette files."""
    images, masks = (data / f"{kind}/480p/squares" for kind in ("JPEGImages", "Annotations"))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index, (image, labels) in enumerate(zip(clip.images, clip.maps, strict=True)):
        Image.fromarray(image).save(images / f"{index:05d}.jpg", quality=95)
        mask = Image.fromarray(labels.astype(np.uint8)).convert("P")
        mask.putdata(labels.ravel().tolist())
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        mask.save(masks / f"{index:05d}.png")
    return data


def test_both_layouts_are_found_and_read(tmp_path: Path) -> None:
    one = in_our_layout(tmp_path / "ours", tiny_clip(3, objects=1))
    (one / "README.md").write_text("no clip")
    two = in_davis_layout(tmp_path / "davis", tiny_clip(3, objects=2))
    for data, numbers in ((one, [0, ONE]), (two, [0, 1, 2])):
        assert clip_names(data) == ("squares",)
        found = find_clip("squares", data)
        assert len(found.images) == len(found.masks) == 3
        labels = found.labels(0)
        assert labels is not None
        assert np.unique(labels).tolist() == numbers
    assert clip_names(tmp_path / "none") == ()


def test_one_object_is_all_that_is_not_background(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 1, 255]], dtype=np.uint8)).save(path)
    assert read_mask(path).tolist() == [[0, ONE, ONE]]
    Image.fromarray(np.array([[0, 1, 3]], dtype=np.uint8)).save(path)
    assert read_mask(path).tolist() == [[0, 1, 3]]
    Image.fromarray(np.array([[False, True]])).save(path)
    assert read_mask(path).tolist() == [[0, ONE]]
    Image.fromarray(np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)).save(path)
    assert read_mask(path).tolist() == [[0, ONE]]


def test_frames_are_held_back_and_scored_as_the_page_says(tmp_path: Path) -> None:
    clip = find_clip("squares", in_our_layout(tmp_path, tiny_clip(LENGTH, objects=1)))
    assert key_frames(clip, 0) == ((0,), (1, 2, 3, 4, 5, 6, 7))
    assert key_frames(clip, 3) == ((0, 3, 6), (1, 2, 4, 5))  # nothing behind the last key frame
    assert key_frames(clip, 20) == ((0,), ())
    assert key_frames(clip.cut(5), 0) == ((0,), (1, 2, 3))


def test_a_frame_without_a_mask_is_neither_drawn_nor_scored(tmp_path: Path) -> None:
    data = in_our_layout(tmp_path, tiny_clip(LENGTH, objects=1), without=frozenset({0, 1, 4, 7}))
    clip = find_clip("squares", data)
    assert clip.images[0].stem == "00002"  # the first annotated frame
    assert key_frames(clip, 0) == ((0,), (1, 3, 4))  # frames 3, 5, 6; 8 is the last one
    assert key_frames(clip, 2) == ((0, 4, 6), (1, 3))  # 4 has none
    for mask in (data / "squares/masks").iterdir():
        mask.unlink()
    with pytest.raises(InputError, match="No frame of the clip 'squares' has a mask"):
        find_clip("squares", data)


def test_exact_masks_score_one_and_every_object_counts_alike(tmp_path: Path) -> None:
    source = tiny_clip(LENGTH, objects=2)
    clip = find_clip("squares", in_davis_layout(tmp_path, source))
    archive = tmp_path / "all.zip"
    assert write_footage(archive, clip, range(LENGTH)) == (64, 48)
    scores = score(archive, clip, *key_frames(clip, 0))
    assert [(each.object, each.frame) for each in scores] == [
        (number, frame) for frame in range(1, LENGTH - 1) for number in (1, 2)
    ]
    assert means(scores) == (1, 1)
    # Without one object on one of seven frames, its J is 6/7, and that of both together 13/14.
    lost = [
        replace(each, j=0.0, f=0.0) if (each.object, each.frame) == (2, 4) else each
        for each in scores
    ]
    assert means(lost) == pytest.approx((13 / 14, 13 / 14))


def test_what_the_archive_lacks_scores_nothing(tmp_path: Path) -> None:
    clip = find_clip("squares", in_davis_layout(tmp_path, tiny_clip(4, objects=2)))
    archive = tmp_path / "keys.zip"
    write_footage(archive, clip, [0, 1])
    scores = score(archive, clip, (0,), (1, 2))
    assert [each.j for each in scores] == [1, 1, 0, 0]
    assert [each.f for each in scores] == [1, 1, 0, 0]


def test_an_object_counts_from_where_a_human_first_drew_it(tmp_path: Path) -> None:
    source = tiny_clip(LENGTH, objects=2)
    for labels in source.maps[:3]:
        labels[labels == 2] = 0
    clip = find_clip("squares", in_davis_layout(tmp_path, source))
    archive = tmp_path / "all.zip"
    write_footage(archive, clip, range(LENGTH))
    scores = score(archive, clip, *key_frames(clip, 4))
    assert [each.frame for each in scores if each.object == 1] == [1, 2, 3, 5, 6, 7]
    assert [each.frame for each in scores if each.object == 2] == [5, 6, 7]
    assert {each.object for each in score(archive, clip, *key_frames(clip, 0))} == {1}


def test_the_export_is_the_clip_with_its_masks_on_key_frames_only(tmp_path: Path) -> None:
    clip = find_clip("squares", in_our_layout(tmp_path, tiny_clip(LENGTH, objects=1)))
    archive = tmp_path / "keys.zip"
    write_footage(archive, clip, (0, 3, 6))
    found = masks_by_frame(archive)
    assert sorted(found) == [0, 3, 6]
    with open_export(archive, Limits()) as export:
        assert sorted(export.images) == list(range(LENGTH))
        assert [label.name for label in export.meta.labels] == ["object"]
    drawn = clip.labels(3)
    assert drawn is not None
    mask = encode(drawn)
    assert mask is not None
    (shape,) = found[3]
    assert isinstance(shape, MaskShape)
    assert shape.mask.runs.tolist() == mask.runs.tolist()


def test_the_whole_bench_prints_a_row_per_clip_and_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = in_davis_layout(tmp_path / "davis", tiny_clip(7, objects=2))
    out = tmp_path / "figures.json"
    wanted = ["--data", str(data), "--engine", "builtin-fast", "--json", str(out)]
    wanted += ["--every", "3", "20", "--clips", "squares", "--threads", "1"]
    assert main(wanted) == 0
    printed = capsys.readouterr().out
    assert "python -m bench.quality --data" in printed
    table = [line.split() for line in printed.partition("(--every 3)")[2].splitlines() if line]
    head, row, mean = table[:3]
    assert head[:3] == ["clip", "engine", "J"]
    assert row[:2] == ["squares", "builtin-fast"]
    assert mean[:5] == ["mean", *row[1:5]]  # the mean of one is it
    assert "nothing to score" in printed  # 7 frames have no second key frame at 20
    (figures,) = json.loads(out.read_text())["rows"]
    assert {each["frame"] for each in figures["scores"]} == {1, 2, 4, 5}
    assert (figures["objects"], figures["frames"], figures["every"]) == (2, 4, 3)
    assert 0 < figures["j"] <= 1
    assert f"{figures['jf']:.3f}" == row[4]
    assert figures["peak_mb"] > 1


def test_what_cannot_be_measured_is_said_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = in_our_layout(tmp_path / "ours", tiny_clip(3, objects=1))
    for wanted, sentence in (
        (["--data", str(tmp_path / "none")], "There are no clips in"),
        (["--data", str(data), "--clips", "cow"], "There is no clip 'cow'"),
        (["--data", str(data), "--engine", "magic"], "There is no engine named 'magic'"),
    ):
        assert main(wanted) == 2
        printed = capsys.readouterr()
        assert sentence in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""
