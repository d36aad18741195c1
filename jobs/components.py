"""Components: what the studio gives out. An object's masks become files in RESULTS_PATH.

`<sequence>/<component>/00031.png` and `<sequence>/combined/00031.png`, as in
`cvat_io.component_pngs`; `<sequence>/components.json` says what is what. Saving again replaces.
Whoever writes holds the lock of `<sequence>/.lock`, on all machines. A crash leaves every component
whole, as it was before or as it is after; at most the combined pictures wait for the next saving.
Whoever writes next clears away what a crash left that is not in `components.json`.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from config import Settings
from cvat_io.atomic import replacing, writing
from cvat_io.component_pngs import (
    MOST_COMPONENTS,
    mark,
    pack_folders,
    remove_folder,
    settle,
    sweep,
    write_combined,
    write_component,
)
from cvat_io.frames import Colour
from cvat_io.model import Mask
from cvat_io.runtext import parse_rle
from errors import ConflictError, InputError, NotFoundError, one_line
from jobs import audit, store
from jobs.component_list import (
    COMBINED,
    MANIFEST,
    NAME,
    ComponentView,
    folders_of,
    read_list,
    size_of,
    views_of,
)
from jobs.db import Database
from jobs.files import JobFiles
from jobs.frames_text import format_frames, parse_frames
from jobs.layer_views import MOST_FRAMES, SESSION
from jobs.layers import Layers
from jobs.locks import locked
from jobs.sequences import KIND, folder_of
from jobs.sessions import Sessions

_RESERVED = frozenset({COMBINED, MANIFEST})
# What Windows takes for devices, whatever the ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentsView:
    """All components of a sequence, in the order of their first saving, and where they lie."""

    folder: str
    components: tuple[ComponentView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """What a saving wrote: so many `frames` in `folder`, `empty` of them without a pixel.

    `untracked`: those of the empty ones that nobody has drawn or computed yet, such as "61-119".
    """

    folder: str
    frames: int
    empty: int
    untracked: str
    component: ComponentView


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What must be known of a job."""

    frames: range
    width: int
    height: int


