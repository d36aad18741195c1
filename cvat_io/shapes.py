"""The tracks of annotations.xml: masks read to run lengths, all else kept verbatim.

CVAT's importer makes one single mask of a track whose first key shape is a mask and loses the rest
of it; here every mask that a human drew is kept. A shape with outside="1" only closes its track.
All other tracks go through unread but for their frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from lxml import etree

from cvat_io.foreign import images_format
from cvat_io.model import Mask, MaskShape, Meta, OtherTrack, RunLengths
from cvat_io.runtext import parse_many, parse_rle
from cvat_io.xmlstream import Metered, Source, attributes, empty, events, free, serialize
from errors import InputError

_BATCH_CHARACTERS = 1 << 15  # run lengths that are parsed at once: their arrays stay in the cache
_FREE_EVERY = 256  # shapes
_FREE_BYTES = 1 << 20
_SHAPE_BYTES = 1 << 24  # of XML in one shape; run lengths have at most 10 MB
_TRACK_BYTES = 1 << 28  # of XML in one track that is kept as it is
_WHOLE = range(-(2**31), 2**31)  # what CVAT's database holds as a whole number
_NUMBERS = ("left", "top", "width", "height", "z_order", "occluded")


class Oddity(StrEnum):
    """What is legal or harmless in a file, but a person should hear of."""

    FURTHER_MASK = "further mask in one track"
    OPENS_CLOSED = "mask track that begins closed"
    LOST_SHAPE = "shape in a mask track that CVAT drops"
    NO_KEY = "track without a key shape"
    DUPLICATE = "mask that is there twice"
    EMPTY = "mask without pixels"


Note = Callable[[Oddity, int, str], None]
"""Called with the oddity, its frame (-1: none) and its track's id."""


class RawMask(NamedTuple):
    """A mask whose run lengths are still text, as the file has them; fields as in `MaskShape`."""

    frame: int
    label: str
    left: int
    top: int
    width: int
    height: int
    source: str
    occluded: bool
    z_order: int
    group_id: int
    attributes: tuple[tuple[str, str], ...]
    track: str
    rle: str


def read_tracks(
    source: Source, meta: Meta, where: str, note: Note, *, with_masks: bool = True
) -> Iterator[MaskShape | OtherTrack]:
    """Read all tracks in file order, in one pass; `source` is closed at the end.

    Masks that are written twice (frame, label, box and run lengths) are given once, masks without
    pixels not at all; without `with_masks` only other tracks are given. Raises InputError that
    names frame and track for whatever is not sound.
    """
    for waiting in _read(source, meta, where, note, with_masks):
        yield from _parsed(waiting, note)


def read_raw_masks(source: Source, meta: Meta, where: str) -> Iterator[RawMask]:
    """Read all masks as `read_tracks` does, with run lengths that nobody has looked at.

    For a file that was read whole before: takes half the time.
    """
    for waiting in _read(source, meta, where, _ignore, True):
        yield from (raw for raw in waiting if isinstance(raw, RawMask))


def parsed(raw: RawMask) -> MaskShape | None:
    """Parse one mask; None where it has no pixel. Raises InputError for what is not sound."""
    found = next(_parsed([raw], _ignore), None)
    assert not isinstance(found, OtherTrack)
    return found


def _ignore(oddity: Oddity, frame: int, track: str) -> None:
    """Hear of an oddity and go on."""


def _read(
    source: Source, meta: Meta, where: str, note: Note, with_masks: bool
) -> Iterator[list[RawMask | OtherTrack]]:
    """All tracks in file order, some at a time."""
    labels = frozenset(each.name for each in meta.labels if each.parent is None)
    batch = _Batch(note, with_masks)
    track: _Track | None = None
    top = ""
    shapes = 0
    source = Metered(
        source,
        _SHAPE_BYTES,
        f"{where} has a shape of more than {_SHAPE_BYTES >> 20} MiB: export it again from CVAT.",
    )
    try:
        for event, element, depth in events(source, where):
            if event == "start":
                if depth == 2:
                    top = element.tag
                    if top == "image":
                        raise images_format(where)
                    if top == "track":
                        track = _Track(element, meta, labels, batch, note)
            elif depth == 3 and track is not None:
                track.add(element)
                shapes += 1
                if shapes % _FREE_EVERY == 0 or source.held > _FREE_BYTES:
                    free(element)
                source.let_go()
                if batch.full:
                    yield batch.take()
            elif depth == 2:
                if track is not None:
                    track.end()
                    track = None
                free(element)
                source.let_go()
                if batch.full:
                    yield batch.take()
            elif track is None:
                free(element)
                source.let_go()
        yield batch.take()
    finally:
        source.close()


