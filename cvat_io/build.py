"""Write an export just as CVAT would: for sequences, the demo, the tests and the benches."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cvat_io.atomic import replacing
from cvat_io.model import ExportKind, Label, MaskShape, Meta
from cvat_io.reader import ANNOTATIONS
from cvat_io.tracktext import FOOT, HEAD, mask_tracks, text_of
from cvat_io.zipwrite import write_zip

_DATE = "2026-01-01 00:00:00.000000+00:00"


def write_export(
    path: Path,
    *,
    frames: Iterable[tuple[int, bytes]],
    width: int,
    height: int,
    labels: Sequence[Label],
    masks: Iterable[MaskShape],
    stop_frame: int,
    job_id: str = "1",
    kind: ExportKind = ExportKind.JOB,
    start_frame: int = 0,
    step: int = 1,
    with_images: bool = True,
    name: str = "clip",
) -> None:
    """Write a zip in the format "CVAT for video 1.1" of a video task or one of its jobs.

    `frames`: (absolute frame number, bytes of a PNG file); frames may be missing, as deleted ones
    are. `masks`: in any order. `stop_frame` is inclusive. The same input gives the same bytes.
    """
    meta = make_meta(kind, job_id, name, start_frame, stop_frame, step, width, height, labels)
    with replacing(path) as file:
        write_zip(file, ANNOTATIONS, annotations_of(meta, masks))
        if with_images:
            with zipfile.ZipFile(file, "a") as archive:
                for frame, png in frames:
                    archive.writestr(zipfile.ZipInfo(f"images/frame_{frame:06d}.PNG"), png)


def annotations_of(meta: Meta, masks: Iterable[MaskShape]) -> Iterator[str | bytes]:
    """Give the text of an annotations.xml in parts; `masks` in any order."""
    yield HEAD
    yield b"  " + meta.xml + b"\n"
    yield from mask_tracks(0, masks, meta)
    yield FOOT


def make_meta(
    kind: ExportKind,
    job_id: str,
    name: str,
    start: int,
    stop: int,
    step: int,
    width: int,
    height: int,
    labels: Sequence[Label],
    mode: str = "interpolation",
) -> Meta:
    """Make the head of an export: frames `start` to `stop` (inclusive), sizes in pixels.

    `mode`: "interpolation" (a video) or "annotation" (a list of images).
    """
    size = len(range(start, stop + 1, step))
    original_size = [
        "<original_size>",
        f"  <width>{width}</width>",
        f"  <height>{height}</height>",
        "</original_size>",
    ]
    task = kind is ExportKind.TASK
    body = [
        f"<id>{text_of(job_id)}</id>",
        *([f"<name>{text_of(name)}</name>"] if task else []),
        f"<size>{size}</size>",
        f"<mode>{mode}</mode>",
        "<overlap>0</overlap>",
        "<bugtracker></bugtracker>",
        f"<created>{_DATE}</created>",
        f"<updated>{_DATE}</updated>",
        "<subset>default</subset>",
        f"<start_frame>{start}</start_frame>",
        f"<stop_frame>{stop}</stop_frame>",
        f"<frame_filter>{f'step={step}' if step > 1 else ''}</frame_filter>",
        "<segments>",
        "  <segment>",
        f"    <id>{text_of(job_id)}</id>",
        "    <start>0</start>",  # relative to the task, step removed
        f"    <stop>{size - 1}</stop>",
        f"    <url>http://localhost:8080/api/jobs/{text_of(job_id)}</url>",
        "  </segment>",
        "</segments>",
        "<owner></owner>",
        "<assignee></assignee>",
        "<labels>",
        *("  " + line for label in labels for line in _label(label)),
        "</labels>",
        *([*original_size, f"<source>{text_of(name)}.mp4</source>"] if task else []),
    ]
    lines = [
        f"<{kind.value}>",
        *("  " + line for line in body),
        f"</{kind.value}>",
        f"<dumped>{_DATE}</dumped>",
        *([] if task else original_size),
    ]
    xml = "\n".join(["<meta>", *("    " + line for line in lines), "  </meta>"])
    return Meta(
        kind=kind, id=job_id, name=name if task else "", mode=mode, size=size,
        start_frame=start, stop_frame=stop, step=step, overlap=0, segments=1, labels=tuple(labels),
        width=width, height=height, source=f"{name}.mp4" if task else "", xml=xml.encode(),
    )  # fmt: skip


def _label(label: Label) -> list[str]:
    lines = [
        "<label>",
        f"  <name>{text_of(label.name)}</name>",
        f"  <color>{text_of(label.color)}</color>",
        f"  <type>{text_of(label.type)}</type>",
        "  <attributes>",
    ]
    for each in label.attributes:
        lines += [
            "    <attribute>",
            f"      <name>{text_of(each.name)}</name>",
            f"      <mutable>{each.mutable}</mutable>",
            f"      <input_type>{text_of(each.input_type)}</input_type>",
            f"      <default_value>{text_of(each.default_value)}</default_value>",
            f"      <values>{text_of(chr(10).join(each.values))}</values>",
            "    </attribute>",
        ]
    lines.append("  </attributes>")
    if label.parent is not None:
        lines.append(f"  <parent>{text_of(label.parent)}</parent>")
    return [*lines, "</label>"]
