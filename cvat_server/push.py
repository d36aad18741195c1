"""A result goes into the job or task that it is of, without replacing what others did meanwhile.

Only the masks that the job lacks are sent: what is there, with all that an import would lose
(tags, groups, who drew it), stays untouched. They are imported where the server's imports can add,
and go in as shapes, in batches, where they cannot or where they are many. Where a result replaces
masks of an earlier one, the whole result is imported in the place of all, and only if all is what
the result was made from.
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
from cvat_io.shards import part_of
from cvat_io.tracktext import FOOT, HEAD, mask_tracks
from cvat_io.zipwrite import write_zip
from cvat_server.pull import Tell
from cvat_server.server import Server
from cvat_server.shapes import Place, send
from cvat_server.state import (
    MaskKey,
    Memories,
    OnServer,
    Sending,
    head_of,
    key_of,
    on_server,
)
from cvat_server.target import Target, target_of
from errors import ConflictError, InputError

FORMAT = "CVAT 1.1"
MOST_IMPORTED = 30_000  # masks; an import of more holds the job for minutes, and is all or nothing


class Way(StrEnum):
    """How a result gets into the job."""

    NOTHING = "nothing"
    APPEND = "append"
    SHAPES = "shapes"
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
    of whatever is there. `tell` hears how much of how much is sent: bytes of an archive, or masks.
    Raises ConflictError where that would replace others' work, InputError for all else that a
    person can mend; the job is then as it was, or holds whole batches of the result more, and the
    same push goes on from there.
    """
    with open_export(result, settings.limits) as export:
        own = target_of(export.meta, result.name)
        if target is not None and target != own:
            raise InputError(
                f"{result.name} is of {own}, not of {target}: CVAT would put its masks on other "
                f"frames, so push it to {own}."
            )
        if part := part_of(export.comment):
            raise InputError(
                f"{result.name} is part {part} of a result, and would be taken for all of it: push "
                "the whole result, which goes in batches by itself."
            )
        frames = {key: shape.frame for shape in _masks(export) if (key := key_of(shape))}
        if not frames:
            raise InputError(f"{result.name} holds no masks: push what `relay track` wrote.")
        entity = server.entity(own)
        _require_same_frames(entity, own, export)
        trip = _Trip(server, Memories(settings), own, export, frames, entity, tell or _nobody)
        masks = trip.masks
        before = trip.look()
        way = Way.REPLACE if replace else trip.way(before)
        missing = masks - before.masks
        if way is not Way.NOTHING:
            trip.require_known_labels()
        if way is Way.APPEND or way is Way.REPLACE:
            trip.send_archive(result, way, missing, unasked=not replace)
        elif way is Way.SHAPES:
            trip.send_shapes(before, missing)
        trip.settle(way, before)
    return Pushed(own, way, len(masks) if way is Way.REPLACE else len(missing), len(masks))


