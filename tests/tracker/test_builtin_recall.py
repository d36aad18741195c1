"""Promise: what key frames show is remembered, told apart by looks and colours, and trusted only as
far as it can tell anything apart. And: training starves no direction of a kernel."""

from __future__ import annotations

import numpy as np
import torch

from tests.tracker.scenes import scene
from tracker.propagators.builtin.backbone import backbone
from tracker.propagators.builtin.hues import Hues
from tracker.propagators.builtin.optimiser import Optimiser
from tracker.propagators.builtin.recall import WIDTH, Memory, cells


def test_a_memory_says_of_what_it_knows_what_it_is() -> None:
    keys = torch.eye(4, WIDTH)
    values = torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    memory = Memory(keys, values)
    assert torch.allclose(memory.read(keys), values, atol=1e-3)
    assert memory.contrast() > 0.99


def test_a_memory_in_which_all_looks_alike_is_not_trusted() -> None:
    memory = Memory(torch.ones(4, WIDTH) / WIDTH**0.5, torch.tensor([[1.0], [1.0], [0.0], [0.0]]))
    assert memory.contrast() < 1e-3


def test_cells_show_every_object_with_its_share() -> None:
    image, labels = scene(1)[0]
    found = cells(backbone("cpu"), image, labels, 40_000, "cpu")
    assert found is not None
    assert set(found.numbers) == set(np.unique(labels)) - {0}
    assert found.looks.shape == (len(found.shares), WIDTH)
    assert found.shares.min() >= 0
    assert found.shares.sum(1).max() <= 1 + 1e-5
    assert (found.shares.max(0).values > 0.3).all()


def test_colours_tell_objects_apart_and_say_nothing_of_a_single_one() -> None:
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    labels = np.zeros((40, 40), dtype=np.uint16)
    image[5:15, 5:15], labels[5:15, 5:15] = (220, 30, 30), 1
    assert Hues.of_objects(image, labels).odds(1, image) == 0.0
    image[25:35, 25:35], labels[25:35, 25:35] = (30, 30, 220), 2
    odds = Hues.of_objects(image, labels).odds(1, image)
    assert isinstance(odds, np.ndarray)
    assert odds[labels == 1].min() > 2
    assert odds[labels == 2].max() < -2
    assert np.abs(odds[labels == 0]).max() < 0.1


def test_a_step_on_a_kernel_changes_all_directions_alike() -> None:
    kernel = torch.nn.Parameter(torch.zeros(12, 24, 3, 3))
    bias = torch.nn.Parameter(torch.zeros(12))
    bias.grad = torch.ones(12)
    torch.manual_seed(0)
    gradient = torch.randn(12, 24, 3, 3)
    gradient[0] *= 1000
    kernel.grad = gradient
    Optimiser([kernel, bias], decay=0.0).step(1.0)
    sizes = torch.linalg.svdvals(kernel.detach().flatten(1))
    assert sizes.max() / sizes.min() < 3
    assert torch.allclose(bias, torch.full((12,), -1.0), atol=1e-4)
