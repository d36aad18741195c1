"""Promise: updates.txt is read with its mistakes, and rewritten by exact name only."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.updates import NAME, NotRewrittenError, read_updates, remove_line


def test_lines_are_archives_and_malformed_ones_are_reported_with_their_number(
    tmp_path: Path,
) -> None:
    (tmp_path / NAME).write_bytes(
        b"\xef\xbb\xbf264.zip\r\n\n  15.zip \n265\n../5.zip\n\xff\xfe.zip\n264.zip\nx\x1b[2J.zip\n"
    )
    updates = read_updates(tmp_path)
    assert updates.archives == ("264.zip", "15.zip")
    assert [notice.split(":")[0] for notice in updates.notices] == [
        "updates.txt, line 4",
        "updates.txt, line 5",
        "updates.txt, line 6",
        "updates.txt, line 8",
    ]
    assert all("\x1b" not in notice for notice in updates.notices)


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert read_updates(tmp_path).archives == ()
    assert not remove_line(tmp_path, "264.zip")
    assert list(tmp_path.iterdir()) == []


def test_only_the_exact_name_goes_and_every_other_byte_stays(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"15.zip\r\n5.zip\nnonsense\n 5.zip \n5.zip.zip\n25.zip")
    assert remove_line(tmp_path, "5.zip")
    assert path.read_bytes() == b"15.zip\r\nnonsense\n5.zip.zip\n25.zip"
    assert not remove_line(tmp_path, "5.zip")
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_a_file_that_is_too_large_to_be_read_whole_is_never_cut_short(tmp_path: Path) -> None:
    path = tmp_path / NAME
    body = b"5.zip\n" * (2**20)
    path.write_bytes(body)
    with pytest.raises(NotRewrittenError, match="larger"):
        remove_line(tmp_path, "5.zip")
    assert path.read_bytes() == body
    updates = read_updates(tmp_path)
    assert updates.archives == ("5.zip",)
    assert len(updates.notices) == 1


def test_a_file_that_cannot_be_read_is_a_notice(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert "cannot be read" in read_updates(tmp_path).notices[0]
