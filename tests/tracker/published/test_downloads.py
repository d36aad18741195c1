"""Promise: weights come whole and right or not at all, and one sentence says what is in the way.

A real web server stands in for the publishers; the files are small, and begin as weights do.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.publisher import Publisher, publishing
from tests.tracker.published.kit import CONTENT, SHA256, know, left, refusal
from tracker import downloads, models, pins
from tracker.models import Model


def test_a_download_is_whole_and_tells_how_far_it_is(net: Model, folder: Path) -> None:
    heard: list[tuple[int, int]] = []
    (checked,) = downloads.get("net", lambda done, total: heard.append((done, total)))
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert (checked.sha256, checked.pinned) == (SHA256, False)
    assert heard[0] == (0, len(CONTENT))
    assert heard[-1] == (len(CONTENT), len(CONTENT))
    assert left(folder) == {"net.pth", pins.FILE}
    assert models.weights("net") == folder / "net.pth"


def test_what_is_here_is_not_fetched_again(net: Model, server: Publisher) -> None:
    downloads.get("net")
    downloads.get("net")
    assert len(server.asked) == 1


def test_a_cut_connection_goes_on_from_where_it_was_cut(
    net: Model, folder: Path, server: Publisher
) -> None:
    server.cut_after = 200_000
    downloads.get("net")
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["", "bytes=200000-", "bytes=400000-"]


def test_a_later_command_goes_on_where_an_earlier_one_gave_up(
    net: Model, folder: Path, server: Publisher
) -> None:
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(CONTENT[:300_000])
    server.status = 503
    assert "broke off after 0 MB of net.pth: run `relay models get net` again" in refusal()
    server.status = 0
    downloads.get("net")
    assert server.asked[-1] == ("/net.pth", "bytes=300000-")
    assert (folder / "net.pth").read_bytes() == CONTENT


def test_one_that_was_whole_already_is_only_given_its_name(
    net: Model, folder: Path, server: Publisher
) -> None:
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(CONTENT)
    downloads.get("net")
    assert left(folder) == {"net.pth", pins.FILE}


def test_a_server_that_cannot_resume_gives_it_from_the_start(
    net: Model, folder: Path, server: Publisher
) -> None:
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(CONTENT[:300_000])
    server.ranges = False
    downloads.get("net")
    assert (folder / "net.pth").read_bytes() == CONTENT


def test_a_server_that_only_knows_when_a_file_changed_is_gone_on_with(
    net: Model, folder: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    server.etag, server.changed = "", "Sat, 21 Nov 2026 10:00:00 GMT"
    server.cut_after = 200_000
    downloads.get("net")
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked[:2]] == ["", "bytes=200000-"]


def test_a_server_that_tells_no_versions_apart_promises_nothing(
    net: Model, folder: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    server.etag, server.cut_after = "", 200_000
    assert "goes on from there" not in refusal()
    assert len(server.asked) < 10


def test_a_part_of_another_version_is_not_continued(
    net: Model, folder: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(b"x" * 300_000)
    (folder / "net.pth.part.tag").write_text('"older"')
    (checked,) = downloads.get("net")
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert checked.pinned


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            CONTENT[:-1],
            f"has {len(CONTENT) - 1:,} bytes, the weights of net have {len(CONTENT):,}",
        ),
        (CONTENT[:5000] + b"x" + CONTENT[5001:], "is not the published net.pth (another SHA-256)"),
        (b"%PDF" + CONTENT[4:], "is no file of network weights"),
        (b"\n<!doctype html>" + CONTENT, "is a web page, not the weights of net"),
    ],
)
def test_a_wrong_file_is_refused_and_nothing_of_it_is_kept(
    net: Model, folder: Path, server: Publisher, content: bytes, said: str
) -> None:
    server.files["/net.pth"] = content
    sentence = refusal()
    assert f"What 127.0.0.1 gave {said}: nothing was kept; get net.pth (from" in sentence
    assert str(folder) in sentence
    assert left(folder) == set()


def test_a_page_in_place_of_the_file_says_to_use_a_browser(
    net: Model, folder: Path, server: Publisher
) -> None:
    server.kind = "text/html; charset=utf-8"
    assert refusal() == (
        "127.0.0.1 gives a page instead of the file: get net.pth (from https://example.org/zoo) in "
        f"a browser, and put it into {folder}."
    )
    assert left(folder) == set()


def test_a_file_that_is_gone_says_where_else_to_look(net: Model, server: Publisher) -> None:
    server.files.clear()
    assert "127.0.0.1 answers 404: get net.pth (from https://example.org/zoo)" in refusal()


def test_without_a_network_one_sentence_names_the_file_and_the_folder(
    net: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publishing() as gone:
        address = gone.address
    know(monkeypatch, replace(net, url=f"{address}/net.pth"))
    assert refusal() == (
        "127.0.0.1 cannot be reached from here: get net.pth (from https://example.org/zoo) "
        f"elsewhere, and put it into {folder}."
    )


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    net: Model, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, size=10**18))
    assert "net needs 1000000000.0 GB in" in refusal()
    assert server.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(net: Model, folder: Path) -> None:
    folder.mkdir(mode=0o555)
    assert f"{folder} cannot be written (Permission denied)" in refusal()


def test_a_file_in_place_of_the_folder_is_named(net: Model, folder: Path) -> None:
    folder.write_text("not a folder")
    assert f"{folder} cannot be written (File exists)" in refusal()
