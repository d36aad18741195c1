"""Promise: an archive made to do harm is refused with one sentence at every door, and does none."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cvat_io.cvat_samples import write_zip
from tests.hostile import zips
from tests.hostile.conftest import House, Refuse
from tests.hostile.zips import MEMBERS, SOUND, patched, plus

CENTRAL, LOCAL = b"PK\1\2", b"PK\3\4"
BIG = SOUND + b" " * 5_000_000
STRANGE = "../\u202egnp.<b>\x1b[2J\n.exe"


def flag(bits: int) -> Callable[[Path], Path]:
    """Set flags in the first member's two headers."""
    new = struct.pack("<H", bits)
    return lambda path: patched(path, (LOCAL, 6, new), (CENTRAL, 8, new))


def size(place: bytes, offset: int, number: int, *, last: bool = False) -> Callable[[Path], Path]:
    """Overwrite a size in a header."""
    return lambda path: patched(path, (place, offset, struct.pack("<L", number)), last=last)


def understated(path: Path) -> Path:
    """Both headers state fewer bytes than there are."""
    data = bytearray(write_zip(path, {"annotations.xml": BIG}).read_bytes())
    for signature, offset in ((LOCAL, 22), (CENTRAL, 24)):
        struct.pack_into("<L", data, data.index(signature) + offset, len(SOUND) + 10)
    path.write_bytes(data)
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "slip: above": (lambda p: plus(p, "../x"), "outside the archive"),
    "slip: above, deeper": (lambda p: plus(p, "images/../../../x"), "outside the archive"),
    "slip: absolute": (lambda p: plus(p, "/tmp/x"), "outside the archive"),
    "slip: backslashes": (lambda p: plus(p, "..\\..\\x"), "outside the archive"),
    "slip: a drive": (lambda p: plus(p, "C:/x"), "outside the archive"),
    "slip: a share": (lambda p: plus(p, "\\\\host\\x"), "outside the archive"),
    "slip: strange characters": (lambda p: plus(p, STRANGE), "outside the archive"),
    "slip: NUL": (
        lambda p: zips.rewritten(p, lambda d: d.replace(b"_000009.PNG", b"_\x0000009.PNG")),
        "outside the archive",
    ),
    "link: symbolic": (lambda p: zips.with_entry(p, kind=0o120777), "symbolic link"),
    "link: a pipe": (lambda p: zips.with_entry(p, kind=0o010644), "no plain file"),
    "link: a device": (lambda p: zips.with_entry(p, kind=0o020644), "no plain file"),
    "link: annotations.xml": (
        lambda p: zips.patched(p, (CENTRAL, 38, struct.pack("<L", 0o120777 << 16))),
        "symbolic link",
    ),
    "bomb: one file": (lambda p: zips.bomb(p, files=1, size=2**26), "MAX_ARCHIVE_RATIO"),
    "bomb: many files": (lambda p: zips.bomb(p, files=99, size=2**20), "MAX_ARCHIVE_RATIO"),
    "bomb: nested": (lambda p: zips.nested(p, 3, alone=True), "no annotations.xml"),
    "bomb: quoted overlap": (
        lambda p: zips.quoted_overlap(p, 500, SOUND + b" " * 400_000),
        "overlap",
    ),
    "bomb: shared bytes": (size(CENTRAL, 42, 0, last=True), "overlap"),
    "bomb: over the directory": (size(CENTRAL, 20, 2**20, last=True), "overlap"),
    "count: 200,001": (lambda p: zips.count_bomb(p, 200_001, stated=200_001), "200001 files"),
    "count: hidden": (lambda p: zips.count_bomb(p, 200_001, stated=1), "200001 files"),
    "count: only stated": (lambda p: zips.count_bomb(p, 1, stated=2**40), "MAX_ARCHIVE_MEMBERS"),
    "zip64: two records": (zips.zip64_elsewhere, "no whole zip archive"),
    "zip64: 2^63 bytes": (zips.zip64_huge, "MAX_ARCHIVE_BYTES"),
    "size: too small": (understated, "damaged"),
    "size: packed too small": (size(CENTRAL, 20, 10), "damaged"),
    "size: packed too large": (size(CENTRAL, 20, 5000), "overlap"),
    "size: 4 GiB": (size(CENTRAL, 24, 2**32 - 2), "MAX_ARCHIVE_RATIO"),
    "local header: another name": (
        lambda p: patched(p, (LOCAL, 30, b"annotationz")),
        "damaged",
    ),
    "local header: elsewhere": (size(CENTRAL, 42, 2), "overlap"),
    "twice: same name": (lambda p: zips.twice(p, "annotations.xml"), "more than once"),
    "twice: ./": (lambda p: zips.twice(p, "./annotations.xml"), "more than once"),
    "twice: //": (lambda p: zips.twice(p, "images//frame_000001.PNG"), "more than once"),
    "twice: letter case": (lambda p: zips.twice(p, "Annotations.XML"), "holds both"),
    "twice: image's letter case": (
        lambda p: zips.twice(p, "images/frame_000001.png"),
        "two images for frame 1",
    ),
    "encrypted": (flag(1), "encrypted"),
    "encrypted strongly": (flag(0x41), "encrypted"),
    "encrypted: not stated in full": (flag(0x40), "damaged"),
    "patched data": (flag(0x20), "damaged"),
    "packed by LZMA": (
        lambda p: patched(p, (CENTRAL, 10, struct.pack("<H", 14))),
        "packed in a way",
    ),
    "packed by AES": (
        lambda p: patched(p, (CENTRAL, 10, struct.pack("<H", 99))),
        "packed in a way",
    ),
    "needs another version": (
        lambda p: patched(p, (CENTRAL, 6, struct.pack("<H", 64))),
        "no whole zip archive",
    ),
    "name is no UTF-8": (
        lambda p: patched(p, (CENTRAL, 8, struct.pack("<H", 0x800)), (CENTRAL, 46, b"\xff")),
        "no whole zip archive",
    ),
    "checksum": (lambda p: patched(p, (CENTRAL, 16, b"abcd"), (LOCAL, 14, b"abcd")), "damaged"),
    "comment: an end record in it": (
        lambda p: zips.with_comment(p, b"PK\5\6" + bytes(30)),
        "empty archive",
    ),
    "comment: half an end record in it": (
        lambda p: zips.with_comment(p, b"PK\5\6 and no more"),
        "no whole zip archive",
    ),
    "comment: cut": (
        lambda p: zips.rewritten(zips.with_comment(p, b"x" * 99), lambda d: d[:-22]),
        "no whole zip archive",
    ),
    "cut in the middle": (
        lambda p: zips.rewritten(p, lambda d: d[: len(d) // 2]),
        "no whole zip archive",
    ),
    "cut at the end": (lambda p: zips.rewritten(p, lambda d: d[:-1]), "no whole zip archive"),
    "a program before it": (
        lambda p: zips.rewritten(p, lambda d: b"MZ" + bytes(99) + d),
        "",
    ),
    "only an end": (lambda p: zips.rewritten(p, lambda _: b"PK\5\6" + bytes(18)), "empty archive"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_at_every_door(
    tmp_path: Path, refused_by_cli: Refuse, house: House, name: str
) -> None:
    make, words = HOSTILE[name]
    path = make(tmp_path / "x.zip")
    for sentence in (refused_by_cli(path), house.refuse(path)):
        assert words in sentence


def test_the_overlapping_bomb_is_one_that_zipfile_would_unpack(tmp_path: Path) -> None:
    """Else the test above would show nothing: each file really holds all that follows."""
    path = zips.quoted_overlap(tmp_path / "x.zip", 9, SOUND)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("x/00008") == SOUND
        assert len(archive.read("annotations.xml")) > len(SOUND) + 8 * 30
    assert sum(each.file_size for each in archive.infolist()) > 5 * path.stat().st_size


@pytest.mark.parametrize(
    "make",
    [
        lambda p: zips.nested(p, 2, alone=False),
        lambda p: plus(p, "con"),
        lambda p: plus(p, "images/NUL.png"),
        lambda p: plus(p, "aux.txt"),
        lambda p: plus(p, "images/a\nb\u202e<script>.png"),
        lambda p: zips.with_comment(p, b"[" * 60_000),
        lambda p: zips.with_comment(p, b'{"mask_relay": 1, "packed_lists": {"a": [9, 0, "x"]}}'),
        size(CENTRAL, 24, len(SOUND) + 7),
    ],
    ids=[
        "zips in a zip", "CON", "NUL", "AUX", "odd name", "deep comment", "damaged note",
        "more stated than there is",
    ],
)  # fmt: skip
def test_what_can_do_no_harm_is_taken_and_nothing_of_it_is_unpacked(
    tmp_path: Path, house: House, make: Callable[[Path], Path]
) -> None:
    data = make(tmp_path / "x.zip").read_bytes()
    assert house.send("taken.zip", data)["state"] == "ready"
    kept = [path for path in (house.data / "jobs/taken").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == ["export.zip"]
    assert kept[0].read_bytes() == data
    house.unharmed()
    assert house.client.delete("/api/jobs/taken").status_code == 204


@pytest.mark.parametrize("name", ["bomb: quoted overlap", "slip: above", "zip64: two records"])
def test_a_hostile_archive_is_refused_as_a_form_and_as_a_previous_result_too(
    tmp_path: Path, house: House, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    import cli

    path = HOSTILE[name][0](tmp_path / "x.zip")
    form = {"file": (io.BytesIO(path.read_bytes()), "form.zip")}
    answer = house.client.post("/api/jobs", data=form)
    assert answer.get_json()["state"] == "failed"
    assert HOSTILE[name][1] in answer.get_json()["reason"]
    assert house.client.delete("/api/jobs/form").status_code == 204
    sound = write_zip(tmp_path / "sound.zip", MEMBERS)
    again = ["track", str(sound), "--mode", "resegment", "--frames", "3", "--previous", str(path)]
    capfd.readouterr()
    assert cli.main([*again, "--out", str(tmp_path / "r.zip")]) == 2
    assert HOSTILE[name][1] in capfd.readouterr().err
    assert not (tmp_path / "r.zip").exists()
