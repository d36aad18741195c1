"""Promise: every published DeAOT runs from its file through the registry of engines, from key frame
to key frame, and looks at each frame once, whatever the number of objects.

Generated weights, so what it finds means nothing here; only that it comes, and how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from demo.clip import make_clip
from tracker import engines, models, pins
from tracker.propagators.deaot.decide import decided, sureness
from tracker.propagators.deaot.encoder import Encoder
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.variants import VARIANTS
from tracker.protocol import LabelMap

CLIP = make_clip(5, 64, 48)
OBJECTS = 23  # three groups


def crowd() -> LabelMap:
    """Columns of the picture."""
    return np.broadcast_to(np.arange(64) * OBJECTS // 64 + 1, (48, 64)).astype(np.uint16)


def published(variant: str, path: Path) -> None:
    """A file as one is published, of a network that was not trained, and small to write."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in DeAOT(VARIANTS[variant]).state_dict().items()}
    made = {}
    for name, shape in shapes.items():
        few = torch.rand(1) * 0.02 + (0.99 if name.endswith(("running_var", "norm.weight")) else 0)
        made[name] = few.expand(shape) if shape else few[0]
    torch.save(made, path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "_folder", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", engines.VARIANTS)
def test_every_variant_runs_end_to_end_and_sees_each_frame_once(name: str, folder: Path) -> None:
    file = models.model(name).file
    published(engines.VARIANTS[name], folder / file)
    pins.check(folder, file, again="")
    propagator = engines.make(name, memory=engines.Memory(frames=2, gap=1))
    looked: list[int] = []

    def look(module: nn.Module, given: object, made: object) -> None:
        if isinstance(module, Encoder):
            looked.append(1)

    with nn.modules.module.register_module_forward_hook(look):
        propagator.start(CLIP.frame(0)[0], crowd())
        assert len(looked) == 1
        for index in range(1, 4):
            step = propagator.step(CLIP.frame(index)[0])
            assert step.labels.shape == (48, 64)
            assert step.confidence.shape == (OBJECTS,)
            assert ((step.confidence >= 0) & (step.confidence <= 1)).all()
        propagator.remember(CLIP.frame(3)[0], np.roll(crowd(), 3, axis=1))
        propagator.step(CLIP.frame(4)[0])
    assert len(looked) == 5


def test_sureness_is_the_expected_iou_of_what_was_decided() -> None:
    """Against the same in one large product, over one group and several."""
    torch.manual_seed(0)
    for sizes in ((3,), (10, 10, 2)):
        logits = [torch.randn(1, size + 1, 12, 16) * 3 for size in sizes]
        logits[-1][:, -1] = -20  # one that is nowhere
        chances = [group[0].softmax(0) for group in logits]
        nobody = torch.stack([chance[0] for chance in chances]).prod(0)
        each = torch.cat([nobody[None], *(chance[1:] for chance in chances)])
        inside = nn.functional.one_hot(each.argmax(0), len(each)).permute(2, 0, 1)
        own = (each * inside).sum((1, 2))
        overlap = own / (inside.sum((1, 2)) + each.sum((1, 2)) - own).clamp(min=1)
        expected = overlap.where(inside.sum((1, 2)) > 0, 1 - each.amax((1, 2)))[1:]
        torch.testing.assert_close(sureness(logits), expected)
        assert sureness(logits)[-1] > 0.99
        assert len(decided(logits, (12, 16), corners=True).unique()) > 2
