"""Promise: a component is saved as the very masks that are shown, whole or not at all.

One 0/255 picture for every frame of the range, named by its place; one combined picture in which
every component has its index; nothing is written beside RESULTS_PATH.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from config import Settings
from cvat_io.masks import encode, format_rle
from errors import ConflictError, InputError, NotFoundError
from jobs.service import Jobs
from tests.helpers.sequences import HEIGHT, WIDTH, image_bytes, make_folder, settled

COUNT = 6


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        downloads_path=tmp_path / "downloads",
        sequences_path=tmp_path / "sequences",
        results_path=tmp_path / "results",
    )


def square(x: int, y: int, side: int = 10) -> NDArray[np.bool_]:
    pixels = np.zeros((HEIGHT, WIDTH), np.bool_)
    pixels[y : y + side, x : x + side] = True
    return pixels


def draw(jobs: Jobs, frame: int, masks: dict[int, NDArray[np.bool_]]) -> None:
    """Draw as a person does."""
    entries: list[dict[str, Any]] = []
    for number, pixels in masks.items():
        mask = encode(pixels)
        assert mask is not None
        box = [mask.left, mask.top, mask.width, mask.height]
        entries.append({"object": number, "box": box, "runs": format_rle(mask.runs), "under": True})
    jobs.sessions.edit("_hand", frame, entries)


@pytest.fixture
def drawn(jobs: Jobs, settings: Settings) -> Jobs:
    """A sequence of six frames: object 1 on frames 1 to 4, object 2 on 2 and 3; they touch."""
    make_folder(settings.sequences_path / "hand", COUNT)
    jobs.sequences.open("hand")
    settled(jobs.sequences, "hand")
    for name in ("left", "right"):
        jobs.sessions.on_objects("_hand", "add", "", name)
    for frame in range(1, 5):
        masks = {1: square(4 + frame, 8)}
        if frame in (2, 3):
            masks[2] = square(30, 20)
        draw(jobs, frame, masks)
    jobs.sessions.accept("_hand", None)
    return jobs


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.mode in ("L", "P")
        return np.asarray(image)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_frame_has_its_picture_with_0_and_255(drawn: Jobs, settings: Settings) -> None:
    saved = drawn.components.save("_hand", "left", 1)
    folder = settings.results_path / "hand" / "left"
    assert (saved.folder, saved.frames, saved.empty) == (str(folder), COUNT, 2)
    assert sorted(path.name for path in folder.iterdir()) == [f"{n:05d}.png" for n in range(COUNT)]
    for frame in range(COUNT):
        expected = square(4 + frame, 8) if 1 <= frame <= 4 else np.zeros((HEIGHT, WIDTH))
        assert np.array_equal(pixels_of(folder / f"{frame:05d}.png"), expected * 255)


def test_only_the_range_is_saved_and_numbered_by_place_in_the_sequence(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "left", 1)
    drawn.components.save("_hand", "left", 1, 2, 4)
    folder = settings.results_path / "hand"
    names = ["00002.png", "00003.png", "00004.png"]
    assert sorted(path.name for path in (folder / "left").iterdir()) == names
    assert sorted(path.name for path in (folder / "combined").iterdir()) == names


def test_the_combined_picture_has_an_index_for_each_component(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "right", 2, 2, 3)
    drawn.components.save("_hand", "left", 1, 1, 3)
    folder = settings.results_path / "hand"
    told = json.loads((folder / "components.json").read_text())
    assert told["combined"] == {"0": "background", "1": "right", "2": "left"}
    assert [each["component"] for each in told["components"]] == ["right", "left"]
    for frame in (1, 2, 3):
        with Image.open(folder / "combined" / f"{frame:05d}.png") as image:
            assert image.mode == "P"
            palette = np.array(image.getpalette()[:9]).reshape(3, 3)
        assert palette[0].tolist() == [0, 0, 0]
        assert len({tuple(colour) for colour in palette.tolist()}) == 3
        expected = square(4 + frame, 8) * 2
        if frame > 1:
            expected = np.where(expected, expected, square(30, 20) * 1)
        assert np.array_equal(pixels_of(folder / "combined" / f"{frame:05d}.png"), expected)


def test_where_two_overlap_the_one_saved_later_is_seen_and_both_are_whole(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "first", 1)
    drawn.components.save("_hand", "second", 1)
    folder = settings.results_path / "hand"
    assert set(np.unique(pixels_of(folder / "combined" / "00002.png"))) == {0, 2}
    assert (folder / "first/00002.png").read_bytes() == (folder / "second/00002.png").read_bytes()


def test_saving_again_gives_the_same_bytes_and_keeps_the_index(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "left", 1)
    drawn.components.save("_hand", "right", 2)
    folder = settings.results_path / "hand"
    before = tree(folder)
    assert drawn.components.save("_hand", "left", 1).component.index == 1
    after = tree(folder)
    before.pop("components.json")
    after.pop("components.json")
    assert after == before


def test_reset_takes_one_component_away_and_leaves_the_others(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "left", 1)
    drawn.components.save("_hand", "right", 2)
    folder = settings.results_path / "hand"
    right = tree(folder / "right")
    left = drawn.components.reset("_hand", "left")
    assert [(each.component, each.index) for each in left.components] == [("right", 1)]
    assert not (folder / "left").exists()
    assert tree(folder / "right") == right
    assert set(np.unique(pixels_of(folder / "combined" / "00002.png"))) == {0, 1}
    with pytest.raises(NotFoundError):
        drawn.components.reset("_hand", "left")
    drawn.components.reset("_hand", "right")
    assert not (folder / "combined").exists()
    assert drawn.components.listed("_hand").components == ()


def test_a_name_that_no_folder_may_have_writes_nothing(drawn: Jobs, settings: Settings) -> None:
    for name in (
        "", "..", "../x", "a/b", "a\\b", ".hidden", "combined", "Combined", "components.json",
        "a\n", " a", "a ", "a.", "_a", "CON", "nul.txt", "x" * 65, "a\0", "\ud800",
    ):  # fmt: skip
        with pytest.raises(InputError, match="no name for a component"):
            drawn.components.save("_hand", name, 1)
    assert not settings.results_path.exists()


def test_names_of_people_are_taken_in_their_own_letters(drawn: Jobs, settings: Settings) -> None:
    drawn.components.save("_hand", "rechte Hand 2", 1)
    drawn.components.save("_hand", "左手", 2)
    names = {path.name for path in (settings.results_path / "hand").iterdir() if path.is_dir()}
    assert names == {"rechte Hand 2", "左手", "combined"}


def test_what_is_saved_stays_where_a_saving_is_refused(drawn: Jobs, settings: Settings) -> None:
    drawn.components.save("_hand", "left", 1)
    before = tree(settings.results_path)
    for arguments, words in (
        (("left", 7), "Object 7 has no mask"),
        (("left", 2, 4, 5), "Object 2 has no mask on frames 4 to 5"),
        (("left", 1, 4, 2), "Frames 4 to 2"),
        (("left", 1, 0, COUNT), "Frames 0 to 6"),
        (("LEFT", 1), 'component "left" already'),
    ):
        with pytest.raises(InputError, match=words):
            drawn.components.save("_hand", *arguments)
    with pytest.raises(NotFoundError):
        drawn.components.save("_hand", "left", 1, layer="run-99")
    assert tree(settings.results_path) == before


def test_a_crash_between_two_renames_loses_nothing(drawn: Jobs, settings: Settings) -> None:
    drawn.components.save("_hand", "left", 1)
    folder = settings.results_path / "hand"
    before = tree(folder / "left")
    (folder / "left").rename(folder / ".old-left")
    (folder / ".new-left").mkdir()
    (folder / ".new-left" / "00000.png").write_bytes(b"half")
    drawn.components.save("_hand", "left", 1)
    assert tree(folder / "left") == before
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "combined", "components.json", "left",
    ]  # fmt: skip


# Another server, which dies at the given call of the given module.
_DIES = """
import importlib, os, sys
from pathlib import Path
from config import Settings
from jobs.service import Jobs
home, module, name, verb, *arguments = sys.argv[1:]
home = Path(home)
jobs = Jobs(Settings(
    data_dir=home / "data", downloads_path=home / "downloads", sequences_path=home / "sequences",
    results_path=home / "results",
))
owner = importlib.import_module(module)
*path, last = name.split(".")
for each in path:
    owner = getattr(owner, each)
