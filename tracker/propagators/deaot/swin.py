"""Swin-B without its fourth stage (Liu et al., "Swin Transformer", ICCV 2021, section 3)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.propagators.deaot.encoder import Encoder, Maps

_WINDOW = 7
_SHIFT = 3
_APART = -100.0  # added between tokens that a shift brought together, as the weights were trained


class SwinB(Encoder):
    """Maps of 128, 256 and 512 channels; the last is the third. Inputs of 16 m by 16 n pixels."""

    widths: ClassVar = (128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = _Patches()
        self.layers = nn.ModuleList(
            [_Stage(128, 4, 2, last=False), _Stage(256, 8, 2, last=False), _Stage(512, 16, 18)]
        )
        self.norm0, self.norm1, self.norm2 = (nn.LayerNorm(c) for c in self.widths[:3])

    def forward(self, image: Tensor) -> Maps:
        """See `Encoder.forward`."""
        x = self.patch_embed(image)
        maps = []
        for stage, norm in zip(self.layers, (self.norm0, self.norm1, self.norm2), strict=True):
            x, down = stage(x)
            maps.append(norm(x).permute(0, 3, 1, 2))
            x = down
        return Maps(maps[0], maps[1], maps[2], maps[2])


class _Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, 128, 4, 4)
        self.norm = nn.LayerNorm(128)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H/4, W/4, 128)."""
        height, width = image.shape[-2:]
        image = functional.pad(image, (0, -width % 4, 0, -height % 4))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class _Stage(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, *, last: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_Block(width, heads, shift=_SHIFT * (index % 2)) for index in range(depth)]
        )
        self.downsample = None if last else _Merge(width)
        self._apart: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) -> the same, and what the next stage begins with."""
        apart = self._mask(x)
        for block in self.blocks:
            x = block(x, apart)
        return x, x if self.downsample is None else self.downsample(x)

    def _mask(self, x: Tensor) -> Tensor:
        """What shifted windows add to their logits, (windows, 49, 49); kept."""
        height, width = (-(-side // _WINDOW) * _WINDOW for side in x.shape[1:3])
        kept = self._apart  # of whoever came last: other threads may use the network too
        if kept is None or kept[0] != (height, width):
            region = torch.zeros(1, height, width, 1)
            cuts = (slice(0, -_WINDOW), slice(-_WINDOW, -_SHIFT), slice(-_SHIFT, None))
            for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
                region[:, rows, columns] = number
            tokens = _windows(region)[..., 0]
            same = tokens[:, :, None] == tokens[:, None, :]
            mask = torch.zeros(same.shape).masked_fill_(~same, _APART)
            self._apart = kept = (height, width), mask.to(x.device)
        return kept[1]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        y = self.norm1(x)
        # Padding takes part in attention: after the projection it is the bias.
        y = functional.pad(y, (0, 0, 0, -width % _WINDOW, 0, -height % _WINDOW))
        padded = y.shape[1:3]
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = self.attn(_windows(y), apart if self.shift else None)
        y = _joined(y, *padded)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y[:, :height, :width]
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class _WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        side = 2 * _WINDOW - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(side * side, heads))
        at = torch.arange(_WINDOW)
        y, x = (axis.flatten() for axis in torch.meshgrid(at, at, indexing="ij"))
        offset = (y[:, None] - y[None, :] + _WINDOW - 1) * side + x[:, None] - x[None, :]
        self.register_buffer("relative_position_index", offset + _WINDOW - 1)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """(windows, 49, C) -> the same."""
        count, tokens, width = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        table = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = table.view(tokens, tokens, self.heads).permute(2, 0, 1)[None]
        if apart is not None:
            bias = bias + apart[:, None]
            if count > len(apart):  # of several images
                bias = bias.repeat(count // len(apart), 1, 1, 1)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(y.transpose(1, 2).reshape(count, tokens, width))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class _Merge(nn.Module):
    """Four neighbouring tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, -1)))  # type: ignore[no-any-return]


def _windows(x: Tensor) -> Tensor:
    """(B, h, w, C) -> (windows, 49, C), image after image; sides are multiples of the window."""
    count, height, width, channels = x.shape
    parts = x.view(count, height // _WINDOW, _WINDOW, width // _WINDOW, _WINDOW, channels)
    return parts.transpose(2, 3).reshape(-1, _WINDOW * _WINDOW, channels)


def _joined(windows: Tensor, height: int, width: int) -> Tensor:
    """The opposite of `_windows`."""
    channels = windows.shape[-1]
    parts = windows.view(-1, height // _WINDOW, width // _WINDOW, _WINDOW, _WINDOW, channels)
    return parts.transpose(2, 3).reshape(-1, height, width, channels)
