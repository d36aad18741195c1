"""A whole installation of real processes: servers, workers of the synthetic engine, a broker.

Faults are done to its processes from outside, as an operating system or a person would.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import synthetic
from bench.processes import (
    LOOK_SECONDS,
    Program,
    command_line,
    descendants,
    free_port,
    listens,
    wait_for,
)
from config import Settings
from jobs import broker
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.spans import Passes
from jobs.views import JobState, RunState, RunView, SpanState, SpanView
from worker.local import track

ROOT = Path(__file__).resolve().parent.parent
ENDED = (JobState.COMPLETED, JobState.FAILED)
OPTIONS = RunOptions(engine=synthetic.ENGINE)
_opening = threading.Lock()  # Alembic upgrades one database at a time in a process


class House:
    """One installation in `folder`. Leaving the `with` block ends all its processes.

    `database_url`, `broker_url`: as settings have them; empty for SQLite and the embedded broker.
    `data_dir`: by default in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database_url: str = "",
        broker_url: str = "",
        data_dir: Path | None = None,
        engine: str = synthetic.ENGINE,
    ) -> None:
        """`engine`: what ENGINE says; of another than the synthetic one workers are as shipped."""
        self.engine = engine
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            data_dir=data_dir or folder / "data",
            downloads_path=folder / "downloads",
            database_url=database_url,
            broker_url=broker_url,
        )
        self.log = folder / "frames.log"
        self._programs: dict[str, Program] = {}
        with _opening:
            self.jobs = Jobs(self.settings)

    # -- processes -------------------------------------------------------------------------------

    def worker(self, name: str, *, prefix: Sequence[str] = (), **env: str) -> Program:
        """Start a worker unless one of that name runs; `env` goes over the house's settings.

        `prefix`: a command that starts the worker's, such as one that enters a namespace.
        """
        ours = self.engine == synthetic.ENGINE
        program = ["-m", "bench.synthetic"] if ours else ["cli.py"]
        command = [sys.executable, *program, "worker", "--name", name]
        return self._start(name, [*prefix, *command], env)

    def workers(self, *names: str) -> list[Program]:
        """Start workers that do not run, and wait until all have reported to the database."""
        started = [self.worker(name) for name in names]
        wait_for(
            lambda: set(names) <= {worker.name for worker in self.jobs.workers()},
            f"the workers {', '.join(names)}",
        )
        return started

    def server(self, port: int = 0) -> tuple[Program, int]:
        """Start a server and wait until it listens; also its port, a free one by default.

        Raises RuntimeError when it ends instead.
        """
        port = port or free_port()
        name = f"server-{port}"
        program = self._start(name, [sys.executable, "cli.py", "serve", "--port", str(port)], {})

        def ready() -> bool:
            if not program.running:
                raise RuntimeError(f"the server ended: {self.log_of(name)[-2000:]}")
            return listens(port)

        wait_for(ready, "the server")
        return program, port

    def log_of(self, name: str) -> str:
        """What a worker or server has written to its log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def broker_processes(self) -> list[int]:
        """The embedded broker's own process, and the server that it started."""
        try:
            own = int((broker.folder(self.settings.data_dir) / "running.lock").read_text())
        except (OSError, ValueError):
            return []
        return [own, *descendants(own)]

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Program:
        settings = self.settings
        ours = {
            "DATA_DIR": str(settings.data_dir),
            "DOWNLOADS_PATH": str(settings.downloads_path),
            "DATABASE_URL": settings.database_url,
            "BROKER_URL": settings.broker_url,
            "ENGINE": self.engine,
            "THREADS": "1",
            synthetic.LOG: str(self.log),
            "PYTHONPATH": str(ROOT),
            # Small matrices: threads of theirs would only wait for each other.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        known = self._programs.get(name)
        if known is not None and known.running:
            return known
        program = Program(
            command, log=self.folder / f"{name}.log", env={**os.environ, **ours, **env}, cwd=ROOT
        )
        program.start()
        self._programs[name] = program
        return program

    # -- jobs ------------------------------------------------------------------------------------

    def receive(self, export: Path) -> str:
        """Take in an export; returns the job's id."""
        with export.open("rb") as stream:
            return self.jobs.receive(export.name, stream).id

    def submit(self, export: Path, options: RunOptions = OPTIONS) -> str:
        """Take in an export and start a run; returns the job's id."""
        job_id = self.receive(export)
        self.jobs.start_run(job_id, options)
        return job_id

    def run(self, job_id: str) -> RunView:
        """The latest run of a job."""
        return self.jobs.job(job_id).runs[0]

    def span(self, job_id: str, ordinal: int = 0) -> SpanView:
        """One span of the latest run."""
        return next(span for span in self.run(job_id).spans if span.ordinal == ordinal)

    def wait_for_run(
        self, job_id: str, *states: RunState, seconds: float = 120.0, every: float = LOOK_SECONDS
    ) -> None:
        """Wait until the latest run is in one of these states; looks `every` so many seconds."""

        def there() -> bool:
            return self.run(job_id).state in states

        try:
            wait_for(there, "the run", seconds, every=every)
        except TimeoutError as exc:
            raise TimeoutError(f"{exc}: {self.jobs.job(job_id)}") from exc

    def complete(
        self, job_id: str, seconds: float = 120.0, *, every: float = LOOK_SECONDS
    ) -> bytes:
        """Wait for the end of a run and return its archive. Raises AssertionError if it failed.

        `every`: seconds between two looks.
        """
        ends = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
        self.wait_for_run(job_id, *ends, seconds=seconds, every=every)
        run = self.run(job_id)
        if run.state is not RunState.DONE:
            raise AssertionError(f"{run.state}: {run.error}")
        return self.jobs.result(job_id).read_bytes()

    def holder(self, job_id: str, ordinal: int = 0) -> str:
        """Wait until a worker has computed some frames of a span; returns the worker's name."""
        number, names = int(job_id), set[str]()
        before = len(self.begun(number))

        def going() -> bool:
            span = self.span(job_id, ordinal)
            names.clear()
            if span.state is SpanState.LEASED:
                names.add(span.worker)
            return bool(names) and len(self.begun(number)) >= before + 4

        wait_for(going, f"frames of job {job_id}")
        return names.pop()

    def begun(self, number: int) -> list[synthetic.Begun]:
        """Frames of a job that were begun, those that were computed again too."""
        return [frame for frame in synthetic.begun(self.log) if frame.job == number]

    def undisturbed(self, export: Path, options: RunOptions = OPTIONS) -> bytes:
        """The archive that one undisturbed process makes of an export."""
        out = self.folder / f"undisturbed-{export.name}"
        with synthetic.registered():
            track(export, out, options=options, settings=self.settings, device="cpu")
        return out.read_bytes()

    def computed_again(self, job_id: str) -> int:
        """How many frames of a completed run were begun more often than needed."""
        spans = [span for span in self.run(job_id).spans if span.ordinal >= 0]
        # A pass from one key frame to the next steps onto that one too.
        needed = sum(
            2 * span.frames_total + 1 if span.direction == Passes.BOTH else span.frames_total
            for span in spans
        )
        return len(self.begun(int(job_id))) - needed

    # -- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Kill what still runs and give back connections."""
        for program in self._programs.values():
            program.kill()
        self.jobs.close()
        broker.stop(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def child_of(worker: Program) -> int:
    """The process of a worker that computes."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for pid in descendants(worker.pid) if "spawn_main" in command_line(pid)]
        return bool(found)

    wait_for(there, "the worker's child")
    return found[0]
