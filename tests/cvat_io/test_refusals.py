"""Whatever the bytes are: one clear sentence that says where and what to do, never a traceback."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from config import Limits
from cvat_io.check import inspect, require_trackable
from errors import MAX_SENTENCE, InputError
from tests.cvat_io.cvat_samples import (
    FIXTURES,
    LABELS,
    document,
    images,
    job,
    mask,
    needs_fixtures,
    png,
    track,
    write_zip,
)


def refusal(path: Path, limits: Limits | None = None) -> str:
    """The sentence with which a file is refused, from opening to the last check."""
    with pytest.raises(InputError) as caught:
        require_trackable(inspect(path, limits or Limits()))
    sentence = str(caught.value)
    assert len(sentence) <= MAX_SENTENCE
    assert sentence.isprintable()
    return sentence


def read_or_refused(path: Path) -> None:
    """Anything but InputError fails the test."""
    with contextlib.suppress(InputError):
        inspect(path, Limits())


def refused_xml(folder: Path, data: bytes) -> str:
    path = folder / "export.xml"
    path.write_bytes(data)
    return refusal(path)


SOUND = document(job(), track(mask(1)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (mask(3, rle="1, 2"), ["frame 3", "track 12", "add up to 3"]),
        (mask(3, rle="1, -2, 9"), ["frame 3", "track 12", "negative"]),
        (mask(3, rle="1, NaN, 5"), ["frame 3", "track 12", "NaN"]),
        (mask(3, rle="1.0, 2, 5"), ["frame 3", "track 12", "1.0"]),
        (mask(3, rle=""), ["frame 3", "track 12", "no whole number"]),
        (mask(3, rle=None), ["frame 3", "track 12", '"rle"']),
        (mask(3, left=None), ["frame 3", "track 12", '"left"']),
        (mask(3, z_order=None), ["frame 3", "track 12", '"z_order"']),
        (mask(3, keyframe=None), ["frame 3", "track 12", '"keyframe"']),
        (mask(3, outside=None), ["frame 3", "track 12", '"outside"']),
        (mask(3, occluded=None), ["frame 3", "track 12", '"occluded"']),
        (mask(None), ["track 12", '"frame"']),
        (mask("x"), ["track 12", '"x"']),
        (mask(3, width="4.5"), ["frame 3", "track 12", '"width"']),
        (mask(3, left=17), ["frame 3", "track 12", "not inside the frame of 20 x 10"]),
        (mask(3, top=-1), ["frame 3", "track 12", "not inside"]),
        (mask(3, width=0), ["frame 3", "track 12", "not inside"]),
        (mask(10), ["track 12", "frame 10", "0 to 9"]),
        (mask(-1), ["track 12", "frame -1"]),
        ('<box frame="77" keyframe="1" outside="0"></box>', ["track 12", "frame 77"]),
    ],
)
def test_an_unsound_shape_is_named_by_frame_and_track(
    tmp_path: Path, shape: str, words: list[str]
) -> None:
    sentence = refused_xml(tmp_path, document(job(), track(mask(1)), track(shape, 12)))
    assert all(word.lower() in sentence.lower() for word in words), sentence


def test_a_frame_off_the_step_is_refused(tmp_path: Path) -> None:
    meta = job(10, 34, "step=3")
    assert "step 3" in refused_xml(tmp_path, document(meta, track(mask(11))))


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    assert '"dog"' in refused_xml(tmp_path, document(job(), track(mask(1), label="dog")))
    assert '"label"' in refused_xml(tmp_path, document(job(), track(mask(1), label=None)))


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (job().replace("job>", "project>"), "export the task or the job"),
        (job().replace("job>", "thing>"), "neither a task nor a job"),
        (job(start=5, stop=4), "cannot be"),
        (job(stop=999_999_999), "cannot be"),
        (job(frame_filter="every third"), "every third"),
        (job(frame_filter="step=0"), "step=0"),
        (job().replace("<stop_frame>9", "<stop_frame>x"), "stop_frame"),
        (job(size="<original_size><width>0</width><height>9</height></original_size>"), "0 x 9"),
        (job(labels="<labels><label></label></labels>"), "label without a name"),
        ("", "no head"),
    ],
)
def test_an_unsound_head_is_refused(tmp_path: Path, meta: str, words: str) -> None:
    assert words in refused_xml(tmp_path, document(meta, track(mask(1))))


def test_a_head_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    filler = "<x>" + "a" * 1_000_000 + "</x>"
    sentence = refused_xml(tmp_path, document(job(extra=filler * 18)))
    assert "16 MiB" in sentence


@pytest.mark.parametrize("mode", ["interpolation", "annotation"])
def test_the_images_format_is_known_by_its_elements_not_by_its_mode(
    tmp_path: Path, mode: str
) -> None:
    data = document(job(mode=mode), '<image id="0" name="a.png"></image>')
    assert 'export again as "CVAT for video 1.1"' in refused_xml(tmp_path, data)
    mixed = document(job(mode=mode), track(mask(1)), '<image id="0" name="a.png"></image>')
    assert 'export again as "CVAT for video 1.1"' in refused_xml(tmp_path, mixed)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(10))
    + "]>"
)
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "data",
    [
        document(job(), track(mask(1), number="&k;"), head=BOMB),
        document(job(), "<x>&k;</x>", track(mask(1)), head=BOMB),
        document(job(), "<x>&x;</x>", head=EXTERNAL),
        document(job(), head='<?xml version="1.0"?><!DOCTYPE annotations SYSTEM "http://x/y.dtd">'),
        document(job(), head="<!DOCTYPE annotations>"),
        document(job(), "<x>&unknown;</x>"),
    ],
)
def test_entities_and_document_types_are_refused(tmp_path: Path, data: bytes) -> None:
    sentence = refused_xml(tmp_path, data)
    assert "document type" in sentence or "XML" in sentence
    assert "root:" not in sentence


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<",
        b"<annotations>",
        SOUND[:-20],
        SOUND.replace(b"</meta>", b"</mata>"),
        SOUND.replace(b"car", b"c\xffr"),
        SOUND.replace(b"utf-8", b"klingon"),
        b"<html></html>",
        b"\x89PNG\r\n\x1a\n",
        b"hello",
        b"<annotations>" + b"<a>" * 400,
        "<a>".encode("utf-16"),
        SOUND.replace(b"rle=", b'rle="1" rle='),
    ],
)
def test_bad_xml_and_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    assert refused_xml(tmp_path, data)


def test_control_characters_of_a_file_never_reach_the_sentence(tmp_path: Path) -> None:
    name = "a\x1b[31m\u202eb\nc"
    label = "d\u202eog&#10;x"
    assert "\u202e" not in refused_xml(tmp_path, document(job(), track(mask(1), label=label)))
    path = write_zip(tmp_path / "7.zip", {f"../{name}": b"", "annotations.xml": SOUND})
    assert "\x1b" not in refusal(path)


def test_a_project_export_says_to_export_the_task(tmp_path: Path) -> None:
    members = {"annotations.xml": document(job().replace("job>", "project>"))}
    assert "export the task or the job" in refusal(write_zip(tmp_path / "p.zip", members))


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


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / "none.zip")
    assert "cannot be opened" in refusal(tmp_path)


def test_no_masks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "draw masks" in refused_xml(tmp_path, document(job()))


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


def test_no_damage_to_xml_ever_gives_a_traceback(tmp_path: Path) -> None:
    sample = document(job(labels=LABELS), track(mask(1) + mask(2, outside=1)), track(mask(3), 1))
    rng = random.Random(6)
    path = tmp_path / "export.xml"
    pieces = [b"<", b">", b'"', b"&", b"\0", b"-", b"9" * 30, b"]]>", b"<!--", b"\xc3"]
    for _ in range(500):
        data = bytearray(sample)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 4)] = rng.choice(pieces)
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
