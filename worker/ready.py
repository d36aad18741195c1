"""What an idle worker does while others are at work: it loads the engine that it will need next.

An engine takes seconds to import and load. Where a run has begun to learn, or its last spans are
being computed, a worker that waits for spans of it would else spend that time when they come.
"""

from __future__ import annotations

import logging

from sqlalchemy import select

from config import Settings
from errors import InputError
from jobs import turns
from jobs.db import Database
from jobs.models import Run
from tracker import engines, models
from worker.local import used_device

_log = logging.getLogger(__name__)


class Readiness:
    """The engines that this process has loaded, or has tried to."""

    def __init__(self, database: Database, settings: Settings, device: str) -> None:
        """`device`: as the worker was started with ("auto", "cpu", "cuda:N")."""
        self._database = database
        self._settings = settings
        self._device = device
        self._known = {engines.AUTO, ""}  # not settled yet: nothing to load

    def improve(self) -> None:
        """Load one engine of a run that is being worked on, where there is one that is not loaded.

        What hinders that is left to the span that needs the engine: there a person is told.
        """
        with self._database.read() as session:
            wanted = session.scalars(
                select(Run.engine)
                .where(Run.state.in_(turns.ACTIVE), Run.engine.not_in(self._known))
                .order_by(Run.priority, Run.id)
                .limit(1)
            ).one_or_none()
        if wanted is None:
            return
        self._known.add(wanted)
        models.use_folder(self._settings.model_dir)
        try:
            engines.make(
                wanted,
                used_device(wanted, self._device),
                threads=self._settings.threads,
                compiled=self._settings.compile,
            )
        except (InputError, RuntimeError, ImportError) as exc:  # RuntimeError: a device's memory
            _log.info("%s is not loaded ahead: %s", wanted, exc)
