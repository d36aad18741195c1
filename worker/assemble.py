"""From span files to the archive for CVAT: put together, verified, and only then published."""

from __future__ import annotations

import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path

from cvat_io.atomic import temporary_name
from cvat_io.lineage import Lineage
from cvat_io.masks import area, without
from cvat_io.model import MaskShape, Meta
from cvat_io.reader import Export, open_export
from cvat_io.result import write_result
from cvat_io.verify import verify_result
from cvat_io.verify_carried import verify_carried
from jobs.files import sync_folder
from jobs.frames_text import format_frames
from jobs.plan import Origin, RunInputs, RunPlan
from jobs.renewal import Renewal, within
from jobs.sheet import AUTO
from jobs.spans import SpanPlan
from jobs.views import KeyFrames
from worker.attempts import stats_path
from worker.carry import Drawings
from worker.follow import follow
from worker.objects import Objects, Seed, named_alike
from worker.pipeline import STAGES
from worker.report import DivergenceLog, Report, SpanTime
from worker.spanfile import ObjectMask, SpanFile
from worker.stops import Stops

GONE = "gone"  # why an object without a mask is in doubt


@dataclass(frozen=True, slots=True)
class Assembled:
    """The published result: its checksum and size, and what its report says."""

    sha256: str
    bytes: int
    objects: int
    frames_labelled: int
    report: Report


