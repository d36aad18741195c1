"""What workers say of themselves: that they live, what they do, and why they wait."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from sqlalchemy import delete
from sqlalchemy.orm import Session

from jobs.models import Worker
from jobs.store import now
from tracker import engines, models
from worker.device import process_memory

_LOOK_SECONDS = 60.0  # how often it is looked which weights are there


def report(
    session: Session,
    name: str,
    host: str,
    device: str,
    *,
    doing: str,
    trouble: str = "",
    gpu: tuple[int, int] | None = None,
    runs: tuple[str, ...] = (),
) -> None:
    """Say that a worker lives and what it does.

    `trouble`: why it waits, in a sentence. `gpu`: bytes in use and in all on its GPU. `runs`: the
    engines and segmenters that it can run.
    """
    used, total = gpu or (None, None)
    session.merge(
        Worker(
            name=name,
            host=host,
            device=device,
            doing=doing,
            trouble=trouble,
            gpu_bytes=used,
            gpu_bytes_total=total,
            memory_bytes=process_memory(),
            engines=list(runs),
            last_seen=now(session),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What one of a worker's loops said last."""

    doing: str
    trouble: str
    gpu: tuple[int, int] | None


class Presence:
    """What one worker says of itself, however many spans it works on at once."""

    def __init__(self, name: str, host: str, device: str) -> None:
        self._names = name, host, device
        self._turn = Lock()
        self._said: dict[Seat, _Said] = {}
        self._runs: tuple[str, ...] = ()
        self._looked: float | None = None

    def seat(self) -> Seat:
        """A place for one of the worker's loops."""
        return Seat(self)

    def hear(self, session: Session, seat: Seat, said: _Said) -> None:
        """Report for all seats together, now that one has something to say."""
        with self._turn:
            self._said[seat] = said
            all_said = list(self._said.values())
        doing = [one.doing for one in all_said if one.doing]
        report(
            session,
            *self._names,
            doing="; ".join(doing) if len(doing) < 2 else f"{len(doing)} spans: {'; '.join(doing)}",
            trouble=next((one.trouble for one in all_said if one.trouble), ""),
            gpu=next((one.gpu for one in all_said if one.gpu), None),
            runs=self._can_run(),
        )

    def _can_run(self) -> tuple[str, ...]:
        """Weights may come and go while a worker runs."""
        now = time.monotonic()
        if self._looked is None or now - self._looked > _LOOK_SECONDS:
            self._runs, self._looked = can_run(), now
        return self._runs

    def rest(self, seat: Seat) -> None:
        """Note that a seat's span is over; nothing is written."""
        with self._turn:
            self._said[seat] = _Said(doing="", trouble="", gpu=None)

    def leave(self, session: Session, seat: Seat) -> None:
        """Forget a seat, and with the last of them the worker."""
        with self._turn:
            self._said.pop(seat, None)
            if self._said:
                return
        name, host, _ = self._names
        sign_off(session, name=name, host=host)


class Seat:
    """One of a worker's loops, to the others."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def report(
        self,
        session: Session,
        *,
        doing: str,
        trouble: str = "",
        gpu: tuple[int, int] | None = None,
    ) -> None:
        """Say what this loop does; see `report`."""
        self._presence.hear(session, self, _Said(doing=doing, trouble=trouble, gpu=gpu))

    def rest(self) -> None:
        """Have nothing to do any more, as far as the next report of any of the loops goes."""
        self._presence.rest(self)

    def sign_off(self, session: Session) -> None:
        """Say that this loop stopped in good order."""
        self._presence.leave(session, self)


def can_run() -> tuple[str, ...]:
    """The engines and segmenters that run here; weights are looked for, not compared."""
    own = [info.name for info in engines.engines() if not info.model]
    published = [one.name for one in models.models() if one.runnable]
    return (*own, *(name for name in published if models.is_present(name)))


def sign_off(session: Session, *, name: str, host: str) -> None:
    """Forget a worker that stopped in good order."""
    session.execute(delete(Worker).where(Worker.name == name, Worker.host == host))