class _Batch:
    """Shapes that wait, in file order, until enough run lengths are there to parse them at once."""

    def __init__(self, note: Note, with_masks: bool) -> None:
        self._note = note
        self.with_masks = with_masks
        self._waiting: list[RawMask | OtherTrack] = []
        self._characters = 0
        self._seen: set[int] = set()

    @property
    def full(self) -> bool:
        return self._characters >= _BATCH_CHARACTERS

    def add_mask(self, raw: RawMask) -> None:
        # One keyed 64-bit hash for each mask: all that is remembered of the file.
        key = hash((raw.frame, raw.label, raw.left, raw.top, raw.width, raw.height, raw.rle))
        if key in self._seen:
            self._note(Oddity.DUPLICATE, raw.frame, raw.track)
            return
        self._seen.add(key)
        self._waiting.append(raw)
        self._characters += len(raw.rle) + 200

    def add_other(self, track: OtherTrack) -> None:
        self._waiting.append(track)
        self._characters += len(track.xml)

    def take(self) -> list[RawMask | OtherTrack]:
        waiting, self._waiting, self._characters = self._waiting, [], 0
        return waiting


def _parsed(waiting: list[RawMask | OtherTrack], note: Note) -> Iterator[MaskShape | OtherTrack]:
    masks = [raw for raw in waiting if isinstance(raw, RawMask)]
    found = iter(parse_many([m.rle for m in masks], [m.width * m.height for m in masks]))
    for raw in waiting:
        if isinstance(raw, OtherTrack):
            yield raw
            continue
        runs = next(found)
        if runs is None:
            runs = _parse_one(raw)
        if runs.size < 2 or not (runs[1] or runs[3::2].any()):
            note(Oddity.EMPTY, raw.frame, raw.track)
            continue
        yield MaskShape(
            raw.frame, raw.label, Mask(raw.left, raw.top, raw.width, raw.height, runs),
            raw.source, raw.occluded, raw.z_order, raw.group_id, raw.attributes, raw.track,
        )  # fmt: skip


def _parse_one(raw: RawMask) -> RunLengths:
    try:
        return parse_rle(raw.rle, raw.width * raw.height)
    except ValueError as exc:
        raise InputError(
            f"The run lengths of the mask on frame {raw.frame} in track {raw.track} {exc}: draw "
            "that mask anew in CVAT and export again."
        ) from exc


