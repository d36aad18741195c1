"""What is known of a clip while it is followed: groups of objects, each with its memories.

Yang and Yang (NeurIPS 2022), section 5, and the state machine of the published tool: a frame whose
masks are given is its own memory; of others the layers' view is kept until their masks are known.
Frames of several clips may be computed at once: `look`, `carry` and `update` take their trackers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

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
        look([self], image)

    def carry(self) -> list[Tensor]:
        """Logits of each group, (1, objects + 1, h4, w4), of background and its objects."""
        return carry([self])[0]

    def update(self, labels: Tensor) -> None:
        """Remember the frame that was carried to; `labels` float (H, W) at the network's size."""
        update([self], [labels])

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
        begun = [self._groups[index] for index in news]
        for group in begun:
            group.seen = []
        self.update(labels)
        for groups in self._chunks(begun):
            who = self._network.identify(torch.stack(self._masks(groups, labels)))
            remembered = self._network.LSTT.meet(visual, who, window)
            for index, group in enumerate(groups):
                self._remember(group, _slice(remembered, index), given=True)

    def _remember(self, group: _Group, frame: list[Remembered], *, given: bool) -> None:
        if given or group.step - group.last >= self._gap:
            group.bank.add(frame, given=given)
            group.last = group.step
        group.short = frame
        group.seen = []

    def _masks(self, groups: Sequence[_Group], labels: Tensor) -> list[Tensor]:
        """Label maps of groups, (H, W) of 0 .. 10: objects of other groups are background."""
        masks = []
        for group in groups:
            own = labels - MOST * self._groups.index(group)
            masks.append(own.where((own > 0) & (own <= MOST), own.new_zeros(())))
        return masks

    def _chunks(self, groups: Sequence[_Group]) -> Iterator[Sequence[_Group]]:
        """Groups that are computed at once."""
        for start in range(0, len(groups), self._memories.together):
            yield groups[start : start + self._memories.together]

    def _shown(self) -> tuple[Maps, Tensor, Window]:
        if self._maps is None or self._visual is None or self._window is None:
            raise RuntimeError("nothing was looked at yet")
        return self._maps, self._visual, self._window


def look(trackers: Sequence[Tracker], images: Tensor) -> None:
    """Encode a frame of each clip, float (clips, 3, H, W); all are of one network."""
    maps, visual = trackers[0]._network.encode(images)
    height, width = maps.s16.shape[-2:]
    for index, tracker in enumerate(trackers):
        at = slice(index, index + 1)
        tracker._maps, tracker._visual = Maps(*(each[at] for each in maps)), visual[at]
        window = tracker._window
        if window is None or (window.height, window.width) != (height, width):
            tracker._window = Window(height, width, images.device)


def carry(trackers: Sequence[Tracker]) -> list[list[Tensor]]:
    """What `Tracker.carry` says, of each clip; all are of one network and shown at one size.

    Every clip adds as many groups to a batch as it would compute at once alone. When it fails, no
    clip has changed.
    """
    network = trackers[0]._network
    logits: list[list[Tensor]] = [[] for _ in trackers]
    carried_to: list[tuple[_Group, list[Seen]]] = []
    for chunks in zip_longest(*(t._chunks(t._groups) for t in trackers), fillvalue=()):
        clips = [index for index, chunk in enumerate(chunks) if chunk]
        owners = [place for place, index in enumerate(clips) for _ in chunks[index]]
        groups = [group for chunk in chunks for group in chunk]
        shown = [trackers[index]._shown() for index in clips]
        maps = Maps(*map(_cat, zip(*(each[0] for each in shown), strict=True)))
        banks = [group.bank.read() for group in groups]
        memory = [
            Recalled([bank[layer] for bank in banks], _joined([g.short[layer] for g in groups]))
            for layer in range(network.variant.layers)
        ]
        visual = _cat([each[1] for each in shown])
        carried, seen = network.LSTT.carry(visual, memory, shown[0][2], owners)
        most = max(group.objects for group in groups)
        found = network.decoder(carried, maps, most, owners)
        for index, (owner, group) in enumerate(zip(owners, groups, strict=True)):
            logits[clips[owner]].append(found[index : index + 1, : group.objects + 1])
            carried_to.append((group, [_of(each, index) for each in seen]))
    for group, seen in carried_to:
        group.step += 1
        group.seen = seen
    return logits


def update(trackers: Sequence[Tracker], labels: Sequence[Tensor]) -> None:
    """Do what `Tracker.update` does, to each clip with its `labels`, all at one size.

    Groups that remember their last frame already are left: called once more after it failed, it
    goes on where it stopped.
    """
    network = trackers[0]._network
    waiting = [tracker._chunks([g for g in tracker._groups if g.seen]) for tracker in trackers]
    for chunks in zip_longest(*waiting, fillvalue=()):
        parts = list(zip(trackers, chunks, labels, strict=True))
        masks = [mask for tracker, chunk, known in parts for mask in tracker._masks(chunk, known)]
        who = iter(network.identify(torch.stack(masks)).chunk(len(masks)))
        for tracker, chunk, _ in parts:
            for group in chunk:
                own = next(who)
                remembered = [
                    layer.remember(seen, own)  # type: ignore[operator]
                    for layer, seen in zip(network.LSTT.layers, group.seen, strict=True)
                ]
                tracker._remember(group, remembered, given=False)


def _cat(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _joined(parts: Sequence[Remembered]) -> Remembered:
    return Remembered(_cat([p.keys for p in parts]), _cat([p.values for p in parts]))


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
