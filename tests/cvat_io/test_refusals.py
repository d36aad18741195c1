"""Whatever an XML file holds: one clear sentence that says where and what to do, no traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cvat_io.cvat_samples import LABELS, document, job, mask, track, write_zip
from tests.cvat_io.refusals import SOUND, read_or_refused, refusal, refused_xml


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


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(tmp_path / "none.zip")
    assert "cannot be opened" in refusal(tmp_path)


def test_no_masks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert "draw masks" in refused_xml(tmp_path, document(job()))


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
