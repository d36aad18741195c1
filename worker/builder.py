"""The masks of a result, frame by frame: a human's, those that stay, and those that were made."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from cvat_io.model import MaskShape, Meta
from jobs.on_top import uncovered
from jobs.plan import Origin, RunInputs, RunPlan
from jobs.renewal import Renewal, within
from jobs.report import DivergenceLog
from jobs.sheet import AUTO
from jobs.spans import SpanPlan
from worker.carry import Drawings
from worker.cleaning import Cleaner
from worker.covered import DOUBT, Covered
from worker.earlier_doubts import EarlierDoubts
from worker.follow import follow
from worker.objects import Objects, Seed, named_alike
from worker.spanfile import ObjectMask, SpanFile
from worker.stops import Stops

GONE = "gone"  # why an object without a mask is in doubt


class Builder:
    """Gives the result's masks frame by frame."""

    def __init__(
        self,
        plan: RunPlan,
        meta: Meta,
        span_files: Mapping[int, Path],
        drawings: Drawings,
        sequence: Sequence[int],
        log: DivergenceLog,
        inputs: RunInputs,
    ) -> None:
        self._limit = inputs.options.stop_at_divergence
        self.cleaner = Cleaner(inputs.options.min_speck, inputs.options.min_hole)
        self.covered = Covered()
        self._plan = plan
        self._keys = frozenset(plan.key_frames)
        self._meta = meta
        self._drawings = drawings
        self._log = log
        self._there = frozenset(sequence)
        self._files = [_complete(span, span_files[span.ordinal]) for span in plan.spans]
        self._known = {
            (frame, k): number
            for frame in plan.key_frames
            for k, number in enumerate(drawings.objects(frame))
            if number
        }
        groups = [list(group) for file in self._files for group in _groups(file).values()]
        groups += _between(plan, self._files, sequence, drawings)
        seeds = drawings.seeds(plan.key_frames)
        self.objects = Objects(
            seeds,
            groups,
            named=named_alike(seeds, drawings.defaults),
            known=self._known,
            taken=drawings.lineage.objects,
        )
        kept = plan.carried is Origin.PREVIOUS
        self._earlier = EarlierDoubts(inputs.previous_report if kept else None)
        self.tracked = 0  # frames that were filled
        self.labelled = 0  # frames that have a mask that is not ignored

    def shapes(self) -> Iterator[tuple[MaskShape, int]]:
        """All masks, in ascending order of frames, and their objects (0: of an ignored label)."""
        keys, ignored = self._keys, self._drawings.ignored
        computed = self._computed()
        ahead = next(computed, None)
        for frame in self._meta.frames:
            found = self._human(frame)
            filled: list[Made] | None = None
            if ahead is not None and ahead.frame == frame:
                filled = ahead.made
                self._note_gone(ahead)
                ahead = next(computed, None)
            if filled is not None and self._plan.fills(frame):
                self.tracked += frame not in keys
            else:
                filled = None
            self._note_carried(frame, filled is not None)
            if frame in keys:
                made = self._placed(filled or [], self._drawings.carried(frame))
                found += self._finished(made, found)
            else:
                found += self._others(frame, filled, found)
            self.labelled += any(shape.label not in ignored for shape, _ in found)
            yield from found

    def drawn(self) -> Iterator[tuple[int, int]]:
        """Key frame and object of each mask that is a human's though its source is "auto"."""
        for frame, shapes in self._drawings.seeds(self._plan.key_frames).items():
            for k, shape in enumerate(shapes):
                if shape.source == AUTO and k not in self._drawings.ours(frame):
                    yield frame, self.objects.number((frame, k))

    def _human(self, frame: int) -> list[tuple[MaskShape, int]]:
        """What a human drew on a frame, and of which objects."""
        ignored, k, found = self._drawings.ignored, 0, []
        for shape in self._drawings.human(frame):
            if shape.label in ignored:
                found.append((shape, 0))
            else:
                found.append((shape, self.objects.number((frame, k))))
                k += 1
        return found

    def _others(
        self, frame: int, filled: list[Made] | None, human: list[tuple[MaskShape, int]]
    ) -> list[tuple[MaskShape, int]]:
        """The masks of a frame that is no key frame: made anew, or as they were.

        `human`: what a human drew there, of ignored labels.
        """
        renewals = self._plan.renewals
        there = self._drawings.carried(frame)
        if renewals is None:  # all or nothing
            if filled is not None:
                return self._finished(self._placed(filled, there), human)
            return self._carried(there, None)
        renewal = within(renewals, frame) if frame in self._there else None
        if renewal is None:
            return self._carried(there, None)
        stay = self._carried(there, renewal.kept)
        taken = [shape.mask for shape, _ in stay]
        made = []
        for each in filled or []:
            if self._stay(each.seeds, renewal):
                continue
            # No pixel belongs to two objects, and what stays was there first.
            mask = uncovered(each.shape.mask, taken)
            if mask is None:
                self.covered.add(frame, each.number, each.shape.label)
                self._log.add(frame, each.number, each.shape.label, DOUBT, GONE, gone=True)
                continue
            made.append(replace(each, shape=replace(each.shape, mask=mask)))
        return [*stay, *self._finished(self._placed(made, there), [*human, *stay])]

    def _placed(self, made: Sequence[Made], before: Sequence[tuple[MaskShape, int]]) -> list[Made]:
        """Masks that were made, occluded and as high as a human left those that were there."""
        frame = before[0][0].frame if before else 0
        by_hand = {
            self.objects.now(was, frame): placed
            for was, placed in self._drawings.by_hand(before).items()
        }
        found = []
        for each in made:
            if each.number in by_hand:
                occluded, z_order = by_hand[each.number]
                shape = replace(each.shape, occluded=occluded, z_order=z_order)
                each = replace(each, shape=shape)
            found.append(each)
        return found

    def _carried(
        self, there: Sequence[tuple[MaskShape, int]], kept: Collection[int] | None
    ) -> list[tuple[MaskShape, int]]:
        """Those of carried masks that stay: all, or those of the objects `kept`."""
        return [
            (shape, self.objects.now(was, shape.frame) if was else 0)
            for shape, was in there
            if kept is None or was in kept
        ]

    def _stay(self, seeds: Sequence[Seed], renewal: Renewal) -> bool:
        """Whether all that a pass knows of an object stays as it was, so that it is not needed."""
        return all(self._known.get(seed, 0) in renewal.kept for seed in seeds)

    def _finished(
        self, made: list[Made], beside: Sequence[tuple[MaskShape, int]]
    ) -> list[tuple[MaskShape, int]]:
        """Masks that were made as they are written; `beside`: all others of their frame."""
        written = self._noted(made)
        masks = self.cleaner.clean(
            [each.shape.mask for each in written], [shape.mask for shape, _ in beside]
        )
        return [
            (replace(each.shape, mask=mask), each.number)
            for each, mask in zip(written, masks, strict=True)
        ]

    def _noted(self, made: list[Made]) -> list[Made]:
        """Note how sure each mask is; returns those that are written."""
        for each in made:
            self._log.add(
                each.shape.frame,
                each.number,
                each.shape.label,
                each.item.score,
                each.item.why,
                refined=each.item.refined,
                left_out=each.left_out,
            )
        return [each for each in made if not each.left_out]

    def _computed(self) -> Iterator[Computed]:
        """Every computed frame, ascending."""
        for span, file in zip(self._plan.spans, self._files, strict=True):
            groups = _groups(file)
            numbers = self._numbers(groups)
            with file:
                stops = Stops(span, file, self._limit)
                for frame in sorted(file.frames):
                    made, gone = [], []
                    record = file.read(frame) if self._plan.fills(frame) else None
                    for item in record.masks if record is not None else ():
                        seeds, number = groups[item.number], numbers[item.number]
                        model = self.objects.shown(number).nearest(frame)
                        shape = replace(model, frame=frame, mask=item.mask, source=AUTO)
                        stopped = stops.holds(item.number, frame)
                        made.append(Made(shape, number, item, seeds, stopped))
                    for lost in record.gone if record is not None else ():
                        gone.append((groups[lost.number], numbers[lost.number], lost.score))
                    yield Computed(frame, made, gone)

    def _numbers(self, groups: Mapping[int, Sequence[Seed]]) -> dict[int, int]:
        """The objects of what a span found to be one thing, by its number there.

        Seeds that a name has parted may be two objects: then it is the one that nothing else in
        the span is, since no frame shows an object twice.
        """
        found = {
            number: list(dict.fromkeys(map(self.objects.number, seeds)))
            for number, seeds in groups.items()
        }
        sure = {objects[0] for objects in found.values() if len(objects) == 1}
        return {
            number: next((each for each in objects if each not in sure), objects[0])
            for number, objects in found.items()
        }

    def _note_carried(self, frame: int, filled: bool) -> None:
        """Note what an earlier run said of the masks that stay as it made them."""
        doubts = self._earlier.of(frame)
        renewals, kept = self._plan.renewals, None
        if frame in self._keys or (renewals is None and filled):
            return
        if renewals is not None and frame in self._there:
            renewal = within(renewals, frame)
            kept = None if renewal is None else renewal.kept
        for each in doubts:
            if kept is None or each.number in kept:
                self._log.add(
                    frame,
                    self.objects.now(each.number, frame),
                    each.label,
                    each.score,
                    each.why,
                    refined=each.refined,
                    gone=each.gone,
                    left_out=each.left_out,
                    carried=True,
                )

    def _note_gone(self, computed: Computed) -> None:
        """Note the objects that were there and have no mask on a frame."""
        renewals = self._plan.renewals
        renewal = None if renewals is None else within(renewals, computed.frame)
        for seeds, number, score in computed.gone:
            if renewal is not None and self._stay(seeds, renewal):
                continue
            label = self.objects.shown(number).nearest(computed.frame).label
            self._log.add(computed.frame, number, label, score, GONE, gone=True)


