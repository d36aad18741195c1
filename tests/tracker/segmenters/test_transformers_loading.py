"""Promise: a folder with other weights than the engine's is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from errors import InputError
from tests.tracker.transformers_tiny import FAMILIES, picture, video_model
from tracker import engines, models, pins
from tracker.engines import Power
from tracker.propagators.transformers_video import loading, make
from tracker.propagators.transformers_video.loading import load
from tracker.segmenters.transformers_image import TransformersSegmenter

NAMES = {"sam2.1-tiny": "sam2.1-hiera-tiny"}


@pytest.fixture(autouse=True)
def _one_thread(threads: None) -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder as one is published, for a family."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            model, processor = video_model(family)
            model.save_pretrained(made[family])
            processor.save_pretrained(made[family])
        return made[family]

    return folder


def copied(source: Path, target: Path) -> Path:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def without(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(key for key in tensors if key.endswith("no_memory_embedding"))]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_folder_serves_clicks_and_videos(family: str, published: Callable[[str], Path]) -> None:
    folder, name = published(family), NAMES.get(family, family)
    expected = video_model(family)[0].state_dict()
    loaded = load("video", name, folder, "cpu")
    for key, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    assert load("video", name, folder, "cpu").model is loaded.model
    labels = np.zeros((45, 71), np.uint16)
    labels[10:30, 20:50] = 1
    propagator = make(name, folder, Power(threads=1))
    propagator.start(picture(1), labels)
    assert propagator.step(picture(2)).labels.shape == (45, 71)
    segmenter = TransformersSegmenter(name, folder)
    segmenter.set_image(picture(1))
    answer = segmenter.predict(np.array([[30, 20]], np.float32), np.array([1]))
    assert answer.mask.shape == (45, 71)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "processor_config.json"])
def test_a_missing_file_is_named(
    file: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(published("edgetam"), tmp_path)
    (folder / file).unlink()
    with pytest.raises(InputError, match=file):
        load("video", "edgetam", folder, "cpu")


def test_another_models_configuration_is_named(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"config\.json is of a model 'edgetam_video'"):
        load("image", "sam2.1-hiera-tiny", published("edgetam"), "cpu")
    folder = copied(published("edgetam"), tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load("image", "edgetam", folder, "cpu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without, "lacks weights no_memory_embedding"),
        (lambda tensors: tensors.update(other=torch.zeros(2)), "surplus weights other"),
        (lambda tensors: tensors.update(no_object_pointer=torch.zeros(3)), "do not make a|misshap"),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_other_weights_are_named(
    family: str,
    change: Callable[[dict[str, torch.Tensor]], object],
    said: str,
    published: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = copied(published(family), tmp_path)
    changed(folder, change)
    with pytest.raises(InputError, match=said):
        load("video", NAMES.get(family, family), folder, "cpu")


def test_a_pinned_folder_is_looked_through_once_before_anything_runs(
    published: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash alone would say that it is the one that came first, not that it is the model's."""
    monkeypatch.setattr(models, "_folder", tmp_path)
    (tmp_path / "edgetam").mkdir()
    folder = copied(published("edgetam"), tmp_path / "edgetam")
    changed(folder, without)
    models.check("edgetam")  # pins it, as the first that came
    for say in (models.fault, refusal):
        assert "is no file of edgetam: it lacks weights no_memory_embedding" in say("edgetam")
    copied(published("edgetam"), folder)
    (tmp_path / pins.FILE).unlink()
    engines.require("edgetam")
    monkeypatch.setattr(loading, "_read", None)
    engines.require("edgetam")
    assert models.fault("edgetam") == ""


def refusal(engine: str) -> str:
    with pytest.raises(InputError) as caught:
        engines.require(engine)
    return str(caught.value)


def test_a_missing_package_is_named(
    published: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(published("edgetam"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["backbone_config"] = {"model_type": "timm_wrapper"}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install timm"):
        load("video", "edgetam", folder, "cpu")


def test_a_damaged_file_is_refused(published: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(published("sam3"), tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load("video", "sam3", folder, "cpu")


def test_the_published_folder_of_sam3_serves_too(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    """There the tracker shares one file, and the image encoder, with a detector by words."""
    folder = copied(published("sam3"), tmp_path)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    whole = {"model_type": "sam3_video", "tracker_config": config, "detector_config": {}}
    (folder / "config.json").write_text(json.dumps(whole))

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            bare = key.removeprefix("tracker_model.")
            if bare.startswith(("detector_model.vision_encoder.", "tracker_neck.")):
                tensors[bare] = tensors.pop(key)
        assert len({key.split(".")[0] for key in tensors}) == 3
        tensors["detector_model.text_projection.bias"] = torch.zeros(2)

    changed(folder, rename)
    expected = video_model("sam3")[0].state_dict()
    for kind in ("video", "image"):
        loaded = load(kind, "sam3", folder, "cpu")
        for key, tensor in loaded.model.state_dict().items():
            assert torch.equal(tensor, expected[key]), key
