"""The result: a zip with annotations.xml as its only member, as CVAT's importer wants it.

One track for each mask and frame, since the importer makes of a mask track one mask; meta, labels
and all other tracks as they were in the export. The zip's comment carries a note for ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from config import Limits
from cvat_io.archive import Archive
from cvat_io.atomic import replacing
from cvat_io.model import MaskShape, OtherTrack
from cvat_io.note import pack_note, unpack_note
from cvat_io.reader import ANNOTATIONS, Export
from cvat_io.tracktext import FOOT, HEAD, mask_tracks
from cvat_io.zipwrite import write_zip
from errors import InputError


def write_result(
    path: Path,
    export: Export,
    masks: Iterable[MaskShape],
    note: dict[str, Any],
    *,
    keep_ids: bool = False,
) -> None:
    """Write the result for `export` with exactly these masks, given in ascending frame order.

    The same input gives the same bytes. `note` is kept in the zip's comment, with
    "mask_relay": 1 added (see `cvat_io.note`). With `keep_ids` each mask's `track` is the id that
    its track gets (see `cvat_io.lineage`), else they are numbered one after the other. The file
    appears whole or not at all. Raises ValueError for a mask without pixels.
    """
    with replacing(path) as file:
        write_zip(file, ANNOTATIONS, _parts(export, masks, keep_ids), pack_note(note))


def write_annotations(path: Path, export: Export, masks: Iterable[MaskShape]) -> None:
    """Write annotations.xml alone: head and other tracks of `export`, and exactly these masks.

    On each frame masks keep the order in which they are given. The file appears whole or not at
    all. Raises ValueError for a mask without pixels.
    """
    with replacing(path) as file:
        for part in _parts(export, masks):
            file.write(part.encode() if isinstance(part, str) else part)


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the note in a result's comment; None when the file is no zip of ours."""
    try:
        with Archive(path, Limits()) as archive:
            return unpack_note(archive.comment)
    except (OSError, InputError):
        return None


def _parts(
    export: Export, masks: Iterable[MaskShape], keep_ids: bool = False
) -> Iterator[str | bytes]:
    yield HEAD
    yield b"  " + export.meta.xml + b"\n"
    number = 0
    for track in export.others():
        yield b"  " + track.xml + b"\n"
        number = max(number, track_number(track) + 1)
    yield from mask_tracks(None if keep_ids else number, masks, export.meta)
    yield FOOT


def track_number(track: OtherTrack) -> int:
    """The id of a track that is kept verbatim; -1 where it is no number (then nothing collides)."""
    head = track.xml[: track.xml.index(b">")]
    found = re.search(rb'\sid="([0-9]{1,15})"', head)
    return int(found[1]) if found else -1
