"""The rules of CVAT's importer "CVAT 1.1", held against a file without importing it.

CVAT reads an annotations.xml in one transaction: what it cannot take undoes the whole import, and
what it does not know it passes over in silence. It looks at the job's labels and frames, never at
the file's head. Rules: ../shared/cvat/CVAT_VIDEO_1_1.md, section 6.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from lxml import etree

from cvat_io.forecast import Forecast, Rule
from cvat_io.model import LabelAttribute, Meta, RunLengths
from cvat_io.runtext import parse_many
from cvat_io.xmlstream import Metered, Source, empty, events, free

_CORNERS = [f"{axis}{side}" for side in ("tl", "bl", "tr", "br") for axis in "xy"]
_COORDINATES = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "cuboid": tuple(f"{corner}{face}" for face in "12" for corner in _CORNERS),
    "skeleton": (),
}
_POINTS = ("polygon", "polyline", "points")
KINDS = frozenset({*_COORDINATES, *_POINTS, "mask"})
_BOX = ("left", "top", "width", "height")
_MOST_VALUE = 4096  # characters of an attribute's value
_MOST_AREA = 2**31
_WHOLE = range(-(2**31), 2**31)  # what CVAT's database holds as a whole number
_GROUPS = range(2**31)  # the same, and from 0 on
_DEGREES = 360.0  # the largest rotation; the least is 0
_VIDEO_NAME = re.compile(r"(?:.*/)?frame_([0-9]{6,9})(?:\.[^./]*)?")
_SHAPE_BYTES = 1 << 24  # of XML in one shape; run lengths have at most 10 MB
_FREE_EVERY = 256  # shapes
_FREE_BYTES = 1 << 20


_Runs = RunLengths | list[int]
"""Run lengths: an array of those that add up to their box, else whatever numbers they are."""


class _Struck(Exception):  # noqa: N818 - no error: it ends the reading of one shape
    """A rule refuses the shape at hand."""

    def __init__(self, rule: Rule, detail: str = "") -> None:
        self.rule, self.detail = rule, detail


class Importer:
    """Reads one file after the other for a job, and says in `forecast` what becomes of them."""

    def __init__(self, job: Meta, forecast: Forecast) -> None:
        """`job`: the head of the job's own export."""
        self.job = job
        self.forecast = forecast
        self._labels = {each.name: each.attributes for each in job.labels if each.parent is None}
        self._parts = {(e.parent, e.name): e.attributes for e in job.labels if e.parent is not None}
        self._valid = job.frames
        self._seen: set[int] = set()  # one keyed 64-bit hash for each mask
        self._frames: set[int] = set()  # with a stored mask

    def read(self, source: Source, where: str) -> None:
        """Read a whole annotations.xml; `source` is closed at the end.

        Memory grows with the number of masks (a hash for each) and of frames alone. Raises
        InputError for what is no XML, and for a shape too large to be read.
        """
        holder: _Holder | None = None
        shapes = 0
        sentence = f"{where} has a shape of more than {_SHAPE_BYTES >> 20} MiB: it is not taken."
        source = Metered(source, _SHAPE_BYTES, sentence)
        try:
            for event, element, depth in events(source, where):
                if event == "start":
                    if depth == 2 and element.tag in _HOLDERS:
                        holder = _HOLDERS[element.tag](self, element)
                    elif depth == 3 and holder is not None:
                        holder.begins(element)
                elif depth == 3 and holder is not None:
                    holder.shape(element)
                    empty(element)
                    shapes += 1
                    if shapes % _FREE_EVERY == 0 or source.held > _FREE_BYTES:
                        free(element)
                    source.let_go()
                elif depth == 2:
                    if holder is not None:
                        holder.end()
                        holder = None
                    free(element)
                    source.let_go()
                elif holder is None:
                    free(element)
                    source.let_go()
        finally:
            source.close()
        self.forecast.frames = len(self._frames)

    def attributes(self, label: str) -> tuple[LabelAttribute, ...]:
        """The attributes of one of the job's labels; a rule strikes where there is none."""
        if label not in self._labels:
            raise _Struck(Rule.UNKNOWN_LABEL)
        return self._labels[label]

    def parts(self, parent: str, label: str) -> tuple[LabelAttribute, ...]:
        """The same for a part of a skeleton."""
        if (parent, label) not in self._parts:
            raise _Struck(Rule.UNKNOWN_LABEL, f'part "{label}"')
        return self._parts[parent, label]

    def frame(self, text: str) -> int:
        """A frame of the job; a rule strikes where it has none such."""
        number = _whole("frame", text)
        if number not in self._valid:
            raise _Struck(Rule.UNKNOWN_FRAME)
        return number

    def image_frame(self, name: str, number: str) -> int:
        """The frame of an <image>: by its name, else by its number, which counts from 0."""
        found = _VIDEO_NAME.fullmatch(name)
        if found and self.job.mode != "annotation" and int(found[1]) in self._valid:
            return int(found[1])
        index = _whole("id", number)
        if not 0 <= index < len(self._valid):
            raise _Struck(Rule.UNKNOWN_IMAGE, name)
        return self._valid[index]

    def store(self, element: etree._Element, frame: int, label: str, runs: _Runs) -> Iterator[Rule]:
        """A mask that CVAT stores; gives what is wrong with it."""
        self.forecast.masks[label] += 1
        self._frames.add(frame)
        box = [int(element.get(name, "")) for name in _BOX]
        key = hash((frame, label, *box, element.get("rle")))
        if key in self._seen:
            yield Rule.TWICE
        self._seen.add(key)
        left, top, width, height = box
        wide, high = self.job.width or _MOST_AREA, self.job.height or _MOST_AREA
        inside = 0 <= left <= wide - width and 0 <= top <= high - height
        if not inside or width < 1 or height < 1 or width * height >= _MOST_AREA:
            yield Rule.BOX
        elif isinstance(runs, list) and (min(runs) < 0 or sum(runs) != width * height):
            yield Rule.RUNS
        elif not any(runs[1::2]):
            yield Rule.EMPTY


