"""Whatever stands in the way of writing is said in one sentence, and nothing is left behind."""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config import Limits
from cvat_io.atomic import filling, replacing, require_writable
from cvat_io.coco import write_coco
from cvat_io.export_pair import require_fits
from cvat_io.overlay import write_overlay
from cvat_io.pngs import write_masks
from cvat_io.reader import Export, open_export
from errors import MAX_SENTENCE, InputError
from tests.cvat_io.cvat_samples import document, images, job, mask, png, track, write_zip

NOISE = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)


def overlay(out: Path, result: Export, _images: Export) -> None:
    write_overlay(out, result, ((frame, NOISE) for frame in result.meta.frames))


WRITERS = [
    pytest.param(write_coco, "x.zip", id="coco"),
    pytest.param(write_coco, "x.json", id="coco-json"),
    pytest.param(write_masks, "x.zip", id="masks"),
    pytest.param(write_masks, "x", id="masks-folder"),
    pytest.param(overlay, "x.mp4", id="overlay"),
]
Writer = Callable[[Path, Export, Export], None]


@contextmanager
def clip(folder: Path) -> Iterator[Export]:
    """An export of ten frames of 640 x 640 pixels with noisy masks."""
    size = "<original_size><width>640</width><height>640</height></original_size>"
    runs = np.random.default_rng(0).integers(1, 5, 8_000).tolist()
    noise = ", ".join(map(str, [*runs, 160 * 160 - sum(runs)]))
    masks = [track(mask(n, rle=noise, left=0, top=0, width=160, height=160), n) for n in range(10)]
    path = folder / "export.xml"
    path.write_bytes(document(job(size=size), *masks))
    with open_export(path, Limits()) as export:
        yield export


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_a_missing_folder_is_named(tmp_path: Path, write: Writer, name: str) -> None:
    with clip(tmp_path) as export, pytest.raises(InputError, match=r"no folder .*missing"):
        write(tmp_path / "missing" / name, export, export)
    assert listing(tmp_path) == ["export.xml"]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_a_folder_that_is_in_use_is_no_place_to_write_to(
    tmp_path: Path, write: Writer, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with clip(tmp_path) as export, pytest.raises(InputError, match=r"is a folder|is not empty"):
        write(tmp_path / name, export, export)
    assert listing(tmp_path) == sorted(["export.xml", name, f"{name}/mine"])


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize("size", [10, 1_000])
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, write: Writer, name: str, size: int
) -> None:
    with (
        clip(tmp_path) as export,
        pytest.raises(InputError, match=r"x.* cannot be written \(File too large\)"),
        full_disk(size),
    ):
        write(tmp_path / name, export, export)
    assert listing(tmp_path) == ["export.xml"]


def test_mask_images_go_into_an_empty_folder_too(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    with clip(tmp_path) as export:
        write_masks(tmp_path / "masks", export, export)
    assert len(list((tmp_path / "masks").iterdir())) == 11


def test_a_folder_is_not_there_before_all_its_files_are(tmp_path: Path) -> None:
    with filling(tmp_path / "new") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "new").exists()
        assert folder.name.startswith(".")
    assert listing(tmp_path) == ["new", "new/a"]
    with pytest.raises(InputError, match="is no folder"), filling(tmp_path / "new" / "a"):
        pass


