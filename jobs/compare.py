"""What a person changed on one frame, mask by mask, and which of our objects each mask shows.

CVAT keeps no identity for masks. Ours survives, in this order: a mask that is as it was is of the
object that it was of; a name that a human gave (an attribute of the label) says it; else the mask
that overlaps most says it. What could be taken in two ways is decided and told (`Conflict`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cvat_io.defaults import Defaults
from cvat_io.masks import iou, same_pixels
from cvat_io.model import MaskShape
from errors import one_line
from jobs.frame_change import ChangeKind, Conflict, FrameChange, MaskChange, Names
from jobs.on_top import numbered, stacks
from jobs.sheet import mask_digest, name_of

MIN_IOU = 0.1  # as where a pass meets a key frame (`tracker.identity`)
_RELABELLED = 0.5  # IoU from which on a mask of another label or name is the one that was there
_TIE = 0.1  # between the sums of IoU of two ways to pair masks: then both are likely


def compare_frame(
    frame: int,
    before: Sequence[tuple[MaskShape, int]],
    now: Sequence[MaskShape],
    names: Names,
    defaults: Defaults,
) -> FrameChange:
    """Compare the tracked masks of one frame with those that our previous result has there.

    `before`: each with its object, 0 where that is not known. Costs one comparison of pixels for
    each pair of boxes that overlap.
    """
    work = _Comparison(frame, before, now, defaults, names)
    work.pair_unchanged()
    work.pair_by_name()
    work.pair_by_pixels()
    work.pair_by_overlap()
    return work.finish()


def unchanged(
    before: Sequence[tuple[MaskShape, int]], now: Sequence[MaskShape], defaults: Defaults
) -> tuple[int, ...]:
    """The objects of masks that are as they were, in the order of `now`; 0 for all others."""
    work = _Comparison(0, before, now, defaults, {})
    work.pair_unchanged()
    return tuple(work.objects)


@dataclass(slots=True)
class _Comparison:
    """One frame while its masks are being paired."""

    frame: int
    before: Sequence[tuple[MaskShape, int]]
    now: Sequence[MaskShape]
    defaults: Defaults
    names: Names
    name: list[str] = field(init=False)  # of each mask of now that bears one alone, else empty
    old_name: list[str] = field(init=False)  # of a nameless mask that of its object
    objects: list[int] = field(init=False)
    open_now: list[int] = field(init=False)
    open_before: list[int] = field(init=False)
    changes: list[MaskChange] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    same: list[int] = field(default_factory=list)  # masks of now that are as they were
    drawn: list[int] = field(default_factory=list)  # those that are new, or have other pixels
    split: set[int] = field(default_factory=set)  # masks of now that are told to be parts of one

    def __post_init__(self) -> None:
        self.name = self._names(self.now)
        self.old_name = self._names([shape for shape, _ in self.before])
        borne: dict[int, str] = {}
        for (_, name), number in self.names.items():
            borne[number] = "" if number in borne else name  # of two names neither says it
        for j, (shape, number) in enumerate(self.before):
            if not name_of(self.defaults.set_of(shape)):
                self.old_name[j] = borne.get(number, "")
        self.objects = [0] * len(self.now)
        self.open_now = list(range(len(self.now)))
        self.open_before = list(range(len(self.before)))

    def pair_unchanged(self) -> None:
        """Pair masks with equal pixels, label and attributes that a person set."""
        waiting: dict[bytes, list[int]] = {}
        for j, (shape, _) in enumerate(self.before):
            waiting.setdefault(mask_digest(shape, self.defaults), []).append(j)
        for i, shape in enumerate(self.now):
            same = waiting.get(mask_digest(shape, self.defaults))
            if not same:
                continue
            j = same.pop(0)
            old, self.objects[i] = self.before[j]
            self.same.append(i)
            self.open_now.remove(i)
            self.open_before.remove(j)
            if (old.occluded, old.z_order) != (shape.occluded, shape.z_order):
                self._tell(ChangeKind.PLACED, shape.label)

    def pair_by_name(self) -> None:
        """Give masks with a name the object that bears it, wherever they lie."""
        keys = [(shape.label, name_of(self.defaults.set_of(shape))) for shape in self.now]
        open_keys = {keys[i] for i in self.open_now}
        for (label, name), count in sorted(Counter(keys).items()):
            if name and count > 1 and (label, name) in open_keys:
                self._doubt(
                    f'{count} masks of "{_said(label)}" bear the name "{_said(name)}": it is '
                    "passed over here, and overlap decides"
                )
        for i in list(self.open_now):
            if not self.name[i]:
                continue
            key = keys[i]
            here = [
                j for j in self.open_before
                if (self.before[j][0].label, self.old_name[j]) == key
            ]  # fmt: skip
            if len(here) == 1:
                self._pair(i, here[0])
            elif (known := self.names.get(key, 0)) and self._let_go(known, i):
                self._take(i, known)

    def pair_by_pixels(self) -> None:
        """Pair masks that have the same pixels, and another label or other attributes."""
        for alike in (True, False):  # what may be one object comes first
            for i in list(self.open_now):
                for j in list(self.open_before):
                    if self._may_be_same(i, j) is alike and same_pixels(
                        self.now[i].mask, self.before[j][0].mask
                    ):
                        self._pair(i, j)
                        break

    def pair_by_overlap(self) -> None:
        """Pair what is left by overlap, the largest first; what could be otherwise is told."""
        table = {
            (i, j): value
            for i in self.open_now
            for j in self.open_before
            if (value := _overlap(self.now[i], self.before[j][0])) >= MIN_IOU
            and self._may_be_same(i, j)
        }
        pairs: dict[int, int] = {}
        for i, j in sorted(table, key=lambda pair: (-table[pair], pair)):
            if i not in pairs and j not in pairs.values():
                pairs[i] = j
        self._tell_ties(table, pairs)
        for i, j in sorted(pairs.items()):
            self._pair(i, j)
        self._tell_splits(table, pairs)
        for i in list(self.open_now):
            found = [
                (value, j) for j in self.open_before
                if not self._may_be_same(i, j)
                and (value := _overlap(self.now[i], self.before[j][0])) >= _RELABELLED
            ]  # fmt: skip
            if found:
                self._pair(i, max(found)[1])

    def finish(self) -> FrameChange:
        """What is left was added or deleted."""
        for i in self.open_now:
            self.drawn.append(i)
            self._tell(ChangeKind.ADDED, self.now[i].label)
            self._tell_doubled(i)
        for j in self.open_before:
            self._tell(ChangeKind.DELETED, self.before[j][0].label)
            self.touched.add(self.before[j][1])
        shown = list(zip(self.objects, self.now, strict=True))
        return FrameChange(
            objects=tuple(self.objects),
            shown={number: shape.label for number, shape in shown if number},
            new_labels=frozenset(shape.label for number, shape in shown if not number),
            touched=frozenset(self.touched),
            below=self._below(),
            named={
                (shape.label, self.name[i]): number
                for i, (number, shape) in enumerate(shown)
                if number and self.name[i] and i not in self.same
            },
            changes=tuple(self.changes),
            conflicts=tuple(self.conflicts),
        )

    def _pair(self, i: int, j: int) -> None:
        """Take mask `i` of now for what mask `j` of before has become."""
        shape, (old, number) = self.now[i], self.before[j]
        edited = not same_pixels(shape.mask, old.mask)
        if edited:
            self.drawn.append(i)
        self.open_now.remove(i)
        self.open_before.remove(j)
        self.touched.add(number)
        if shape.label != old.label:
            # Another label is another thing: what follows the one never follows the other.
            self._tell(ChangeKind.MOVED, shape.label, old.label)
            return
        if self._may_be_same(i, j):
            self.objects[i] = 0 if number in self.objects else number  # never on a frame twice
        else:
            self._doubt(
                f'a mask of "{_said(shape.label)}" bears the name "{_said(self.name[i])}" where '
                f'the object with the name "{_said(self.old_name[j])}" was: the name decides'
            )
        self._tell(ChangeKind.EDITED if edited else ChangeKind.ATTRIBUTES, shape.label)

    def _let_go(self, number: int, i: int) -> bool:
        """Whether an object is not on this frame yet, or by a nameless mask that is as it was.

        That is another object then, since mask `i` has the object's name.
        """
        if number not in self.objects:
            return True
        there = self.objects.index(number)
        if self.name[there]:
            return False
        self.objects[there] = 0
        self._doubt(
            f'a mask of "{_said(self.now[i].label)}" bears the name "{_said(self.name[i])}" of '
            f"object {number}, and the mask that was that object's is there too: the name decides, "
            "and the other mask is a new object"
        )
        return True

    def _take(self, i: int, number: int) -> None:
        """Take mask `i` for an object that is not on this frame yet, by its name."""
        shape = self.now[i]
        self.drawn.append(i)
        self.open_now.remove(i)
        self.objects[i] = number
        self.touched.add(number)
        self._tell(ChangeKind.ADDED, shape.label)
        for j in self.open_before:
            old, _ = self.before[j]
            if old.label == shape.label and _overlap(shape, old) >= _RELABELLED:
                self._doubt(
                    f'a mask of "{_said(shape.label)}" lies where {self._old(j)} was and bears the '
                    f'name "{_said(self.name[i])}" of object {number}: the name decides'
                )

    def _tell_ties(self, table: Mapping[tuple[int, int], float], pairs: Mapping[int, int]) -> None:
        items = sorted(pairs.items())
        for at, (i, j) in enumerate(items):
            for other, there in items[at + 1 :]:
                crossed = table.get((i, there)), table.get((other, j))
                if None in crossed:
                    continue
                straight = table[i, j] + table[other, there]
                if straight - sum(each or 0.0 for each in crossed) < _TIE:
                    self._doubt(
                        f'two masks of "{_said(self.now[i].label)}" overlap '
                        f"{self._old(j, there)} about alike: the pairs that overlap most are "
                        "taken; give the label an attribute object_id to say which is which"
                    )

    def _tell_splits(
        self, table: Mapping[tuple[int, int], float], pairs: Mapping[int, int]
    ) -> None:
        owner = {j: i for i, j in pairs.items()}
        for i, j in sorted(table):
            label = _said(self.now[i].label)
            if i not in pairs and j in owner:
                self.split.add(i)
                self._doubt(
                    f'several masks of "{label}" lie where {self._old(j)} was: the one that '
                    "overlaps it most goes on with it, the other is a new object"
                )
            elif i in pairs and j not in owner:
                self._doubt(
                    f'one mask of "{label}" lies where {self._old(pairs[i], j)} were: it goes on '
                    "with the one that it overlaps most, and the other is absent here"
                )

    def _tell_doubled(self, i: int) -> None:
        """Tell of a mask that was added where another one goes on with what was there."""
        if i in self.split:
            return
        shape = self.now[i]
        for j in sorted(set(range(len(self.before))).difference(self.open_before)):
            if self._may_be_same(i, j) and _overlap(shape, self.before[j][0]) >= MIN_IOU:
                self._doubt(
                    f'a mask of "{_said(shape.label)}" was added where {self._old(j)} was, which '
                    "goes on with another mask: it is taken for a new object; delete one of the "
                    "two if they show one thing"
                )
                return

    def _below(self) -> frozenset[int]:
        """The objects that stay here under a mask that a person drew; who covers whom is told."""
        drawn = [self.now[i] for i in sorted(self.drawn)]
        stay = [(self.now[i], self.objects[i]) for i in self.same if self.objects[i]]
        found = stacks(drawn, stay)
        for stack in found:
            for sentence in stack.sentences():
                self._doubt(sentence)
        return frozenset(number for stack in found for number in stack.below)

    def _old(self, *masks: int) -> str:
        """What one or two masks of before are called: objects where that is known of all."""
        numbers = [self.before[j][1] for j in masks]
        if all(numbers):
            return numbered(numbers)
        label = _said(self.before[masks[0]][0].label)
        some = "one" if len(masks) == 1 else "two"
        return f'{some} of the previous result\'s masks of "{label}" on frame {self.frame}'

    def _names(self, shapes: Sequence[MaskShape]) -> list[str]:
        """Of each mask its name; empty also where two of a label and frame bear the same."""
        keys = [(s.frame, s.label, name_of(self.defaults.set_of(s))) for s in shapes]
        bearers = Counter(keys)
        return [key[-1] if bearers[key] == 1 else "" for key in keys]

    def _may_be_same(self, i: int, j: int) -> bool:
        """Whether neither label nor name speaks against one object."""
        names = {self.name[i], self.old_name[j]} - {""}
        return self.now[i].label == self.before[j][0].label and len(names) < 2

    def _tell(self, kind: ChangeKind, label: str, was: str = "") -> None:
        self.changes.append(MaskChange(self.frame, kind, label, was))

    def _doubt(self, sentence: str) -> None:
        self.conflicts.append(Conflict(self.frame, f"Frame {self.frame}: {sentence}."))


def _overlap(a: MaskShape, b: MaskShape) -> float:
    one, two = a.mask, b.mask
    apart = (
        one.left + one.width <= two.left
        or two.left + two.width <= one.left
        or one.top + one.height <= two.top
        or two.top + two.height <= one.top
    )
    return 0.0 if apart else iou(one, two)


def _said(text: str) -> str:
    return one_line(text, 60)