class _Holder:
    """A <track> or an <image> while its shapes come in."""

    def __init__(self, importer: Importer, element: etree._Element) -> None:
        self._importer = importer
        self._forecast = importer.forecast
        self._id = element.get("id", "?")
        self._label = element.get("label", "")
        self._broken = False  # all of it is refused, and no shape is looked at
        self._struck = False  # one of its shapes is refused
        try:
            self._open(element)
        except _Struck as struck:
            self._broken = True
            self._strike(struck.rule, detail=struck.detail)

    def begins(self, element: etree._Element) -> None:
        """Hear of a shape that begins."""

    def shape(self, element: etree._Element) -> None:
        """Take a shape that has ended."""
        if self._broken:
            return
        try:
            self._take(element)
        except _Struck as struck:
            self._struck = True
            self._strike(struck.rule, element, struck.detail)

    def end(self) -> None:
        """Hear of the end."""

    def _open(self, element: etree._Element) -> None:
        raise NotImplementedError

    def _take(self, element: etree._Element) -> None:
        raise NotImplementedError

    def _strike(self, rule: Rule, element: etree._Element | None = None, detail: str = "") -> None:
        frame = "" if element is None else self._frame_of(element)
        self._forecast.strike(rule, frame, self._label, self._id, detail)

    def _frame_of(self, element: etree._Element) -> str:
        return element.get("frame", "")

    def _values(
        self, element: etree._Element, known: tuple[LabelAttribute, ...], shown: etree._Element
    ) -> None:
        """Hold a shape's attributes against those of its label."""
        by_name = {each.name: each for each in known}
        for each in element:
            if each.tag != "attribute":
                continue
            name, value = _required(each, "name"), each.text or ""
            if name not in by_name:
                self._strike(Rule.UNKNOWN_ATTRIBUTE, shown, name)
                continue
            if len(value) > _MOST_VALUE:
                raise _Struck(Rule.LONG_VALUE, name)
            default = by_name[name].default_value
            box = by_name[name].input_type == "checkbox"
            if box and value.lower() not in ("true", "false") and value != default:
                raise _Struck(Rule.CHECKBOX, f"{name}={value}")


