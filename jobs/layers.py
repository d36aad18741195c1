"""`Layers`: what masks a job has, by layer and frame.

A layer's masks come from an archive. What is asked of them is answered from a file that is derived
of the archive once (`jobs.layer_file`), by the worker that publishes a result or else at the first
question.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Limits
from errors import InputError, NotFoundError, one_line
from jobs import store
from jobs.db import Database
from jobs.derived import Derived
from jobs.differences import FileSide, LiveSide, Side, differences
from jobs.files import JobFiles
from jobs.frames_text import describe
from jobs.layer_build import LayerSource, build_layer
from jobs.layer_file import DamagedError, LayerFile, Packed, pack_frames, packed
from jobs.layer_views import (
    MOST_FRAMES,
    SESSION,
    LayerKind,
    LayerList,
    LayerView,
    LiveLayer,
)
from jobs.models import Revision, Run
from jobs.options import Mode
from jobs.run_views import options_from
from jobs.views import RunState

_NAME = re.compile(r"(?:run-([0-9]{1,9})(?:-(forward|backward))?|revision-([0-9]{1,9}))")
_MODES = {
    Mode.INITIAL: "initial segmentation",
    Mode.RESEGMENT: "re-segmentation",
    Mode.PANEL: "frame by frame",
}
_OPEN = 8  # files whose tables stay in memory

Live = Callable[[str], LiveLayer | None]
"""From a job's id to what frame-by-frame work has of it; None where there is no such work."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON text to send. `version`: equal versions have equal texts."""

    body: Packed
    version: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a layer's file lies. `source` is None where it cannot be made again."""

    path: Path
    version: str
    source: LayerSource | None


