"""From span files to the archive for CVAT: put together, verified, and only then published."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from cvat_io.atomic import temporary_name
from cvat_io.lineage import Lineage
from cvat_io.reader import Export, open_export
from cvat_io.result import write_result
from cvat_io.verify import verify_result
from cvat_io.verify_carried import verify_carried
from jobs.files import sync_folder
from jobs.frames_text import format_frames
from jobs.options import KeyFrames
from jobs.ours import drawn_note
from jobs.plan import Origin, RunInputs, RunPlan
from jobs.renewal import within
from jobs.report import Cleaned, DivergenceLog, Report, SpanTime
from jobs.spans import SpanPlan
from worker.attempts import stats_path
from worker.builder import Builder
from worker.carry import Drawings
from worker.pipeline import STAGES


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
        drawings = stack.enter_context(Drawings(inputs, plan, export, sequence, out.parent))
        log = stack.enter_context(DivergenceLog(out.parent))
        builder = Builder(plan, meta, span_files, drawings, sequence, log, inputs)
        draft = stack.enter_context(temporary_name(out))
        lineage = Lineage.behind(export.others(), builder.objects.largest, meta.frames)
        note = {
            "key_frames": format_frames(plan.key_frames, meta.step),
            **lineage.note(),
            **drawn_note(lineage, builder.drawn()),
        }
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
            anew=plan.anew,
            ours=plan.ours,
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
                anew=plan.anew,
                ours=plan.ours,
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
            flagged_frames=log.flagged,
            notices=[*notices, *builder.covered.sentences(meta.step)],
            next_frame=log.next_frame(plan.key_frames, inputs.options.direction),
            left_out=log.left_out(meta.step),
            cleaned=Cleaned(specks=builder.cleaner.specks, holes=builder.cleaner.holes),
            stages={stage: round(times[stage], 3) for stage in STAGES},
            spans=[_span_time(span, span_files[span.ordinal]) for span in plan.spans],
        )
        if report is not None:
            log.write_report(report, facts)
        draft.replace(out)
        sync_folder(out.parent)
    return Assembled(sha256, size, len(builder.objects), builder.labelled, facts)


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
