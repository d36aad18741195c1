"""Attention over whole memories, and over a window of the last frame, without loops over offsets.

Tokens are row-major, (B, N, C) with N = h w. Values are far wider than keys (1024 beside 128), so
what costs is weights times values: fused kernels that want equal widths would compute the weights
eight times. Plain products in blocks that stay in the cache are as fast, and exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS = 7
SIDE = 2 * RADIUS + 1
_STRIP = 3  # rows of queries that share one product
_BLOCK = {"cpu": 2**20, "cuda": 2**27}  # weights held at once, entries


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(queries keys^T) values: (B, N, C), (B, M, C), (B, M, D) -> (B, N, D).

    `queries` are scaled already. A batch of one is read by all others.
    """
    batch = max(len(queries), len(keys))
    count, memory = queries.shape[1], keys.shape[1]
    block = max(128, _BLOCK.get(queries.device.type, 2**24) // (memory * batch))
    keys = keys.transpose(1, 2)
    if block >= count:
        return (queries @ keys).softmax(-1) @ values
    parts = queries.tensor_split(-(-count // block), 1)
    return torch.cat([(part @ keys).softmax(-1) @ values for part in parts], 1)


class Window:
    """Attention of each token to the 15 x 15 tokens around it in another frame of equal size.

    Rows of queries are taken in strips: all keys of a strip and of the seven rows above and below
    it are one matrix, and so are their values. The relative terms of a strip are written along the
    diagonals of a second one that holds -inf elsewhere, by one strided copy. Belongs to one grid
    and device; holds scratch memory, so it is for one thread.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self.height, self.width = height, width
        self._strips = -(-height // _STRIP)
        self._below = self._strips * _STRIP - height  # rows added to fill the last strip
        row = torch.arange(height, device=device)[:, None] + torch.arange(SIDE, device=device)
        column = torch.arange(width, device=device)[:, None] + torch.arange(SIDE, device=device)
        outside = torch.logical_or(
            ((row < RADIUS) | (row >= height + RADIUS))[:, None, :, None],
            ((column < RADIUS) | (column >= width + RADIUS))[None, :, None, :],
        )
        self._outside = outside.view(1, height * width, SIDE * SIDE)
        self._scratch: dict[tuple[int, torch.dtype], Tensor] = {}

    def attend(self, queries: Tensor, relative: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, N, C), (B, N, 225), (B, N, C), (B, N, D) -> (B, N, D).

        `queries` are scaled already; `relative` is added to their logits, entry (dy + 7) * 15 +
        dx + 7 for the token dy rows below and dx columns to the right.
        """
        batch = len(queries)
        rows, columns = _STRIP + 2 * RADIUS, self.width
        bias = self._bias(relative)
        # One strip after another as a batch: neighbours overlap, but nothing is copied.
        around = (0, 0, RADIUS * columns, (RADIUS + self._below) * columns)
        keys = torch.nn.functional.pad(keys, around)
        values = torch.nn.functional.pad(values, around)
        parts = []
        for one in range(batch):
            near, worth = (
                matrix[one].as_strided(
                    (self._strips, rows * columns, matrix.shape[-1]),
                    (_STRIP * columns * matrix.shape[-1], matrix.shape[-1], 1),
                    matrix[one].storage_offset(),
                )
                for matrix in (keys, values)
            )
            asked = torch.nn.functional.pad(queries[one], (0, 0, 0, self._below * columns))
            asked = asked.view(self._strips, _STRIP * columns, -1)
            logits = torch.bmm(asked, near.transpose(1, 2))
            logits.view(self._strips, _STRIP, columns, rows, columns).add_(bias[one])
            found = torch.bmm(logits.softmax(-1), worth)
            parts.append(found.view(-1, found.shape[-1])[: self.height * columns])
        return torch.stack(parts)

    def _bias(self, relative: Tensor) -> Tensor:
        """The relative terms as (B, strips, strip, w, strip + 14, w), -inf outside the window."""
        batch, columns = len(relative), self.width
        rows, wide = _STRIP + 2 * RADIUS, columns + 2 * RADIUS
        relative = relative.masked_fill(self._outside, float("-inf"))
        key = (batch, relative.dtype)
        if key not in self._scratch:
            shape = (batch, self._strips, _STRIP, columns, rows, wide)
            scratch = relative.new_full(shape, float("-inf"))
            # Rows that only fill the last strip: any finite number, so that no softmax is NaN.
            scratch.view(batch, -1, columns, rows, wide)[:, self.height :] = 0.0
            self._scratch = {key: scratch}
        scratch = self._scratch[key]
        each = scratch.stride()
        diagonal = scratch.as_strided(
            (batch, self._strips, _STRIP, columns, SIDE, SIDE),
            (each[0], each[1], each[2] + each[4], each[3] + each[5], each[4], each[5]),
        )
        full = self.height // _STRIP
        shape = (batch, full, _STRIP, columns, SIDE, SIDE)
        whole = full * _STRIP * columns
        diagonal[:, :full] = relative[:, :whole].view(shape)
        if self._below:
            rest = relative[:, whole:].view(batch, -1, columns, SIDE, SIDE)
            diagonal[:, full, : rest.shape[1]] = rest
        return scratch[..., RADIUS : RADIUS + columns]
