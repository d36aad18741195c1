"""A result as polygons: one real track for each object, in CVAT for video 1.1.

CVAT's masks live on one frame each and have no identity. Polygons may be tracks, so that here an
object stays one thing in CVAT. A polygon has one piece and no hole: an object's largest piece of a
frame goes into its track, the second largest into a second track, and so on; all tracks of one
object share a group.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from xml.sax.saxutils import quoteattr

from cvat_io.atomic import replacing, require_writable, writing
from cvat_io.forms import MOST_TOLERANCE
from cvat_io.frames import masks_by_frame
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape, Meta, OtherTrack
from cvat_io.nesting import z_orders
from cvat_io.outlines import Piece, Points, pieces_of, polygon_of
from cvat_io.reader import ANNOTATIONS, Export
from cvat_io.result import track_number
from cvat_io.tracktext import FOOT, HEAD, text_of
from cvat_io.zipwrite import write_zip
from errors import InputError

_MIXED = "semi-auto"  # CVAT's word for what is partly a human's
_GROUP = re.compile(rb'\sgroup_id="([0-9]{1,10})"')

_Key = tuple[int, str, int]
"""Object, label, and which of its pieces by size: what is one track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonsWritten:
    """What became of a result's masks.

    `objects`: followed ones, with all their masks under one identity. `loose`: masks of no object
    that was followed, each in a track of its own. `tracks`, `polygons`: of both together.
    `pieces`: polygons beside the largest one of their mask. `holes`: lost ones. `mask_only`: labels
    with polygons whose type in the job is "mask". `raised`: polygons with another z-order than
    their mask's, for the sake of what lies in holes.
    """

    objects: int
    loose: int
    tracks: int
    polygons: int
    pieces: int
    holes: int
    mask_only: tuple[str, ...]
    raised: int


def write_polygons(out: Path, result: Export, tolerance: float) -> PolygonsWritten:
    """Write the masks of a result as polygon tracks, and its other tracks as they are.

    `tolerance`: the largest distance, in pixels, of a polygon from its mask's border, up to
    `MOST_TOLERANCE`; 0: to the pixel, but for holes. Every polygon is a key shape; a track closes
    on the frame behind each of its stretches; what lies in a hole of another mask gets a z-order by
    which it is seen. Archives that do not tell which masks are one object give a track for each
    mask. The file appears whole or not at all; the same result gives the same bytes. Raises
    InputError for a tolerance that cannot be, for a result without masks and where `out` cannot be
    written.
    """
    if not 0 <= tolerance <= MOST_TOLERANCE:
        raise InputError(
            f"The tolerance {tolerance:g} cannot be used: give the pixels that a polygon may lie "
            f"beside its mask, from 0 to {MOST_TOLERANCE:g}."
        )
    require_writable(out)
    # The spool is no smaller than the result, and the system's temp folder may be memory.
    with writing(out), tempfile.TemporaryFile(dir=out.parent) as spool:
        book = _Book(spool, result, tolerance)
        if not book.tracks:
            raise InputError(
                f"{result.path.name} holds no masks: give a result that `relay track` or a run "
                "wrote."
            )
        with replacing(out) as file:
            write_zip(file, ANNOTATIONS, _document(result, book))
    types = {each.name: each.type for each in result.meta.labels if each.parent is None}
    return PolygonsWritten(
        objects=len({key[0] for key in book.tracks if key[0] <= book.objects}),
        loose=book.loose,
        tracks=len(book.tracks),
        polygons=sum(len(track.frames) for track in book.tracks.values()),
        pieces=book.pieces,
        holes=book.holes,
        mask_only=tuple(sorted({key[1] for key in book.tracks if types[key[1]] == "mask"})),
        raised=book.raised,
    )


def describe_polygons(written: PolygonsWritten) -> Iterator[str]:
    """Say what was written, and what polygons cannot say, in sentences."""
    loose = f" and {_count(written.loose, 'mask')} of no known object" if written.loose else ""
    yield (
        f"{_count(written.objects, 'object')}{loose}: {_count(written.polygons, 'polygon')} in "
        f"{_count(written.tracks, 'track')}."
    )
    if written.pieces:
        yield (
            f"Masks in several pieces have {_count(written.pieces, 'further polygon')}, in tracks "
            "of their own and of the object's group."
        )
    if written.holes:
        yield f"Lost, since a polygon has none: {_count(written.holes, 'hole')} of masks."
    if written.raised:
        yield (
            f"{_count(written.raised, 'polygon')} got a higher z_order than the mask had, so that "
            "what lies in a hole of another mask is seen."
        )
    if written.mask_only:
        labels = ", ".join(f'"{name}"' for name in written.mask_only[:5])
        yield (
            f'The type of {labels} in this job is "mask": the import takes polygons all the same, '
            'but to draw further ones give these labels the type "any".'
        )


