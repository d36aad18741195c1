"""Promise: a large result can be had in parts, each whole and valid, that together are it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import cli
from config import Limits, Settings
from cvat_io.forecast import Fate
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.preflight import foresee
from cvat_io.reader import open_export
from cvat_io.shards import part_of, write_parts
from errors import InputError
from jobs.options import Mode, RunOptions
from tests.cvat_io.result_samples import BOX
from tests.helpers.clips import Clip, content, hud, masks_by_frame, tiny_clip, write_clip
from worker.local import track

FRAMES, MEGABYTE = 12, 1_000_000


def noisy_clip() -> Clip:
    """Masks of so many runs that a dozen frames of them are some megabytes."""
    noise = np.random.default_rng(0)
    maps = [noise.integers(0, 3, (700, 500)).astype(np.uint16) for _ in range(FRAMES)]
    images = [np.zeros((700, 500, 3), np.uint8)] * FRAMES
    return Clip(images, maps, {1: "object", 2: "thing"})


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export whose frames are all drawn, and our result of it."""
    folder = tmp_path_factory.mktemp("large")
    write_clip(folder / "e.zip", noisy_clip(), range(FRAMES), extra=[hud(3)])
    with zipfile.ZipFile(folder / "e.zip") as archive:
        text = archive.read("annotations.xml").decode()
        images = [(name, archive.read(name)) for name in archive.namelist()[1:]]
    with zipfile.ZipFile(folder / "e.zip", "w") as archive:
        box = BOX.replace('label="car"', 'label="object"')
        archive.writestr("annotations.xml", text.replace("</meta>", f"</meta>{box}"))
        for name, data in images:
            archive.writestr(name, data)
    track(
        folder / "e.zip",
        folder / "264_result.zip",
        options=RunOptions(engine="flow"),
        settings=Settings(ignore_labels=frozenset({"HUD"})),
    )
    return folder


def test_parts_are_valid_alone_and_together_the_result(large: Path, tmp_path: Path) -> None:
    whole = large / "264_result.zip"
    with open_export(whole, Limits()) as result:
        parts = write_parts(tmp_path / "parts", result, 3)
        expected = {s.track: content(s) for s in result.tracks() if isinstance(s, MaskShape)}
        others = [each.xml for each in result.others()]
        meta, lineage = result.meta.xml, Lineage.of(result)
    count = len(parts)
    assert count > 2
    names = [f"264_result_part{n}of{count}.zip" for n in range(1, count + 1)]
    assert sorted(each.name for each in (tmp_path / "parts").iterdir()) == sorted(names)
    assert [part.path.name for part in parts] == names
    last, found = -1, {}
    for number, part in enumerate(parts, start=1):
        assert last < part.first <= part.last
        last = part.last
        with zipfile.ZipFile(part.path) as archive:
            assert archive.namelist() == ["annotations.xml"]
            assert archive.getinfo("annotations.xml").file_size == part.bytes <= 3 * MEGABYTE
        _, forecast = foresee(part.path, large / "e.zip", Limits())
        assert forecast.fate is Fate.NOTED
        with open_export(part.path, Limits()) as opened:
            assert part_of(opened.comment) == number
            assert opened.meta.xml == meta
            assert Lineage.of(opened) == lineage
            assert [each.xml for each in opened.others()] == (others if number == 1 else [])
            masks = [s for s in opened.tracks() if isinstance(s, MaskShape)]
        assert {min(s.frame for s in masks), max(s.frame for s in masks)} == {part.first, part.last}
        assert found.keys().isdisjoint(s.track for s in masks)
        found |= {s.track: content(s) for s in masks}
    assert others
    assert found == expected
    with open_export(whole, Limits()) as result:
        again = write_parts(tmp_path / "again", result, 3)
    assert [a.path.read_bytes() for a in again] == [b.path.read_bytes() for b in parts]


def test_a_frame_is_never_split(large: Path, tmp_path: Path) -> None:
    """Also one that is larger than a part may be, which then stands alone."""
    with open_export(large / "264_result.zip", Limits()) as result:
        parts = write_parts(tmp_path / "parts", result, 1)
    assert any(part.bytes > MEGABYTE for part in parts)
    assert [(part.first, part.last) for part in parts] == [(n, n) for n in range(FRAMES)]


def test_a_result_that_needs_no_parts_is_one_that_can_be_built_on(tmp_path: Path) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(5), [0])
    settings = Settings()
    track(export, tmp_path / "r.zip", options=RunOptions(engine="flow"), settings=settings)
    with open_export(tmp_path / "r.zip", Limits()) as result:
        (part,) = write_parts(tmp_path / "parts", result, 50)
    assert part.path.name == "r_part1of1.zip"
    assert part.path.read_bytes() == (tmp_path / "r.zip").read_bytes()


def test_a_part_is_refused_in_the_place_of_the_result(large: Path, tmp_path: Path) -> None:
    with open_export(large / "264_result.zip", Limits()) as result:
        parts = write_parts(tmp_path / "parts", result, 3)
    with pytest.raises(InputError, match=r"264_result_part2of.* is part 2 of a result"):
        track(
            large / "e.zip",
            tmp_path / "r.zip",
            options=RunOptions(engine="flow", mode=Mode.RESEGMENT),
            settings=Settings(ignore_labels=frozenset({"HUD"})),
            previous=parts[1].path,
        )
    with pytest.raises(InputError, match=r"264_result_part1of.* is part 1 of a result"):
        track(
            parts[0].path,
            tmp_path / "r.zip",
            options=RunOptions(engine="flow", mode=Mode.RESEGMENT),
            settings=Settings(ignore_labels=frozenset({"HUD"})),
            previous=large / "264_result.zip",
            images=large / "e.zip",
        )


def test_the_command_lists_the_parts_and_fills_a_new_folder_only(
    large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    given = ["export", str(large / "264_result.zip"), "--format", "cvat", "--out", str(out)]
    assert cli.main([*given, "--shard-mb", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(list(out.iterdir()))
    assert said[0].startswith(f"{out}/264_result_part1of{len(said)}.zip: frames 0 to ")
    assert masks_by_frame(out / f"264_result_part1of{len(said)}.zip").keys() >= {0}
    assert cli.main([*given, "--shard-mb", "3"]) == 2
    assert "is not empty" in capsys.readouterr().err
