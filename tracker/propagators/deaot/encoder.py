"""What the three image encoders have in common, and the batch norm that becomes part of a conv."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Maps(NamedTuple):
    """Feature maps of one image, named by their stride in pixels of the input.

    `last` is the encoder's last map, at stride 16 too; for two of the encoders it is `s16`.
    """

    s4: Tensor
    s8: Tensor
    s16: Tensor
    last: Tensor


class Encoder(nn.Module):
    """An image encoder; `widths` are the channels of its `Maps`."""

    widths: ClassVar[tuple[int, int, int, int]]

    def forward(self, image: Tensor) -> Maps:
        """Maps of `image`, float (1, 3, H, W), normalised."""
        raise NotImplementedError


class FrozenNorm(nn.Module):
    """Batch norm with fixed statistics, under the names of the published files.

    y = (x - mean) / sqrt(var + 1e-5) * weight + bias
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def gain(self) -> Tensor:
        """What a channel is multiplied with, (C,)."""
        return self.weight / (self.running_var + 1e-5).sqrt()

    def shift(self) -> Tensor:
        """What is added to a channel after that, (C,)."""
        return self.bias - self.running_mean * self.gain()

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W), normalised."""
        return x * self.gain()[:, None, None] + self.shift()[:, None, None]


class NormedConv(nn.Module):
    """A convolution without bias and the norm after it, computed as one convolution.

    The parts keep the places that the published files give them: this module has no names of its
    own in a state dict, it only holds on to them. `fold` must be called once weights are loaded.
    """

    def __init__(self, conv: nn.Conv2d, norm: FrozenNorm) -> None:
        super().__init__()
        self._parts = (conv, norm)  # a tuple: torch must not register them a second time
        self._folded: tuple[Tensor, Tensor] | None = None

    def fold(self) -> None:
        """Compute the one convolution's weights."""
        conv, norm = self._parts
        gain = norm.gain()
        weight = (conv.weight * gain[:, None, None, None]).detach()
        self._folded = (
            weight.contiguous(memory_format=torch.channels_last),
            norm.shift().detach(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x` (B, C, H, W) convolved and normalised."""
        conv, norm = self._parts
        if self._folded is None:
            return norm(conv(x))  # type: ignore[no-any-return]
        weight, bias = self._folded
        return functional.conv2d(
            x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )
