"""What a job's annotations are at some moment, and what we remember of earlier moments.

A *fingerprint* is a hash of all annotations without the numbers that the server gives them, so
that saving anew what is there already changes nothing. An archive is known by its head, in which
CVAT writes when it was made, and which a result takes over from its export to the letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from cvat_server.target import Target, read_target
from jobs.locks import locked

_MOST_PULLS = 50  # of one job that are remembered
_KINDS = ("tags", "shapes", "tracks")

MaskKey = bytes
"""A mask's frame, label and pixels, hashed."""


def fingerprint(annotations: Mapping[str, Any]) -> str:
    """A hash of what was annotated, whatever the order and the server's own numbers."""
    parts = sorted(
        sha256(json.dumps([kind, _plain(item)], sort_keys=True).encode()).hexdigest()
        for kind in _KINDS
        for item in annotations.get(kind) or []
    )
    return sha256("".join(parts).encode()).hexdigest()


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


@dataclass(frozen=True, slots=True)
class OnServer:
    """What the server holds: the fingerprint of all, the keys of its masks, and what else.

    `without`: the fingerprint of all but the masks that a push that broke off may have sent.
    `masks`: all but those on frames that the result cannot know; `hidden`: the shapes on these.
    `others`: how many tags, tracks and shapes that are not among `masks`, and their fingerprint.
    """

    fingerprint: str
    without: str
    masks: frozenset[MaskKey]
    hidden: int
    tags: int
    others: tuple[int, str]

    @property
    def empty(self) -> bool:
        """Whether nothing is annotated."""
        return not self.masks and not self.others[0]


def on_server(
    annotations: Mapping[str, Any],
    labels: Mapping[int, str],
    meta: Meta,
    first: int,
    sent: frozenset[MaskKey] = frozenset(),
    hidden: frozenset[int] = frozenset(),
) -> OnServer:
    """Sum up annotations as the API gives them.

    `labels`: names by number. `first`: the number of the job's first frame in its task; the API
    counts a task's frames from 0 without their step, files count the source's. `sent`: the masks
    of a push that broke off. `hidden`: frames, by the API's numbers, that the result cannot know.
    """
    keys, rest, before = set(), [], []
    for shape in annotations.get("shapes") or []:
        key = None
        if shape.get("type") == "mask":
            frame = meta.start_frame + (int(shape["frame"]) - first) * meta.step
            key = _api_key(frame, labels.get(int(shape["label_id"]), ""), shape["points"])
        if key not in sent:
            before.append(shape)
        if key is None or shape["frame"] in hidden:
            rest.append(shape)
        else:
            keys.add(key)
    others = {**annotations, "shapes": rest}
    whole = fingerprint(annotations)
    return OnServer(
        fingerprint=whole,
        without=fingerprint({**annotations, "shapes": before}) if sent else whole,
        masks=frozenset(keys),
        hidden=sum(shape.get("frame") in hidden for shape in _each(others)) if hidden else 0,
        tags=len(annotations.get("tags") or []),
        others=(sum(len(others.get(kind) or []) for kind in _KINDS), fingerprint(others)),
    )


def _each(annotations: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All shapes, those of tracks too."""
    yield from annotations.get("shapes") or []
    for track in annotations.get("tracks") or []:
        yield from track.get("shapes") or []


def _api_key(frame: int, label: str, points: list[float]) -> MaskKey:
    *runs, left, top, right, bottom = (int(value) for value in points)
    width, height = right - left + 1, bottom - top + 1
    mask = Mask(left, top, width, height, np.array(runs, dtype=np.int32))
    sound = min(left, top, *runs) >= 0 and min(width, height) > 0 and sum(runs) == width * height
    key = mask_key(frame, label, mask) if sound else None
    # A damaged or empty mask is nobody's twin, and somebody's work all the same.
    return key or sha256(f"{frame}\0{label}\0{points}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Sending:
    """A push in batches that has begun: the fingerprint before it, and the masks that it sends."""

    base: str
    masks: frozenset[MaskKey]


@dataclass(slots=True)
class Memory:
    """What we remember of one job or task.

    `pulls`: the fingerprint of the annotations that an archive was made of, by the hash of the
    archive's head. `deleted`: the frames, by the API's numbers, that were deleted then, of which an
    archive tells nothing. `pushed`: the fingerprint after our last push, "" before the first.
    `seen`: the server's time of the last change when we last pulled or pushed. `sending`: the push
    that has begun and not ended, if any.
    """

    pulls: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, frozenset[int]] = field(default_factory=dict)
    pushed: str = ""
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
            if sending := found.get("sending"):
                masks = frozenset(bytes.fromhex(key) for key in sending["masks"])
                memory.sending = Sending(str(sending["base"]), masks)
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
                "seen": memory.seen,
            }
            if memory.sending is not None:
                masks = sorted(key.hex() for key in memory.sending.masks)
                told["sending"] = {"base": memory.sending.base, "masks": masks}
            with replacing(self._file(target)) as file:
                file.write(json.dumps(told).encode())

    def _file(self, target: Target) -> Path:
        return self._folder / f"{target.kind}-{target.number}.json"
