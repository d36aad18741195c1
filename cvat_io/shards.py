"""A large result in several archives, since CVAT loads an annotations.xml at once.

Each part is a whole archive for the same job, with consecutive frames; none is split. CVAT's own
import puts a file in the place of all that is there: parts are added one after the other
(`import_mode=append`, as `relay push` does).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_io.atomic import filling, replacing, writing
from cvat_io.forms import MOST_MEGABYTES
from cvat_io.frames import masks_by_frame
from cvat_io.note import pack_note, unpack_note
from cvat_io.reader import ANNOTATIONS, Export
from cvat_io.tracktext import FOOT, HEAD, mask_tracks
from cvat_io.zipwrite import write_zip
from errors import InputError

PART = "part"  # of a part's note: which one it is, from 1 on
_MEGABYTE = 1_000_000
_MOST_PARTS = 10**9  # a larger number is none of ours


@dataclass(frozen=True, slots=True)
class Part:
    """One archive. `first`, `last`: frames with masks; `bytes`: of annotations.xml, unpacked."""

    path: Path
    first: int
    last: int
    bytes: int


def write_parts(folder: Path, result: Export, megabytes: int) -> list[Part]:
    """Write a result as NAME_part1of3.zip and so on into `folder`, which is new or empty.

    No annotations.xml of a part has more than `megabytes` (10^6 bytes, unpacked, so that the
    archive is smaller still), unless one frame alone, or the head with the tracks that are no
    masks, has: these tracks are in the first part. Heads, ids of tracks and what the note says of
    key frames and objects are the result's. A result that needs no cutting is copied. The folder is
    filled at once or not at all; the same result gives the same bytes. Raises InputError where
    `folder` cannot be written and where `megabytes` is no size, or the result has no masks.
    """
    if not 1 <= megabytes <= MOST_MEGABYTES:
        raise InputError(
            f"Parts of {megabytes} MB cannot be: give a whole number of megabytes, from 1 to "
            f"{MOST_MEGABYTES}."
        )
    with writing(folder), filling(folder) as temporary:
        drafts = list(_cut(result, megabytes * _MEGABYTE, temporary))
        if len(drafts) == 1:
            shutil.copyfile(result.path, drafts[0].path)
        parts = []
        for number, draft in enumerate(drafts, start=1):
            name = f"{result.path.stem}_part{number}of{len(drafts)}.zip"
            draft.path.rename(temporary / name)
            parts.append(Part(folder / name, draft.first, draft.last, draft.bytes))
    return parts


def part_of(comment: bytes) -> int:
    """Which part of a result an archive with this comment is, from 1 on; 0: none."""
    number = (unpack_note(comment) or {}).get(PART, 0)
    return number if type(number) is int and 0 < number <= _MOST_PARTS else 0


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    tracks: list[bytes]
    bytes: int


def _cut(result: Export, most: int, folder: Path) -> Iterator[Part]:
    """Write one part after the other, as 1.zip and so on."""
    note = unpack_note(result.comment) or {}
    frames = _Peeked(_frames(result))
    if frames.ahead is None:
        raise InputError(
            f"{result.path.name} holds no masks: give a result that `relay track` or a run wrote."
        )
    number = 0
    while frames.ahead is not None:
        number += 1
        comment = _comment(result, note | {PART: number})
        writer = _Writer(result, frames, most, whole=number == 1)
        path = folder / f"{number}.zip"
        with replacing(path) as file:
            write_zip(file, ANNOTATIONS, writer.text(), comment)
        yield Part(path, writer.first, writer.last, writer.bytes)


def _comment(result: Export, note: dict[str, Any]) -> bytes:
    try:
        return pack_note(note)
    except (ValueError, RecursionError) as exc:
        raise InputError(
            f"The zip comment of {result.path.name} holds more than a result's, which leaves no "
            "room for the number of a part: give the result as it was written."
        ) from exc


class _Peeked:
    """Frames of which the next one can be looked at before it is taken."""

    def __init__(self, frames: Iterator[_Frame]) -> None:
        self._frames = frames
        self.ahead = next(frames, None)

    def take(self) -> _Frame:
        """The next frame, which must be there."""
        frame = self.ahead
        assert frame is not None
        self.ahead = next(self._frames, None)
        return frame


class _Writer:
    """The text of one part: as many frames as it has room for, at least one."""

    def __init__(self, result: Export, frames: _Peeked, most: int, *, whole: bool) -> None:
        """`whole`: whether the tracks that are no masks are in it."""
        assert frames.ahead is not None
        self._result = result
        self._frames = frames
        self._most = most
        self._whole = whole
        self.first = self.last = frames.ahead.number
        self.bytes = 0

    def text(self) -> Iterator[bytes]:
        """The whole annotations.xml, piece by piece."""
        yield from self._counted([HEAD.encode(), b"  " + self._result.meta.xml + b"\n"])
        if self._whole:
            yield from self._counted(b"  " + each.xml + b"\n" for each in self._result.others())
        foot = FOOT.encode()
        room = self._most - len(foot)
        alone = True
        while (ahead := self._frames.ahead) is not None and (
            alone or self.bytes + ahead.bytes <= room
        ):
            alone = False
            self.last = ahead.number
            yield from self._counted(self._frames.take().tracks)
        yield from self._counted([foot])

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.bytes += len(piece)
            yield piece


def _frames(result: Export) -> Iterator[_Frame]:
    """The tracks of each frame that has masks, as text."""
    for number, shapes in masks_by_frame(result):
        if shapes:
            tracks = [text.encode() for text in mask_tracks(None, shapes, result.meta)]
            yield _Frame(number, tracks, sum(map(len, tracks)))
