"""The frozen network from its last tap on: what in a picture looks like a thing of which class.

It is the rest of `tracker.propagators.builtin.backbone`, without the mean over places at its end,
so that every place has class scores of its own (Zhou et al., "Learning Deep Features for
Discriminative Localization", CVPR 2016).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tracker.propagators.builtin.backbone import published

_EPSILON = 1e-3  # of the batch norms, as the network was trained
_BLOCK = "_blocks.15."
_NEEDED = (_BLOCK, "_conv_head.", "_bn1.", "_fc.")

Planes = NDArray[np.float32]


@torch.inference_mode()
def classes(s32: Tensor) -> tuple[Planes, Planes]:
    """Of `Features.s32` of one image (1, 192, h, w): last features (1280, h, w), and class scores.

    Features are 0 .. 6; scores are logits of ImageNet's classes, (1000, h, w).
    """
    x = _conv(s32.float(), _BLOCK + "_expand_conv", _BLOCK + "_bn0").clamp_(0, 6)
    x = _conv(x, _BLOCK + "_depthwise_conv", _BLOCK + "_bn1", groups=x.shape[1]).clamp_(0, 6)
    x = _conv(x, _BLOCK + "_project_conv", _BLOCK + "_bn2")
    x = _conv(x, "_conv_head", "_bn1").clamp_(0, 6)
    scores = torch.einsum("kc,chw->khw", _weights()["_fc.weight"], x[0])
    return x[0].numpy(), scores.numpy()


def class_weights() -> Planes:
    """How much each of the last features speaks for each class, float32 (1000, 1280)."""
    return np.asarray(_weights()["_fc.weight"].numpy(), dtype=np.float32)


def _conv(x: Tensor, name: str, norm: str, groups: int = 1) -> Tensor:
    weights = _weights()
    weight = weights[f"{name}.weight"]
    x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
    return functional.batch_norm(
        x,
        weights[f"{norm}.running_mean"],
        weights[f"{norm}.running_var"],
        weights[f"{norm}.weight"],
        weights[f"{norm}.bias"],
        eps=_EPSILON,
    )


@lru_cache(maxsize=1)
def _weights() -> dict[str, Tensor]:
    found = published("cpu")
    return {name: found[name] for name in found if name.startswith(_NEEDED)}
