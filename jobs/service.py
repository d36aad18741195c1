"""`Jobs`: everything that pages, API, watcher and CLI do with jobs, in one place.

Thread-safe. Methods raise InputError (NotFoundError, ConflictError) with the sentence to show.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import Settings
from errors import ConflictError, InputError, NotFoundError, one_line
from jobs import audit, broker, expect, store, store_runs, store_views, updates
from jobs.components import Components
from jobs.db import open_database
from jobs.derived import Derived
from jobs.figures import Figures
from jobs.files import JobFiles, has_frames, stamp_of
from jobs.growth import read_growth, read_left_out, read_next_frame
from jobs.layers import Layers
from jobs.look import Look, Sort
from jobs.models import ASSEMBLE, LEARN, Job, Run, Span
from jobs.options import RunOptions
from jobs.pictures import Pictures
from jobs.plan import Drafted, RunInputs, draft
from jobs.planned import plan_view
from jobs.queue import Waker
from jobs.receive import Receiver, archive_name
from jobs.sequences import Sequences, require_drawn
from jobs.session_layer import SessionLayers
from jobs.sessions import Sessions
from jobs.store_inputs import export_path
from jobs.tokens import Tokens
from jobs.uploads import Uploads
from jobs.views import (
    AuditView,
    Health,
    JobDetail,
    JobPage,
    JobState,
    JobView,
    PlanView,
    RunView,
    SpanState,
    WorkerView,
)
from jobs.vitals import Vitals

AUTO = "auto"
_MAX_WAKES = 8
_log = logging.getLogger(__name__)


class Jobs:
    """The jobs of one installation. Opens (and brings up to date) the database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = open_database(settings)
        self.files = JobFiles(settings.data_dir)
        self._receiver = Receiver(settings, self.database)
        self.uploads = Uploads(settings, self.database, self._receiver)
        self.sequences = Sequences(settings, self.database, self._receiver)
        self.tokens = Tokens(self.database)
        self.derived = Derived(settings.data_dir)
        self._waker = Waker(settings)
        self.sessions = Sessions(settings, self.database, self.files, self._waker.wake)
        live = SessionLayers(self.database, self.sessions)
        self.layers = Layers(self.database, self.files, self.derived, settings.limits, live)
        self.pictures = Pictures(
            self.database, self.files, self.derived, self.layers, settings.limits
        )
        self.components = Components(settings, self.database, self.layers, self.sessions)
        self._vitals = Vitals(settings, self.database, self._waker.state)

    def close(self) -> None:
        """Give back connections to database and broker; sequences are no longer read."""
        self.sequences.close()
        self._waker.close()
        self.database.close()

    def start_broker(self) -> bool:
        """Start the embedded broker if that is what we use and it does not run."""
        return bool(self.settings.broker_url) or broker.ensure(self.settings)

    # -- reading ---------------------------------------------------------------------------------

    def list_jobs(
        self,
        *,
        search: str = "",
        label: str = "",
        sort: Sort = Sort.RECENT,
        state: JobState | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> JobPage:
        """One page of jobs; `search` looks in ids and names, `label` is drawn in the job."""
        look = Look(search=search, label=label, sort=sort)
        with self.database.read() as session:
            return store_views.list_jobs(session, look, state=state, limit=limit, offset=offset)

    def list_boxes(
        self, *, search: str = "", label: str = "", sort: Sort = Sort.RECENT, limit: int = 20
    ) -> dict[JobState, JobPage]:
        """The first page of every state at once; running jobs come with the spans of their run."""
        look = Look(search=search, label=label, sort=sort)
        with self.database.read() as session:
            return store_views.list_boxes(session, look, limit=limit)

    def labels(self) -> tuple[str, ...]:
        """The labels that are drawn in any job, by name."""
        with self.database.read() as session:
            return store_views.labels(session)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state, by JobState value."""
        with self.database.read() as session:
            return store_views.counts_by_state(session, Look())

    def job(self, job_id: str) -> JobDetail:
        """One job with its history. Raises NotFoundError."""
        with self.database.read() as session:
            detail = store_views.job_detail(session, job_id)
        published = next((run for run in detail.runs if run.number in detail.job.results), None)
        if published is None:
            return detail
        report = self.files.report(job_id, published.revision, published.number)
        return replace(
            detail,
            growth=read_growth(report, published.number),
            next_frame=read_next_frame(report, published.number),
            left_out=read_left_out(report),
        )

    def workers(self) -> tuple[WorkerView, ...]:
        """Workers that reported lately."""
        with self.database.read() as session:
            return store_views.workers(session)

    def notices(self) -> tuple[str, ...]:
        """What people should know that belongs to no job, such as bad lines in updates.txt."""
        with self.database.read() as session:
            return store_views.notices(session)

    def audit(self, last: int) -> tuple[AuditView, ...]:
        """The `last` latest actions of people, oldest first."""
        with self.database.read() as session:
            return audit.latest(session, last)

    def changes(self, since: int) -> tuple[int, tuple[str, ...]]:
        """The new cursor, and the ids of jobs that changed or went after the cursor `since`."""
        with self.database.read() as session:
            return store_views.changes(session, since)

    def result(self, job_id: str, run: int | None = None) -> Path:
        """The published result of a run, by default the latest one. Raises NotFoundError."""
        with self.database.read() as session:
            store_views.job_view(session, job_id)
            found = store.published_run(session, job_id, run)
        if found is None:
            which = "no result yet" if run is None else f"no result of run {run}"
            raise NotFoundError(f"Job {job_id} has {which}: wait until a run is completed.")
        path = self.files.result(job_id, found.revision, found.number)
        if not path.is_file():
            raise NotFoundError(f"The result of run {found.number} of job {job_id} was removed.")
        return path

    def report(self, job_id: str, run: int | None = None) -> Path:
        """The REPORT.json beside what `result` returns. Raises NotFoundError."""
        path = self.result(job_id, run).with_name("report.json")
        if not path.is_file():
            raise NotFoundError(
                f"The report of job {job_id} was removed; its result is still here."
            )
        return path

    def plan(self, job_id: str, options: RunOptions) -> PlanView:
        """What `start_run` with these options would compute, and about how long; changes nothing.

        Raises InputError when it would.
        """
        planned, drafted = self._plan(job_id, options)
        meta = drafted.meta
        size = (meta.width or 0, meta.height or 0)
        with self.database.read() as session:
            pace = expect.measured_pace(session, planned.engine, size)
            workers = len(store_views.workers(session))
        if options.parallel_spans:
            workers = min(workers, options.parallel_spans)
        return plan_view(drafted, expect.view(drafted.plan.spans, size, pace, workers))

    def health(self) -> Health:
        """Whether work can be taken; never raises, and answers within seconds."""
        return self._vitals.health()

    def figures(self) -> Figures | None:
        """How much there is of everything, for /metrics; None while the database is away."""
        return self._vitals.figures()

    def disk_free_bytes(self) -> int | None:
        """What is free on the disk of DATA_DIR; None while it cannot be asked."""
        return self._vitals.disk_free_bytes()

    # -- changing --------------------------------------------------------------------------------

    def receive(self, name: str, stream: BinaryIO, length: int | None = None) -> JobView:
        """Take in an export under its archive's name, such as "264.zip".

        An export that cannot be tracked becomes a failed job with the reason. Raises InputError,
        and leaves nothing, for what is no archive or does not arrive whole.
        """
        job_id = self._receiver.receive(name, stream, length)
        with self.database.read() as session:
            return store_views.job_view(session, job_id)

    def receive_file(self, path: Path, stamp: tuple[int, int]) -> JobView | None:
        """Take in an export from the downloads folder; the file itself stays as it is.

        `stamp`: its size and time (nanoseconds) when it was found whole. Returns None, and takes
        nothing in, when they are others after copying: then somebody is still writing.
        """
        source = archive_name(path.name)
        with path.open("rb") as stream, self._receiver.spooled(source, stream) as upload:
            if stamp_of(path) != stamp:
                return None
            job_id = self._receiver.register(source, upload)
        with self.database.read() as session:
            return store_views.job_view(session, job_id)

    def start_run(self, job_id: str, options: RunOptions) -> RunView:
        """Plan and queue a run on the latest revision.

        Raises ConflictError while one is queued or running, InputError when nothing can be planned.
        """
        planned, _ = self._plan(job_id, options, starting=True)
        with self.database.write() as session:
            job = store.get_job(session, job_id)
            if job.revision != planned.revision:
                raise ConflictError(
                    f"A new revision of job {job_id} has just arrived: start again to track it."
                )
            store_runs.refuse_second_run(session, job)
            number = store_runs.add_run(session, job, planned, self.files.last_run(job_id))
            audit.record(session, "start", job_id, f"run {number}, {options.mode}")
            view = store_views.run_view(session, job_id, number)
        self._waker.wake(min(_MAX_WAKES, max(1, len(planned.plan.spans))))
        return view

    def cancel(self, job_id: str) -> JobView:
        """Stop what is queued or running. Raises ConflictError when nothing is."""
        with self.database.write() as session:
            store_runs.cancel_runs(session, store.get_job(session, job_id))
            audit.record(session, "cancel", job_id)
            return store_views.job_view(session, job_id)

    def pause(self, job_id: str) -> JobView:
        """Let nobody go on with the latest run until `resume`. Raises ConflictError."""
        with self.database.write() as session:
            store_runs.pause_run(session, store.get_job(session, job_id))
            audit.record(session, "pause", job_id)
            return store_views.job_view(session, job_id)

    def resume(self, job_id: str) -> RunView:
        """Go on with a paused run. Raises ConflictError when there is none."""
        with self.database.write() as session:
            number = store_runs.resume_run(session, store.get_job(session, job_id))
            audit.record(session, "resume", job_id, f"run {number}")
            view = store_views.run_view(session, job_id, number)
        self._waker.wake(min(_MAX_WAKES, max(1, len(view.spans))))
        return view

    def retry(self, job_id: str) -> RunView:
        """Queue again what the latest failed or cancelled run did not finish."""
        with self.database.write() as session:
            job = store.get_job(session, job_id)
            number = store_runs.retry_run(session, job, self._lost_files(session, job))
            audit.record(session, "retry", job_id, f"run {number}")
            view = store_views.run_view(session, job_id, number)
        self._waker.wake(min(_MAX_WAKES, max(1, len(view.spans))))
        return view

    def delete_job(self, job_id: str) -> None:
        """Forget a job and remove its files; a run of it is stopped. Raises NotFoundError."""
        with self.database.write() as session:
            store.delete_job(session, store.get_job(session, job_id))
            audit.record(session, "delete", job_id)
        self.files.remove_job(job_id)
        self.derived.remove_job(job_id)

    def result_downloaded(self, job_id: str, run: int | None = None) -> None:
        """Note that the result of a run (by default the latest) was fetched.

        The job's line is taken out of updates.txt.

        A file that cannot be rewritten is a notice, never an error: the result is fetched all the
        same. Raises NotFoundError.
        """
        with self.database.read() as session:
            name = store_views.job_view(session, job_id).name
        audit.note(self.database, "download", job_id, "" if run is None else f"run {run}")
        notices: list[str] = []
        try:
            updates.remove_line(self.settings.downloads_path, f"{name}.zip")
        except (OSError, updates.NotRewrittenError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            sentence = one_line(
                f"{updates.NAME} could not be rewritten ({reason}): take the line {name}.zip out "
                "of it by hand."
            )
            _log.warning("%s", sentence)
            notices.append(sentence)
        with self.database.read() as session:
            if store.notices_of(session, "updates") == notices:
                return
        with self.database.write() as session:
            store.set_notices(session, "updates", notices)

    # -- inside ----------------------------------------------------------------------------------

    def _plan(
        self, job_id: str, options: RunOptions, *, starting: bool = False
    ) -> tuple[store_runs.NewRun, Drafted]:
        if options.parallel_spans < 0:
            raise InputError("The number of parallel spans must be 0 (no limit) or more.")
        settings = self.settings
        with self.database.read() as session:
            job = session.get(Job, job_id)
            revision = store.latest_revision(session, job) if job and not job.deleted else None
            if job is None or revision is None:
                raise store.no_such_job(job_id)
            if revision.refused:
                raise ConflictError(f"The export of job {job_id} was refused: {revision.refused}")
            require_drawn(revision)
            if starting:
                store_runs.refuse_second_run(session, job)
            images = revision.number
            if not revision.summary["has_images"]:
                images = store.images_revision(session, job_id, revision.summary) or images
            images_file = export_path(session, self.files, job_id, images)
            previous = store.published_run(session, job_id)
        annotations = self.files.revision(job_id, revision.number) / revision.file
        for file in (annotations, images_file):
            if not file.is_file():
                raise ConflictError(
                    f"The files of job {job_id} are not in {settings.data_dir}: upload its export "
                    "again, or point DATA_DIR to the folder that holds them."
                )
        engine = settings.engine if options.engine == AUTO else options.engine
        drafted = draft(
            RunInputs(
                annotations=annotations,
                images=images_file,
                previous=(
                    self.files.result(job_id, previous.revision, previous.number)
                    if previous is not None
                    else None
                ),
                options=options,
                engine=engine,
                ignore_labels=settings.ignore_labels,
                limits=settings.limits,
            )
        )
        new = store_runs.NewRun(
            revision=revision.number,
            images_revision=images,
            previous_run=previous.number if previous is not None else None,
            options=options,
            engine=engine,
            ignore_labels=settings.ignore_labels,
            plan=drafted.plan,
        )
        return new, drafted

    def _lost_files(self, session: Session, job: Job) -> list[int]:
        """Ordinals of finished spans of the job's current run whose file is gone, or torn."""
        rows = session.execute(
            select(Span.ordinal, Span.file, Span.frames_total, Run.revision, Run.number)
            .join(Run, Run.id == Span.run_id)
            .where(
                Run.job_id == job.id,
                Run.number == job.run,
                Span.state == SpanState.DONE.value,
                Span.direction != ASSEMBLE,
                (Span.direction != LEARN) | (Span.file != ""),  # not every engine learns
            )
        )
        return [
            ordinal
            for ordinal, file, frames, revision, number in rows
            if not has_frames(self.files.spans(job.id, revision, number) / file, frames)
        ]
