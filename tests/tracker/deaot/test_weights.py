"""Promise: the published files load as they are; any other file is refused before anything runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.golden import GOLDEN
from errors import InputError
from tracker.engines import Power
from tracker.propagators.deaot import make
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.picture import network_size
from tracker.propagators.deaot.variants import VARIANTS
from tracker.propagators.deaot.weights import load

golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/deaot is not here")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """As a file of DeAOTT has them."""
    return {n: torch.full_like(w, 0.5) for n, w in DeAOT(VARIANTS["DeAOTT"]).state_dict().items()}


@golden
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_names_and_shapes_are_those_of_the_published_files(variant: str) -> None:
    listed = json.loads((GOLDEN / f"{variant}_state_dict.json").read_text())
    own = DeAOT(VARIANTS[variant]).state_dict()
    assert {name: list(w.shape) for name, w in own.items()} == {
        name: entry["shape"] for name, entry in listed.items()
    }


@golden
def test_frames_are_shown_at_the_published_sizes() -> None:
    listed = json.loads((GOLDEN / "preproc_sizes.json").read_text())
    assert len(listed) > 5
    for entry in listed:
        found = network_size(*entry["frame_hw"], corners=entry["align_corners"])
        assert list(found) == entry["network_hw"], entry


@pytest.mark.parametrize("container", ["state_dict", "model", ""])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_way_in_which_files_are_written(
    tmp_path: Path, weights: dict[str, Tensor], container: str, prefix: str
) -> None:
    """In a container or not, from several GPUs or one, with what nobody needs beside."""
    named: dict[str, object] = {prefix + name: w for name, w in weights.items()}
    named |= {"encoder.bn.num_batches_tracked": torch.tensor(3), "step": torch.tensor(1)}
    content: object = {container: named, "optimizer": {"lr": 0.1}} if container else named
    torch.save(content, tmp_path / "weights.pth")
    loaded = load("DeAOTT", tmp_path / "weights.pth").state_dict()
    assert all(torch.equal(loaded[name], w) for name, w in weights.items())


def test_a_file_of_another_model_is_refused_by_what_it_lacks(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    lacking = {n: w for n, w in weights.items() if n != "id_norm.bias"}
    lacking["decoder.conv_out.bias"] = torch.zeros(12)
    lacking["patch_embed.weight"] = torch.zeros(1)
    torch.save(lacking, tmp_path / "weights.pth")
    with pytest.raises(InputError) as refused:
        load("DeAOTT", tmp_path / "weights.pth")
    said = str(refused.value)
    assert str(tmp_path / "weights.pth") in said
    assert "1 missing (id_norm.bias)" in said
    assert "1 of another shape (decoder.conv_out.bias)" in said
    assert "1 surplus (patch_embed.weight)" in said
    with pytest.raises(InputError, match="does not hold the weights of R50_DeAOTL"):
        make("R50_DeAOTL", tmp_path / "weights.pth", Power())


class _Trap:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    torch.save({"state_dict": _Trap(sprung)}, path)
    whole = path.read_bytes()
    for content in (
        whole,
        whole[: len(whole) // 2],
        b"",
        b"<html>Sign in to download</html>",
        pickle.dumps([1, 2]),
        np.arange(3).tobytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.pth .*Get it again"):
            load("DeAOTT", path)
    assert not sprung.exists()
    with pytest.raises(InputError, match="cannot be read"):
        load("DeAOTT", tmp_path / "nothing.pth")
    torch.save([1], path)
    with pytest.raises(InputError, match="holds no network weights"):
        load("DeAOTT", path)


def test_a_process_loads_a_file_once(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    one, other = (make("DeAOTT", path, Power()) for _ in range(2))
    assert one.network is other.network
    torch.save({n: w + 1 for n, w in weights.items()}, path)
    assert make("DeAOTT", path, Power()).network is not one.network
