"""An inspection in words, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cvat_io.check import Inspection
from errors import one_line

_SHOWN = 12  # runs of frame numbers before "and more"


def describe(inspection: Inspection) -> Iterator[str]:
    """Yield lines that say what an export holds, most important first."""
    meta = inspection.meta
    name = f' "{one_line(meta.name, 80)}"' if meta.name else ""
    kind = meta.kind.value.capitalize()
    yield f"{kind} {one_line(meta.id, 40)}{name}, exported as CVAT for video 1.1"
    frames = meta.frames
    step = f", step {meta.step}" if meta.step > 1 else ""
    size = (
        f", {inspection.width}x{inspection.height} pixels" if inspection.width else ", size unknown"
    )
    yield f"Frames      {len(frames)} ({frames.start} to {meta.stop_frame}{step}){size}"
    images = f"{inspection.image_count} in the archive" if inspection.has_images else "none"
    yield f"Images      {images}"
    yield f"Masks on    {_masked(inspection)}"
    for label, count in sorted(inspection.masks_by_label.items()):
        yield f"Masks       {count:5} {one_line(label, 80)}"
    for kind, count in sorted(inspection.others_by_kind.items()):
        yield f"Kept as is  {count:5} {one_line(kind, 40)}"
    for warning in inspection.warnings:
        yield f"Note        {one_line(warning)}"


def _masked(inspection: Inspection) -> str:
    """The frames with masks to track; which of them are key frames a run's plan says."""
    frames, counts = inspection.key_frames, inspection.masks_on_frames
    text = f"{len(frames)} frame{'' if len(frames) == 1 else 's'}"
    ignored = sum(inspection.masks_by_label.values()) > sum(counts.values())
    left_out = " (without ignored labels)" if ignored else ""
    return f"{text}{left_out}: {_runs(frames, inspection.meta.step)}"


def _runs(frames: Sequence[int], step: int) -> str:
    """Frame numbers with runs joined, such as 0, 30-36, 90; the first dozen of them."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + step:
            runs[-1] = [runs[-1][0], frame]
        else:
            runs.append([frame])
    text = ", ".join("-".join(map(str, run)) for run in runs[:_SHOWN])
    return (text or "none") + (", and more" if len(runs) > _SHOWN else "")
