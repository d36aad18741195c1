"""The decoder: from the grid at stride 16 to logits at stride 4, with the encoder's maps beside."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.encoder import Maps
from tracker.propagators.deaot.propagation import spread

MOST = 10  # objects of a group


class _Normed(nn.Module):
    """Convolution and group norm, then ReLU."""

    def __init__(self, into: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, padding=kernel // 2)
        self.gn = nn.GroupNorm(8, out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.gn(self.conv(x)), inplace=True)


class Decoder(nn.Module):
    """A feature pyramid (Lin et al., CVPR 2017), as the paper's section 5 takes it from AOT."""

    def __init__(self, widths: tuple[int, int, int, int], *, corners: bool) -> None:
        super().__init__()
        s4, s8, s16, _ = widths
        self.conv_in = _Normed(512, 256, 1)
        self.conv_16x, self.adapter_16x = _Normed(256, 256, 3), nn.Conv2d(s16, 256, 1)
        self.conv_8x, self.adapter_8x = _Normed(256, 128, 3), nn.Conv2d(s8, 256, 1)
        self.conv_4x, self.adapter_4x = _Normed(128, 128, 3), nn.Conv2d(s4, 128, 1)
        self.conv_out = nn.Conv2d(128, MOST + 1, 1)
        self._corners = corners

    def forward(self, carried: Tensor, maps: Maps, objects: int, owners: Sequence[int]) -> Tensor:
        """Logits (B, objects + 1, h4, w4) of background and objects.

        `carried` (B, 512, h, w), `maps` of I images, `owners`: see `propagation.spread`.
        """
        x = self.conv_16x(self.conv_in(carried) + spread(self.adapter_16x(maps.s16), owners))
        x = self.conv_8x(self._grown(x, maps.s8) + spread(self.adapter_8x(maps.s8), owners))
        x = self.conv_4x(self._grown(x, maps.s4) + spread(self.adapter_4x(maps.s4), owners))
        weight, bias = self.conv_out.weight, self.conv_out.bias
        assert bias is not None
        return functional.conv2d(x, weight[: objects + 1], bias[: objects + 1])

    def _grown(self, x: Tensor, like: Tensor) -> Tensor:
        return functional.interpolate(
            x, size=like.shape[-2:], mode="bilinear", align_corners=self._corners
        )
