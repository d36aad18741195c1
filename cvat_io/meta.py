"""The head of annotations.xml: what was exported, its frames, labels and size."""

from __future__ import annotations

import re

from lxml import etree

from cvat_io.model import ExportKind, Label, LabelAttribute, Meta
from cvat_io.xmlstream import serialize
from errors import InputError

_MAX_FRAMES = 10_000_000  # more than four days of video at 24 frames/s
_MOST_LABELS = 10_000
_MOST_TEXT = 4096  # characters; CVAT's own names have at most 1024
_AGAIN = 'export the task or the job again as "CVAT for video 1.1".'


def parse_meta(element: etree._Element, where: str) -> Meta:
    """Read the <meta> element of a job's or task's export.

    Raises InputError for a project's export and for a head without sound frame numbers.
    """
    if element.find("project") is not None:
        raise InputError(
            f"{where} is the export of a whole project, whose frame numbers are shifted: "
            "export the task or the job."
        )
    for kind in ExportKind:
        body = element.find(kind.value)
        if body is not None:
            break
    else:
        raise InputError(f"{where} names neither a task nor a job in its head: {_AGAIN}")
    start = _number(body, "start_frame", where)
    stop = _number(body, "stop_frame", where)
    step = _step(_text(body, "frame_filter", where), where)
    count = (stop - start) // step + 1
    if stop < start or count > _MAX_FRAMES:
        raise InputError(f"{where} states frames from {start} to {stop}, which cannot be: {_AGAIN}")
    width, height = _size(element, body, where)
    labels = body.findall("labels/label")
    if len(labels) > _MOST_LABELS:
        raise InputError(
            f"{where} defines {len(labels)} labels, more than {_MOST_LABELS}: {_AGAIN}"
        )
    return Meta(
        kind=kind,
        id=_text(body, "id", where),
        name=_text(body, "name", where),
        mode=_text(body, "mode", where) or "interpolation",
        size=_number(body, "size", where, default=count),
        start_frame=start,
        stop_frame=stop,
        step=step,
        overlap=_number(body, "overlap", where, default=0),
        segments=len(body.findall("segments/segment")),
        labels=tuple(_label(each, where) for each in labels),
        width=width,
        height=height,
        # Older files have it beside the task instead of inside.
        source=_text(body, "source", where) or _text(element, "source", where),
        xml=serialize(element),
    )


def _size(
    meta: etree._Element, body: etree._Element, where: str
) -> tuple[int, int] | tuple[None, None]:
    """A task holds <original_size>; for a job it stands beside the job."""
    found = body.find("original_size")
    if found is None:
        found = meta.find("original_size")
    if found is None:
        return None, None
    width, height = _number(found, "width", where), _number(found, "height", where)
    if width < 1 or height < 1:
        raise InputError(f"{where} states frames of {width} x {height} pixels: {_AGAIN}")
    return width, height


def _label(element: etree._Element, where: str) -> Label:
    name = _text(element, "name", where)
    if not name:
        raise InputError(f"{where} defines a label without a name: {_AGAIN}")
    return Label(
        name=name,
        color=_text(element, "color", where),
        type=_text(element, "type", where) or "any",
        attributes=tuple(
            LabelAttribute(
                name=_text(each, "name", where),
                mutable=_text(each, "mutable", where).lower() == "true",
                input_type=_text(each, "input_type", where),
                default_value=_text(each, "default_value", where),
                values=tuple((each.findtext("values") or "").split("\n")),
            )
            for each in element.findall("attributes/attribute")
        ),
        parent=_text(element, "parent", where) or None,
    )


def _step(text: str, where: str) -> int:
    if not text:
        return 1
    found = re.fullmatch(r"step\s*=\s*([1-9][0-9]{0,8})", text)
    if not found:
        raise InputError(
            f'{where} has the frame filter "{text[:40]}", which is not known: {_AGAIN}'
        )
    return int(found[1])


def _number(parent: etree._Element, tag: str, where: str, default: int | None = None) -> int:
    text = _text(parent, tag, where)
    if not text and default is not None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text):
        raise InputError(f'{where} has "{text[:40]}" as <{tag}>, where a number belongs: {_AGAIN}')
    return int(text)


def _text(parent: etree._Element, tag: str, where: str) -> str:
    text = (parent.findtext(tag) or "").strip()
    if len(text) > _MOST_TEXT:
        raise InputError(f"{where} has a <{tag}> of {len(text)} characters in its head: {_AGAIN}")
    return text
