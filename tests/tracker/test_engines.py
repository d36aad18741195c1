"""Promise: engines are known by name, "auto" takes the best one here, wrong names are answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from errors import InputError
from tracker import models
from tracker.engines import AUTO_ON_GPU, choose, engines, make, require, resolve


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MODEL_DIR, empty."""
    monkeypatch.setattr(models, "_folder", tmp_path)
    return tmp_path


def put(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        one = models.model(name)
        if one.repository:
            (folder / one.file).mkdir()
            (folder / one.file / models.CONFIG).write_text("{}")
            (folder / one.file / models.TENSORS).write_bytes(b"")
        else:
            (folder / one.file).write_bytes(b"PK\x03\x04")


@pytest.mark.parametrize(
    ("device", "here", "name", "reason"),
    [
        ("cpu", [], "builtin", "no weights that auto would take are here, see `relay models`"),
        ("cuda", [], "builtin", "no weights that auto would take are here, see `relay models`"),
        ("cuda", ["sam2.1-hiera-large", "sam-vit-h"], "builtin", "no weights that auto would"),
        ("cpu", ["deaot-r50-l"], "builtin", "deaot-r50-l, whose weights are here, is slow without"),
        ("cuda", ["deaot-r50-l", "deaot-t"], "deaot-r50-l", "the first choice for a GPU whose "),
        ("cuda:1", ["deaot-t", "deaot-l"], "deaot-l", "weights are here, on cuda:1"),
        ("cuda", ["deaot-t"], "deaot-t", "weights are here, on cuda"),
    ],
)
def test_auto_takes_the_best_engine_here_and_says_why(
    folder: Path, device: str, here: list[str], name: str, reason: str
) -> None:
    put(folder, here)
    choice = choose(lambda: device)
    assert choice.name == resolve("auto", device).name == name
    assert reason in choice.reason


def test_the_device_is_not_asked_for_where_it_does_not_matter() -> None:
    asked: list[str] = []
    choose(lambda: asked.append("device") or "cpu")
    assert asked == []


def test_auto_knows_only_engines_there_are() -> None:
    assert set(AUTO_ON_GPU) <= {info.name for info in engines()}


def test_the_engines_that_need_no_download_are_four() -> None:
    own = [info for info in engines() if not info.model]
    assert [info.name for info in own] == ["builtin", "builtin-fast", "builtin-best", "flow"]
    assert not any(info.needs for info in own)
    assert [info.name for info in own if not info.learns] == ["flow"]
    assert [resolve(info.name) for info in engines()] == list(engines())


def test_every_engine_with_weights_is_a_model_that_follows_masks() -> None:
    follow = {one.name for one in models.models() if one.tracks}
    assert {info.model for info in engines() if info.model} == follow
    assert all(info.model == info.name and info.needs for info in engines() if info.model)


def test_an_engine_without_its_weights_is_refused_before_it_is_made(folder: Path) -> None:
    for act in (require, make):
        with pytest.raises(InputError) as caught:
            act("sam2.1-hiera-tiny")
        assert str(caught.value) == (
            "The weights of sam2.1-hiera-tiny are not here: run `relay models get "
            "sam2.1-hiera-tiny`, or put the .json and .safetensors files of "
            "https://huggingface.co/facebook/sam2.1-hiera-tiny into "
            f"{folder / 'sam2.1-hiera-tiny'}."
        )
    require("builtin")


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    names = r"auto, builtin, builtin-fast, builtin-best, flow, deaot-r50-l, .*edgetam\."
    with pytest.raises(InputError, match=rf"no engine named 'deaot-x': use one of {names}"):
        resolve("deaot-x")
    with pytest.raises(InputError, match="builtin"):
        make("")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0"])
def test_every_engine_of_ours_can_be_made_for_every_device(device: str) -> None:
    image, labels = np.zeros((20, 30, 3), dtype=np.uint8), np.zeros((20, 30), dtype=np.uint16)
    for info in [info for info in engines() if not info.model]:
        propagator = make(info.name, device, seed=3)
        propagator.start(image, labels)
        assert propagator.step(image).labels.shape == (20, 30)


def test_listing_engines_loads_no_heavy_library() -> None:
    program = (
        "import sys, tracker.engines as e; e.engines(); e.resolve('auto');"
        "sys.exit(bool({'cv2', 'torch', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
