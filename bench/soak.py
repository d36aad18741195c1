"""Two hundred jobs at once while everything is killed again and again: `python -m bench.soak`.

The same jobs run twice on real processes: undisturbed, and while every few seconds a worker, a
worker's computing child, the server or the broker is killed (kill -9; with `--services`, which uses
a RabbitMQ and a PostgreSQL of its own, the database too) and started again. Prints one table.

Exit code 1 where a promise is broken: a job lost, an archive that differs, or 2 % of all frames or
more computed again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from bench.house import OPTIONS, House
from bench.machine import machine
from bench.processes import Program, command_line, descendants
from bench.services import Postgres, RabbitMQ
from bench.synthetic import begun, write_job
from console import signals_unwind
from jobs.db import AWAY
from jobs.models import Run
from jobs.spans import Passes
from jobs.views import JobState

MOST_AGAIN = 0.02  # of all frames
_MILLISECONDS = 40  # that a frame costs
_FRAMES = (30, 60)  # of a job, from and to
_BETWEEN = (3.0, 6.0)  # seconds between two kills
_DATABASE_SECONDS = 2.0  # that it stays dead
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of all jobs. `seconds`: from the first claim to the last published result.

    `begun`, `needed`: frames of completed jobs that were begun, and that had to be.
    """

    archives: Mapping[str, bytes]
    seconds: float
    begun: int
    needed: int


