"""The loops of one worker: as many as it may compute spans at once, each in a thread of its own.

Each claims, renews and hands back by itself, as if it were a worker alone, so that whatever the
queue promises of a span holds for each of theirs. They share the worker's name, and what the engine
loads and computes in one process.
"""

from __future__ import annotations

import threading

from config import Settings
from jobs.db import Database, database_url
from worker.heartbeat import Identity, Pace
from worker.loop import SpanLoop
from worker.presence import Presence


class Crew:
    """`SPANS_AT_ONCE` loops. They end soon after they were asked to."""

    def __init__(self, settings: Settings, identity: Identity, *, pace: Pace | None = None) -> None:
        self.stopping = threading.Event()
        presence = Presence(*identity.names)
        # A pool of connections for each, so that none waits for another's.
        self._databases = [Database(database_url(settings)) for _ in range(settings.spans_at_once)]
        self._loops = [
            SpanLoop(settings, database, identity, pace=pace, seat=presence.seat())
            for database in self._databases
        ]
        self._threads = [
            threading.Thread(target=loop.run, name=f"spans-{number}", daemon=True)
            for number, loop in enumerate(self._loops, start=1)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for work now."""
        for loop in self._loops:
            loop.wake.set()

    def ask_to_stop(self) -> None:
        """Make all loops end at their next frame. Not for signal handlers: it takes locks."""
        self.stopping.set()
        for loop in self._loops:
            loop.ask_to_stop()

    def join(self) -> None:
        """Wait until all loops have ended."""
        for thread in self._threads:
            thread.join()
        for database in self._databases:
            database.close()
