"""What a session begins from: the masks of a result or of an export, by frame and object.

The archive is read once and written as one file in which any frame can be looked up: a line of JSON
for each frame that has masks, then the head, then where the head begins.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from config import Limits
from cvat_io.atomic import replacing
from cvat_io.defaults import Defaults
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.reader import Export, open_export
from errors import InputError
from jobs.compare import compare_frame
from jobs.frames_text import format_frames, parse_frames
from jobs.session_masks import IGNORED, to_dict
from jobs.sheet import name_of

_TAIL = 20  # digits of the head's offset, and a line feed
_VERSION = 1  # of the file's form

Scores = Mapping[tuple[int, int], tuple[float, str]]
"""Frame and object -> divergence and what speaks most against the mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseHead:
    """What is known of all frames together.

    `frames`: those that have an image, ascending; `keys`: those of a person; `known`: those on
    which it is known what is there, also where that is nothing. `objects`: number, name, label.
    """

    numbers: range
    width: int
    height: int
    frames: tuple[int, ...]
    keys: frozenset[int]
    known: frozenset[int]
    objects: tuple[dict[str, Any], ...]
    labels: tuple[dict[str, str], ...]
    ignored: frozenset[str]
    offsets: Mapping[int, tuple[int, int]]


class Base:
    """The base's file, open for reading frames; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError where it is not there (any more)."""
        state = path.stat()
        self._path = path
        self.head = _head(path, state.st_size, state.st_mtime_ns)

    def items(self, frames: Iterable[int]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """The masks of some frames, in that order, as `to_dict` wrote them and with `object`."""
        with self._path.open("rb") as file:
            for frame in frames:
                place = self.head.offsets.get(frame)
                if place is None:
                    yield frame, []
                    continue
                file.seek(place[0])
                yield frame, json.loads(file.read(place[1]))


@lru_cache(maxsize=32)
def _head(path: Path, size: int, changed: int) -> BaseHead:
    """The head of a file; `size` and `changed` say which file it is."""
    with path.open("rb") as file:
        file.seek(size - _TAIL)
        start = int(file.read(_TAIL))
        file.seek(start)
        data = json.loads(file.read(size - _TAIL - start))
    numbers = range(data["first"], data["last"] + 1, data["step"])
    return BaseHead(
        numbers=numbers,
        width=data["width"],
        height=data["height"],
        frames=parse_frames(data["frames"], numbers),
        keys=frozenset(parse_frames(data["keys"], numbers)),
        known=frozenset(parse_frames(data["known"], numbers)),
        objects=tuple(data["objects"]),
        labels=tuple(data["labels"]),
        ignored=frozenset(data["ignored"]),
        offsets={int(frame): (at, length) for frame, (at, length) in data["offsets"].items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInputs:
    """What a base is made of.

    `archive`: whose masks count; `images`: which frames there are. `keys`: a person's frames.
    `filled`: frames of which it is known what is there, also where that is nothing, None for all
    from `since` on; frames with masks are known besides.
    """

    archive: Path
    images: Path
    keys: Collection[int]
    filled: Collection[int] | None
    ignore_labels: frozenset[str]
    limits: Limits
    scores: Scores
    since: int = 0


def write_base(path: Path, inputs: BaseInputs) -> None:
    """Make the base's file, whole or not at all. Raises InputError for archives that are unsound.

    Equal inputs give equal files, so that it does not matter who makes it.
    """
    with open_export(inputs.images, inputs.limits) as images:
        meta, there = images.meta, sorted(images.images)
    if not there:
        raise InputError(
            f"{inputs.images.name} has no images: upload the job's export with images, then its "
            "frames can be looked at."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_export(inputs.archive, inputs.limits) as export,
        tempfile.TemporaryFile(dir=path.parent) as spool,  # the temp folder may be memory
        replacing(path) as file,
    ):
        numbered = _Numbered(export, inputs)
        places: dict[int, list[tuple[int, int]]] = {}
        for shape, number in numbered:
            score = inputs.scores.get((shape.frame, number), (None, ""))
            data = {"object": number, **to_dict(shape, *score)}
            places.setdefault(shape.frame, []).append(_append(spool, data))
        offsets: dict[int, tuple[int, int]] = {}
        for frame in sorted(places):
            begin = file.tell()
            parts = [_taken(spool, place) for place in places[frame]]
            file.write(b"[" + b",".join(parts) + b"]")
            offsets[frame] = (begin, file.tell() - begin)
            file.write(b"\n")
        filled = inputs.filled
        if filled is None:
            filled = [frame for frame in there if frame >= inputs.since]
        head = {
            "form": _VERSION,
            "first": meta.start_frame,
            "last": meta.frames[-1],
            "step": meta.step,
            "width": meta.width or 0,
            "height": meta.height or 0,
            "frames": format_frames(there, meta.step),
            "keys": format_frames(sorted(inputs.keys), meta.step),
            "known": format_frames(sorted({*filled, *inputs.keys, *offsets}), meta.step),
            "objects": numbered.objects(),
            "labels": [
                {"name": label.name, "color": label.color}
                for label in export.meta.labels
                if label.parent is None and label.name not in inputs.ignore_labels
            ],
            "ignored": sorted(inputs.ignore_labels),
            "offsets": offsets,
        }
        begin = file.tell()
        file.write(json.dumps(head).encode() + b"\n")
        file.write(b"%019d\n" % begin)


class _Numbered:
    """The masks of an archive with the numbers of their objects.

    A result of ours knows them. Of others, masks of one frame go on with those of the frames
    before: by a person's name, by overlap, and where a label is there only once, by that.
    """

    def __init__(self, export: Export, inputs: BaseInputs) -> None:
        self._export = export
        self._ignored = inputs.ignore_labels
        self._lineage = Lineage.of(export)
        self._defaults = Defaults(export.meta.labels)
        self._known: dict[int, MaskShape] = {}  # every object as it was shown last
        self._shown: dict[int, tuple[str, str]] = {}  # its label and name
        self._first: dict[int, MaskShape] = {}  # how it was placed first
        self._free = self._lineage.objects + 1

    def __iter__(self) -> Iterator[tuple[MaskShape, int]]:
        unknown: dict[int, list[MaskShape]] = {}
        for shape in self._export.tracks():
            if not isinstance(shape, MaskShape):
                continue
            if shape.label in self._ignored:
                yield shape, IGNORED
            elif number := self._lineage.object_of(shape):
                self._tell(number, shape)
                yield shape, number
            else:
                unknown.setdefault(shape.frame, []).append(shape)
        for frame in sorted(unknown):
            yield from self._go_on(frame, unknown[frame])

    def objects(self) -> list[dict[str, Any]]:
        """All objects, ascending; complete once all masks were given."""
        return [
            {"number": number, "name": name, "label": label, **_beside(self._first[number])}
            for number, (label, name) in sorted(self._shown.items())
        ]

    def _go_on(self, frame: int, shapes: Sequence[MaskShape]) -> Iterator[tuple[MaskShape, int]]:
        before = [(shape, number) for number, shape in self._known.items()]
        names = {(label, name): n for n, (label, name) in self._shown.items() if name}
        found = list(compare_frame(frame, before, shapes, names, self._defaults).objects)
        for k, shape in enumerate(shapes):
            number = found[k] or self._only(shape, shapes, found)
            if not number:
                number, self._free = self._free, self._free + 1
            found[k] = number
            self._known[number] = shape
            self._tell(number, shape)
            yield shape, number

    def _only(self, shape: MaskShape, here: Sequence[MaskShape], found: Collection[int]) -> int:
        """The one object of a label that is on the frame once; 0 where that does not say it."""
        same = [(n, name) for n, (label, name) in self._shown.items() if label == shape.label]
        if len(same) != 1 or sum(other.label == shape.label for other in here) != 1:
            return 0
        number, name = same[0]
        another = len({name, self._name(shape)} - {""}) > 1
        return 0 if another or number in found else number

    def _tell(self, number: int, shape: MaskShape) -> None:
        label, name = self._shown.get(number, (shape.label, ""))
        if number not in self._first or shape.frame < self._first[number].frame:
            self._first[number] = shape
        self._shown[number] = (label, name or self._name(shape))

    def _name(self, shape: MaskShape) -> str:
        return name_of(self._defaults.set_of(shape))


def _beside(shape: MaskShape) -> dict[str, Any]:
    """What new masks of an object get beside their pixels; what is as usual is left out."""
    data = to_dict(shape)
    return {name: data[name] for name in ("z", "group", "attributes") if name in data}


def _append(spool: IO[bytes], data: Mapping[str, Any]) -> tuple[int, int]:
    raw = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    begin = spool.tell()
    spool.write(raw)
    return begin, len(raw)


def _taken(spool: IO[bytes], place: tuple[int, int]) -> bytes:
    spool.seek(place[0])
    return spool.read(place[1])
