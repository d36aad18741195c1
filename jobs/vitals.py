"""Whether database, disk and broker answer, asked so that nobody waits long for one that hangs.

A database whose machine is frozen, or a network disk whose server is away, neither answers nor
refuses. No time limit of a driver helps there: the system goes on acknowledging what we send. So
each question is asked in a thread of its own, and the answer is waited for only so long.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from config import Settings
from errors import one_line
from jobs import figures, room, store_views
from jobs.db import AWAY, Database
from jobs.figures import Figures
from jobs.views import Health

T = TypeVar("T")
ANSWER_SECONDS = 3.0  # a part that does not answer for so long is away
BROKER_SECONDS = 5.0  # making sure that it is away takes the client two attempts of 2 s


class Question(Generic[T]):
    """One question that may hang. Safe to share between threads.

    While it hangs it is not asked again, so that neither threads nor connections pile up; whoever
    asks meanwhile gets the answer when it comes after all.
    """

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pending: tuple[Future[T], float] | None = None  # and when its time is up

    def begin(self) -> Callable[[], T]:
        """Ask; what is returned waits for the answer.

        It raises TimeoutError when none comes in time, else what the question raised.
        """
        with self._lock:
            if self._pending is None or self._pending[0].done():
                self._pending = Future(), time.monotonic() + self._seconds
                # A daemon: one that hangs must not keep the process from ending.
                thread = threading.Thread(
                    target=self._answer, args=(self._pending[0],), daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # no more threads: asked again next time
                    self._pending[0].set_exception(TimeoutError("no thread could be started"))
            answer, deadline = self._pending
        return lambda: answer.result(max(0.0, deadline - time.monotonic()))

    def _answer(self, future: Future[T]) -> None:
        try:
            future.set_result(self._ask())
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever asked
            future.set_exception(exc)


class Vitals:
    """The health and the figures of one installation. `broker`: says "ok" or what is wrong."""

    def __init__(self, settings: Settings, database: Database, broker: Callable[[], str]) -> None:
        self._settings = settings
        self._database = database
        self._workers = Question(self._count_workers, ANSWER_SECONDS)
        self._figures = Question(self._read_figures, ANSWER_SECONDS)
        self._disk = Question(lambda: room.trouble(settings.data_dir), ANSWER_SECONDS)
        self._free = Question(lambda: shutil.disk_usage(settings.data_dir).free, ANSWER_SECONDS)
        self._broker = Question(broker, BROKER_SECONDS)

    def health(self) -> Health:
        """Whether work can be taken; never raises, and answers within `BROKER_SECONDS`."""
        asked = self._workers.begin(), self._disk.begin(), self._broker.begin()
        workers, database = 0, "ok"
        try:
            workers = asked[0]()
        except AWAY as exc:
            database = one_line(f"the database does not answer ({exc.orig})")
        except TimeoutError:
            database = f"the database has not answered for {ANSWER_SECONDS:.0f} s"
        try:
            disk = asked[1]() or "ok"
        except TimeoutError:
            folder = self._settings.data_dir
            disk = f"DATA_DIR {folder} has not answered for {ANSWER_SECONDS:.0f} s"
        try:
            broker = asked[2]()
        except TimeoutError:
            broker = f"degraded: the broker has not answered for {BROKER_SECONDS:.0f} s"
        return Health(
            ready=database == "ok" and disk == "ok",
            database=database,
            disk=disk,
            broker=broker,
            workers=workers,
        )

    def figures(self) -> Figures | None:
        """All figures of now; None while the database does not answer."""
        try:
            return self._figures.begin()()
        except (*AWAY, TimeoutError):
            return None

    def disk_free_bytes(self) -> int | None:
        """What is free on the disk of DATA_DIR; None while it cannot be asked."""
        try:
            return self._free.begin()()
        except OSError:  # a TimeoutError is one
            return None

    def _count_workers(self) -> int:
        with self._database.read() as session:
            return len(store_views.workers(session))

    def _read_figures(self) -> Figures:
        with self._database.read() as session:
            return figures.read(session)