def test_whatever_cannot_be_written_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to_folder").symlink_to(tmp_path / "folder")
    (tmp_path / "to_nowhere").symlink_to(tmp_path / "missing" / "file")
    with socket.socket(socket.AF_UNIX) as door:
        place = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may have about 100 characters
        try:
            door.bind("socket")
        finally:
            os.chdir(place)
    before = listing(tmp_path)
    for target, words in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "to_folder", "is a folder"),
        (tmp_path / "fifo", "device, a pipe or a socket"),
        (tmp_path / "socket", "device, a pipe or a socket"),
        (Path("/dev/null"), "device, a pipe or a socket"),
        (Path("/"), "is a folder"),
        (tmp_path / "missing" / "x.zip", r"no folder .*missing"),
        (tmp_path / "to_nowhere", r"no folder .*missing"),
        (tmp_path / "file" / "x.zip", r"x\.zip cannot be written \(Not a directory\)"),
        (tmp_path / "loop", "loop cannot be written"),
        (tmp_path / ("n" * 256), r"cannot be written \(File name too long\)"),
        (Path("/proc/x.zip"), r"x\.zip cannot be written"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            require_writable(target)
        assert len(str(caught.value)) < MAX_SENTENCE
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["n" * 251 + ".zip", "a." + "b" * 253, "é" * 127, ".zip"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    assert require_writable(tmp_path / name) == tmp_path.resolve() / name
    assert listing(tmp_path) == []
    with replacing(tmp_path / name) as file:
        file.write(b"x")
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".")
        assert len(temporary.name) < 80
    assert (tmp_path / name).read_bytes() == b"x"


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, real = tmp_path / "link.zip", tmp_path / "elsewhere" / "real.zip"
    link.symlink_to(real)
    assert require_writable(link) == real.resolve()
    with replacing(link) as file:
        file.write(b"x")
    assert link.is_symlink()
    assert real.read_bytes() == b"x"


NAMES = ["cam1/a_01.jpg", "cam1/a_02.jpg", "cam2/é_01.jpg"]


def image_list(folder: Path, *, sizes: tuple[int, ...] = (20, 20, 20)) -> tuple[Path, Path]:
    """A result and the export of a task of three images: no head says their size."""
    text = document(job(0, 2, mode="annotation", size=""), track(mask(1)))
    members = {f"images/{name}": png(width) for name, width in zip(NAMES, sizes, strict=True)}
    return (
        write_zip(folder / "result.zip", {"annotations.xml": text}),
        write_zip(folder / "export.zip", {"annotations.xml": text} | members),
    )


def test_results_of_image_lists_become_coco_under_the_images_own_names(tmp_path: Path) -> None:
    paths = image_list(tmp_path)
    with open_export(paths[0], Limits()) as result, open_export(paths[1], Limits()) as export:
        write_coco(tmp_path / "coco.zip", result, export)
    with zipfile.ZipFile(tmp_path / "coco.zip") as archive:
        coco = json.loads(archive.read("annotations/instances_default.json"))
    assert [each["file_name"] for each in coco["images"]] == NAMES
    assert {(each["width"], each["height"]) for each in coco["images"]} == {(20, 10)}
    assert [each["image_id"] for each in coco["annotations"]] == [2]
    assert coco["annotations"][0]["segmentation"]["size"] == [10, 20]


def test_results_of_image_lists_become_mask_images(tmp_path: Path) -> None:
    paths = image_list(tmp_path)
    with open_export(paths[0], Limits()) as result, open_export(paths[1], Limits()) as export:
        write_masks(tmp_path / "masks.zip", result, export)
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        picture = Image.open(io.BytesIO(archive.read("frame_000001.png")))
    assert picture.size == (20, 10)
    assert np.asarray(picture).sum() == 2


def test_a_mask_outside_the_images_is_refused_once_their_size_is_known(tmp_path: Path) -> None:
    text = document(job(0, 2, mode="annotation", size=""), track(mask(1, left=17)))
    result = write_zip(tmp_path / "far.zip", {"annotations.xml": text})
    _, export = image_list(tmp_path)
    with (
        open_export(result, Limits()) as opened,
        open_export(export, Limits()) as images_of,
        pytest.raises(InputError, match=r"mask on frame 1 .* not inside the frame of 20 x 10"),
    ):
        write_masks(tmp_path / "masks.zip", opened, images_of)
    assert not (tmp_path / "masks.zip").exists()


def unfit(result: Path, export: Path) -> str:
    with open_export(result, Limits()) as first, open_export(export, Limits()) as second:
        with pytest.raises(InputError) as caught:
            require_fits(first, second)
        with pytest.raises(InputError):
            write_coco(result.with_name("out.zip"), first, second)
        with pytest.raises(InputError):
            write_masks(result.with_name("out.zip"), first, second)
    return str(caught.value)


def test_archives_of_two_jobs_are_refused(tmp_path: Path) -> None:
    large = "<original_size><width>30</width><height>10</height></original_size>"

    def export(name: str, *parts: str) -> Path:
        members = {"annotations.xml": document(*parts)} | images(0, 3)
        return write_zip(tmp_path / name, members)

    ours = export("ours.zip", job(0, 9), track(mask(0)))
    shorter = export("shorter.zip", job(0, 8))
    stepped = export("stepped.zip", job(0, 9, "step=3"))
    larger = export("larger.zip", job(0, 9, size=large))
    of_images = image_list(tmp_path)[1]
    assert "ours.zip has 10 frames of a video (0 to 9)" in unfit(ours, shorter)
    assert "9 frames of a video (0 to 8)" in unfit(ours, shorter)
    assert "4 frames of a video (0 to 9 in steps of 3)" in unfit(ours, stepped)
    assert "20x10 pixels" in unfit(ours, larger)
    assert "30x10" in unfit(ours, larger)
    assert "3 images" in unfit(ours, of_images)
    with open_export(ours, Limits()) as first, open_export(ours, Limits()) as second:
        require_fits(first, second)


def test_an_image_list_without_images_or_of_several_sizes_is_refused(tmp_path: Path) -> None:
    result, export = image_list(tmp_path, sizes=(20, 20, 21))
    assert "has no images" in unfit(result, result)
    assert 'the image "images/cam2/é_01.jpg" of export.zip has 21x10' in unfit(result, export)
