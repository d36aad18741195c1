"""What a person accepts of a session becomes a published run: written, verified, then recorded.

The result is written and verified as that of any other run. Its annotations are a copy of the
base's in which a person's masks stand as the session has them.

Whoever accepts holds the lock of the job's `accept.lock`, on all machines. Until the run is on
record its folder holds a file `.accepting`, by which the next one knows what a crash left.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Limits
from cvat_io.atomic import temporary_name
from cvat_io.lineage import Lineage
from cvat_io.model import MaskShape
from cvat_io.reader import Export, open_export
from cvat_io.result import write_annotations, write_result
from cvat_io.verify import verify_result
from errors import ConflictError, NotFoundError
from jobs import audit, store, store_runs
from jobs.files import JobFiles, sync_folder
from jobs.frames_text import format_frames
from jobs.locks import locked
from jobs.models import Job, Run
from jobs.options import Direction, Mode, RunOptions
from jobs.ours import Origins, drawn_note
from jobs.plan import Origin, RunPlan
from jobs.report import DivergenceLog, NextFrame, Report
from jobs.session_masks import IGNORED, Shown
from jobs.session_models import LiveSession
from jobs.session_state import State
from jobs.sheet import AUTO, NAMES
from jobs.store import now, touch
from jobs.views import RunState

STAGES = ("decode", "track", "encode", "write")
_LOCK = "accept.lock"
_MARK = ".accepting"  # in a run's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A result that lies verified in its run's folder. `computed`: frames that are no person's.

    `created`, `began`, `version`: of the session that it shows.
    """

    number: int
    revision: int
    created: float
    began: int
    version: int
    until: int | None
    key_frames: tuple[int, ...]
    computed: tuple[int, ...]
    ignored: frozenset[str]
    flagged: int
    next_frame: NextFrame | None
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What is to be written. `archive`: the base's; `until`: the last frame, None for all."""

    archive: Path
    limits: Limits
    until: int | None


@contextmanager
def alone(files: JobFiles, job_id: str) -> Iterator[None]:
    """Let nobody else accept of this job meanwhile. Raises ConflictError while somebody does."""
    try:
        with locked(files.job(job_id) / _LOCK, wait=False):
            yield
    except BlockingIOError as exc:
        raise ConflictError(
            f"Frames of job {job_id} are being accepted just now: wait a moment, then accept "
            "again, which gives that very run where nothing was changed since."
        ) from exc


def accepted_run(row: LiveSession, until: int | None) -> int | None:
    """The run in which the session, as it is now, was accepted up to `until`; None for none."""
    return next((run for last, run in _runs(row, row.version) if last == until), None)


def clear_up(session: Session, files: JobFiles, job_id: str) -> None:
    """Remove what accepting left that broke off before its run was on record.

    Nobody else may be accepting.
    """
    recorded = set(session.scalars(select(Run.number).where(Run.job_id == job_id)))
    for mark in files.job(job_id).glob(f"*/runs/*/{_MARK}"):
        if mark.parent.name.isdecimal() and int(mark.parent.name) in recorded:
            mark.unlink(missing_ok=True)
        else:
            shutil.rmtree(mark.parent, ignore_errors=True)


def settle(files: JobFiles, job_id: str, written: Written) -> None:
    """Note that the run is on record, so that its folder stays."""
    (files.run(job_id, written.revision, written.number) / _MARK).unlink(missing_ok=True)


def reserve_number(session: Session, files: JobFiles, job_id: str) -> int:
    """A run's number that nobody else gets."""
    job = store.get_job(session, job_id)
    job.runs_made = max(job.runs_made, files.last_run(job_id)) + 1
    return job.runs_made