class Components:
    """The components of all sequences. Thread-safe, and safe between servers."""

    def __init__(
        self, settings: Settings, database: Database, layers: Layers, sessions: Sessions
    ) -> None:
        self._root = settings.results_path
        self._tmp = JobFiles(settings.data_dir).tmp
        self._database = database
        self._layers = layers
        self._sessions = sessions

    def listed(self, job_id: str) -> ComponentsView:
        """What is saved of a sequence. Raises NotFoundError, ConflictError for other jobs."""
        self._sequence(job_id)
        folder = self._folder(job_id)
        return ComponentsView(folder=str(folder), components=views_of(read_list(folder)))

    def save(
        self,
        job_id: str,
        component: str,
        number: int,
        first: int | None = None,
        last: int | None = None,
        layer: str = "",
    ) -> SavedView:
        """Save the masks of object `number` on the frames from `first` to `last`, default all.

        `layer`: which masks, default those that are shown first. Frames on which the object has
        no mask get an empty picture. Raises NotFoundError for an unknown job or layer, InputError
        for a name that no folder may have, frames that are not the sequence's and an object
        without any mask there, ConflictError where components of frames of another size are saved,
        and where a folder of that name was not saved from here.
        """
        sequence = self._sequence(job_id)
        _require_name(component)
        frames = _wanted(sequence.frames, first, last)
        layer = layer or self._layers.listed(job_id).default
        if not layer:
            raise _nothing_drawn(number, frames)
        folder = self._folder(job_id)
        found = [0]
        with self._held(folder):
            kept = read_list(folder)
            _require_fit(folder, kept, sequence, component)
            entry = {
                "component": component, "object": number, "first": frames[0], "last": frames[-1],
                "frames": len(frames), "layer": layer, "saved": time.time(),
            }  # fmt: skip
            drawn = self._masks(job_id, sequence, layer, number, frames, found)
            # Looked at before anything is replaced: a wrong number must not cost what was saved.
            masks = _with_some(drawn, number, frames)
            write_component(folder / component, masks, sequence.width, sequence.height)
            others = [old for old in kept if old["component"] != component]
            place = next(
                (at for at, old in enumerate(kept) if old["component"] == component), len(others)
            )
            entries = [*others[:place], entry, *others[place:]]
            self._finish(folder, sequence, entries)
        audit.note(self._database, "save component", job_id, component)
        return SavedView(
            folder=str(folder / component),
            frames=len(frames),
            empty=len(frames) - found[0],
            untracked=self._untracked(job_id, layer, frames, sequence.frames),
            component=views_of(entries)[place],
        )

    def archive(self, job_id: str) -> IO[bytes]:
        """All that is saved of a sequence as a zip, open at its begin; it goes when it is closed.

        Raises NotFoundError where nothing is saved.
        """
        self._sequence(job_id)
        folder = self._folder(job_id)
        if not read_list(folder):
            raise NotFoundError(f"Nothing of job {job_id} is saved yet: save a component first.")
        self._tmp.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._tmp)  # noqa: SIM115 - the caller closes it
        try:
            with self._held(folder):
                pack_folders(file, folder, folders_of(read_list(folder)), MANIFEST)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def reset(self, job_id: str, component: str) -> ComponentsView:
        """Remove a component's files and make the combined pictures anew. Raises NotFoundError."""
        sequence, folder = self._sequence(job_id), self._folder(job_id)
        if not folder.is_dir():
            raise _no_component(component)
        with self._held(folder):
            kept = read_list(folder)
            entries = [old for old in kept if old["component"] != component]
            if len(entries) == len(kept):
                raise _no_component(component)
            mark(folder / component)
            if not entries:
                mark(folder / COMBINED)
            self._finish(folder, sequence, entries)
            remove_folder(folder / component)
        audit.note(self._database, "reset component", job_id, component)
        return ComponentsView(folder=str(folder), components=views_of(entries))

    # -- inside ----------------------------------------------------------------------------------

    def _folder(self, job_id: str) -> Path:
        return self._root / folder_of(job_id)

    @contextmanager
    def _held(self, folder: Path) -> Iterator[None]:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock", wait=True):
                sweep(folder, folders_of(read_list(folder)))
                yield

    def _sequence(self, job_id: str) -> _Sequence:
        with self._database.read() as session:
            revision = store.latest_revision(session, store.get_job(session, job_id))
        if revision is None or revision.summary["kind"] != KIND:
            raise ConflictError(
                f"Job {job_id} is no sequence of the studio: download its result as masks instead."
            )
        of = revision.summary
        return _Sequence(range(of["frames"]), of["width"], of["height"])

    def _masks(
        self, job_id: str, of: _Sequence, layer: str, number: int, frames: range, found: list[int]
    ) -> Iterator[tuple[int, list[Mask]]]:
        for begin in range(frames.start, frames.stop, MOST_FRAMES):
            end = min(begin + MOST_FRAMES, frames.stop) - 1
            answer = self._layers.masks(job_id, layer, begin, end)
            for entry in json.loads(answer.body.text)["frames"]:
                masks = [_mask(m, of) for m in entry["masks"] if m["object"] == number]
                found[0] += bool(masks)
                yield entry["frame"], masks

    def _untracked(self, job_id: str, layer: str, frames: range, every: range) -> str:
        """The frames of which frame-by-frame work knows nothing yet."""
        if layer != SESSION:
            return ""
        known = set(parse_frames(self._sessions.view(job_id).computed, every))
        return format_frames([frame for frame in frames if frame not in known])

    def _finish(self, folder: Path, sequence: _Sequence, entries: list[dict[str, Any]]) -> None:
        """Write what the folder holds, then the combined pictures."""
        views = views_of(entries)
        told = {
            "width": sequence.width,
            "height": sequence.height,
            "combined": {"0": "background"} | {str(v.index): v.component for v in views},
            "components": [asdict(view) for view in views],
        }
        with replacing(folder / MANIFEST) as file:
            file.write(json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")
        for view in views:
            settle(folder / view.component)
        parts = [(folder / v.component, _rgb(v.color)) for v in views]
        places = sorted({place for v in views for place in range(v.first, v.last + 1)})
        write_combined(folder / COMBINED, parts, places, sequence.width, sequence.height)


def _with_some(
    frames: Iterator[tuple[int, list[Mask]]], number: int, wanted: range
) -> Iterator[tuple[int, list[Mask]]]:
    """The same frames, once it is sure that one of them has a mask. Raises InputError if none."""
    before: list[int] = []
    for place, masks in frames:
        if masks:
            return chain([(empty, []) for empty in before], [(place, masks)], frames)
        before.append(place)
    raise _nothing_drawn(number, wanted)


def _wanted(frames: range, first: int | None, last: int | None) -> range:
    begin = frames[0] if first is None else first
    end = frames[-1] if last is None else last
    if begin not in frames or end not in frames or begin > end:
        raise InputError(
            f"Frames {begin} to {end} cannot be saved: give a range within {frames[0]} to "
            f"{frames[-1]}."
        )
    return range(begin, end + 1)


def _require_name(component: str) -> None:
    if (
        not NAME.fullmatch(component)
        or component.endswith((" ", "."))
        or component.casefold() in _RESERVED
        or _DEVICES.fullmatch(component)
        or len(component.encode("utf-8", "surrogatepass")) > 200
    ):
        raise InputError(
            f'"{one_line(component, 80)}" is no name for a component: give letters and digits, '
            f"such as left, right or object (at most 64, not {COMBINED})."
        )


def _require_fit(
    folder: Path, kept: Sequence[dict[str, Any]], sequence: _Sequence, component: str
) -> None:
    """Refuse what would not go with the components that are there, or would replace strangers'."""
    ours = folders_of(kept)
    foreign = next(
        (n for n in (component, COMBINED) if n not in ours and (folder / n).exists()), ""
    )
    if foreign:
        raise ConflictError(
            f"{folder.name}/{foreign} in RESULTS_PATH was not saved from here: move it away first."
        )
    others = [old["component"] for old in kept if old["component"] != component]
    twin = next((name for name in others if name.casefold() == component.casefold()), None)
    if twin is not None:
        raise ConflictError(
            f'There is a component "{twin}" already: use that name, or one that differs in more '
            "than its capitals."
        )
    if len(others) >= MOST_COMPONENTS:
        raise ConflictError(
            f"There are {len(others)} components, as many as an indexed picture can hold: reset "
            "one first."
        )
    size = size_of(folder)
    if others and size != (sequence.width, sequence.height):
        raise ConflictError(
            f"The components saved so far are of frames of {size[0]} x {size[1]} pixels, but those "
            f"of the sequence have {sequence.width} x {sequence.height}: reset them first."
        )


def _mask(entry: dict[str, Any], of: _Sequence) -> Mask:
    left, top, width, height = entry["box"]
    if left + width > of.width or top + height > of.height:
        raise ConflictError(
            f"These masks were drawn on frames of another size than {of.width} x {of.height}, as "
            "the sequence has by now: reset its frame-by-frame work and draw them again."
        )
    return Mask(left, top, width, height, parse_rle(entry["runs"], width * height))


def _rgb(color: str) -> Colour:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _nothing_drawn(number: int, frames: range) -> InputError:
    return InputError(
        f"Object {number} has no mask on frames {frames[0]} to {frames[-1]}: draw and submit it "
        "first, or choose another one."
    )


def _no_component(component: str) -> NotFoundError:
    return NotFoundError(f'There is no component "{one_line(component, 80)}" of this sequence.')