def main() -> int:
    """Run both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200, help="how many jobs (200)")
    parser.add_argument("--workers", type=int, default=4, help="how many workers (4)")
    parser.add_argument("--minutes", type=float, default=10.0, help="most minutes in all (10)")
    parser.add_argument("--seed", type=int, default=0, help="of jobs and kills (0)")
    parser.add_argument("--services", action="store_true", help="RabbitMQ and PostgreSQL")
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    pair = "RabbitMQ and PostgreSQL" if args.services else "Valkey and SQLite"
    print(f"{args.jobs} jobs, {args.workers} workers, seed {args.seed}, {pair}")
    print(f"on {machine()}, {time.strftime('%Y-%m-%d')}", flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-soak-") as name:
        folder = Path(name)
        exports = _exports(folder / "exports", args.jobs, random.Random(args.seed))
        outcomes = []
        kills: Counter[str] = Counter()
        for disturbed in (False, True):
            with _installation(folder / str(disturbed), args.services) as (house, services):
                workers = [f"w{number}" for number in range(1, args.workers + 1)]
                chaos = Chaos(house, services, workers, random.Random(args.seed))
                outcomes.append(_run(house, exports, chaos, disturbed, deadline))
                kills = chaos.kills
    return _report(outcomes[0], outcomes[1], len(exports), kills)


def _exports(folder: Path, count: int, rng: random.Random) -> list[Path]:
    """Small jobs with a key frame at the beginning and one somewhere in the middle."""
    folder.mkdir()
    exports = []
    for job in range(1, count + 1):
        frames = rng.randint(*_FRAMES)
        keys = [0, rng.randint(frames // 3, 2 * frames // 3)]
        path = folder / f"{job}.zip"
        exports.append(
            write_job(path, job=job, frames=frames, keys=keys, milliseconds=_MILLISECONDS)
        )
    return exports


@contextlib.contextmanager
def _installation(
    folder: Path, services: bool
) -> Iterator[tuple[House, tuple[Postgres, RabbitMQ] | None]]:
    with contextlib.ExitStack() as stack:
        if not services:
            yield stack.enter_context(House(folder)), None
            return
        postgres = stack.enter_context(contextlib.closing(Postgres()))
        postgres.start()
        rabbitmq = stack.enter_context(contextlib.closing(RabbitMQ()))
        rabbitmq.start()
        house = House(folder, database_url=postgres.url, broker_url=rabbitmq.url)
        yield stack.enter_context(house), (postgres, rabbitmq)


def _run(
    house: House, exports: Sequence[Path], chaos: Chaos, disturbed: bool, deadline: float
) -> Outcome:
    """Queue all jobs at once and wait for their ends, or for the deadline."""
    ids = [house.receive(export) for export in exports]
    chaos.start_programs()
    for job_id in ids:
        house.jobs.start_run(job_id, OPTIONS)
    with chaos if disturbed else contextlib.nullcontext():
        while time.monotonic() < deadline and _unfinished(house):
            time.sleep(_LOOK_SECONDS)
    return _outcome(house, ids)


def _unfinished(house: House) -> bool:
    try:
        counts = house.jobs.list_jobs(limit=1).counts
    except AWAY:  # it was just killed
        return True
    return bool(counts[JobState.QUEUED] + counts[JobState.RUNNING])


def _outcome(house: House, ids: Sequence[str]) -> Outcome:
    archives, needed = {}, 0
    for job_id in ids:
        job = house.jobs.job(job_id)
        if job.job.state is not JobState.COMPLETED:
            print(f"job {job_id} is {job.job.state.value}{job.job.reason and ': '}{job.job.reason}")
            continue
        archives[job_id] = house.jobs.result(job_id).read_bytes()
        for span in job.runs[0].spans:
            # A pass from one key frame to the next steps onto that one too.
            both = span.direction == Passes.BOTH
            needed += 2 * span.frames_total + 1 if both else span.frames_total
    with house.jobs.database.read() as session:
        first, last = session.execute(select(func.min(Run.started), func.max(Run.finished))).one()
    done = sum(str(frame.job) in archives for frame in begun(house.log))
    return Outcome(archives, (last or 0.0) - (first or 0.0), done, needed)


class Chaos:
    """The processes of a house, and kills among them for as long as the `with` block lasts."""

    def __init__(
        self,
        house: House,
        services: tuple[Postgres, RabbitMQ] | None,
        names: Sequence[str],
        rng: random.Random,
    ) -> None:
        self.kills: Counter[str] = Counter()
        self._house = house
        self._services = services
        self._names = names
        self._rng = rng
        self._workers: list[Program] = []
        self._server: Program | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start_programs(self) -> None:
        """Start server and workers and wait until they are ready."""
        self._server, _ = self._house.server()
        self._workers = self._house.workers(*self._names)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        kinds: dict[str, Callable[[], bool]] = {
            "worker": self._kill_worker,
            "child of a worker": self._kill_child,
            "server": self._kill_server,
            "broker": self._kill_broker,
        }
        if self._services:
            kinds["database"] = self._kill_database
        while not self._ended.wait(self._rng.uniform(*_BETWEEN)):
            kind = self._rng.choice(list(kinds))
            self.kills[kind] += kinds[kind]()

    def _kill_worker(self) -> bool:
        worker = self._rng.choice(self._workers)
        worker.kill()
        worker.start()
        return True

    def _kill_child(self) -> bool:
        worker = self._rng.choice(self._workers)
        found = [pid for pid in descendants(worker.pid) if "spawn_main" in command_line(pid)]
        return any(map(_kill, found))  # none while it is just starting

    def _kill_server(self) -> bool:
        assert self._server is not None
        self._server.kill()
        self._server.start()
        return True

    def _kill_broker(self) -> bool:
        if self._services is None:  # whoever needs it starts it again
            return sum(map(_kill, self._house.broker_processes())) > 0
        self._services[1].kill()
        self._services[1].start()
        return True

    def _kill_database(self) -> bool:
        assert self._services is not None
        self._services[0].kill()
        time.sleep(_DATABASE_SECONDS)
        self._services[0].start()
        return True


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _report(calm: Outcome, stormy: Outcome, jobs: int, kills: Mapping[str, int]) -> int:
    lost = jobs - len(stormy.archives)
    differ = sum(1 for job_id, data in stormy.archives.items() if calm.archives.get(job_id) != data)
    again = stormy.begun - stormy.needed
    share = again / max(1, stormy.needed)
    print("| what | figure | promise |")
    print("|---|---|---|")
    print(f"| jobs lost | {lost} of {jobs} | 0 |")
    print(f"| archives that differ | {differ} | 0 |")
    print(
        f"| frames computed again | {again} of {stormy.needed} ({share:.2%}) | < {MOST_AGAIN:.0%} |"
    )
    print(
        f"| seconds | {stormy.seconds:.0f} | {calm.seconds:.0f} undisturbed "
        f"(x {stormy.seconds / max(calm.seconds, 1e-9):.2f}) |"
    )
    for kind, count in sorted(kills.items()):
        print(f"| kills: {kind} | {count} | |")
    complete = len(calm.archives) == jobs
    if not complete:
        print("The undisturbed run did not complete: nothing can be compared.")
    return int(bool(lost or differ or share >= MOST_AGAIN or not complete))


if __name__ == "__main__":
    with signals_unwind():  # what was started must not outlive it
        raise SystemExit(main())