def write(state: State, files: JobFiles, number: int, accepted: Accepted) -> Written:
    """Write and verify the result of a session as it is in the state's transaction.

    Raises ConflictError where there is no mask to accept, VerificationError when the result would
    not be what was promised (our fault); nothing is left behind then.
    """
    job_id, revision = state.row.job_id, state.row.revision
    out = files.result(job_id, revision, number)
    began = time.perf_counter()
    with ExitStack() as stack:
        files.tmp.mkdir(parents=True, exist_ok=True)  # the system's own may be memory
        log = stack.enter_context(DivergenceLog(files.tmp))
        export = stack.enter_context(open_export(accepted.archive, accepted.limits))
        composed = _Composed(state, accepted.until, export)
        if not composed.any_mask():
            raise ConflictError(
                "There is no mask up to that frame: draw one, or compute some frames, and accept "
                "then."
            )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=files.tmp)))
        copy = folder / "annotations.xml"
        write_annotations(copy, export, composed.human())
        out.parent.mkdir(parents=True, exist_ok=True)
        (out.parent / _MARK).touch()
        draft = stack.enter_context(temporary_name(out))
        largest = state.row.next_object - 1  # also of objects that were merged meanwhile
        lineage = Lineage.behind(export.others(), largest, export.meta.frames)
        keys = composed.keys
        note = {
            "key_frames": format_frames(keys, export.meta.step),
            **lineage.note(),
            **drawn_note(lineage, composed.drawn),
        }
        write_result(draft, export, lineage.numbered(composed.all(log)), note, keep_ids=True)
        # Nothing more is read of the session: PostgreSQL ends transactions that rest, and what
        # follows takes long. What was read stays as it was.
        state.session.commit()
        _verify(draft, copy, export, composed, accepted)
        with draft.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
        size = draft.stat().st_size
        report = _report(state, composed, log, time.perf_counter() - began)
        log.write_report(files.report(job_id, revision, number), report)
        draft.replace(out)
        sync_folder(out.parent)
    return Written(
        number=number,
        revision=revision,
        created=state.row.created,
        began=state.row.began,
        version=state.row.version,
        until=accepted.until,
        key_frames=tuple(keys),
        computed=tuple(composed.computed),
        ignored=composed.ignored,
        flagged=log.flagged,
        next_frame=report["next_frame"],
        bytes=size,
        sha256=sha256,
    )


def publish(session: Session, job_id: str, written: Written) -> None:
    """Record a written result as a published run. Raises NotFoundError for a deleted job."""
    job = store.get_job(session, job_id)
    row = session.get(LiveSession, job_id)
    # That of a job which was deleted and received anew begins with the same number.
    if row is None or (row.created, row.began) != (written.created, written.began):
        raise NotFoundError(
            f"The session of job {job_id} was reset meanwhile: look at it and accept again."
        )
    at = now(session)
    plan = RunPlan(
        key_frames=written.key_frames,
        spans=(),
        fill=frozenset(written.computed),
        carried=Origin.EXPORT,
    )
    session.add(
        Run(
            job_id=job_id,
            number=written.number,
            revision=written.revision,
            images_revision=row.images_revision,
            previous_run=row.run,
            state=RunState.DONE.value,
            options=asdict(RunOptions(mode=Mode.PANEL, engine=row.engine)),
            engine=row.engine,
            ignore_labels=sorted(written.ignored),
            plan=plan.to_json(),
            created=at,
            started=at,
            finished=at,
            flagged_frames=written.flagged,
            next_frame=None if written.next_frame is None else {**written.next_frame},
            result_bytes=written.bytes,
            result_sha256=written.sha256,
        )
    )
    _show(session, job, written)
    row.accepted = {
        "until": written.until,
        "run": written.number,
        "version": written.version,
        "runs": [*_runs(row, written.version), (written.until, written.number)],
    }
    row.updated = at
    what = "all frames" if written.until is None else f"the frames up to {written.until}"
    audit.record(session, "accept", job_id, f"run {written.number}, {what}")
    touch(
        session,
        job_id,
        log=f"Run {written.number}: {what} accepted frame by frame; the result is published.",
    )


def _runs(row: LiveSession, version: int) -> list[tuple[int | None, int]]:
    """Up to which frames the session was accepted at one version, and the runs they became."""
    done = row.accepted
    if done is None or done["version"] != version:
        return []
    # Of a session that was accepted before all of them were kept the last one is known.
    return [(last, run) for last, run in done.get("runs", [(done["until"], done["run"])])]


def _show(session: Session, job: Job, written: Written) -> None:
    """Let the job stand where its newest run does, unless another one is at work."""
    current = store.current_run(session, job)
    busy = current is not None and current.state in store_runs.UNFINISHED
    if job.revision == written.revision and not busy:
        job.run = written.number