@dataclass(slots=True)
class _Track:
    """Polygons of one track: on which frames, and where in the spool each one stands."""

    frames: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # offset, length
    sources: set[str] = field(default_factory=set)


class _Book:
    """All polygons by track; their text waits in a file, since all tracks grow at once."""

    def __init__(self, spool: IO[bytes], result: Export, tolerance: float) -> None:
        self.tracks: dict[_Key, _Track] = {}
        self.pieces = self.holes = self.loose = self.raised = 0
        self._spool = spool
        self._groups: dict[int, int] = {}  # by object, a human's own
        self._used = 0
        lineage = Lineage.of(result)
        self.objects = lineage.objects
        for _, shapes in masks_by_frame(result):
            owned = [(shape, pieces_of(shape.mask)) for shape in shapes]
            orders = iter(z_orders([(shape, piece) for shape, own in owned for piece in own]))
            for shape, own in owned:
                number = lineage.object_of(shape)
                if not number:
                    self.loose += 1
                    number = self.objects + self.loose
                self._group(number, shape)
                for rank, piece in enumerate(own):
                    self._add((number, shape.label, rank), shape, piece, next(orders), tolerance)

    def in_order(self) -> list[tuple[_Key, _Track]]:
        """All tracks, those of one object one after the other."""
        return sorted(self.tracks.items())

    def groups(self, others: int) -> dict[int, int]:
        """The group of each object that has one; `others`: the largest one in other tracks.

        A human's group stays. Objects of several tracks get a new one.
        """
        free = max(others, self._used) + 1
        groups = dict(self._groups)
        tracks = Counter(number for number, _, _ in self.tracks)
        for number in sorted(tracks):
            if tracks[number] > 1 and number not in groups:
                groups[number] = free
                free += 1
        return groups

    def read(self, place: tuple[int, int]) -> str:
        """The text of one polygon, from its coordinates on."""
        self._spool.seek(place[0])
        return self._spool.read(place[1]).decode()

    def _group(self, number: int, shape: MaskShape) -> None:
        if shape.group_id:
            self._groups.setdefault(number, shape.group_id)
            self._used = max(self._used, shape.group_id)

    def _add(
        self, key: _Key, shape: MaskShape, piece: Piece, z_order: int, tolerance: float
    ) -> None:
        self.holes += piece.holes
        self.pieces += key[2] > 0
        self.raised += z_order != shape.z_order
        track = self.tracks.setdefault(key, _Track())
        drawn = replace(shape, z_order=z_order)
        text = _tail(polygon_of(piece.outline, tolerance), drawn).encode()
        track.frames.append(shape.frame)
        track.places.append((self._spool.tell(), len(text)))
        track.sources.add(shape.source)
        self._spool.write(text)


def _tail(polygon: Points, shape: MaskShape) -> str:
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon.tolist())
    values = "".join(
        f"      <attribute name={quoteattr(name)}>{text_of(value)}</attribute>\n"
        for name, value in shape.attributes
    )
    return (
        f' occluded="{int(shape.occluded)}" points="{points}" z_order="{shape.z_order}">\n'
        f"{values}    </polygon>\n"
    )


def _document(result: Export, book: _Book) -> Iterator[str | bytes]:
    yield HEAD
    yield b"  " + result.meta.xml + b"\n"
    number, group = 0, 0
    for other in result.others():
        yield b"  " + other.xml + b"\n"
        number = max(number, track_number(other) + 1)
        group = max(group, _group(other))
    groups = book.groups(group)
    for track_id, (key, track) in enumerate(book.in_order(), start=number):
        source = track.sources.pop() if len(track.sources) == 1 else _MIXED
        grouped = f' group_id="{groups[key[0]]}"' if key[0] in groups else ""
        yield (
            f'  <track id="{track_id}" label={quoteattr(key[1])} source={quoteattr(source)}'
            f"{grouped}>\n"
        )
        yield from _shapes(track, book, result.meta)
        yield "  </track>\n"
    yield FOOT


def _shapes(track: _Track, book: _Book, meta: Meta) -> Iterator[str]:
    ahead = [*track.frames[1:], None]
    for frame, place, then in zip(track.frames, track.places, ahead, strict=True):
        tail = book.read(place)
        yield f'    <polygon frame="{frame}" keyframe="1" outside="0"{tail}'
        behind = frame + meta.step
        if behind != then and behind <= meta.stop_frame:  # else CVAT would show it there too
            yield f'    <polygon frame="{behind}" keyframe="1" outside="1"{tail}'


def _group(track: OtherTrack) -> int:
    found = _GROUP.search(track.xml[: track.xml.index(b">")])
    return int(found[1]) if found else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