setattr(owner, last, lambda *_: os._exit(9))
getattr(jobs.components, verb)("_hand", *arguments, *([1] if verb == "save" else []))
"""


def die(settings: Settings, at: str, verb: str, component: str) -> None:
    module, _, name = at.partition(":")
    command = [str(settings.data_dir.parent), module, name, verb, component]
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", _DIES, *command], cwd=root).returncode == 9


@pytest.mark.parametrize(
    "at",
    [
        "cvat_io.component_pngs:_put",  # the files are being written
        "jobs.components:Components._finish",  # they are there, and components.json is not
        "jobs.components:write_combined",
    ],
)
def test_a_crash_while_the_first_component_is_saved_does_not_stand_in_the_way(
    drawn: Jobs, settings: Settings, at: str
) -> None:
    die(settings, at, "save", "left")
    drawn.components.save("_hand", "right", 2)
    drawn.components.save("_hand", "left", 1)
    assert sorted(path.name for path in (settings.results_path / "hand").iterdir()) == [
        ".lock", "combined", "components.json", "left", "right",
    ]  # fmt: skip
    assert len(tree(settings.results_path / "hand")) == 2 + 3 * COUNT


@pytest.mark.parametrize("at", ["jobs.components:write_combined", "jobs.components:remove_folder"])
def test_a_crash_while_a_component_is_reset_does_not_stand_in_the_way(
    drawn: Jobs, settings: Settings, at: str
) -> None:
    drawn.components.save("_hand", "left", 1)
    die(settings, at, "reset", "left")
    assert drawn.components.listed("_hand").components == ()
    drawn.components.save("_hand", "right", 2)
    names = {path.name for path in (settings.results_path / "hand").iterdir()}
    assert names == {".lock", "combined", "components.json", "right"}


def test_what_a_crash_left_goes_only_as_long_as_it_holds_nothing_of_somebody_else(
    drawn: Jobs, settings: Settings
) -> None:
    die(settings, "jobs.components:Components._finish", "save", "left")
    mine = settings.results_path / "hand" / "left" / "notes.txt"
    mine.write_text("the work of last week")
    with pytest.raises(ConflictError, match="hand/left in RESULTS_PATH was not saved from here"):
        drawn.components.save("_hand", "left", 1)
    assert mine.read_text() == "the work of last week"


def test_a_component_whose_renaming_broke_off_is_whole_for_whoever_saves_another(
    drawn: Jobs, settings: Settings
) -> None:
    drawn.components.save("_hand", "left", 1)
    folder = settings.results_path / "hand"
    before = tree(folder / "left")
    (folder / "left").rename(folder / ".old-left")
    drawn.components.save("_hand", "right", 2)
    assert tree(folder / "left") == before
    assert 1 in np.unique(pixels_of(folder / "combined" / "00002.png"))


def test_components_of_another_size_are_not_mixed(drawn: Jobs, settings: Settings) -> None:
    drawn.components.save("_hand", "left", 1)
    manifest = settings.results_path / "hand" / "components.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "width": 10, "height": 20}))
    with pytest.raises(ConflictError, match="10 x 20"):
        drawn.components.save("_hand", "right", 2)
    assert drawn.components.save("_hand", "left", 1).frames == COUNT  # it replaces all there is


def test_a_picture_that_was_changed_by_hand_is_named(drawn: Jobs, settings: Settings) -> None:
    drawn.components.save("_hand", "left", 1)
    (settings.results_path / "hand" / "left" / "00003.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"left/00003\.png is not as it was saved"):
        drawn.components.save("_hand", "right", 2)
    drawn.components.save("_hand", "left", 1)
    drawn.components.save("_hand", "right", 2)


def test_jobs_of_cvat_have_no_components(jobs: Jobs, export: Path) -> None:
    with export.open("rb") as stream:
        jobs.receive(export.name, stream)
    with pytest.raises(ConflictError, match="no sequence"):
        jobs.components.save("264", "left", 1)
    with pytest.raises(NotFoundError):
        jobs.components.listed("none")


def test_a_folder_that_somebody_else_put_there_is_never_replaced(
    drawn: Jobs, settings: Settings
) -> None:
    mine = settings.results_path / "hand" / "left" / "00000.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"the work of last week")
    with pytest.raises(ConflictError, match="hand/left in RESULTS_PATH was not saved from here"):
        drawn.components.save("_hand", "left", 1)
    assert mine.read_bytes() == b"the work of last week"
    drawn.components.save("_hand", "right", 1)


def test_masks_of_frames_that_are_gone_are_refused_and_a_reset_begins_with_the_new_ones(
    drawn: Jobs, settings: Settings
) -> None:
    for number in range(COUNT):
        small = image_bytes(number, width=12, height=12)
        (settings.sequences_path / "hand" / f"{number + 1}.png").write_bytes(small)
    drawn.sequences.open("hand")
    settled(drawn.sequences, "hand")
    with pytest.raises(ConflictError, match="frames of another size than 12 x 12"):
        drawn.components.save("_hand", "left", 1)
    assert drawn.components.listed("_hand").components == ()
    with pytest.raises(ConflictError, match="changed on disk since masks of it were accepted"):
        drawn.sequences.drawn.keep("_hand")
    assert "reset the session" in drawn.sessions.view("_hand").stale
    drawn.sessions.reset("_hand")
    view = drawn.sessions.view("_hand")
    assert (view.stale, view.key_frames) == ("", ())
    drawn.sessions.on_objects("_hand", "add", "", "left")
    drawn.sessions.edit("_hand", 0, [{"object": 1, "box": [0, 0, 12, 12], "runs": "0,144"}])
    assert drawn.components.save("_hand", "left", 1, layer="session").frames == COUNT