class _Composed:
    """The masks of a result, from a session up to a frame (None: the last one)."""

    def __init__(self, state: State, until: int | None, base: Export) -> None:
        self._state = state
        self._until = state.head.numbers[-1] if until is None else until
        self._renamed = {n: each["name"] for n, each in state.objects.items() if "renamed" in each}
        # Where others than texts name objects, CVAT may not take a name that it does not list.
        self._naming = {
            label.name: [
                each.name
                for each in label.attributes
                if each.name.lower() in NAMES and each.input_type == "text"
            ]
            for label in base.meta.labels
            if label.parent is None
        }
        self.ignored = state.head.ignored
        self.keys: list[int] = []  # also those of which a person says that nothing is there
        self.untouched: list[int] = []  # those of them that are as in the base
        self.computed: list[int] = []
        self.labelled = 0  # frames that have a mask that is not ignored
        # Frame and object of key frames' masks that are a person's though their source is "auto".
        self.drawn: list[tuple[int, int]] = []
        origins = Origins.of(base)
        for found in state.frames(self._frames()):
            followed = [shown.number for shown in found.masks if shown.number != IGNORED]
            if found.key:
                self.keys.append(found.frame)
                if not found.version and self._renamed.keys().isdisjoint(followed):
                    self.untouched.append(found.frame)
                if not found.version:
                    self.drawn += [
                        (found.frame, shown.number)
                        for shown in found.masks
                        if shown.number != IGNORED
                        and shown.shape.source == AUTO
                        and origins.kept(found.frame, shown.number)
                    ]
            elif followed and found.frame <= self._until:
                self.computed.append(found.frame)
            else:
                continue
            self.labelled += bool(followed)

    def any_mask(self) -> bool:
        """Whether anything would be in it."""
        return self.labelled > 0

    def human(self) -> Iterator[MaskShape]:
        """What is a person's: the masks of key frames, and those that are not followed."""
        for shape, shown, key in self._masks():
            if key or shown.number == IGNORED:
                yield shape

    def all(self, log: DivergenceLog) -> Iterator[tuple[MaskShape, int]]:
        """All masks, ascending by frame, and their objects; tells `log` of divergence."""
        for shape, shown, key in self._masks():
            if not key and shown.number != IGNORED and shown.score is not None:
                log.add(shape.frame, shown.number, shape.label, shown.score, shown.why)
            yield shape, shown.number

    def _masks(self) -> Iterator[tuple[MaskShape, Shown, bool]]:
        """Shapes as they are written, what they are made of, and whether they are a person's."""
        for found in self._state.frames(self._frames()):
            for shown in found.masks:
                if shown.number == IGNORED:
                    yield shown.shape, shown, False
                    continue
                shape = self._named(shown.shape, shown.number)
                if not found.key:
                    if found.frame <= self._until:
                        yield replace(shape, source=AUTO), shown, False
                elif found.version and shape.source == AUTO:
                    yield replace(shape, source="manual"), shown, True  # computed, then accepted
                else:
                    yield shape, shown, True

    def _named(self, shape: MaskShape, number: int) -> MaskShape:
        """A mask under the name that a person gave its object, where its label has names."""
        if number not in self._renamed:
            return shape
        given = self._renamed[number]
        attributes = {
            name: given if name.lower() in NAMES else value for name, value in shape.attributes
        }
        if given:
            attributes |= dict.fromkeys(self._naming.get(shape.label, ()), given)
        return replace(shape, attributes=tuple(attributes.items()))

    def _frames(self) -> Sequence[int]:
        """All frames, also those without an image: what is not followed may be drawn there."""
        return self._state.head.numbers


def _verify(
    draft: Path, copy: Path, export: Export, composed: _Composed, accepted: Accepted
) -> None:
    """Hold the draft against what the session says is a person's, and against the base."""
    with open_export(copy, accepted.limits) as human:
        verify_result(draft, human, composed.keys, composed.ignored, accepted.limits)
    verify_result(
        draft,
        export,
        composed.untouched,
        composed.ignored,
        accepted.limits,
        previous=export,
    )


def _report(state: State, composed: _Composed, log: DivergenceLog, seconds: float) -> Report:
    return Report(
        engine=state.row.engine,
        device="",
        width=state.head.width,
        height=state.head.height,
        frames_total=len(state.head.numbers),
        frames_tracked=len(composed.computed),
        objects=len(state.objects),
        seconds=round(seconds, 3),
        frames_per_second=0.0,
        learning_seconds=0.0,
        growth=log.growth(len(composed.keys), composed.labelled),
        flagged_frames=log.flagged,
        notices=[],
        next_frame=log.next_frame(composed.keys, Direction.BOTH),
        left_out=[],
        cleaned={"specks": 0, "holes": 0},
        stages=dict.fromkeys(STAGES, 0.0),
        spans=[],
    )
