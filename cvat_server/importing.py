"""Masks go in as one archive, by CVAT's own import: all of it is there afterwards, or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cvat_io.model import MaskShape
from cvat_io.reader import ANNOTATIONS, Export
from cvat_io.tracktext import FOOT, HEAD, mask_tracks
from cvat_io.zipwrite import write_zip
from cvat_server.pull import Tell
from cvat_server.state import MaskKey, OnServer, key_of
from cvat_server.target import Target
from errors import ConflictError

_FORMAT = "CVAT 1.1"


def masks_of(export: Export) -> Iterator[MaskShape]:
    """The masks of a result, in file order."""
    return (track for track in export.tracks() if isinstance(track, MaskShape))


def picked(export: Export, keys: Set[MaskKey]) -> Iterator[MaskShape]:
    """Those masks of a result that have these keys, each once."""
    left = set(keys)
    for shape in masks_of(export):
        if (key := key_of(shape)) in left:
            left.discard(key)
            yield shape


def require_lossless(there: OnServer, target: Target) -> None:
    """Refuse, with ConflictError, to replace what the format would lose of all that is there."""
    if there.tags:
        raise ConflictError(
            f"The import would remove {there.tags} tags of {target}, which this format "
            "does not know: push with --replace if they may go."
        )
    if there.grouped:
        raise ConflictError(
            f"The import would take {there.grouped} shapes of {target} out of their "
            "groups, which CVAT forgets: push with --replace if they may go."
        )
    if twins := sum(details is None for details in there.masks.values()):
        raise ConflictError(
            f"{target} has {twins} masks twice, with other attributes or placed "
            "otherwise, and the import would keep one of each: delete the wrong ones, or push "
            "with --replace."
        )
    if there.hidden:
        raise ConflictError(
            f"The import would remove {there.hidden} shapes of {target} on frames that "
            "are or were deleted in CVAT, which exports leave out: push with --replace if they "
            "may go."
        )


@contextmanager
def archive_of(export: Export, keys: Set[MaskKey]) -> Iterator[Path]:
    """An archive of these masks of a result alone.

    Each mask is a track of one frame; CVAT makes one shape of each. Mask tracks are never made.
    """
    with tempfile.TemporaryDirectory(prefix="mask-relay-") as folder:
        file = Path(folder) / "added.zip"
        parts = mask_tracks(0, picked(export, keys), export.meta)
        with file.open("x+b") as stream:
            write_zip(stream, ANNOTATIONS, _document(export, parts))
        yield file


def take_in(entity: Any, archive: Path, mode: str | None, tell: Tell) -> None:
    """Let CVAT import an archive into `entity`, the SDK's Job or Task, and wait until it has.

    `mode`: "append" or "replace"; None for a server that knows no such parameter and replaces.
    `tell` hears how many bytes of how many are sent.
    """
    entity.import_annotations(_FORMAT, archive, import_mode=mode, pbar=_Bar(tell))


def _document(export: Export, tracks: Iterator[str]) -> Iterator[str | bytes]:
    yield HEAD
    yield b"  " + export.meta.xml + b"\n"
    yield from tracks
    yield FOOT


class _Bar:
    """What cvat-sdk wants to tell its progress to, told on."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._done = self._total = 0

    @contextmanager
    def task(self, *, total: int | None = None, **_: object) -> Iterator[None]:
        self._total = total or 0
        yield

    def advance(self, delta: int) -> None:
        self.report_status(self._done + delta)

    def report_status(self, progress: int) -> None:
        self._done = progress
        self._tell(min(max(progress, 0), self._total), self._total)
