"""MobileNetV2 with its stride held at 16.

Sandler et al., "MobileNetV2" (CVPR 2018), table 2, width 1.0; the last two stages dilated instead
of strided.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.encoder import Encoder, FrozenNorm, Maps, NormedConv

# Of each block: expansion, channels out, stride, dilation of its depth-wise convolution.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1), (6, 24, 1, 1),
    (6, 32, 2, 1), (6, 32, 1, 1), (6, 32, 1, 1),
    (6, 64, 2, 1), (6, 64, 1, 1), (6, 64, 1, 1), (6, 64, 1, 1),
    (6, 96, 1, 1), (6, 96, 1, 1), (6, 96, 1, 1),
    (6, 160, 1, 1), (6, 160, 1, 2), (6, 160, 1, 2),
    (6, 320, 1, 2),
)  # fmt: skip
_S4, _S8, _S16 = 3, 6, 13  # features after which a map is taken


class MobileNetV2(Encoder):
    """Maps of 24, 32, 96 and 1280 channels."""

    widths: ClassVar = (24, 32, 96, 1280)

    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [_Stem(3, 32, 3, stride=2)]
        width = 32
        for expansion, out, stride, dilation in _BLOCKS:
            features.append(_Block(width, out, expansion, stride, dilation))
            width = out
        features.append(_Stem(width, 1280, 1, stride=1))
        self.features = nn.ModuleList(features)

    def forward(self, image: Tensor) -> Maps:
        """See `Encoder.forward`."""
        taken = []
        x = image
        for index, feature in enumerate(self.features):
            x = feature(x)
            if index in (_S4, _S8, _S16):
                taken.append(x)
        return Maps(taken[0], taken[1], taken[2], x)


def _conv(into: int, out: int, kernel: int, stride: int, dilation: int, groups: int) -> nn.Conv2d:
    padding = (kernel - 1) // 2 * dilation
    return nn.Conv2d(into, out, kernel, stride, padding, dilation, groups, bias=False)


class _Stem(nn.Sequential):
    """Convolution, norm, ReLU6; also the parts of a block that expand or filter."""

    def __init__(
        self, into: int, out: int, kernel: int, stride: int, dilation: int = 1, groups: int = 1
    ) -> None:
        conv, norm = _conv(into, out, kernel, stride, dilation, groups), FrozenNorm(out)
        super().__init__(conv, norm)
        self.both = NormedConv(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(self.both(x), inplace=True)


class _Block(nn.Module):
    """Expand, filter each channel, project; added to the input where sizes are equal."""

    def __init__(self, into: int, out: int, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = into * expansion
        steps: list[nn.Module] = [_Stem(into, wide, 1, stride=1)] if expansion > 1 else []
        steps.append(_Stem(wide, wide, 3, stride, dilation, groups=wide))
        project, norm = _conv(wide, out, 1, 1, 1, 1), FrozenNorm(out)
        self.conv = nn.Sequential(*steps, project, norm)
        self.both = NormedConv(project, norm)
        self.adds = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        for step in self.conv[:-2]:
            y = step(y)
        y = self.both(y)
        if self.adds:
            y += x
        return y