class _Track(_Holder):
    """One <track>."""

    def _open(self, element: etree._Element) -> None:
        self._kind = ""  # of the first key shape; "" before it
        self._taken: set[int] = set()  # frames with a key shape
        self._group = _whole("group_id", element.get("group_id", "0"))
        self._auto = element.get("source", "manual") != "manual"
        if "label" not in element.attrib:
            raise _Struck(Rule.NO_LABEL)
        self._known = self._importer.attributes(self._label)

    def begins(self, element: etree._Element) -> None:
        """Strike at what must not be in a track."""
        if element.tag in ("track", "tag"):
            self._strike(Rule.NESTED, element, f"<{element.tag}>")

    def _take(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in ("track", "tag"):
            return
        if tag not in KINDS:
            self._strike(Rule.UNKNOWN_KIND, element, f"<{tag}>")
            return
        frame = _required(element, "frame")
        key = _required(element, "keyframe") == "1"
        outside = element.get("outside", "0") == "1"
        runs = _geometry(element)
        if key and not self._kind:
            self._kind = tag
            self._first(element, frame, outside, runs)
        elif self._kind == "mask":
            if outside:
                self._strike(Rule.CLOSING, element)
            else:
                self._strike(Rule.FURTHER_MASK if tag == "mask" else Rule.BESIDE_MASK, element)
        elif not key:
            self._strike(Rule.BETWEEN, element)
        else:
            self._further(element, frame)

    def _first(self, element: etree._Element, frame: str, outside: bool, runs: _Runs) -> None:
        if self._kind != "mask":
            _require_group(self._group)
            self._forecast.tracks[self._kind] += 1
            self._further(element, frame)
            return
        number = self._importer.frame(frame)
        _require_ranges(element)
        self._values(element, self._known, element)
        if outside:
            self._strike(Rule.GHOST, element)
        if self._group:
            self._strike(Rule.GROUP, element, f"group {self._group}")
        if self._auto:
            self._strike(Rule.SOURCE, element)
        for rule in self._importer.store(element, number, self._label, runs):
            self._strike(rule, element)

    def _further(self, element: etree._Element, frame: str) -> None:
        """A key shape of a track that is none of masks."""
        number = self._importer.frame(frame)
        if number in self._taken:
            self._strike(Rule.FRAME_TWICE, element)
        self._taken.add(number)
        _require_ranges(element)
        if element.tag == "mask":
            self._strike(Rule.MASK_IN_TRACK, element)
        self._values(element, self._known, element)
        if element.tag == "skeleton":
            for part in (each for each in element if each.tag in KINDS):
                for name in ("label", "occluded", "outside", "keyframe"):
                    _required(part, name)
                _geometry(part, part=True)
                known = self._importer.parts(self._label, part.get("label", ""))
                self._values(part, known, element)

    def end(self) -> None:
        """Strike at a track without a key shape."""
        if not (self._broken or self._struck or self._kind):
            self._strike(Rule.NO_KEY)


class _Image(_Holder):
    """One <image>, as CVAT's other format has it; the importer reads both."""

    def _open(self, element: etree._Element) -> None:
        name = _required(element, "name")
        self._frame = self._importer.image_frame(name, _required(element, "id"))

    def _frame_of(self, element: etree._Element) -> str:
        return str(self._frame)

    def _take(self, element: etree._Element) -> None:
        tag = element.tag
        if tag not in KINDS and tag != "tag":
            self._strike(Rule.UNKNOWN_KIND, element, f"<{tag}>")
            return
        self._label = element.get("label", "")
        if "label" not in element.attrib:
            raise _Struck(Rule.NO_LABEL)
        known = self._importer.attributes(self._label)
        _require_group(_whole("group_id", element.get("group_id", "0")))
        runs: _Runs = []
        if tag != "tag":
            runs = _geometry(element)
            _require_ranges(element)
        self._values(element, known, element)
        if tag != "mask":
            self._forecast.shapes[tag] += 1
            return
        for rule in self._importer.store(element, self._frame, self._label, runs):
            self._strike(rule, element)


_HOLDERS: dict[str, type[_Holder]] = {"track": _Track, "image": _Image}


def _geometry(element: etree._Element, *, part: bool = False) -> _Runs:
    """A mask's run lengths; strikes where CVAT cannot read a shape. `part`: of a skeleton."""
    tag = element.tag
    if not part:
        _whole("z_order", element.get("z_order", "0"))
        _real("rotation", element.get("rotation", "0"))
    if tag == "mask" and not part:
        rle = _required(element, "rle")
        _, _, width, height = [_whole(name, _required(element, name)) for name in _BOX]
        area = width * height if 0 < width < _MOST_AREA and 0 < height < _MOST_AREA else 0
        found = parse_many([rle], [area])[0] if 0 < area < _MOST_AREA else None
        return [_whole("rle", piece) for piece in rle.split(",")] if found is None else found
    if tag in _COORDINATES:
        for name in _COORDINATES[tag]:
            _real(name, _required(element, name))
    else:
        numbers = _required(element, "points").replace(";", ",").split(",")
        try:
            deque(map(float, numbers), maxlen=0)
        except ValueError:
            for number in numbers:
                _real("points", number)  # says which one it is
    return []


def _require_ranges(element: etree._Element) -> None:
    """Strike where CVAT reads a shape's numbers, but refuses to store them (`ShapeSerializer`)."""
    order, rotation = element.get("z_order", "0"), element.get("rotation", "0")
    if int(order) not in _WHOLE:
        raise _Struck(Rule.RANGE, f"z_order={order}")
    if float(rotation) < 0.0 or float(rotation) > _DEGREES:
        raise _Struck(Rule.RANGE, f"rotation={rotation}")


def _require_group(group: int) -> None:
    if group not in _GROUPS:
        raise _Struck(Rule.RANGE, f"group_id={group}")


def _required(element: etree._Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise _Struck(Rule.MISSING, name)
    return str(value)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _Struck(Rule.NO_NUMBER, f"{name}={text[:40]}") from None


def _real(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _Struck(Rule.NO_NUMBER, f"{name}={text[:40]}") from None