def assemble(
    inputs: RunInputs,
    plan: RunPlan,
    *,
    span_files: Mapping[int, Path],
    out: Path,
    report: Path | None,
    device: str,
    began: float,
    learning_seconds: float = 0.0,
    notices: Sequence[str] = (),
) -> Assembled:
    """Write the result of a run to `out`, and its report to `report`, both whole or not at all.

    `span_files`: the final file of every span, by ordinal. `device`: what the spans ran on.
    `began`: when the run started, in seconds since the epoch; `learning_seconds`: how long the
    engine learned of that. `notices`: what people were told of the run. The archive depends on the
    run's files and plan alone: whoever assembles it again writes the same bytes.

    Raises VerificationError when the result would not be what was promised (our fault); `out` is
    then left as it was.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        export = stack.enter_context(open_export(inputs.annotations, inputs.limits))
        meta = export.meta
        with open_export(inputs.images, inputs.limits) as images:
            sequence = tuple(sorted(images.images))
        drawings = stack.enter_context(Drawings(inputs, plan, export, sequence))
        log = stack.enter_context(DivergenceLog())
        limit = inputs.options.stop_at_divergence
        builder = _Builder(plan, meta, span_files, drawings, sequence, log, limit)
        draft = stack.enter_context(temporary_name(out))
        lineage = Lineage.behind(export.others(), builder.objects.largest, meta.frames)
        note = {"key_frames": format_frames(plan.key_frames, meta.step), **lineage.note()}
        write_result(draft, export, lineage.numbered(builder.shapes()), note, keep_ids=True)
        previous = _previous(inputs, plan, stack)
        verify_result(
            draft,
            export,
            plan.key_frames,
            inputs.ignore_labels,
            inputs.limits,
            additions_allowed=inputs.options.keyframes is KeyFrames.PARTIAL,
            previous=previous,
        )
        if previous is not None and plan.renewals is not None:
            renewals = plan.renewals
            verify_carried(
                draft,
                export,
                previous,
                key_frames=plan.key_frames,
                ignore_labels=inputs.ignore_labels,
                sequence=sequence,
                kept=lambda frame: None if (r := within(renewals, frame)) is None else r.kept,
                limits=inputs.limits,
            )
        if inputs.original is not None:
            # What was added to what a human drew came beside it, not in its place.
            original = stack.enter_context(open_export(inputs.original, inputs.limits))
            verify_result(
                draft,
                original,
                plan.key_frames,
                inputs.ignore_labels,
                inputs.limits,
                additions_allowed=True,
                previous=previous,
            )
        with draft.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
        size = draft.stat().st_size
        times = _times(plan, span_files)
        times["write"] += time.perf_counter() - started
        seconds = max(time.time() - began, 1e-6)
        facts = Report(
            engine=inputs.engine,
            device=device,
            width=meta.width or 0,
            height=meta.height or 0,
            frames_total=len(meta.frames),
            frames_tracked=builder.tracked,
            objects=len(builder.objects),
            seconds=round(seconds, 3),
            frames_per_second=round(builder.tracked / seconds, 3),
            learning_seconds=round(learning_seconds, 3),
            growth=log.growth(len(plan.key_frames), builder.labelled),
            notices=list(notices),
            next_frame=log.next_frame(plan.key_frames),
            left_out=log.left_out(meta.step),
            stages={stage: round(times[stage], 3) for stage in STAGES},
            spans=[_span_time(span, span_files[span.ordinal]) for span in plan.spans],
        )
        if report is not None:
            log.write_report(report, facts)
        draft.replace(out)
        sync_folder(out.parent)
    return Assembled(sha256, size, len(builder.objects), builder.labelled, facts)


class _Builder:
    """Gives the result's masks frame by frame."""

    def __init__(
        self,
        plan: RunPlan,
        meta: Meta,
        span_files: Mapping[int, Path],
        drawings: Drawings,
        sequence: Sequence[int],
        log: DivergenceLog,
        limit: float,
    ) -> None:
        """`limit`: divergence from which on masks are left out, 0: none are."""
        self._limit = limit
        self._plan = plan
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
            named=named_alike(seeds),
            known=self._known,
            taken=drawings.lineage.objects,
        )
        self.tracked = 0  # frames that were filled
        self.labelled = 0  # frames that have a mask that is not ignored

    def shapes(self) -> Iterator[tuple[MaskShape, int]]:
        """All masks, in ascending order of frames, and their objects (0: of an ignored label)."""
        keys, ignored = set(self._plan.key_frames), self._drawings.ignored
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
            if frame in keys:
                found += [(made.shape, made.number) for made in self._noted(filled or [])]
            else:
                found += self._others(frame, filled)
            self.labelled += any(shape.label not in ignored for shape, _ in found)
            yield from found

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

    def _others(self, frame: int, filled: list[Made] | None) -> list[tuple[MaskShape, int]]:
        """The masks of a frame that is no key frame: made anew, or as they were."""
        renewals = self._plan.renewals
        if renewals is None:  # all or nothing
            if filled is not None:
                return [(made.shape, made.number) for made in self._noted(filled)]
            return self._carried(self._drawings.carried(frame), None)
        renewal = within(renewals, frame) if frame in self._there else None
        there = self._drawings.carried(frame)
        if renewal is None:
            return self._carried(there, None)
        stay = self._carried(there, renewal.kept)
        taken = [shape.mask for shape, _ in stay]
        by_hand = {
            self.objects.now(was): placed for was, placed in self._drawings.by_hand(there).items()
        }
        made = []
        for each in filled or []:
            if self._stay(each.seeds, renewal):
                continue
            # No pixel belongs to two objects, and what stays was there first.
            mask = without(each.shape.mask, taken)
            if mask is None or 2 * area(mask) < area(each.shape.mask):
                continue
            shape = replace(each.shape, mask=mask)
            if each.number in by_hand:
                occluded, z_order = by_hand[each.number]
                shape = replace(shape, occluded=occluded, z_order=z_order)
            made.append(replace(each, shape=shape))
        return [*stay, *((each.shape, each.number) for each in self._noted(made))]

    def _carried(
        self, there: Sequence[tuple[MaskShape, int]], kept: Collection[int] | None
    ) -> list[tuple[MaskShape, int]]:
        """Those of carried masks that stay: all, or those of the objects `kept`."""
        return [
            (shape, self.objects.now(was) if was else 0)
            for shape, was in there
            if kept is None or was in kept
        ]

    def _stay(self, seeds: Sequence[Seed], renewal: Renewal) -> bool:
        """Whether all that a pass knows of an object stays as it was, so that it is not needed."""
        return all(self._known.get(seed, 0) in renewal.kept for seed in seeds)

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
            with file:
                stops = Stops(span, file, self._limit)
                for frame in sorted(file.frames):
                    made, gone = [], []
                    record = file.read(frame) if self._plan.fills(frame) else None
                    for item in record.masks if record is not None else ():
                        seeds = groups[item.number]
                        number = self.objects.number(seeds[0])
                        model = self.objects.shown(number).nearest(frame)
                        shape = replace(model, frame=frame, mask=item.mask, source=AUTO)
                        stopped = stops.holds(item.number, frame)
                        made.append(Made(shape, number, item, seeds, stopped))
                    for lost in record.gone if record is not None else ():
                        gone.append((groups[lost.number], lost.score))
                    yield Computed(frame, made, gone)

    def _note_gone(self, computed: Computed) -> None:
        """Note the objects that were there and have no mask on a frame."""
        renewals = self._plan.renewals
        renewal = None if renewals is None else within(renewals, computed.frame)
        for seeds, score in computed.gone:
            if renewal is not None and self._stay(seeds, renewal):
                continue
            number = self.objects.number(seeds[0])
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
    """What a pass made of a frame. `gone`: seeds and divergence of objects that have no mask."""

    frame: int
    made: list[Made]
    gone: Sequence[tuple[Sequence[Seed], float]]


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
        for k, before in follow(path).items():
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


def _previous(inputs: RunInputs, plan: RunPlan, stack: ExitStack) -> Export | None:
    """The result whose masks may be computed anew, where the run builds on one."""
    if plan.carried is Origin.EXPORT:
        return None
    assert inputs.previous is not None
    return stack.enter_context(open_export(inputs.previous, inputs.limits))


def _stats(path: Path) -> tuple[float, Mapping[str, float]]:
    """Seconds and stages of a span's last attempt; a file without them was made elsewhere."""
    stats = stats_path(path)
    if not stats.exists():
        return 0.0, {}
    data = json.loads(stats.read_text())
    return data["seconds"], data["stages"]


def _times(plan: RunPlan, span_files: Mapping[int, Path]) -> dict[str, float]:
    times = dict.fromkeys(STAGES, 0.0)
    for span in plan.spans:
        for stage, seconds in _stats(span_files[span.ordinal])[1].items():
            times[stage] += seconds
    return times


def _span_time(span: SpanPlan, path: Path) -> SpanTime:
    return SpanTime(
        start=span.start,
        stop=span.stop,
        frames=span.frames_total,
        direction=span.direction.value,
        seconds=round(_stats(path)[0], 3),
    )
