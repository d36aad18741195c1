"""What becomes of objects where no pass makes them anew, though a re-segmentation concerns them.

Which frames are computed does not say it. A key frame that lacks an object ends it in the gaps
beside it, also where nothing is computed for that; another key frame that shows it lets it go on
from there, though a person may have thought that it was gone for good; and what a person drew anew
ends at the next key frame that lacks it. Nothing is said of gaps of which it is not known which
objects their key frames show.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import permutations

from errors import one_line
from jobs.frames_text import format_few
from jobs.options import Direction, KeyFrames, Prompts
from jobs.plan import Drafted
from jobs.renewal import Renewal, within
from jobs.resegment import Changes
from jobs.sheet import Seen
from jobs.spans import Gap, gaps


def beyond(drafted: Drafted) -> list[str]:
    """A sentence for each object that a person could wonder about, new ones at the end."""
    changes = drafted.changes
    if changes is None or not changes.seen:
        return []
    outlook = _Outlook(drafted, changes)
    partial = drafted.options.keyframes is KeyFrames.PARTIAL
    told = [
        (masks, f'Object {number} ("{one_line(seen.label, 60)}"): {"; ".join(parts)}.')
        for number, seen in sorted(changes.seen.items())
        for masks, parts in [(outlook.partial if partial else outlook.complete)(number, seen)]
        if parts
    ]
    sentences = [sentence for _, sentence in sorted(told, key=lambda each: -each[0])]
    return sentences if partial else [*sentences, *outlook.news()]


class _Outlook:
    """One plan, asked object by object: how many masks are spoken of, and what is said of them."""

    def __init__(self, drafted: Drafted, changes: Changes) -> None:
        self._changes = changes
        self._options = drafted.options
        self._step = drafted.meta.frames.step
        self._keys = drafted.plan.key_frames
        self._there = frozenset(drafted.sequence)
        self._renewals: Sequence[Renewal] = drafted.plan.renewals or ()
        touched = gaps(drafted.sequence, self._keys, self._options.direction, changes.changed)
        self._gaps = [gap for gap in touched if self._known(gap)]
        self._anew = {
            frame: {drafted.ours.found[frame][k] for k in places}
            for frame, places in drafted.plan.anew.items()
        }
        self._absent: dict[int, list[int]] = {}  # where a person took an object away
        for frame in sorted(changes.compared.keys() & set(self._keys)):
            found = changes.compared[frame]
            for number in found.touched - found.shown.keys():
                self._absent.setdefault(number, []).append(frame)

    def complete(self, number: int, seen: Seen) -> tuple[int, list[str]]:
        """Where key frames are complete: which masks are taken away, and which stay behind."""
        parts = []
        taken = [f for gap in self._gaps if self._ends(number, seen, gap) for f in _in(seen, gap)]
        taken = [frame for frame in taken if frame in self._there]
        if taken:
            lacks = "no key frame next to them shows it"
            if self._options.direction is Direction.FORWARD:
                lacks = "the key frame before lacks it"
            are = "is" if len(taken) == 1 else "are"
            parts.append(f"{self._masks(taken)} {are} taken away, since {lacks}")
        stay: list[int] = []
        if number in self._absent:
            first = self._absent[number][0]
            again = next((k for k in self._keys if k > first and self._shows(k, number)), None)
            if again is not None:
                stay = [f for f in seen.frames if f >= again and self._stays(f, number)]
                verb = "stays" if len(stay) == 1 else "stay"
                part = f"{self._masks(stay)} {verb}, since key frame {again} shows it"
                if back := self._back(again, number):
                    part += f", and it is followed back from there to frame {back}"
                parts += [part] if stay else []
        return len(taken) + len(stay), parts

    def partial(self, number: int, seen: Seen) -> tuple[int, list[str]]:
        """Where key frames are partial: objects go on through those that lack them."""
        absent = self._absent.get(number)
        if absent is None:
            return 0, []
        shown = [k for k in self._keys if self._shows(k, number)]
        if not shown:
            others = [frame for frame in seen.frames if frame not in absent]
            are = "is" if len(others) == 1 else "are"
            gone = f"{self._masks(others)} {are} taken away, since no key frame shows it"
            return len(others), [gone] if others else []
        through = [f for f in absent if self._options.direction is Direction.BOTH or f > shown[0]]
        if not through:
            return 0, []
        return len(through), [
            f"it goes on through {_on(through, self._step)}, where you took it away, since key "
            f"frames are partial and key frame {shown[0]} shows it"
        ]

    def news(self) -> Iterator[str]:
        """Where key frames are complete: how far what a person drew anew is followed at most."""
        ends: dict[tuple[int, str], list[int]] = {}
        for gap in self._gaps if self._options.prompts is Prompts.OFF else ():
            for key, other in permutations(gap.anchors, 2):
                compared = self._changes.compared.get(key)
                if compared is None or key not in gap.begins:
                    continue
                for label in compared.new_labels - self._labels(other, compared.shown):
                    ends.setdefault((key, label), []).append(other)
        for (key, label), others in sorted(ends.items()):
            lack = "which lacks it" if len(others) == 1 else "which lack it"
            yield (
                f'What is new of "{one_line(label, 60)}" on frame {key} is followed no further '
                f"than key {_on(sorted(others), self._step)}, {lack}."
            )

    def _labels(self, key: int, besides: Collection[int]) -> set[str]:
        """The labels that a key frame shows, but for those of some objects alone."""
        compared = self._changes.compared.get(key)
        shown = self._changes.sides.get(key, {}) if compared is None else compared.shown
        labels = {label for number, label in shown.items() if number not in besides}
        return labels if compared is None else labels | compared.new_labels

    def _known(self, gap: Gap) -> bool:
        """Whether it is known which objects the key frames show that a gap's passes start from."""
        changes = self._changes
        low = bisect_left(changes.unknown, min(gap.anchors[0], gap.frames[0]))
        high = bisect_right(changes.unknown, max(gap.anchors[-1], gap.frames[-1]))
        whole = changes.whole.intersection(gap.begins)
        if self._options.prompts is not Prompts.OFF and whole:  # shapes may show any object
            return False
        return low == high and whole <= changes.compared.keys()

    def _ends(self, number: int, seen: Seen, gap: Gap) -> bool:
        """Whether an object's masks in a gap are taken away, and nothing new may be it."""
        renewal = within(self._renewals, gap.frames[0])
        if renewal is None or number in renewal.kept:
            return False
        compared = [self._changes.compared.get(side) for side in gap.begins]
        if any(each is not None and seen.label in each.new_labels for each in compared):
            return False
        return not any(self._shows(side, number) for side in gap.begins)

    def _shows(self, key: int, number: int) -> bool:
        """Whether a key frame shows an object now, other than by a mask that is made anew."""
        if number in self._anew.get(key, ()):
            return False
        compared = self._changes.compared.get(key)
        if compared is not None:
            return number in compared.shown
        frames = self._changes.seen[number].frames
        at = bisect_left(frames, key)
        return at < len(frames) and frames[at] == key

    def _stays(self, frame: int, number: int) -> bool:
        """Whether an object's mask on a frame is neither made anew nor taken away."""
        at = bisect_left(self._keys, frame)
        if at < len(self._keys) and self._keys[at] == frame:
            return self._shows(frame, number)
        renewal = within(self._renewals, frame) if frame in self._there else None
        return renewal is None or number in renewal.kept

    def _back(self, key: int, number: int) -> int | None:
        """The first frame to which a key frame's object is followed back in time, if it is.

        That lies behind a key frame that lacks it, so that it is never 0.
        """
        for gap in self._gaps:
            if gap.anchors[-1] == key and key in gap.begins and gap.frames[0] < key:
                return None if self._shows(gap.anchors[0], number) else gap.frames[0]
        return None

    def _masks(self, frames: Sequence[int]) -> str:
        mask = "mask" if len(frames) == 1 else f"{len(frames):,} masks"
        return f"its {mask} on {_on(frames, self._step)}"


def _in(seen: Seen, gap: Gap) -> Sequence[int]:
    first, last = gap.frames[0], gap.frames[-1]
    return seen.frames[bisect_left(seen.frames, first) : bisect_right(seen.frames, last)]


def _on(frames: Sequence[int], step: int) -> str:
    return f"frame{'' if len(frames) == 1 else 's'} {format_few(frames, step)}"
