"""Promise: whoever types a command about engines is told in one sentence what is missing, and why.

Everything here is a real `relay` in a process of its own; a web server on this machine stands in
for Hugging Face.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from demo.clip import make_clip
from demo.sample import write_sample
from tests.helpers.publisher import Publisher, publishing
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS

ROOT = Path(__file__).parents[1]
REPOSITORY = "yonigozlan/EdgeTAM-hf/resolve/c0ffee/"


@pytest.fixture
def relay(tmp_path: Path):
    """Run `relay` in an empty folder, with no way out to the network."""

    def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        nowhere = "http://127.0.0.1:9"
        env = os.environ | {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "127.0.0.1"}
        env |= {"DATA_DIR": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env=env | settings, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    write_sample(tmp_path / "264.zip", make_clip(frames=3, width=160, height=90))
    return tmp_path / "264.zip"


@pytest.fixture
def hub() -> Iterator[Publisher]:
    files = {"config.json": b"{}", "model.safetensors": b"weights" * 9000, "video.mp4": b"no"}
    with publishing(**{REPOSITORY + name: content for name, content in files.items()}) as server:
        yield server


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (sentence,) = done.stderr.splitlines()
    assert len(sentence) < 400
    assert not sentence.endswith("…")
    return sentence


def test_the_table_says_what_is_here_and_what_would_run(relay, folder: Path) -> None:
    (folder / "R50_DeAOTL_PRE_YTB_DAV.pth").write_bytes(b"PK\x03\x04")
    torch.save(DeAOT(VARIANTS["DeAOTS"]).state_dict(), folder / "DeAOTS_PRE_YTB_DAV.pth")
    (folder / "DeAOTT_PRE_YTB_DAV.pth.part").write_bytes(b"PK\x03\x04")
    done = relay("models")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["deaot-s"].split()[1:3] == ["follows", "yes"]
    assert rows["deaot-r50-l"].split()[1:4] == ["follows", "wrong", "file"]
    file = folder / "R50_DeAOTL_PRE_YTB_DAV.pth"
    assert f"deaot-r50-l: {file} is not whole, or it is damaged: delete it and" in done.stdout
    assert not (folder / "pins.json").exists()
    assert rows["deaot-t"].split()[1:4] == ["follows", "in", "part"]
    assert "BSD-3-Clause" in rows["deaot-t"]
    assert rows["sam-vit-b"].split()[1:3] == ["makes", "no"]
    assert "375 MB" in rows["sam-vit-b"]
    assert "needs its licence accepted" in rows["sam3"]
    assert "ENGINE=auto takes " in done.stdout
    assert str(folder) in done.stdout


def test_without_a_network_the_file_and_its_folder_are_named(relay, folder: Path) -> None:
    for name, file, host in (
        ("deaot-t", "DeAOTT_PRE_YTB_DAV.pth", "drive.usercontent.google.com"),
        ("sam-vit-b", "sam_vit_b_01ec64.pth", "dl.fbaipublicfiles.com"),
        ("sam3", "https://huggingface.co/facebook/sam3", "huggingface.co"),
    ):
        sentence = refusal(relay("models", "get", name))
        assert sentence.startswith(f"{host} cannot be reached from here: get ")
        assert file in sentence
        assert str(folder) in sentence


def test_a_name_that_is_none_is_answered_with_those_there_are(relay) -> None:
    assert "There are no weights named 'magic': use one of deaot-r50-l, " in refusal(
        relay("models", "get", "magic")
    )
    assert refusal(relay("models", "get")) == ("Say which engine to get: `relay models get NAME`.")
    assert "takes no name" in refusal(relay("models", "list", "sam3"))
    assert relay("models", "get", "flow").stdout == "flow: needs no download, it is ready to use.\n"


def test_an_engine_without_its_weights_is_refused_before_anything_runs(
    relay, folder: Path, sample: Path
) -> None:
    out = sample.with_name("r.zip")
    sentence = refusal(relay("track", sample, "--out", out, "--engine", "deaot-r50-l"))
    assert sentence == (
        "The weights of deaot-r50-l are not here: run `relay models get deaot-r50-l`, or put "
        "R50_DeAOTL_PRE_YTB_DAV.pth (from "
        f"https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md) into {folder}."
    )
    assert "The weights of sam3 are not here" in refusal(
        relay("track", sample, "--out", out, ENGINE="sam3")
    )
    assert not out.exists()


def test_a_worker_whose_engine_lacks_its_weights_does_not_start(relay) -> None:
    assert "The weights of edgetam are not here" in refusal(relay("worker", ENGINE="edgetam"))


def test_a_submit_of_an_unknown_engine_is_refused_at_once(relay, sample: Path) -> None:
    sentence = refusal(relay("submit", sample, "--engine", "magic"))
    assert sentence.startswith("There is no engine named 'magic': use one of auto, builtin, ")
    assert relay("jobs").stdout.startswith("No jobs yet")


def test_a_wrong_file_is_refused_before_anything_runs(relay, folder: Path, sample: Path) -> None:
    track = ("track", sample, "--out", sample.with_name("r.zip"), "--engine", "deaot-t")
    file = folder / "DeAOTT_PRE_YTB_DAV.pth"
    file.write_text("<html>Google Drive can't scan this file for viruses.</html>")
    again = "delete it and run `relay models get deaot-t`."
    assert refusal(relay(*track)) == (f"{file} is a web page, not the weights of deaot-t: {again}")
    file.write_text("notes")
    assert refusal(relay(*track)) == f"{file} is no file of network weights: {again}"
    assert refusal(relay("models", "get", "deaot-t")) == (
        f"{file} is no file of network weights: {again}"
    )
    (folder / "sam_vit_b_01ec64.pth").write_bytes(b"PK\x03\x04")
    assert "has 4 bytes, the weights of sam-vit-b have 375,042,383: delete it" in refusal(
        relay("models", "get", "sam-vit-b")
    )


def test_a_submit_with_a_wrong_file_is_refused_at_once(relay, folder: Path, sample: Path) -> None:
    file = folder / "DeAOTT_PRE_YTB_DAV.pth"
    torch.save(DeAOT(VARIANTS["DeAOTS"]).state_dict(), file)
    sentence = refusal(relay("submit", sample, "--engine", "deaot-t"))
    assert "does not hold the weights of DeAOTT" in sentence
    assert relay("jobs").stdout.startswith("No jobs yet")


def test_a_pinned_file_that_changed_is_refused(relay, folder: Path, sample: Path) -> None:
    file = folder / "DeAOTT_PRE_YTB_DAV.pth"
    torch.save(DeAOT(VARIANTS["DeAOTS"]).state_dict(), file)  # of another model: never pinned
    assert "does not hold the weights of DeAOTT" in refusal(relay("models", "get", "deaot-t"))
    assert not (folder / "pins.json").exists()
    torch.save(DeAOT(VARIANTS["DeAOTT"]).state_dict(), file)
    done = relay("models", "get", "deaot-t")
    assert done.returncode == 0, done.stderr
    assert f"No SHA-256 of {file.name} is published: " in done.stdout
    assert " is pinned from now on." in done.stdout
    torch.save({"other": torch.ones(9)}, file)
    track = ("track", sample, "--out", sample.with_name("r.zip"), "--engine", "deaot-t")
    assert "is not the file that was pinned on first use" in refusal(relay(*track))


def test_a_repository_comes_as_a_folder_and_is_pinned(relay, folder: Path, hub: Publisher) -> None:
    done = relay("models", "get", "edgetam", HF_ENDPOINT=hub.address)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert {p.name for p in (folder / "edgetam").iterdir()} == {"config.json", "model.safetensors"}
    pinned = json.loads((folder / "pins.json").read_text())
    assert set(pinned) == {"edgetam/config.json", "edgetam/model.safetensors"}
    assert not (folder / "edgetam.part").exists()
    (folder / "edgetam/config.json").write_text('{"a": 1}')
    assert "pinned on first use" in refusal(relay("models", "get", "edgetam"))


def test_a_repository_that_was_cut_off_is_completed_by_the_same_command(
    relay, folder: Path, hub: Publisher
) -> None:
    hub.cut_after = 20_000
    sentence = refusal(relay("models", "get", "edgetam", HF_ENDPOINT=hub.address))
    assert "broke off after 0 MB of edgetam: run `relay models get edgetam` again, it" in sentence
    hub.cut_after = None
    done = relay("models", "get", "edgetam", HF_ENDPOINT=hub.address)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    content = (folder / "edgetam/model.safetensors").read_bytes()
    assert content == hub.files[f"/{REPOSITORY}model.safetensors"]


def test_a_repository_s_file_with_another_hash_is_not_kept(
    relay, folder: Path, hub: Publisher
) -> None:
    path = f"/{REPOSITORY}model.safetensors"
    hub.given[path] = hub.files[path][:-1] + b"x"
    assert refusal(relay("models", "get", "edgetam", HF_ENDPOINT=hub.address)) == (
        "What huggingface.co gave as model.safetensors of edgetam is not the published file "
        "(another SHA-256): it was not kept; run the same command again."
    )
    assert not (folder / "edgetam").exists()
    hub.given.clear()
    assert relay("models", "get", "edgetam", HF_ENDPOINT=hub.address).returncode == 0


def test_a_licence_that_is_not_accepted_is_told_in_one_line(
    relay, folder: Path, hub: Publisher
) -> None:
    hub.gated = True
    sentence = refusal(relay("models", "get", "sam3", HF_ENDPOINT=hub.address))
    assert sentence.startswith(
        "The weights of sam3 are given only to those who accepted their licence: do so on "
        "https://huggingface.co/facebook/sam3, sign in with `hf auth login`, and run"
    )
    assert str(folder / "sam3") in sentence
