"""The long-term memory of a group of objects: bounded, in buffers that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from tracker.propagators.deaot.propagation import Remembered

_AT_ONCE = 64  # frames


class Eviction(StrEnum):
    """Which frame makes room when the memory is full."""

    OLDEST = "oldest"  # as the published code has it: in the end the key frame goes too
    KEEP_KEY_FRAMES = "keep-key-frames"  # the oldest one whose masks are the network's own


class Bank:
    """Frames of one group, of each layer their keys and values.

    Buffers double until they hold the `most` frames, and are then written in place: from there on
    memory is constant. On a graphics card a usual number is taken at once, so that what fits at the
    first frame fits at all. The order of frames within them means nothing to attention.
    """

    def __init__(self, most: int, eviction: Eviction) -> None:
        self._most = most
        self._eviction = eviction
        self._buffers: list[tuple[Tensor, Tensor]] = []
        self._slots: list[tuple[int, bool]] = []  # of each: when it was written, whether given
        self._written = 0

    def __len__(self) -> int:
        """Frames in memory."""
        return len(self._slots)

    def add(self, frame: Sequence[Remembered], *, given: bool) -> None:
        """Remember a frame: of each layer keys (1, N, 128) and values (1, N, 1024).

        `given`: whether its masks were given, by a person or at the start.
        """
        if len(self._slots) < self._most:
            slot = len(self._slots)
        elif not given and self._all_given():
            return  # a person's masks are worth more than the network's own
        else:
            slot = self._oldest()
        self._grow(frame, slot + 1)  # may find no memory: until then nothing has changed
        self._slots[slot : slot + 1] = [(self._written, given)]
        self._written += 1
        for buffers, remembered in zip(self._buffers, frame, strict=True):
            for buffer, entry in zip(buffers, remembered, strict=True):
                buffer[slot] = entry[0]

    def read(self) -> list[Remembered]:
        """All frames, of each layer: keys (1, T N, 128), values (1, T N, 1024)."""
        count = len(self._slots)
        return [
            Remembered(keys[:count].flatten(0, 1)[None], values[:count].flatten(0, 1)[None])
            for keys, values in self._buffers
        ]

    def _all_given(self) -> bool:
        keeps = self._eviction is Eviction.KEEP_KEY_FRAMES
        return keeps and all(given for _, given in self._slots)

    def _oldest(self) -> int:
        own = [slot for slot in self._slots if not slot[1]]
        if self._eviction is Eviction.OLDEST or not own:
            return self._slots.index(min(self._slots))
        return self._slots.index(min(own))

    def _grow(self, frame: Sequence[Remembered], needed: int) -> None:
        held = len(self._buffers[0][0]) if self._buffers else 0
        if needed <= held:
            return
        size = min(self._most, max(needed, 2 * held))
        if frame[0].keys.device.type != "cpu":
            size = min(self._most, max(_AT_ONCE, size))
        fresh = []
        for layer, remembered in enumerate(frame):
            pair = []
            for part, entry in enumerate(remembered):
                buffer = torch.empty(
                    (size, *entry.shape[1:]), dtype=entry.dtype, device=entry.device
                )
                if held:
                    buffer[:held] = self._buffers[layer][part]
                pair.append(buffer)
            fresh.append((pair[0], pair[1]))
        self._buffers = fresh