class Layers:
    """The layers of all jobs of one installation. Thread-safe."""

    def __init__(
        self,
        database: Database,
        files: JobFiles,
        derived: Derived,
        limits: Limits,
        live: Live = lambda job_id: None,
    ) -> None:
        self._database = database
        self._files = files
        self._derived = derived
        self._limits = limits
        self._live = live
        self._lock = Lock()
        self._open: OrderedDict[Path, tuple[tuple[int, int], LayerFile]] = OrderedDict()

    def listed(self, job_id: str) -> LayerList:
        """All layers of a job: frame-by-frame work, then runs and revisions, newest first.

        Raises NotFoundError.
        """
        with self._database.read() as session:
            store.get_job(session, job_id)
            runs = self._runs(session, job_id)
            revisions = self._revisions(session, job_id)
        live = self._live(job_id)
        found = [] if live is None else [live.view]
        found += runs + revisions
        default = next((each.name for each in runs + revisions), "")
        if live is not None and (live.pending or not default):
            default = SESSION
        return LayerList(layers=tuple(found), default=default)

    def masks(self, job_id: str, layer: str, first: int, last: int) -> Answer:
        """The masks of the frames from `first` to `last`; see `LayerFile.frames`.

        Raises NotFoundError, and InputError for frames that are not the job's or are too many.
        """
        if layer == SESSION:
            live = self._live_of(job_id)
            frames = _wanted(self._frames_of(job_id), first, last)
            return Answer(pack_frames(live.entries(frames)), live.version)
        file, version = self.open(job_id, layer)
        return Answer(file.frames(_wanted(file.frames_all, first, last)), version)

    def timeline(self, job_id: str, layer: str) -> Answer:
        """A layer at a glance, as `TimelineView`.

        Raises NotFoundError, and InputError where it has too many lanes.
        """
        if layer == SESSION:
            live = self._live_of(job_id)
            return Answer(packed(asdict(live.timeline())), live.version)
        file, version = self.open(job_id, layer)
        if file.head["untold"]:
            raise InputError(file.head["untold"])
        return Answer(file.timeline(), version)

    def differences(self, job_id: str, a: str, b: str) -> Answer:
        """How layer `b` differs from `a`, as `DifferencesView`. Raises as `open` does."""
        (one, before), (two, after) = self._side(job_id, a), self._side(job_id, b)
        version = f"{before}-{after}"

        def answer() -> Packed:
            return packed(asdict(differences(one, two)))

        if SESSION in (a, b):
            return Answer(answer(), version)
        path = self._derived.path(job_id, f"differences/{a}.{before}.{b}.{after}")
        self._derived.make(path, lambda file: _write(file, answer().zlib))
        return Answer(Packed(path.read_bytes()), version)

    def _side(self, job_id: str, layer: str) -> tuple[Side, str]:
        if layer == SESSION:
            live = self._live_of(job_id)
            return LiveSide(live, self._frames_of(job_id)), live.version
        file, version = self.open(job_id, layer)
        return FileSide(file), version

    def open(self, job_id: str, layer: str) -> tuple[LayerFile, str]:
        """The file of a layer that comes from an archive, and its version.

        The file is made where it is not there. Raises NotFoundError, InputError, and OSError of the
        disk.
        """
        with self._database.read() as session:
            store.get_job(session, job_id)
            place = self._place(session, job_id, layer)
        try:
            return self._read(place), place.version
        except DamagedError:
            if place.source is None:
                raise
            place.path.unlink(missing_ok=True)
            return self._read(place), place.version

    def live(self, job_id: str) -> LiveLayer | None:
        """What frame-by-frame work has of a job."""
        return self._live(job_id)

    def _read(self, place: _Place) -> LayerFile:
        path, source = place.path, place.source
        if source is not None:

            def write(file: IO[bytes]) -> None:
                build_layer(source, file, self._limits)

            self._derived.make(path, write)
        state = path.stat()
        stamp = state.st_ino, state.st_size
        with self._lock:
            known = self._open.get(path)
            if known is not None and known[0] == stamp:
                self._open.move_to_end(path)
                return known[1]
        file = LayerFile(path)
        with self._lock:
            self._open[path] = stamp, file
            self._open.move_to_end(path)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return file

    def _place(self, session: Session, job_id: str, layer: str) -> _Place:
        found = _NAME.fullmatch(layer)
        if found is None:
            raise NotFoundError(
                f'There is no layer "{one_line(layer, 60)}": /api/jobs/{job_id}/layers lists those '
                "of this job."
            )
        run, one_pass, revision = found.groups()
        if revision:
            return self._of_revision(session, job_id, int(revision))
        return self._of_run(session, job_id, int(run), one_pass)

    def _of_run(self, session: Session, job_id: str, number: int, one_pass: str | None) -> _Place:
        run = store.published_run(session, job_id, number)
        if run is None:
            raise NotFoundError(
                f"Run {number} of job {job_id} has no result: wait until it is completed."
            )
        version = run.result_sha256[:16]
        if one_pass:
            path = pass_path(self._files, job_id, run.revision, number, one_pass)
            if not path.is_file():
                raise NotFoundError(
                    f"What the {one_pass} pass of run {number} said was not kept, or no gap of it "
                    "was filled by two passes: look at the run itself."
                )
            return _Place(path, f"{version}-{one_pass}", None)
        annotations = self._files.result(job_id, run.revision, number)
        if not annotations.is_file():
            raise NotFoundError(f"The result of run {number} of job {job_id} was removed.")
        source = LayerSource(
            annotations=annotations,
            report=self._files.report(job_id, run.revision, number),
            run=number,
            direction=options_from(run.options).direction,
        )
        return _Place(self._derived.path(job_id, run_name(number, version)), version, source)

    def _of_revision(self, session: Session, job_id: str, number: int) -> _Place:
        revision = session.get(Revision, (job_id, number))
        if revision is None or not revision.file:
            raise NotFoundError(
                f"Job {job_id} has no revision {number} that can be shown: see /api/jobs/{job_id}."
            )
        annotations = self._files.revision(job_id, number) / revision.file
        if not annotations.is_file():
            raise NotFoundError(f"The export of revision {number} of job {job_id} was removed.")
        version = revision.sha256[:16]
        path = self._derived.path(job_id, f"layers/revision-{number}.{version}")
        keys = tuple(revision.summary["key_frames"])
        return _Place(path, version, LayerSource(annotations=annotations, key_frames=keys))

    def _live_of(self, job_id: str) -> LiveLayer:
        with self._database.read() as session:
            store.get_job(session, job_id)
        live = self._live(job_id)
        if live is None:
            raise NotFoundError(
                f"Nobody has worked on job {job_id} frame by frame yet: open its panel first."
            )
        return live

    def _frames_of(self, job_id: str) -> range:
        with self._database.read() as session:
            return frames_of(newest_revision(session, job_id))

    def _runs(self, session: Session, job_id: str) -> list[LayerView]:
        runs = session.scalars(
            select(Run)
            .where(Run.job_id == job_id, Run.state == RunState.DONE.value)
            .order_by(Run.number.desc())
        )
        found = []
        for run in runs:
            title = f"Run {run.number}"
            at = run.finished or run.created
            mode = _MODES[options_from(run.options).mode]
            found.append(
                LayerView(
                    name=f"run-{run.number}",
                    title=f"{title}, {mode}",
                    created=at,
                    kind=LayerKind.RUN,
                )
            )
            found += [
                LayerView(
                    name=f"run-{run.number}-{one_pass}",
                    title=f"{title}, {one_pass} pass",
                    created=at,
                    kind=LayerKind.PASS,
                )
                for one_pass in ("forward", "backward")
                if pass_path(self._files, job_id, run.revision, run.number, one_pass).is_file()
            ]
        return found

    def _revisions(self, session: Session, job_id: str) -> list[LayerView]:
        revisions = session.scalars(
            select(Revision)
            .where(Revision.job_id == job_id, Revision.file != "")
            .order_by(Revision.number.desc())
        )
        return [
            LayerView(
                name=f"revision-{revision.number}",
                title=f"Revision {revision.number} as uploaded",
                created=revision.received,
                kind=LayerKind.REVISION,
            )
            for revision in revisions
        ]


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


