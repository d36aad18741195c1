"""Who did what: one line for every action of a person, in the database and in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from errors import one_line
from jobs.db import Database, db_now
from jobs.models import Audit
from jobs.views import AuditView

SYSTEM = "system"  # nobody: the watched folder, for instance
KEY = "key"  # whoever holds AGENT_KEY
LOCAL = "local"  # whoever is at this machine, where no key is set
NOBODY = frozenset({SYSTEM, KEY, LOCAL})
"""Actors that are no token's name."""

_log = logging.getLogger("relay.audit")
_actor: ContextVar[str] = ContextVar("actor", default="")


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """Let `actor` be who acts in this context, such as "anna", "key" or "cli:root"."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who acts now; SYSTEM where it is no person."""
    return _actor.get() or SYSTEM


def record(session: Session, action: str, job_id: str = "", detail: str = "") -> None:
    """Note an action beside what it changes, in the same transaction; the log hears of it after.

    `action`: a verb, such as "start"; `detail`: what else one would ask, in one line.
    """
    who, what = one_line(actor(), 120), one_line(detail, 300)
    at = session.scalars(select(db_now())).one()
    session.add(Audit(at=at, actor=who, action=action, job_id=job_id, detail=what))
    # What is rolled back has not happened.
    event.listen(session, "after_commit", lambda _: _tell(who, action, job_id, what), once=True)


def note(database: Database, action: str, job_id: str = "", detail: str = "") -> None:
    """Note an action that changes nothing else, such as a download.

    Nobody is kept from it because it cannot be written down, as on a full disk: the log tells it.
    """
    try:
        with database.write() as session:
            record(session, action, job_id, detail)
    except SQLAlchemyError as exc:
        _log.warning("The next line is not in the database (%s).", one_line(str(exc), 200))
        _tell(one_line(actor(), 120), action, job_id, one_line(detail, 300))


def latest(session: Session, limit: int) -> tuple[AuditView, ...]:
    """The latest `limit` lines, oldest first."""
    rows = session.scalars(select(Audit).order_by(Audit.id.desc()).limit(limit)).all()
    return tuple(
        AuditView(at=a.at, actor=a.actor, action=a.action, job_id=a.job_id, detail=a.detail)
        for a in reversed(rows)
    )


def _tell(who: str, action: str, job_id: str, what: str) -> None:
    words = " ".join(part for part in (action, job_id, what) if part)
    _log.info("%s: %s", who, words, extra={"actor": who, "action": action, "job": job_id})
