"""From span files to the archive for CVAT: put together, verified, and only then published."""

from __future__ import annotations

import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import file_digest
from itertools import chain, pairwise
from pathlib import Path

from cvat_io.atomic import temporary_name
from cvat_io.model import MaskShape, Meta
from cvat_io.reader import Export, open_export
from cvat_io.result import write_result
from cvat_io.verify import verify_result
from jobs.files import sync_folder
from jobs.frames_text import format_frames
from jobs.plan import Origin, RunInputs, RunPlan, drawn_path
from jobs.sheet import AUTO
from jobs.spans import SpanPlan
from jobs.views import KeyFrames
from worker.attempts import stats_path
from worker.carry import Drawings
from worker.follow import follow
from worker.objects import Objects, Seed, named_alike
from worker.pipeline import STAGES
from worker.report import DivergenceLog, Report, SpanTime
from worker.spanfile import SpanFile


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
        export = stack.enter_context(open_export(drawn_path(inputs, plan), inputs.limits))
        meta = export.meta
        with open_export(inputs.images, inputs.limits) as images:
            sequence = tuple(sorted(images.images))
        drawings = stack.enter_context(Drawings(inputs, plan, export, sequence))
        log = stack.enter_context(DivergenceLog())
        builder = _Builder(plan, meta, span_files, drawings, sequence, log)
        draft = stack.enter_context(temporary_name(out))
        note = {"key_frames": format_frames(plan.key_frames, meta.step)}
        write_result(draft, export, builder.shapes(), note)
        verify_result(
            draft,
            export,
            plan.key_frames,
            inputs.ignore_labels,
            inputs.limits,
            additions_allowed=inputs.options.keyframes is KeyFrames.PARTIAL,
            previous=_previous(inputs, plan, export, stack),
        )
        if inputs.original is not None:
            # What was made of a human's shapes came beside what they drew, not in its place.
            original = stack.enter_context(open_export(inputs.original, inputs.limits))
            verify_result(
                draft,
                original,
                plan.key_frames,
                inputs.ignore_labels,
                inputs.limits,
                additions_allowed=True,
                previous=_previous(inputs, plan, original, stack),
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
            frames_total=len(meta.frames),
            frames_tracked=builder.tracked,
            objects=len(builder.objects),
            seconds=round(seconds, 3),
            frames_per_second=round(builder.tracked / seconds, 3),
            learning_seconds=round(learning_seconds, 3),
            growth=log.growth(len(plan.key_frames), builder.labelled),
            notices=list(notices),
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
    ) -> None:
        self._plan = plan
        self._meta = meta
        self._drawings = drawings
        self._log = log
        self._files = [_complete(span, span_files[span.ordinal]) for span in plan.spans]
        groups = [list(group) for file in self._files for group in _groups(file).values()]
        groups += _between(plan, self._files, sequence, drawings)
        seeds = drawings.seeds(plan.key_frames)
        self.objects = Objects(seeds, chain(groups, named_alike(seeds)))
        self.tracked = 0  # frames that were filled
        self.labelled = 0  # frames that have a mask that is not ignored

    def shapes(self) -> Iterator[MaskShape]:
        """All masks, in ascending order of frames."""
        keys, ignored = set(self._plan.key_frames), self._drawings.ignored
        computed = self._computed()
        ahead = next(computed, None)
        for frame in self._meta.frames:
            found = self._drawings.human(frame)
            filled: list[MaskShape] | None = None
            if ahead is not None and ahead[0] == frame:
                filled = ahead[1]
                ahead = next(computed, None)
            if filled is not None and self._plan.fills(frame):
                self.tracked += frame not in keys
                found += filled
            elif frame not in keys:
                found += self._drawings.carried(frame)
            self.labelled += any(shape.label not in ignored for shape in found)
            yield from found

    def _computed(self) -> Iterator[tuple[int, list[MaskShape]]]:
        """Every computed frame, ascending, and its masks."""
        for file in self._files:
            number = {n: self.objects.number(group[0]) for n, group in _groups(file).items()}
            with file:
                for frame in sorted(file.frames):
                    masks = []
                    wanted = self._plan.fills(frame)
                    for item in file.read(frame).masks if wanted else ():
                        model = self.objects.shown(number[item.number]).nearest(frame)
                        masks.append(replace(model, frame=frame, mask=item.mask, source=AUTO))
                        self._log.add(
                            frame,
                            number[item.number],
                            model.label,
                            item.score,
                            refined=item.refined,
                        )
                    yield frame, masks


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

    They are followed through the carried masks between them. Where frames lie between and none
    has a carried mask, nothing is known, as when wanted frames cut a forward span short: then
    only a name that a human gave (`worker.objects.named_alike`) tells what is one object.
    """
    passed = {pair for file in files for pair in pairwise(sorted(file.numbers))}
    for pair in pairwise(plan.key_frames):
        if pair in passed:
            continue
        gap = sequence[bisect_right(sequence, pair[0]) : bisect_left(sequence, pair[1])]
        if gap and not any(map(drawings.carries, gap)):
            continue
        path = (drawings.tracked(frame) for frame in (pair[0], *gap, pair[1]))
        for k, before in follow(path).items():
            yield [(pair[0], before), (pair[1], k)]


def _previous(inputs: RunInputs, plan: RunPlan, drawn: Export, stack: ExitStack) -> Export | None:
    """The result whose masks may be computed anew, where the run builds on one."""
    if plan.carried is Origin.EXPORT:
        return None
    if plan.drawn is Origin.PREVIOUS:
        return drawn
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
        direction=span.direction.value,
        seconds=round(_stats(path)[0], 3),
    )
