"""The zip that we write ourselves is one that every reader takes, whatever its size."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path
from shutil import which
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_io import zipwrite
from cvat_io.zipwrite import write_zip


@given(st.lists(st.one_of(st.text(max_size=50), st.binary(max_size=50)), max_size=20), st.binary())
def test_what_was_written_is_read(parts: list[str | bytes], comment: bytes) -> None:
    comment = comment[:100]
    file = io.BytesIO()
    write_zip(file, "a.xml", parts, comment)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["a.xml"]
        assert archive.testzip() is None
        assert archive.comment == comment
        expected = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        assert archive.read("a.xml") == expected
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_many_blocks_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    lines = [f"line {number} of the text\n" for number in range(400_000)]
    with path.open("w+b") as file:
        write_zip(file, "a.txt", lines)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a.txt").decode() == "".join(lines)
        assert path.stat().st_size < archive.infolist()[0].file_size / 4
    if which("unzip"):
        subprocess.run(["unzip", "-tqq", str(path)], check=True)


def test_further_members_can_be_added_with_zipfile(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("w+b") as file:
        write_zip(file, "a.txt", ["text"])
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("b.txt", "more")
    with zipfile.ZipFile(path) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [b"text", b"more"]
        assert archive.testzip() is None


def test_a_failure_of_the_parts_passes_through() -> None:
    def parts() -> list[str]:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_zip(io.BytesIO(), "a", (part for part in parts()))


def test_a_comment_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        write_zip(io.BytesIO(), "a", [], bytes(70_000))


@pytest.mark.parametrize(("packed", "size"), [(5 << 30, 6 << 30), (100, 6 << 30), (100, 4 << 29)])
def test_sizes_beyond_four_gibibytes_are_in_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: int, size: int
) -> None:
    """A hole in the file stands for the packed bytes."""

    def hole(file: IO[bytes], parts: object) -> tuple[int, int, int]:
        file.seek(packed, io.SEEK_CUR)
        return 7, packed, size

    monkeypatch.setattr(zipwrite, "_deflate", hole)
    path = tmp_path / "a.zip"
    with path.open("w+b") as file:
        write_zip(file, "a.xml", [], b"note")
    with zipfile.ZipFile(path) as archive:
        (info,) = archive.infolist()
        assert (info.file_size, info.compress_size, info.CRC) == (size, packed, 7)
        assert info.header_offset == 0
        assert archive.comment == b"note"
        archive.open(info).close()