@dataclass(frozen=True, slots=True)
class Made:
    """A mask that a pass made. `number`: of its object; `seeds`: what the pass knew of that.

    `item`: what the span's file says of it; `left_out`: whether it is not written, since the run
    stops at divergence.
    """

    shape: MaskShape
    number: int
    item: ObjectMask
    seeds: Sequence[Seed]
    left_out: bool


@dataclass(frozen=True, slots=True)
class Computed:
    """What a pass made of a frame.

    `gone`: seeds, object and divergence of what has no mask there.
    """

    frame: int
    made: list[Made]
    gone: Sequence[tuple[Sequence[Seed], int, float]]


def _complete(span: SpanPlan, path: Path) -> SpanFile:
    file = SpanFile(path)
    if len(file.frames) != span.frames_total:
        raise RuntimeError(
            f"{path} has {len(file.frames)} of the {span.frames_total} frames of its span"
        )
    return file


def _groups(file: SpanFile) -> dict[int, list[Seed]]:
    """The seeds that a span found to be one object, by its number there."""
    groups: dict[int, list[Seed]] = {}
    for frame in sorted(file.numbers):
        for k, number in enumerate(file.numbers[frame]):
            groups.setdefault(number, []).append((frame, k))
    return groups


def _between(
    plan: RunPlan, files: Sequence[SpanFile], sequence: Sequence[int], drawings: Drawings
) -> Iterator[list[Seed]]:
    """Objects that two consecutive key frames share where no pass runs from one to the other.

    They are followed through the masks between them: carried ones, and those of a forward span
    that wanted frames cut short. Where frames lie between and none has a mask, nothing is known:
    then only a name that a human gave (`worker.objects.named_alike`) tells what is one object.
    """
    passed = {pair for file in files for pair in pairwise(sorted(file.numbers))}
    of_frame = {frame: file for file in files for frame in file.frames}
    seeds = drawings.seeds(plan.key_frames)
    for pair in pairwise(plan.key_frames):
        if pair in passed:
            continue
        gap = sequence[bisect_right(sequence, pair[0]) : bisect_left(sequence, pair[1])]
        if gap and not any(drawings.carries(f) or f in of_frame for f in gap):
            continue
        path = (
            _made(of_frame[frame], frame, seeds) if frame in of_frame else drawings.tracked(frame)
            for frame in (pair[0], *gap, pair[1])
        )
        for k, before in follow(path, drawings.defaults).items():
            yield [(pair[0], before), (pair[1], k)]


def _made(file: SpanFile, frame: int, seeds: Mapping[int, Sequence[MaskShape]]) -> list[MaskShape]:
    """The masks that a pass made of a frame, with what their objects' first seeds have beside."""
    first = {number: group[0] for number, group in _groups(file).items()}
    with file:
        masks = file.read(frame).masks
    return [
        replace(seeds[at][k], frame=frame, mask=item.mask)
        for item in masks
        for at, k in [first[item.number]]
    ]
