"""What either pass over the fused spans of a run said, kept as layers to look at beside the result.

Made from the spans' files once the result is published, which says what object each of their masks
is. The files of the passes go then: a layer takes a third of their place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from config import Limits
from cvat_io.atomic import replacing
from cvat_io.masks import format_rle
from cvat_io.model import MaskShape, Meta
from cvat_io.reader import open_export
from jobs.layer_build import colours_of
from jobs.layer_file import LayerWriter, packed
from jobs.layer_views import MaskEntry, Presence, TimelineView
from jobs.plan import RunPlan
from jobs.sheet import masks_on
from jobs.spans import Passes, SpanPlan
from jobs.timeline import Lanes
from worker.attempts import Kind, pass_file
from worker.spanfile import SpanFile

_KINDS = {Passes.FORWARD: Kind.FORWARD, Passes.BACKWARD: Kind.BACKWARD}

Drawn = Mapping[int, Sequence[tuple[MaskShape, int]]]
"""By key frame the tracked masks in file order, a person's first, with their objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A run whose result is out. `span_files`: the final file of every span, by ordinal."""

    result: Path
    plan: RunPlan
    span_files: Mapping[int, Path]
    ignore_labels: frozenset[str]
    limits: Limits


def write_passes(run: Published, places: Mapping[str, Path]) -> None:
    """Write a layer for each pass of which files are there, to `places` by the pass's name.

    Frames that one pass alone filled are in that one's layer too, and a person's masks in both.
    Raises OSError of the disk.
    """
    with open_export(run.result, run.limits) as export:
        meta = export.meta
        # What a run added to a key frame comes behind what a person drew there.
        drawn = masks_on(export, run.plan.key_frames, run.ignore_labels)
    for one, kind in _KINDS.items():
        parts = [
            (run.span_files[span.ordinal], path)
            for span in run.plan.spans
            if (path := _file_of(span, run.span_files[span.ordinal], one, kind)) is not None
        ]
        if any(final != path for final, path in parts):
            with replacing(places[one.value]) as file, LayerWriter(file) as writer:
                _write(writer, run.plan, meta, drawn, parts)


def drop_passes(span_files: Mapping[int, Path]) -> None:
    """Remove the files of all passes of a run's spans."""
    for final in span_files.values():
        for kind in _KINDS.values():
            pass_file(final, kind).unlink(missing_ok=True)


def _file_of(span: SpanPlan, final: Path, one: Passes, kind: Kind) -> Path | None:
    """Where it stands what the pass `one` said of a span; None where it did not go there."""
    if span.direction is one:
        return final
    path = pass_file(final, kind)
    return path if span.direction is Passes.BOTH and path.is_file() else None


def _write(
    writer: LayerWriter,
    plan: RunPlan,
    meta: Meta,
    drawn: Drawn,
    parts: Sequence[tuple[Path, Path]],
) -> None:
    frames, colours = meta.frames, colours_of(meta.labels)
    lanes = Lanes(len(frames), colours)
    seeds = {f: len(k) for final, _ in parts for f, k in SpanFile(final).numbers.items()}
    for frame, masks in drawn.items():
        for shape, number in masks[: seeds.get(frame)]:
            writer.add(frames.index(frame), _drawn_entry(shape, number))
            lanes.mask(frames.index(frame), number, shape.label, Presence.KEY)
    for final, path in parts:
        for frame, entry in _entries(final, path, drawn):
            if plan.fills(frame):
                writer.add(frames.index(frame), entry)
                lanes.mask(frames.index(frame), entry.object, entry.label, Presence.COMPUTED)
    timeline = TimelineView(
        first=frames[0],
        last=frames[-1],
        step=frames.step,
        count=len(frames),
        key_frames=plan.key_frames,
        objects=lanes.views(),
        worst=(),
        next=None,
        flagged=0,
    )
    head = {
        "first": frames[0],
        "last": frames[-1],
        "step": frames.step,
        "key_frames": plan.key_frames,
        "colours": colours,
        "untold": "",
    }
    writer.finish(head, packed(asdict(timeline)))


def _entries(final: Path, path: Path, drawn: Drawn) -> Iterator[tuple[int, MaskEntry]]:
    """The masks of a pass, frame by frame. The final file knows what its numbers stand for."""
    shown: dict[int, tuple[MaskShape, int]] = {}
    for frame, numbers in sorted(SpanFile(final).numbers.items()):
        for k, number in enumerate(numbers):
            shown.setdefault(number, drawn[frame][k])
    whole = SpanFile(path).end
    with path.open("rb") as file:
        while file.tell() < whole:
            line = file.readline()
            if not line.startswith(b'{"frame"'):
                continue
            record = json.loads(line)
            for item in record["masks"]:
                shape, number = shown[item["object"]]
                yield (
                    record["frame"],
                    MaskEntry(
                        object=number,
                        label=shape.label,
                        box=(item["left"], item["top"], item["width"], item["height"]),
                        runs=item["rle"].replace(" ", ""),
                        occluded=shape.occluded,
                        z=shape.z_order,
                    ),
                )


def _drawn_entry(shape: MaskShape, number: int) -> MaskEntry:
    mask = shape.mask
    return MaskEntry(
        object=number,
        label=shape.label,
        box=(mask.left, mask.top, mask.width, mask.height),
        runs=format_rle(mask.runs).replace(" ", ""),
        occluded=shape.occluded,
        z=shape.z_order,
    )
