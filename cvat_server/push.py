"""A result goes into the job or task that it is of, without replacing what others did meanwhile.

Only the masks that the job lacks are sent: what is there, with all that an import would lose
(tags, groups, who drew it), stays untouched. They are imported where the server's imports can add,
and go in as shapes, in batches, where they cannot or where they are many. Masks that are there get
the result's details, where the result knows all that people have said. Where a result replaces
masks of an earlier one, the whole result is imported in the place of all, and only if all is what
the result was made from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from config import Settings
from cvat_io.model import ExportKind
from cvat_io.reader import Export, open_export
from cvat_io.shards import part_of
from cvat_server.details import Details, amended, details_of, state_of
from cvat_server.importing import archive_of, masks_of, picked, require_lossless, take_in
from cvat_server.place import Place
from cvat_server.pull import Tell
from cvat_server.server import Server
from cvat_server.shapes import change, send
from cvat_server.state import (
    MaskKey,
    Memories,
    OnServer,
    Sending,
    Wanted,
    head_of,
    key_of,
    on_server,
)
from cvat_server.target import Target, target_of
from errors import ConflictError, InputError

MOST_IMPORTED = 30_000  # masks; an import of more holds the job for minutes, and is all or nothing


class Way(StrEnum):
    """How a result gets into the job."""

    NOTHING = "nothing"
    APPEND = "append"
    SHAPES = "shapes"
    UPDATE = "update"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: how, to what, and how many masks of how many it sent.

    `changed`: how many masks that were there got the result's attributes and place. `left`: a
    sentence on those that have others and were left so; "" where there are none.
    """

    target: Target
    way: Way
    sent: int
    masks: int
    changed: int = 0
    left: str = ""


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
        entity = server.entity(own)
        _require_same_frames(entity, own, export)
        trip = _Trip(server, Memories(settings), own, export, entity, tell or _nobody)
        masks = trip.wanted.keys()
        before = trip.look()
        way = Way.REPLACE if replace else trip.way(before)
        missing = masks - before.masks.keys()
        changes, left = trip.changes(way, before)
        if way is Way.NOTHING and changes:
            way = Way.UPDATE
        if way is not Way.NOTHING:
            trip.require_known_labels()
        if changes or way is Way.SHAPES:
            trip.begin(before, missing, changes)
        if changes:
            trip.send_changes(changes)
        if way is Way.APPEND or way is Way.REPLACE:
            trip.send_archive(result, way, missing, unasked=not replace)
        elif way is Way.SHAPES:
            trip.send_shapes(missing)
        trip.settle(way, before, changes)
    sent = len(masks) if way is Way.REPLACE else len(missing)
    return Pushed(own, way, sent, len(masks), len(changes), left)


