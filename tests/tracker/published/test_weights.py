"""Promise: a wrong file of weights is refused by one sentence, and a right one is read once.

Whoever put it there, and whether or not its hash is published.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from errors import InputError
from tests.helpers.publisher import Publisher
from tests.tracker.published.kit import CONTENT, SHA256, know
from tracker import downloads, engines, models, pins
from tracker.models import Model
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS


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