class _Trip:
    """One result on its way into one job or task; what it takes is read once."""

    def __init__(
        self,
        server: Server,
        memories: Memories,
        target: Target,
        export: Export,
        frames: dict[MaskKey, int],
        entity: Any,
        tell: Tell,
    ) -> None:
        self._server, self._memories, self._target = server, memories, target
        self._export, self._entity, self._tell = export, entity, tell
        self._memory = memories.read(target)
        self._labels = server.labels(target)
        self._names = {label.number: label.name for label in self._labels}
        self._first = int(entity.start_frame) if target.kind is ExportKind.JOB else 0
        deleted = self._memory.deleted.get(head_of(export.meta), frozenset())
        self._hidden = deleted | server.deleted_frames(target)
        meta = export.meta
        left_out = {meta.start_frame + (n - self._first) * meta.step for n in self._hidden}
        self.masks = {key for key, frame in frames.items() if frame not in left_out}

    def look(self) -> OnServer:
        """What the server holds now."""
        sending = self._memory.sending
        return on_server(
            self._server.annotations(self._target),
            self._names,
            self._export.meta,
            self._first,
            sending.masks if sending else frozenset(),
            self._hidden,
        )

    def way(self, there: OnServer) -> Way:
        """How the result can go in without harm; ConflictError where it cannot."""
        missing, stale = self.masks - there.masks, there.masks - self.masks
        if not missing and not stale:
            return Way.NOTHING
        if not there.empty:
            self._require_unchanged(there, adds=not stale)
        if not stale:
            few = len(missing) <= MOST_IMPORTED
            return Way.APPEND if self._server.appends and few else Way.SHAPES
        if there.tags:
            raise ConflictError(
                f"The import would remove {there.tags} tags of {self._target}, which this format "
                "does not know: push with --replace if they may go."
            )
        if there.hidden:
            raise ConflictError(
                f"The import would remove {there.hidden} shapes of {self._target} on frames that "
                "are or were deleted in CVAT, which exports leave out: push with --replace if they "
                "may go."
            )
        return Way.REPLACE

    def require_known_labels(self) -> None:
        """Make sure that CVAT knows where each mask belongs."""
        unknown = sorted({shape.label for shape in _masks(self._export)} - {*self._names.values()})
        if unknown:
            raise InputError(
                f'{self._target} has no label "{unknown[0]}" any more, so that CVAT would refuse '
                "the import: add it again, or pull and run again."
            )

    def send_archive(self, result: Path, way: Way, missing: set[MaskKey], *, unasked: bool) -> None:
        """Import the result, or of it what is missing. `unasked`: not over what others save."""
        with _archive(self._export, result, way, missing) as file:
            now = self._server.entity(self._target)
            if unasked:
                self._require_still(now)
            with self._server.asking(self._target):
                now.import_annotations(
                    FORMAT,
                    file,
                    import_mode=str(way) if self._server.appends else None,
                    pbar=_Bar(self._tell),
                )

    def send_shapes(self, before: OnServer, missing: set[MaskKey]) -> None:
        """Add what is missing in batches; that they are ours is noted before the first one."""
        self._require_still(self._server.entity(self._target))
        begun = self._broken_off(before)
        with self._memories.changing(self._target) as memory:
            memory.sending = (
                Sending(begun.base, begun.masks | missing)
                if begun
                else Sending(before.fingerprint, frozenset(missing))
            )
        meta = self._export.meta
        place = Place(
            target=self._target,
            labels=self._labels,
            start=meta.start_frame,
            step=meta.step,
            first=self._first,
        )
        send(self._server, place, _wanted(self._export, missing), len(missing), self._tell)

    def settle(self, way: Way, before: OnServer) -> None:
        """Make sure that all is there, and note it as ours where nobody else has saved."""
        if way is Way.NOTHING and self._memory.sending is None:
            return  # who knows who put it there
        # The time comes before the look: what is saved behind it is newer, and so pulled again.
        seen = self._entity.updated_date
        after = before
        if way is not Way.NOTHING:
            seen = self._server.entity(self._target).updated_date
            after = self.look()
        missing = self.masks - after.masks
        if missing:
            raise InputError(
                f"CVAT took {self._export.path.name} for {self._target}, but {len(missing)} of its "
                f"{len(self.masks)} masks are not there: look at the job, and push again."
            )
        with self._memories.changing(self._target) as memory:
            memory.sending = None
            if self._is_ours(way, before, after):
                memory.pushed, memory.seen = after.fingerprint, str(seen)

    def _is_ours(self, way: Way, before: OnServer, after: OnServer) -> bool:
        """Whether what is there is what we put there; else somebody has saved in between."""
        if way is Way.NOTHING:  # the last batch of an earlier push arrived, unheard
            return self._broken_off(before) is not None
        if way is Way.REPLACE:
            others = sum(1 for _ in self._export.others())
            return after.masks == self.masks and after.others[0] == others
        return after.masks == self.masks | before.masks and after.others == before.others

    def _broken_off(self, there: OnServer) -> Sending | None:
        """An earlier push that did not end, where nobody else has changed the job since."""
        sending = self._memory.sending
        return sending if sending is not None and there.without == sending.base else None

    def _require_unchanged(self, there: OnServer, *, adds: bool) -> None:
        """Make sure that the job is as it was when the result's export was made, if known."""
        pulled = self._memory.pulls.get(head_of(self._export.meta))
        now = {there.fingerprint}  # also of half a result, where it was pulled as it was
        if self._broken_off(there):
            now.add(there.without)
        if now & {self._memory.pushed, pulled}:
            return
        if pulled is not None:
            raise _changed(self._target)
        if not adds:  # exported by hand: all that can be known is that the result holds its masks
            raise ConflictError(
                f"{self._target} holds what the result may not, and its export was not fetched "
                "with `relay pull`: pull it and run again, or push with --replace."
            )

    def _require_still(self, now: Any) -> None:
        if now.updated_date != self._entity.updated_date:
            raise _changed(self._target)


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


def _masks(export: Export) -> Iterator[MaskShape]:
    return (track for track in export.tracks() if isinstance(track, MaskShape))


def _wanted(export: Export, missing: set[MaskKey]) -> Iterator[MaskShape]:
    """The masks that are missing, each once."""
    left = set(missing)
    for shape in _masks(export):
        if (key := key_of(shape)) in left:
            left.discard(key)
            yield shape


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
        parts = mask_tracks(0, _wanted(export, missing), export.meta)
        with file.open("x+b") as stream:
            write_zip(stream, ANNOTATIONS, _document(export, parts))
        yield file


def _document(export: Export, tracks: Iterator[str]) -> Iterator[str | bytes]:
    yield HEAD
    yield b"  " + export.meta.xml + b"\n"
    yield from tracks
    yield FOOT


def _nobody(done: int, total: int) -> None:
    """Hear of progress and do nothing."""


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