class _Trip:
    """One result on its way into one job or task; what it takes is read once."""

    def __init__(
        self,
        server: Server,
        memories: Memories,
        target: Target,
        export: Export,
        entity: Any,
        tell: Tell,
    ) -> None:
        self._server, self._memories, self._target = server, memories, target
        self._export, self._entity, self._tell = export, entity, tell
        self._begun = entity.updated_date
        self._memory = memories.read(target)
        labels = server.labels(target)
        first = int(entity.start_frame) if target.kind is ExportKind.JOB else 0
        self._place = Place(target, labels, export.meta, first)
        self._head = head_of(export.meta)
        deleted = self._memory.deleted.get(self._head, frozenset())
        self._hidden = deleted | server.deleted_frames(target)
        self.wanted = self._read()

    def _read(self) -> Wanted:
        """The masks of the result, but for those on frames that are deleted."""
        labels = self._place.named
        left_out = {self._place.frame_of(number) for number in self._hidden}
        found: dict[MaskKey, Details | None] = {}
        same: dict[Details, Details] = {}  # there are few, on many masks
        empty = True
        for shape in masks_of(self._export):
            if (key := key_of(shape)) is None:
                continue
            empty = False
            if shape.frame in left_out:
                continue
            label = labels.get(shape.label)
            details = details_of(shape, label) if label else None
            details = details and same.setdefault(details, details)
            found[key] = details if found.get(key, details) == details else None
        if empty:
            raise InputError(
                f"{self._export.path.name} holds no masks: push what `relay track` wrote."
            )
        return found

    def look(self) -> OnServer:
        """What the server holds now."""
        annotations = self._server.annotations(self._target)
        return on_server(annotations, self._place, self.wanted, self._hidden, self._memory.sending)

    def way(self, there: OnServer) -> Way:
        """How the result can go in without harm; ConflictError where it cannot."""
        masks = self.wanted.keys()
        missing, stale = masks - there.masks.keys(), there.masks.keys() - masks
        if not missing and not stale:
            return Way.NOTHING
        # A job that was emptied since it was pulled was emptied by somebody.
        if not there.empty or self._head in self._memory.pulls:
            self._require_unchanged(there, adds=not stale)
        if not stale:
            few = len(missing) <= MOST_IMPORTED
            return Way.APPEND if self._server.appends and few else Way.SHAPES
        require_lossless(there, self._target)
        return Way.REPLACE

    def changes(self, way: Way, there: OnServer) -> tuple[dict[MaskKey, dict[str, Any]], str]:
        """The masks that get the result's details, as the API gives them.

        Else a sentence that says how many are left as they are, and why.
        """
        if way is Way.REPLACE or not there.differing:
            return {}, ""
        meta = self._export.meta
        begun = self._broken_off(there)
        found: dict[MaskKey, dict[str, Any]] = {}
        why = "people may have changed them since its export, so pull it and run again"
        if self._target.kind is ExportKind.TASK and meta.segments > 1 and meta.overlap:
            # CVAT would store a mask that is on two jobs' frames in both, under one number.
            why = "the task's jobs overlap, so pull and push them one by one"
        elif self._is_known(there.fingerprint):
            found = dict(there.differing)
        elif begun and self._is_known(begun.before):
            # Of what it added itself nobody knows whether a person has changed it since.
            found = {key: row for key, row in there.differing.items() if key not in begun.masks}
        left = len(there.differing) - len(found)
        if not left:
            return found, ""
        return found, (
            f"{left} masks have other attributes, occluded or z-order there than in the result, "
            f"and were left so: {why}."
        )

    def _is_known(self, moment: str) -> bool:
        """Whether the result's export knew all that people had done by then (a fingerprint)."""
        memory = self._memory
        ours = memory.pushed_of == self._head and memory.pushed == moment
        return ours or memory.pulls.get(self._head) == moment

    def _moments(self, there: OnServer) -> set[str]:
        """The fingerprints of what is there: as it is, and as it was before our unfinished push."""
        begun = self._broken_off(there)
        return {there.fingerprint, begun.before} if begun else {there.fingerprint}

    def require_known_labels(self) -> None:
        """Make sure that CVAT knows where each mask belongs."""
        known = self._place.named
        unknown = sorted({shape.label for shape in masks_of(self._export)} - known.keys())
        if unknown:
            raise InputError(
                f'{self._target} has no label "{unknown[0]}" any more, so that CVAT would refuse '
                "the import: add it again, or pull and run again."
            )

    def send_archive(self, result: Path, way: Way, missing: Set[MaskKey], *, unasked: bool) -> None:
        """Import the result, or of it what is missing. `unasked`: not over what others save."""
        with ExitStack() as stack:
            if way is Way.APPEND:
                result = stack.enter_context(archive_of(self._export, missing))
            now = self._server.entity(self._target)
            if unasked:
                self._require_still(now)
            stack.enter_context(self._server.asking(self._target))
            take_in(now, result, str(way) if self._server.appends else None, self._tell)

    def begin(
        self, before: OnServer, missing: Set[MaskKey], changes: Mapping[MaskKey, dict[str, Any]]
    ) -> None:
        """Note what is about to be sent, so that it is known as ours where the line breaks."""
        self._require_still(self._server.entity(self._target))
        begun = self._broken_off(before)
        states = dict(begun.changes) if begun else {}
        for key, row in changes.items():
            now, aim = before.masks[key], self.wanted[key]
            assert now is not None
            assert aim is not None
            states[key] = states.get(key, frozenset()) | {state_of(row, now), state_of(row, aim)}
        masks = begun.masks | missing if begun else frozenset(missing)
        with self._memories.changing(self._target) as memory:
            memory.sending = Sending(
                before=begun.before if begun else before.fingerprint,
                rest=before.without(masks | states.keys()),
                masks=masks,
                changes=states,
            )

    def send_changes(self, changes: Mapping[MaskKey, dict[str, Any]]) -> None:
        """Give masks that are there the result's details, and no others."""
        rows = []
        for key, row in changes.items():
            aim = self.wanted[key]
            assert aim is not None
            rows.append(amended(row, aim))
        change(self._server, self._target, rows, self._tell)
        # What is sent after this only adds, and `settle` sees whether somebody saved meanwhile.
        self._entity = self._server.entity(self._target)

    def send_shapes(self, missing: Set[MaskKey]) -> None:
        """Add what is missing in batches."""
        shapes = picked(self._export, missing)
        send(self._server, self._place, shapes, len(missing), self._tell)

    def settle(self, way: Way, before: OnServer, changes: Collection[MaskKey]) -> None:
        """Make sure that all is there, and note it as ours where nobody else has saved."""
        if way is Way.NOTHING and self._memory.sending is None:
            return  # who knows who put it there
        # The time comes before the look: what is saved behind it is newer, and so pulled again.
        seen, after = self._begun, before
        if way is not Way.NOTHING:
            seen = self._server.entity(self._target).updated_date
            after = self.look()
        lacking = self.wanted.keys() - after.masks.keys()
        if lacking := lacking or {key for key in changes if key in after.differing}:
            raise InputError(
                f"CVAT took {self._export.path.name} for {self._target}, but {len(lacking)} of its "
                f"{len(self.wanted)} masks are not there as they should be: look at the job, and "
                "push again."
            )
        with self._memories.changing(self._target) as memory:
            memory.sending = None
            if self._is_ours(way, before, after, changes):
                memory.pushed, memory.seen = after.fingerprint, str(seen)
                memory.pushed_of = self._head if self._knows_all(way, before, after) else ""

    def _knows_all(self, way: Way, before: OnServer, after: OnServer) -> bool:
        """Whether nothing is there that a person has done and the result's export does not know."""
        known = before.empty or any(map(self._is_known, self._moments(before)))
        return way is Way.REPLACE or (known and not after.differing)

    def _is_ours(
        self, way: Way, before: OnServer, after: OnServer, changes: Collection[MaskKey]
    ) -> bool:
        """Whether what is there is what we put there; else somebody has saved in between."""
        begun = self._broken_off(before)
        if begun and any(key in after.differing for key in begun.masks):
            return False
        if way is Way.NOTHING:  # the last batch of an earlier push arrived, unheard
            return begun is not None
        wanted = self.wanted.keys()
        if way is Way.REPLACE:
            others = sum(1 for _ in self._export.others())
            return after.masks.keys() == wanted and after.others[0] == others
        kept = all(
            after.masks.get(key) == (self.wanted[key] if key in changes else details)
            for key, details in before.masks.items()
        )
        whole = after.masks.keys() == wanted | before.masks.keys()
        return kept and whole and after.others == before.others

    def _broken_off(self, there: OnServer) -> Sending | None:
        """An earlier push that did not end, where nobody else has changed the job since."""
        sending = self._memory.sending
        if sending is None or not there.as_sent:
            return None
        return sending if there.without(sending.keys) == sending.rest else None

    def _require_unchanged(self, there: OnServer, *, adds: bool) -> None:
        """Make sure that the job is as it was when the result's export was made, if known."""
        pulled, moments = self._memory.pulls.get(self._head), self._moments(there)
        if any(map(self._is_known, moments)):
            return
        if self._memory.pushed in moments:
            if adds and not self._memory.pushed_of:
                return
            raise ConflictError(
                f"{self._target} holds a result of another export, which may know corrections "
                f"that {self._export.path.name} does not: push a result of the newest export, pull "
                "it and run again, or push with --replace."
            )
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


def _nobody(done: int, total: int) -> None:
    """Hear of progress and do nothing."""
