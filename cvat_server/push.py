"""A result goes into the job or task that it is of, without replacing what others did meanwhile.

Where the server's imports can add, only the masks that it lacks are sent: what is there, with all
that an import would lose (tags, groups, who drew it), stays untouched. Where a result replaces
masks of an earlier one, or the server is older, the whole result is imported in the place of all,
and only if all is what the result was made from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from config import Settings
from cvat_io.model import ExportKind, MaskShape
from cvat_io.reader import ANNOTATIONS, Export, open_export
from cvat_io.tracktext import FOOT, HEAD, mask_tracks
from cvat_io.zipwrite import write_zip
from cvat_server.pull import Tell
from cvat_server.server import Server
from cvat_server.state import (
    MaskKey,
    Memories,
    Memory,
    OnServer,
    head_of,
    key_of,
    on_server,
)
from cvat_server.target import Target, target_of
from errors import ConflictError, InputError

FORMAT = "CVAT 1.1"


class Way(StrEnum):
    """How a result gets into the job."""

    NOTHING = "nothing"
    APPEND = "append"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: how, to what, and how many masks of how many it sent."""

    target: Target
    way: Way
    sent: int
    masks: int


def push(
    server: Server,
    result: Path,
    settings: Settings,
    *,
    target: Target | None = None,
    replace: bool = False,
    tell: Tell | None = None,
) -> Pushed:
    """Import `result` into the job or task that it is of.

    `target`: which one that must be, if a person said so. `replace`: put the result in the place
    of whatever is there. Raises ConflictError where that would replace others' work, InputError
    for all else that a person can mend; the job is then as it was.
    """
    with open_export(result, settings.limits) as export:
        own = target_of(export.meta, result.name)
        if target is not None and target != own:
            raise InputError(
                f"{result.name} is of {own}, not of {target}: CVAT would put its masks on other "
                f"frames, so push it to {own}."
            )
        memories = Memories(settings)
        masks = {key for shape in _masks(export) if (key := key_of(shape)) is not None}
        if not masks:
            raise InputError(f"{result.name} holds no masks: push what `relay track` wrote.")
        entity = server.entity(own)
        _require_same_frames(entity, own, export)
        labels = server.labels(own)
        first = int(entity.start_frame) if own.kind is ExportKind.JOB else 0

        def look() -> OnServer:
            return on_server(server.annotations(own), labels, export.meta, first)

        before = look()
        way = Way.REPLACE if replace else _way(server, own, masks, before, memories, export)
        missing = masks - before.masks
        if way is Way.NOTHING:  # and not noted as ours: who knows who put it there
            return Pushed(own, way, 0, len(masks))
        _require_known_labels(export, labels, own)
        with _archive(export, result, way, missing) as file:
            now = server.entity(own)
            if not replace and now.updated_date != entity.updated_date:
                raise _changed(own)
            with server.asking(own):
                now.import_annotations(
                    FORMAT,
                    file,
                    import_mode=str(way) if server.appends else None,
                    pbar=_Bar(tell or (lambda done, total: None)),
                )
        after = look()
        if not masks <= after.masks:
            raise InputError(
                f"CVAT took {result.name} for {own}, but {len(masks - after.masks)} of its "
                f"{len(masks)} masks are not there: look at the job, and push again."
            )
        if _is_ours(way, masks, before, after, export):
            seen = str(server.entity(own).updated_date)
            with memories.changing(own) as memory:
                memory.pushed, memory.seen = after.fingerprint, seen
    return Pushed(own, way, len(missing) if way is Way.APPEND else len(masks), len(masks))


def _is_ours(
    way: Way, masks: set[MaskKey], before: OnServer, after: OnServer, export: Export
) -> bool:
    """Whether what is there is what we put there; else somebody has saved in between."""
    if way is Way.APPEND:
        return after.masks == masks | before.masks and after.others == before.others
    return after.masks == masks and after.others[0] == sum(1 for _ in export.others())


def _way(
    server: Server,
    target: Target,
    masks: set[MaskKey],
    there: OnServer,
    memories: Memories,
    export: Export,
) -> Way:
    """How the result can go in without harm; ConflictError where it cannot."""
    missing, stale = masks - there.masks, there.masks - masks
    if not missing and not stale:
        return Way.NOTHING
    adds = not stale and server.appends
    if not there.empty:
        _require_unchanged(target, there, memories.read(target), export, adds)
    if adds:
        return Way.APPEND
    if there.tags:
        raise ConflictError(
            f"The import would remove {there.tags} tags of {target}, which this format does not "
            "know: push with --replace if they may go."
        )
    return Way.REPLACE


def _require_unchanged(
    target: Target, there: OnServer, memory: Memory, export: Export, adds: bool
) -> None:
    """Make sure that the job is as it was when the result's export was made, as far as we know."""
    pulled = memory.pulls.get(head_of(export.meta))
    if there.fingerprint in (memory.pushed, pulled):
        return
    if pulled is not None:
        raise _changed(target)
    if not adds:  # exported by hand: all that can be known is that the result holds its masks
        raise ConflictError(
            f"{target} holds what the result may not, and its export was not fetched with `relay "
            "pull`: pull it and run again, or push with --replace."
        )


def _changed(target: Target) -> ConflictError:
    return ConflictError(
        f"Somebody has changed {target} since it was pulled, and the import would replace their "
        "work: pull it and run again, or push with --replace."
    )


def _require_same_frames(entity: Any, target: Target, export: Export) -> None:
    frames = int(entity.frame_count if target.kind is ExportKind.JOB else entity.size)
    if frames != len(export.meta.frames):
        raise InputError(
            f"{export.path.name} is of {len(export.meta.frames)} frames, but {target} has {frames}:"
            " look whether CVAT_URL is the server that it came from."
        )


def _require_known_labels(export: Export, labels: dict[int, str], target: Target) -> None:
    unknown = sorted({shape.label for shape in _masks(export)} - set(labels.values()))
    if unknown:
        raise InputError(
            f'{target} has no label "{unknown[0]}" any more, so that CVAT would refuse the import: '
            "add it again, or pull and run again."
        )


def _masks(export: Export) -> Iterator[MaskShape]:
    return (track for track in export.tracks() if isinstance(track, MaskShape))


@contextmanager
def _archive(export: Export, result: Path, way: Way, missing: set[MaskKey]) -> Iterator[Path]:
    """What is sent: the result itself, or an archive of those masks alone that are missing.

    Each mask is a track of one frame; CVAT makes one shape of each. Mask tracks are never made.
    """
    if way is Way.REPLACE:
        yield result
        return
    with tempfile.TemporaryDirectory(prefix="mask-relay-") as folder:
        file = Path(folder) / "added.zip"
        wanted = (shape for shape in _masks(export) if key_of(shape) in missing)
        parts = mask_tracks(0, wanted, export.meta)
        with file.open("x+b") as stream:
            write_zip(stream, ANNOTATIONS, _document(export, parts))
        yield file


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