def run_name(number: int, version: str) -> str:
    """The name, among what is derived of a job, of the file of a run's result.

    `version`: the first 16 digits of the result's checksum.
    """
    return f"layers/run-{number}.{version}"


def pass_path(files: JobFiles, job_id: str, revision: int, run: int, one_pass: str) -> Path:
    """Where a worker leaves what one pass ("forward", "backward") of a run said."""
    return files.run(job_id, revision, run) / f"{one_pass}.layer"


def newest_revision(session: Session, job_id: str) -> Revision:
    """The newest revision that was not refused. Raises NotFoundError."""
    store.get_job(session, job_id)
    found = session.scalars(
        select(Revision)
        .where(Revision.job_id == job_id, Revision.file != "")
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        raise NotFoundError(
            f"Job {job_id} has nothing to show: its export was refused, and its page says why."
        )
    return found


def frames_of(revision: Revision) -> range:
    """The job's frames, as a revision that was not refused has them."""
    summary = revision.summary
    return range(summary["first_frame"], summary["last_frame"] + 1, summary["step"])


def _wanted(frames: range, first: int, last: int) -> range:
    """The job's frames from `first` to `last`; raises InputError where they cannot be given."""
    if first > last:
        raise InputError(f"The frames run backward: ask from={last}&to={first}.")
    if first < frames[0] or last > frames[-1]:
        raise InputError(
            f"The frames {first} to {last} are not all of the job: {describe(frames)}."
        )
    begin = frames[0] + -(-(first - frames[0]) // frames.step) * frames.step
    wanted = range(begin, last + 1, frames.step)
    if len(wanted) > MOST_FRAMES:
        raise InputError(f"These are {len(wanted)} frames: ask for at most {MOST_FRAMES} at once.")
    return wanted
