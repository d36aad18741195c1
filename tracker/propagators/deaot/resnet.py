"""ResNet-50 without its last stage (He et al., CVPR 2016, table 1; stride on the 3x3)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.encoder import Encoder, FrozenNorm, Maps, NormedConv


class ResNet50(Encoder):
    """Maps of 256, 512 and 1024 channels; the last is the third."""

    widths: ClassVar = (256, 512, 1024, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = FrozenNorm(64)
        self.stem = NormedConv(self.conv1, self.bn1)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)

    def forward(self, image: Tensor) -> Maps:
        """See `Encoder.forward`."""
        x = functional.relu(self.stem(image), inplace=True)
        s4 = self.layer1(functional.max_pool2d(x, 3, 2, 1))
        s8 = self.layer2(s4)
        s16 = self.layer3(s8)
        return Maps(s4, s8, s16, s16)


def _stage(into: int, width: int, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _Bottleneck(into, width, stride),
        *(_Bottleneck(4 * width, width, 1) for _ in range(count - 1)),
    )


class _Bottleneck(nn.Module):
    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(into, width, 1, bias=False), FrozenNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = FrozenNorm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), FrozenNorm(out)
        self.reduce = NormedConv(self.conv1, self.bn1)
        self.look = NormedConv(self.conv2, self.bn2)
        self.widen = NormedConv(self.conv3, self.bn3)
        self.downsample = nn.Sequential()
        self.beside: NormedConv | None = None
        if stride != 1 or into != out:
            conv, norm = nn.Conv2d(into, out, 1, stride, bias=False), FrozenNorm(out)
            self.downsample = nn.Sequential(conv, norm)
            self.beside = NormedConv(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.reduce(x), inplace=True)
        y = functional.relu(self.look(y), inplace=True)
        y = self.widen(y)
        y += x if self.beside is None else self.beside(x)
        return functional.relu(y, inplace=True)