class _Track:
    """One <track> while its shapes come in; what it is turns out at its first key shape."""

    def __init__(
        self,
        element: etree._Element,
        meta: Meta,
        labels: frozenset[str],
        batch: _Batch,
        note: Note,
    ) -> None:
        self.id = element.get("id", "?")[:40]
        label = element.get("label")
        if label is None:
            raise InputError(f'Track {self.id} has no "label": export it again from CVAT.')
        if label not in labels:
            raise InputError(
                f'Track {self.id} has the label "{label[:80]}", which the file does not define: '
                "export it again from CVAT."
            )
        self.label = label
        self._attributes = attributes(element)
        if any(name.startswith("{") for name, _ in self._attributes):
            raise InputError(
                f"Track {self.id} has an attribute with a name space, which CVAT never writes: "
                "export it again from CVAT."
            )
        self._source = element.get("source", "manual")
        self._group = self._whole(element, "group_id", -1) if "group_id" in element.attrib else 0
        self._meta = meta
        self._frames_valid = meta.frames
        self._batch = batch
        self._note = note
        self._of_masks: bool | None = None  # unknown before the first key shape
        self._opened = False
        self._kind = ""
        self._frames: list[int] = []
        self._parts: list[bytes] = []
        self._bytes = 0  # of all parts

    def add(self, element: etree._Element) -> None:
        """Take a shape that has ended, and empty it."""
        tag = element.tag
        frame = self._frame(element) if tag != "track" else -1
        key = tag != "track" and self._flag(element, "keyframe")
        if key and self._of_masks is None:
            self._of_masks = tag == "mask"
        if not self._of_masks:
            self._other(element, tag, frame)
        elif not key or tag != "mask":
            self._note(Oddity.LOST_SHAPE, frame, self.id)
        elif self._batch.with_masks:
            self._mask(element, frame)
        empty(element)

    def end(self) -> None:
        """Hand on a track that is none of masks."""
        if self._of_masks is None:
            self._note(Oddity.NO_KEY, self._frames[0] if self._frames else -1, self.id)
        if self._of_masks or not self._parts or (self._of_masks is None and self._kind == "mask"):
            return
        head = "".join(f" {k}={quoteattr(v)}" for k, v in self._attributes)
        xml = b"".join(
            (
                f"<track{head}>".encode(),
                *(b"\n    " + part for part in self._parts),
                b"\n  </track>",
            )
        )
        self._batch.add_other(OtherTrack(self.label, self._kind, tuple(self._frames), xml))

    def _mask(self, element: etree._Element, frame: int) -> None:
        if self._flag(element, "outside"):
            if not self._opened:
                self._note(Oddity.OPENS_CLOSED, frame, self.id)
                self._opened = True
            return
        if self._opened:
            self._note(Oddity.FURTHER_MASK, frame, self.id)
        self._opened = True
        get = element.get
        try:
            left, top, width, height, z_order, occluded = [int(get(n, "")) for n in _NUMBERS]
        except ValueError:
            for name in _NUMBERS:
                self._whole(element, name, frame)  # says which one it is
            raise
        if z_order not in _WHOLE:
            raise self._no_number("z_order", get("z_order", ""), frame)
        rle = get("rle")
        if rle is None:
            raise self._missing(element, "rle")
        self._check_box(frame, left, top, width, height)
        self._batch.add_mask(
            RawMask(
                frame, self.label, left, top, width, height, self._source, occluded != 0, z_order,
                self._group, _values(element) if len(element) else (), self.id, rle,
            )
        )  # fmt: skip

    def _other(self, element: etree._Element, tag: str, frame: int) -> None:
        if not self._kind:
            self._kind = tag
        if tag != "track":
            self._frames.append(frame)
        else:
            for shape in element.iter():  # the older form of a skeleton: a track for each element
                if shape.get("frame") is not None:
                    self._frame(shape)
        self._parts.append(serialize(element))
        self._bytes += len(self._parts[-1])
        if self._bytes > _TRACK_BYTES:
            raise InputError(
                f"Track {self.id} has more than {_TRACK_BYTES >> 20} MiB of shapes: split it in "
                "CVAT and export again."
            )

    def _frame(self, element: etree._Element) -> int:
        text = element.get("frame")
        if text is None:
            raise self._missing(element, "frame")
        try:
            frame = int(text)
        except ValueError:
            raise self._no_number("frame", text, -1) from None
        if frame not in _WHOLE:
            raise self._no_number("frame", text, -1)
        # Shapes between key shapes are dropped by CVAT's importer: only key shapes must fit.
        if frame not in self._frames_valid and element.get("keyframe") != "0":
            valid = self._frames_valid
            raise InputError(
                f"Track {self.id} has a shape on frame {frame}, which is none of the frames of "
                f"this {self._meta.kind.value} ({valid.start} to {self._meta.stop_frame}, "
                f"step {valid.step}): export it again from CVAT."
            )
        return frame

    def _flag(self, element: etree._Element, name: str) -> bool:
        text = element.get(name)
        if text is None:
            raise self._missing(element, name)
        return text == "1"

    def _whole(self, element: etree._Element, name: str, frame: int) -> int:
        text = element.get(name)
        if text is None:
            raise self._missing(element, name)
        try:
            number = int(text)
        except ValueError:
            raise self._no_number(name, text, frame) from None
        if number not in _WHOLE:
            raise self._no_number(name, text, frame)
        return number

    def _check_box(self, frame: int, left: int, top: int, width: int, height: int) -> None:
        frame_width, frame_height = self._meta.width, self._meta.height
        inside = 0 <= left < 2**31 and 0 <= top < 2**31 and width >= 1 and height >= 1
        if frame_width is not None and frame_height is not None:
            inside = inside and left + width <= frame_width and top + height <= frame_height
        if not inside or width * height >= 2**31:
            box = {"left": left, "top": top, "width": width, "height": height}
            for name, value in box.items():
                if value not in _WHOLE:
                    raise self._no_number(name, str(value), frame)
            size = f" of {frame_width} x {frame_height}" if frame_width is not None else ""
            raise InputError(
                f"The mask on frame {frame} in track {self.id} has a box ({width} x {height} at "
                f"{left}, {top}) that is not inside the frame{size}: export it again from CVAT."
            )

    def _missing(self, element: etree._Element, name: str) -> InputError:
        return InputError(
            f"A {element.tag[:40]} on frame {element.get('frame', '?')[:20]} in track {self.id} "
            f'has no "{name}": export it again from CVAT.'
        )

    def _no_number(self, name: str, text: str, frame: int) -> InputError:
        place = f" on frame {frame}" if frame >= 0 else ""
        return InputError(
            f'Track {self.id} has "{text[:20]}" as "{name}"{place}, where a whole number (of at '
            f"most {_WHOLE[-1]}) belongs: export it again from CVAT."
        )


def _values(element: etree._Element) -> tuple[tuple[str, str], ...]:
    return tuple(
        (each.get("name", ""), each.text or "") for each in element if each.tag == "attribute"
    )
