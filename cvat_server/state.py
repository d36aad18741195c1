"""What a job's annotations are at some moment, and what we remember of earlier moments.

A *fingerprint* is a hash of all annotations without the numbers that the server gives them, so
that saving anew what is there already changes nothing. An archive is known by its head, in which
CVAT writes when it was made, and which a result takes over from its export to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from config import Settings
from cvat_io.atomic import replacing
from cvat_io.masks import tight
from cvat_io.model import ExportKind, Mask, MaskShape, Meta
from cvat_server.details import Details, details_on, state_of
from cvat_server.place import Place
from cvat_server.server import ServerLabel
from cvat_server.target import Target, read_target
from jobs.locks import locked

_MOST_PULLS = 50  # of one job that are remembered
_KINDS = ("tags", "shapes", "tracks")

MaskKey = bytes
"""A mask's frame, label and pixels, hashed."""


def fingerprint(annotations: Mapping[str, Any]) -> str:
    """A hash of what was annotated, whatever the order and the server's own numbers."""
    return _together(_digest(kind, item) for kind in _KINDS for item in annotations.get(kind) or [])


def _digest(kind: str, item: Any) -> str:
    return sha256(json.dumps([kind, _plain(item)], sort_keys=True).encode()).hexdigest()


def _together(digests: Iterable[str]) -> str:
    return sha256("".join(sorted(digests)).encode()).hexdigest()


def _plain(item: Any) -> Any:
    """Without the numbers that the server gives out anew at every save."""
    if isinstance(item, dict):
        return {name: _plain(value) for name, value in item.items() if name != "id"}
    return [_plain(each) for each in item] if isinstance(item, list) else item


def mask_key(frame: int, label: str, mask: Mask) -> MaskKey | None:
    """The same for masks of the same pixels, however they are written; None without a pixel."""
    found = tight(mask)
    if found is None:
        return None
    box = f"{frame}\0{label}\0{found.left}\0{found.top}\0{found.width}\0{found.height}\0"
    return sha256(box.encode() + found.runs.astype("<i4").tobytes()).digest()


def key_of(shape: MaskShape) -> MaskKey | None:
    """The key of a mask of an archive."""
    return mask_key(shape.frame, shape.label, shape.mask)


Wanted = Mapping[MaskKey, Details | None]
"""The masks of a result and their details; None where it has two that differ in these alone."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A push that has begun, in more than one step.

    `before`: the fingerprint of all before it; `rest`: that of all but the masks that it adds and
    changes. `masks`: those that it adds. `changes`: of each that it changes the states (see
    `state_of`) that it may have: how it was, and how it is to be.
    """

    before: str
    rest: str
    masks: frozenset[MaskKey] = frozenset()
    changes: Mapping[MaskKey, frozenset[str]] = field(default_factory=dict)

    @property
    def keys(self) -> frozenset[MaskKey]:
        """All masks that it adds or changes."""
        return self.masks | self.changes.keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class OnServer:
    """What the server holds, seen from a result: the fingerprint of all, its masks, and what else.

    `masks`: all but those on frames that the result cannot know, with their details, None where
    two are the same but for these; `hidden`: the shapes on those frames. `grouped`: how many are in
    a group. `differing`: the masks, as the API gives them, that the result has with other details.
    `others`: how many tags, tracks and shapes that are not among `masks`, and their fingerprint.
    `as_sent`: whether each mask that a push that broke off changes is as it was or as it is to be.
    """

    fingerprint: str
    masks: Mapping[MaskKey, Details | None]
    differing: Mapping[MaskKey, dict[str, Any]]
    hidden: int
    grouped: int
    tags: int
    others: tuple[int, str]
    as_sent: bool
    parts: tuple[tuple[str, MaskKey | None], ...] = field(repr=False)

    @property
    def empty(self) -> bool:
        """Whether nothing is annotated."""
        return not self.masks and not self.others[0]

    def without(self, masks: Collection[MaskKey]) -> str:
        """The fingerprint of all but these masks."""
        return _together(digest for digest, key in self.parts if key not in masks)


def on_server(
    annotations: Mapping[str, Any],
    place: Place,
    wanted: Wanted,
    hidden: frozenset[int],
    sending: Sending | None,
) -> OnServer:
    """Sum up annotations as the API gives them.

    `hidden`: frames, by the API's numbers, that the result cannot know. `sending`: a push that
    broke off.
    """
    labels, changes = place.numbered, sending.changes if sending else {}
    parts: list[tuple[str, MaskKey | None]] = []
    masks: dict[MaskKey, Details | None] = {}
    differing: dict[MaskKey, dict[str, Any]] = {}
    same: dict[Details, Details] = {}  # there are few, on many masks
    found: list[MaskKey] = []
    rest = []
    for row in annotations.get("shapes") or []:
        key = details = None
        if row.get("type") == "mask":
            label = labels.get(int(row["label_id"]))
            key = _api_key(place.frame_of(int(row["frame"])), label, row["points"])
            details = details_on(row, label) if label else None
        parts.append((_digest("shapes", row), key))
        if key and details and state_of(row, details) in changes.get(key, ()):
            found.append(key)
        if key is None or row["frame"] in hidden:
            rest.append(row)
        elif key in masks:
            masks[key] = None
            differing.pop(key, None)
        else:
            masks[key] = details and same.setdefault(details, details)
            if (aim := wanted.get(key)) and details and aim != details:
                differing[key] = row
    others = {**annotations, "shapes": rest}
    for kind in ("tags", "tracks"):
        parts += [(_digest(kind, item), None) for item in annotations.get(kind) or []]
    return OnServer(
        fingerprint=_together(digest for digest, _ in parts),
        masks=masks,
        differing=differing,
        hidden=sum(shape.get("frame") in hidden for shape in _each(others)) if hidden else 0,
        grouped=sum(
            bool(item.get("group")) for kind in _KINDS for item in annotations.get(kind) or []
        ),
        tags=len(annotations.get("tags") or []),
        others=(sum(len(others.get(kind) or []) for kind in _KINDS), fingerprint(others)),
        as_sent=sorted(found) == sorted(changes),
        parts=tuple(parts),
    )


