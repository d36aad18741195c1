"""What keeps a request's lease alive while a worker is at it, and tells when it should end."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

import logs
from jobs.db import AWAY, Database
from worker import live_leases
from worker.heartbeat import Pace
from worker.live_leases import StepLease
from worker.presence import Seat

_log = logging.getLogger(__name__)


class LiveBeat:
    """Renews the lease of a request for as long as the `with` block lasts.

    Frames that are stored renew it too: the first renewal of its own is one beat away.
    """

    def __init__(
        self,
        database: Database,
        lease: StepLease,
        pace: Pace,
        stop: threading.Event,
        seat: Seat,
    ) -> None:
        self._database = database
        self._lease = lease
        self._pace = pace
        self._stop = stop
        self._seat = seat
        self.share = 0.0  # of learning
        self.lost = False
        self.unwanted = False  # a person wants the request to end
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=logs.carry(self._renew), name="live-beat", daemon=True
        )

    @property
    def leaving(self) -> bool:
        """Whether the worker itself is to stop."""
        return self._stop.is_set()

    def should_stop(self) -> bool:
        """Whether the work should end here."""
        return self.lost or self.unwanted or self.leaving

    def learned(self, share: float) -> None:
        """Note how much of learning is done; the next beat reports it."""
        self.share = share

    def heard(self, stop: bool | None) -> None:
        """Take what a renewal said; see `live_leases.keep`."""
        if stop is None:
            self.lost = True
        elif stop:
            self.unwanted = True

    def _renew(self) -> None:
        while not self._ended.wait(self._pace.heartbeat):
            try:
                with self._database.write() as session:
                    values = {"share": self.share} if self.share else {}
                    stop = live_leases.keep(session, self._lease, self._pace.lease, **values)
                    live_leases.tell(session, self._lease)
                    self._seat.report(session, doing=self._lease.doing)
            except AWAY:
                _log.warning("No heartbeat: the database is away.")
            except Exception:  # noqa: BLE001 - the boundary: the next beat may go through
                _log.exception("A heartbeat failed.")
            else:
                self.heard(stop)
                if self.lost:
                    return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._seat.rest()
