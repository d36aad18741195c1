"""What is known of a clip while it is followed: groups of objects, each with its memories.

Yang and Yang (NeurIPS 2022), section 5, and the state machine of the published tool: a frame whose
masks are given is its own memory; of others the layers' view is kept until their masks are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracker.propagators.deaot.attention import Window
from tracker.propagators.deaot.bank import Bank, Eviction
from tracker.propagators.deaot.decoder import MOST
from tracker.propagators.deaot.encoder import Maps
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.propagation import Recalled, Remembered, Seen
from tracker.propagators.deaot.variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Memories:
    """How much is remembered.

    `gap`: frames from one long-term memory to the next; None: as the model is meant to be used.
    `most`: long-term memories of a group. `together`: groups computed at once, bounded by memory.
    """

    gap: int | None = None
    most: int = 9999
    eviction: Eviction = Eviction.OLDEST
    together: int = 4


@dataclass(slots=True, eq=False)
class _Group:
    """Up to ten objects. Steps are counted from the group's first frame."""

    bank: Bank
    objects: int
    step: int = 0
    last: int = 0  # step of the last long-term memory
    short: list[Remembered] = field(default_factory=list)  # the last frame, of each layer
    seen: list[Seen] = field(default_factory=list)  # the frame whose masks are not known yet


class Tracker:
    """Follows objects 1 .. n through frames of one size.

    For each frame: `look`, then `carry` for logits, then `update` with the masks that were decided.
    A frame with given masks: `look`, `carry` unless it is the first, `meet`.
    """

    def __init__(self, network: DeAOT, memories: Memories) -> None:
        self._network = network
        self._memories = memories
        self._gap = network.variant.gap if memories.gap is None else memories.gap
        self._groups: list[_Group] = []
        self._window: Window | None = None
        self._maps: Maps | None = None
        self._visual: Tensor | None = None

    @property
    def variant(self) -> Variant:
        """Which network it is."""
        return self._network.variant

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._network.id_norm.weight.device

    def remembered(self) -> list[int]:
        """Long-term memories of each group, frames."""
        return [len(group.bank) for group in self._groups]

    def remembered_bytes(self) -> int:
        """Bytes of all memories, long-term and short-term."""
        return sum(
            part.numel() * part.element_size()
            for group in self._groups
            for each in (*group.bank.read(), *group.short)
            for part in each
        )

    def look(self, image: Tensor) -> None:
        """Encode a frame, float (1, 3, H, W), once for whatever is done with it."""
        self._maps, self._visual = self._network.encode(image)
        height, width = self._maps.s16.shape[-2:]
        if self._window is None or (self._window.height, self._window.width) != (height, width):
            self._window = Window(height, width, image.device)

    def carry(self) -> list[Tensor]:
        """Logits of each group, (1, objects + 1, h4, w4), of background and its objects."""
        maps, visual, window = self._shown()
        logits = []
        for groups in self._chunks(self._groups):
            banks = [group.bank.read() for group in groups]
            memory = [
                Recalled([bank[layer] for bank in banks], _joined([g.short[layer] for g in groups]))
                for layer in range(self._network.variant.layers)
            ]
            carried, seen = self._network.LSTT.carry(visual, memory, window)
            most = max(group.objects for group in groups)
            found = self._network.decoder(carried, maps, most)
            for index, group in enumerate(groups):
                group.step += 1
                group.seen = [_of(each, index) for each in seen]
                logits.append(found[index : index + 1, : group.objects + 1])
        return logits

    def update(self, labels: Tensor) -> None:
        """Remember the frame that was carried to; `labels` float (H, W) at the network's size."""
        self._update(self._groups, labels)

    def meet(self, labels: Tensor, count: int) -> None:
        """Take given masks of objects 1 .. `count` as truth; `labels` as for `update`.

        Groups that are new or have grown begin with them; the others are updated.
        """
        _, visual, window = self._shown()
        known = len(self._groups)
        wanted = max(-(-count // MOST), 1)
        sizes = [min(count - MOST * index, MOST) for index in range(wanted)]
        news = []
        for index, size in enumerate(sizes):
            if index >= known:
                bank = Bank(self._memories.most, self._memories.eviction)
                self._groups.append(_Group(bank, objects=size))
                news.append(index)
            elif size > self._groups[index].objects:
                self._groups[index].objects = size
                news.append(index)
        rest = [g for index, g in enumerate(self._groups) if index not in news]
        if any(group.seen for group in rest):
            self._update(rest, labels)
        for groups in self._chunks([self._groups[index] for index in news]):
            remembered = self._network.LSTT.meet(visual, self._who(groups, labels), window)
            for index, group in enumerate(groups):
                self._remember(group, _slice(remembered, index), given=True)

    def _update(self, groups: Sequence[_Group], labels: Tensor) -> None:
        for chunk in self._chunks(groups):
            who = self._who(chunk, labels)
            for index, group in enumerate(chunk):
                remembered = [
                    layer.remember(seen, who[index : index + 1])  # type: ignore[operator]
                    for layer, seen in zip(self._network.LSTT.layers, group.seen, strict=True)
                ]
                self._remember(group, remembered, given=False)

    def _remember(self, group: _Group, frame: list[Remembered], *, given: bool) -> None:
        group.short = frame
        group.seen = []
        if given or group.step - group.last >= self._gap:
            group.bank.add(frame, given=given)
            group.last = group.step

    def _who(self, groups: Sequence[_Group], labels: Tensor) -> Tensor:
        """Who is where to each group: objects of other groups are background."""
        masks = []
        for group in groups:
            own = labels - MOST * self._groups.index(group)
            masks.append(own.where((own > 0) & (own <= MOST), own.new_zeros(())))
        return self._network.identify(torch.stack(masks))

    def _chunks(self, groups: Sequence[_Group]) -> Iterator[Sequence[_Group]]:
        """Groups that are computed at once."""
        for start in range(0, len(groups), self._memories.together):
            yield groups[start : start + self._memories.together]

    def _shown(self) -> tuple[Maps, Tensor, Window]:
        if self._maps is None or self._visual is None or self._window is None:
            raise RuntimeError("nothing was looked at yet")
        return self._maps, self._visual, self._window


def _joined(parts: Sequence[Remembered]) -> Remembered:
    if len(parts) == 1:
        return parts[0]
    return Remembered(torch.cat([p.keys for p in parts]), torch.cat([p.values for p in parts]))


def _of(seen: Seen, index: int) -> Seen:
    """One group's share; what is the same for all groups is held once."""
    parts = [
        None if part is None else part[index : index + 1] if len(part) > 1 else part
        for part in seen
    ]
    assert parts[0] is not None
    assert parts[1] is not None
    return Seen(parts[0], parts[1], parts[2])


def _slice(frame: Sequence[Remembered], index: int) -> list[Remembered]:
    at = slice(index, index + 1)
    return [Remembered(each.keys[at], each.values[at]) for each in frame]