def _each(annotations: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All shapes, those of tracks too."""
    yield from annotations.get("shapes") or []
    for track in annotations.get("tracks") or []:
        yield from track.get("shapes") or []


def _api_key(frame: int, label: ServerLabel | None, points: list[float]) -> MaskKey:
    name = label.name if label else ""
    *runs, left, top, right, bottom = (int(value) for value in points)
    width, height = right - left + 1, bottom - top + 1
    mask = Mask(left, top, width, height, np.array(runs, dtype=np.int32))
    sound = min(left, top, *runs) >= 0 and min(width, height) > 0 and sum(runs) == width * height
    key = mask_key(frame, name, mask) if sound else None
    # A damaged or empty mask is nobody's twin, and somebody's work all the same.
    return key or sha256(f"{frame}\0{name}\0{points}".encode()).digest()


@dataclass(slots=True)
class Memory:
    """What we remember of one job or task.

    `pulls`: the fingerprint of the annotations that an archive was made of, by the hash of the
    archive's head. `deleted`: the frames, by the API's numbers, that were deleted then, of which an
    archive tells nothing. `pushed`: the fingerprint after our last push, "" before the first;
    `pushed_of`: the head of the archive that what people had done until then is all in, if one is.
    `seen`: the server's time of the last change when we last pulled or pushed. `sending`: the push
    that has begun and not ended, if any.
    """

    pulls: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, frozenset[int]] = field(default_factory=dict)
    pushed: str = ""
    pushed_of: str = ""
    seen: str = ""
    sending: Sending | None = None


def head_of(meta: Meta) -> str:
    """By what an archive is known."""
    return sha256(meta.xml).hexdigest()


class Memories:
    """The memories of one server, in files of DATA_DIR/cvat."""

    def __init__(self, settings: Settings) -> None:
        server = sha256(settings.cvat_url.rstrip("/").encode()).hexdigest()[:12]
        self._folder = settings.data_dir / "cvat" / server

    def read(self, target: Target) -> Memory:
        """What is remembered; an empty memory where there is none, or a damaged one."""
        try:
            found = json.loads(self._file(target).read_text(encoding="utf-8"))
            pulls = {str(head): str(value) for head, value in found["pulls"].items()}
            memory = Memory(pulls, pushed=str(found["pushed"]), seen=str(found["seen"]))
            for head, frames in found.get("deleted", {}).items():
                memory.deleted[head] = frozenset(int(frame) for frame in frames)
            memory.pushed_of = str(found.get("pushed_of", ""))
            if sending := found.get("sending"):
                memory.sending = _sending(sending)
            return memory
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Memory()

    def unfinished(self, target: Target, task: int | None) -> list[Target]:
        """Of what pushes of ours that have begun and not ended were, where `target` holds it too.

        `task`: of a job, the number of its task. Of a task all jobs are named, be they its or not.
        """
        found = [target]
        if target.kind is ExportKind.JOB:
            found += [] if task is None else [Target(ExportKind.TASK, task)]
        else:
            names = sorted(self._folder.glob(f"{ExportKind.JOB}-*.json"))
            found += [read_target(path.stem) for path in names]
        return [each for each in found if self.read(each).sending is not None]

    @contextmanager
    def changing(self, target: Target) -> Iterator[Memory]:
        """The memory, to change it; it is written when the block ends well."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "turn.lock", wait=True):
            memory = self.read(target)
            yield memory
            kept = dict(list(memory.pulls.items())[-_MOST_PULLS:])
            told: dict[str, Any] = {
                "pulls": kept,
                "deleted": {h: sorted(frames) for h in kept if (frames := memory.deleted.get(h))},
                "pushed": memory.pushed,
                "pushed_of": memory.pushed_of,
                "seen": memory.seen,
            }
            if memory.sending is not None:
                told["sending"] = _told(memory.sending)
            with replacing(self._file(target)) as file:
                file.write(json.dumps(told).encode())

    def _file(self, target: Target) -> Path:
        return self._folder / f"{target.kind}-{target.number}.json"


def _told(sending: Sending) -> dict[str, Any]:
    return {
        "before": sending.before,
        "base": sending.rest,
        "masks": sorted(key.hex() for key in sending.masks),
        "changes": {key.hex(): sorted(states) for key, states in sending.changes.items()},
    }


def _sending(told: Mapping[str, Any]) -> Sending:
    """An older version only added masks, so that all but these was all before."""
    return Sending(
        before=str(told.get("before", told["base"])),
        rest=str(told["base"]),
        masks=frozenset(bytes.fromhex(key) for key in told["masks"]),
        changes={
            bytes.fromhex(key): frozenset(map(str, states))
            for key, states in told.get("changes", {}).items()
        },
    )
