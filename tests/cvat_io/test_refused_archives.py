"""Whatever an archive holds: one clear sentence that says what to do, never a traceback."""

from __future__ import annotations

import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from config import Limits
from cvat_io.check import inspect, require_trackable
from tests.cvat_io.cvat_samples import FIXTURES, images, needs_fixtures, png, write_zip
from tests.cvat_io.refusals import SOUND, read_or_refused, refusal


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["annotations/instances_default.json", "images/default/frame_000000.PNG"], "COCO"),
        (["task.json", "annotations.json", "data/manifest.jsonl"], "CVAT backup"),
        (["task_1/task.json", "project.json"], "CVAT backup"),
        (["Annotations/a.xml", "JPEGImages/a.jpg"], "Pascal VOC"),
        (["labelmap.txt", "SegmentationClass/a.png"], "mask images"),
        (["obj.names", "obj_train_data/a.txt"], "YOLO"),
        (["annotations/default.json"], "JSON data set"),
        (["264/annotations.xml", "264/images/frame_000000.PNG"], "inside a folder"),
        (["readme.txt"], "no annotations.xml"),
        ([], "empty archive"),
    ],
)
def test_other_archives_are_told_apart(tmp_path: Path, names: list[str], words: str) -> None:
    path = write_zip(tmp_path / "7.zip", dict.fromkeys(names, b"{}"))
    sentence = refusal(path)
    assert words in sentence
    if "folder" not in words:
        assert 'export the task or the job as "CVAT for video 1.1"' in sentence


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "images/../../x", "a\\b.png", "C:/x", "images\\frame_000000.PNG"],
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": SOUND, name: b"x"})
    assert "outside the archive" in refusal(path)


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "7.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations.xml", SOUND)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("annotations.xml", SOUND)
    assert "more than once" in refusal(path)


def test_two_images_of_one_frame_are_refused(tmp_path: Path) -> None:
    members = {"annotations.xml": SOUND, **images(1), "images/frame_000001.png": png()}
    assert "two images for frame 1" in refusal(write_zip(tmp_path / "7.zip", members))


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "7.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations.xml", SOUND)
        link = zipfile.ZipInfo("images/frame_000001.PNG")
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "symbolic link" in refusal(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": SOUND})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path)


def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "w.zip", {"annotations.xml": SOUND, **images(1)}).read_bytes()
    path = tmp_path / "7.zip"
    for end in range(4, len(whole), 37):
        path.write_bytes(whole[:end])
        assert "fetch it again" in refusal(path)


def test_limits_of_bytes_members_and_ratio_are_kept(tmp_path: Path) -> None:
    members = {"annotations.xml": SOUND, **images(1, 2, 3)}
    path = write_zip(tmp_path / "7.zip", members)
    assert "MAX_ARCHIVE_MEMBERS" in refusal(path, Limits(archive_members=3))
    assert "MAX_ARCHIVE_BYTES" in refusal(path, Limits(archive_bytes=500))
    members["images/frame_000004.PNG"] = bytes(3_000_000)
    path = write_zip(tmp_path / "8.zip", members)
    assert "MAX_ARCHIVE_RATIO" in refusal(path)
    big = tmp_path / "export.xml"
    big.write_bytes(SOUND)
    assert "MAX_ARCHIVE_BYTES" in refusal(big, Limits(archive_bytes=100))


def test_a_directory_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    """The stated size is small, the real one large: no more is unpacked than was stated."""
    bomb = SOUND + b" " * 5_000_000
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": bomb})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<L", data, data.index(signature) + offset, len(SOUND) + 10)
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """Two entries of the directory share the same packed bytes."""
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": SOUND, "images/a": SOUND})
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\1\2")
    struct.pack_into("<L", data, second + 42, 0)
    path.write_bytes(data)
    assert "overlap" in refusal(path)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": SOUND, **images(1)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 16] ^= 0xFF
    data[data.index(b"PK\3\4") + 14] ^= 0xFF
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_images_of_another_size_or_too_large_are_refused(tmp_path: Path) -> None:
    for frame in (1, 2):
        members = {"annotations.xml": SOUND, **images(1, 2)}
        members[f"images/frame_{frame:06d}.PNG"] = png(21, 10)
        sentence = refusal(write_zip(tmp_path / "7.zip", members))
        assert "21 x 10" in sentence
        assert f"frame {frame}" in sentence
    path = write_zip(tmp_path / "8.zip", {"annotations.xml": SOUND, **images(1)})
    assert "MAX_IMAGE_PIXELS" in refusal(path, Limits(image_pixels=100))


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"no image", png()[:15], b"\xff\xd8\xff\xe0"):
        members = {"annotations.xml": SOUND, "images/frame_000001.PNG": data}
        assert "damaged or no image" in refusal(write_zip(tmp_path / "7.zip", members))


def test_images_of_other_frames_only_are_refused(tmp_path: Path) -> None:
    members = {"annotations.xml": SOUND, **images(77)}
    assert "belongs to the frames 0 to 9" in refusal(write_zip(tmp_path / "7.zip", members))


@needs_fixtures
def test_no_damage_to_an_archive_ever_gives_a_traceback(tmp_path: Path) -> None:
    whole = (FIXTURES / "airacing_264_job_masks.zip").read_bytes()
    rng = random.Random(5)
    path = tmp_path / "7.zip"
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        read_or_refused(path)


def test_an_unknown_packing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "7.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("annotations.xml", SOUND)
    assert "packed in a way" in refusal(path)


def test_a_stream_that_is_no_deflate_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "7.zip", {"annotations.xml": SOUND})
    data = bytearray(path.read_bytes())
    start = data.index(b"annotations.xml") + len("annotations.xml")
    data[start : start + 20] = os.urandom(1) + b"\xff" * 19
    assert zlib.crc32(data)
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_an_image_far_larger_than_its_pixels_is_refused(tmp_path: Path) -> None:
    """A sound PNG of 20 x 10 pixels, and behind it what would fill the memory."""
    bomb = png() + os.urandom(2**17) + bytes(18 * 2**20)
    members = images(*range(10)) | {"images/frame_000002.PNG": bomb}
    path = write_zip(tmp_path / "big.zip", {"annotations.xml": SOUND} | members)
    sentence = refusal(path)
    assert "images/frame_000002.PNG" in sentence
    assert "20 x 10 pixels" in sentence
    assert str(len(bomb)) in sentence


def test_an_image_with_much_beside_its_pixels_is_taken(tmp_path: Path) -> None:
    members = images(*range(10)) | {"images/frame_000002.PNG": png() + os.urandom(2**20)}
    require_trackable(
        inspect(write_zip(tmp_path / "a.zip", {"annotations.xml": SOUND} | members), Limits())
    )
