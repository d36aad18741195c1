"""Objects of a whole run: seeds that spans found to be the same thing, joined."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

from cvat_io.defaults import Defaults
from cvat_io.model import MaskShape
from jobs.sheet import name_of

Seed = tuple[int, int]
"""Key frame and k: the k-th tracked mask of that frame, in file order."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One object: the key frames on which it was drawn, ascending, and what is kept of each."""

    frames: tuple[int, ...]
    shapes: tuple[MaskShape, ...]

    def nearest(self, frame: int) -> MaskShape:
        """The drawn shape nearest in time to `frame`, the earlier one of two."""
        behind = bisect_left(self.frames, frame)
        if behind == len(self.frames):
            return self.shapes[-1]
        if behind == 0 or self.frames[behind] - frame < frame - self.frames[behind - 1]:
            return self.shapes[behind]
        return self.shapes[behind - 1]


class Objects:
    """Global object numbers: those of the previous result, and for new objects further ones.

    New ones are numbered in the order in which they are first drawn.
    """

    def __init__(
        self,
        seeds: Mapping[int, Sequence[MaskShape]],
        groups: Iterable[Sequence[Seed]],
        *,
        named: Iterable[Sequence[Seed]] = (),
        known: Mapping[Seed, int] | None = None,
        taken: int = 0,
    ) -> None:
        """`seeds`: what is to be kept of every seed, by key frame; `groups`: seeds of one object.

        `named`: seeds of one object by a name that a human gave, each group with a name of its own.
        Such a group joins also objects that were two before, as no other does, and no two of them
        are ever joined: another name is another object, whatever was known or is found. `known`:
        seeds of which the previous result says what object they are; `taken`: the largest number
        that it gave.
        Groups that would make one object of two seeds of one key frame are joined as far as they
        do not: two masks on one frame are two things.
        """
        self._parent: dict[Seed, Seed] = {
            (frame, k): (frame, k) for frame in sorted(seeds) for k in range(len(seeds[frame]))
        }
        self._on: dict[Seed, set[int]] = {seed: {seed[0]} for seed in self._parent}
        self._was: dict[Seed, set[int]] = {seed: set() for seed in self._parent}
        self._named: dict[Seed, set[int]] = {seed: set() for seed in self._parent}
        same: dict[int, list[Seed]] = {}
        for seed, number in (known or {}).items():
            self._was[seed] = {number}
            same.setdefault(number, []).append(seed)
        named = list(named)
        for name, group in enumerate(named):
            for seed in group:
                self._named[seed] = {name}
        for group in (*named, *same.values()):  # what a human says goes before what we knew
            for a, b in pairwise(group):
                self._join(a, b)
        for group in groups:
            for a, b in pairwise(group):
                if self._may_be_one(a, b):
                    self._join(a, b)
        members: dict[Seed, list[Seed]] = {}
        for seed in self._parent:
            members.setdefault(self._root(seed), []).append(seed)
        self._number: dict[Seed, int] = {}
        given: set[int] = set()
        free = count(taken + 1)
        for root in members:
            number = min(self._was[root] - given, default=0) or next(free)
            self._number[root] = number
            given.add(number)
        self.largest = max((taken, *given))  # given now or before; 0 where there is no object
        self._same = {was: sorted(group) for was, group in same.items()}
        self._shown = {
            self._number[root]: Shown(
                tuple(frame for frame, _ in group), tuple(seeds[f][k] for f, k in group)
            )
            for root, group in members.items()
        }

    def __len__(self) -> int:
        return len(self._shown)

    def number(self, seed: Seed) -> int:
        """The global number of a seed's object."""
        return self._number[self._root(seed)]

    def now(self, was: int, frame: int) -> int:
        """The number of a mask on `frame` that the previous result numbered `was`.

        Where that is two objects by now, it is the one that was drawn last up to the frame.
        """
        seeds = self._same.get(was)
        if not seeds:
            return was
        return self.number(seeds[max(0, bisect_left(seeds, (frame + 1, 0)) - 1)])

    def shown(self, number: int) -> Shown:
        """Where the object `number` was drawn."""
        return self._shown[number]

    def _root(self, seed: Seed) -> Seed:
        while self._parent[seed] != seed:
            self._parent[seed] = self._parent[self._parent[seed]]
            seed = self._parent[seed]
        return seed

    def _join(self, a: Seed, b: Seed) -> None:
        one, two = sorted((self._root(a), self._root(b)))
        if one == two or self._on[one] & self._on[two]:
            return
        if len(self._named[one] | self._named[two]) > 1:
            return
        self._parent[two] = one
        self._on[one] |= self._on.pop(two)
        self._was[one] |= self._was.pop(two)
        self._named[one] |= self._named.pop(two)

    def _may_be_one(self, a: Seed, b: Seed) -> bool:
        """Whether the previous result does not know them as two objects."""
        return len(self._was[self._root(a)] | self._was[self._root(b)]) < 2


def named_alike(
    seeds: Mapping[int, Sequence[MaskShape]], defaults: Defaults
) -> Iterable[Sequence[Seed]]:
    """Seeds that bear one name (`jobs.sheet.name_of`) and label, where their frame has it once.

    `seeds`: by key frame. A human's name holds wherever the masks lie and whatever was computed
    between them.
    """
    groups: dict[tuple[str, str], list[Seed]] = {}
    for frame in sorted(seeds):
        bearers: dict[tuple[str, str], list[Seed]] = {}
        for k, shape in enumerate(seeds[frame]):
            if name := name_of(defaults.set_of(shape)):
                bearers.setdefault((shape.label, name), []).append((frame, k))
        for key, found in bearers.items():
            if len(found) == 1:
                groups.setdefault(key, []).extend(found)
    return groups.values()
