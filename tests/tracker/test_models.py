"""Promise: weights come whole and right or not at all, and a wrong file is refused by one sentence.

A real web server stands in for the publishers; the files are small, and begin as weights do.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from errors import InputError
from tests.helpers.publisher import Publisher, publishing
from tracker import downloads, engines, models, pins
from tracker.models import Model
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS


def saved(tensor: torch.Tensor) -> bytes:
    """A file of weights as published ones are."""
    file = io.BytesIO()
    torch.save({"state_dict": {"weight": tensor}}, file)
    return file.getvalue()


CONTENT = saved(torch.arange(128_000, dtype=torch.float32))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publishing(**{"net.pth": CONTENT}) as publisher:
        yield publisher


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MODEL_DIR, not yet made."""
    path = tmp_path / "models"
    monkeypatch.setattr(models, "_folder", path)
    return path


@pytest.fixture
def net(server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model whose hash and size are published."""
    one = Model(
        name="net",
        file="net.pth",
        source="https://example.org/zoo",
        url=f"{server.address}/net.pth",
        size=len(CONTENT),
        exact=True,
        sha256=SHA256,
        licence="MIT",
        best_for="tests",
    )
    know(monkeypatch, one)
    return one


def know(monkeypatch: pytest.MonkeyPatch, one: Model) -> None:
    monkeypatch.setattr(models, "_REGISTRY", MappingProxyType({one.name: one}))


def refusal(name: str = "net") -> str:
    with pytest.raises(InputError) as caught:
        downloads.get(name)
    return str(caught.value)


def left(folder: Path) -> set[str]:
    """What lies in MODEL_DIR, but for the lock of the pins."""
    return {p.name for p in folder.iterdir()} - {"pins.lock"}


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


def test_half_a_file_is_never_pinned(
    net: Model, folder: Path, server: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    folder.mkdir()
    old = io.BytesIO()
    torch.save({"w": torch.arange(9)}, old, _use_new_zipfile_serialization=False)
    for half in (CONTENT[:300_000], old.getvalue()[:-8]):
        (folder / "net.pth").write_bytes(half)
        with pytest.raises(InputError, match="is not whole, or it is damaged"):
            models.check("net")
        assert not (folder / pins.FILE).exists()
    (folder / "net.pth").write_bytes(CONTENT)
    (checked,) = models.check("net")
    assert checked.sha256 == SHA256


def test_a_packed_file_is_refused_before_it_is_unpacked(net: Model, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "net.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data/0", bytes(10_000_000))
    know_size = (folder / "net.pth").stat().st_size
    assert know_size < 100_000
    with pytest.raises(InputError, match="is packed, as no published weights are"):
        models.refuse_wrong(replace(net, exact=False), folder / "net.pth", "it", "do")


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


def test_missing_weights_say_how_to_get_them(net: Model, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        models.weights("net")
    assert str(caught.value) == (
        "The weights of net are not here: run `relay models get net`, or put net.pth (from "
        f"https://example.org/zoo) into {folder}."
    )


def test_an_unknown_name_is_answered_with_those_there_are(folder: Path) -> None:
    with pytest.raises(InputError, match=r"known as 'magic': use one of deaot-r50-l, .*sam-vit-h"):
        models.weights("magic")


def test_a_file_put_there_by_hand_is_compared(net: Model, folder: Path) -> None:
    folder.mkdir()
    (folder / "net.pth").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(InputError, match=r"is not the published file \(SHA-256 \w{12}…, not \w"):
        models.weights("net")
    (folder / "net.pth").write_bytes(CONTENT)
    assert models.weights("net") == folder / "net.pth"


def test_what_has_no_published_hash_is_pinned_on_first_use_and_reported(
    net: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    (first,) = downloads.get("net")
    (second,) = models.check("net")
    assert (first.pinned, second.pinned) == (True, False)
    assert json.loads((folder / pins.FILE).read_text())["net.pth"]["sha256"] == SHA256
    (folder / "net.pth").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(InputError) as caught:
        models.weights("net")
    sentence = str(caught.value)
    assert "is not the file that was pinned on first use (SHA-256 " in sentence
    assert f"or delete {folder / pins.FILE} to trust what is here now." in sentence
    (folder / pins.FILE).unlink()
    models.weights("net")


def test_a_file_is_hashed_once_until_it_changes(
    net: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    digest_of = pins.digest_of
    monkeypatch.setattr(pins, "digest_of", lambda path: hashed.append(path) or digest_of(path))
    downloads.get("net")
    hashed.clear()
    models.weights("net")
    assert hashed == []
    os.utime(folder / "net.pth", ns=(1, 1))
    models.weights("net")
    models.weights("net")
    assert hashed == [folder / "net.pth"]


def test_where_stale_pins_cannot_be_written_a_file_is_hashed_once_all_the_same(
    net: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that is mounted read-only, with a copy of the file that is younger than its pin."""
    know(monkeypatch, replace(net, sha256="", exact=False))
    downloads.get("net")
    (folder / "pins.lock").unlink()
    (folder / "pins.lock").mkdir()  # stands for a read-only disk: root could write there
    os.utime(folder / "net.pth", ns=(1, 1))
    hashed: list[Path] = []
    digest_of = pins.digest_of
    monkeypatch.setattr(pins, "digest_of", lambda path: hashed.append(path) or digest_of(path))
    for _ in range(3):
        models.weights("net")
    assert hashed == [folder / "net.pth"]
    os.utime(folder / "net.pth", ns=(2, 2))
    models.weights("net")
    assert len(hashed) == 2


def test_a_file_of_another_model_is_refused_though_it_is_pinned(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything runs, and without its numbers being read more than once."""
    folder.mkdir()
    file = folder / models.model("deaot-t").file
    torch.save(DeAOT(VARIANTS["DeAOTS"]).state_dict(), file)
    pins.check(folder, file.name, again="")  # as one was that nobody looked through
    assert "does not hold the weights of DeAOTT" in models.fault("deaot-t")
    with pytest.raises(InputError, match="does not hold the weights of DeAOTT"):
        engines.require("deaot-t")
    (folder / pins.FILE).unlink()
    torch.save(DeAOT(VARIANTS["DeAOTT"]).state_dict(), file)
    assert models.fault("deaot-t") == ""
    assert not (folder / pins.FILE).exists()  # looking pins nothing
    engines.require("deaot-t")
    monkeypatch.setattr(torch, "load", None)
    engines.require("deaot-t")
    assert models.fault("deaot-t") == ""


def test_pins_that_cannot_be_read_are_named(net: Model, folder: Path) -> None:
    downloads.get("net")
    (folder / pins.FILE).write_text("[]")
    with pytest.raises(InputError, match=r"pins\.json cannot be read: delete it"):
        models.weights("net")


def test_a_folder_that_nobody_can_write_is_enough_to_run_from(
    net: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, replace(net, sha256="", exact=False))
    folder.mkdir()
    (folder / "net.pth").write_bytes(CONTENT)
    (folder / "pins.lock").mkdir()  # stands for a read-only disk: root could write there
    assert models.weights("net") == folder / "net.pth"
    (folder / "net.pth").write_bytes(CONTENT + b"x")
    with pytest.raises(InputError, match="pinned on first use"):
        models.weights("net")


def test_every_published_model_is_told_of_in_full() -> None:
    for one in models.models():
        assert one.source.startswith("https://")
        assert bool(one.url) != bool(one.repository)
        assert one.licence
        assert one.best_for
        assert one.size > 10**7
        assert one.tracks or one.segments
        assert one.exact == bool(one.sha256)
        assert len(one.sha256) in {0, 64}
