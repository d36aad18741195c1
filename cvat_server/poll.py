"""Jobs that people finished are pulled by themselves, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from config import Settings
from cvat_io.model import ExportKind
from cvat_server.pull import pull
from cvat_server.server import Server
from cvat_server.state import Memories
from cvat_server.target import Target
from errors import InputError, one_line

STATES = ("new", "in progress", "completed", "rejected")
STAGES = ("annotation", "validation", "acceptance")
_LONGEST_PAUSE = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a job could not be pulled, and until when it is left alone."""

    changed: str
    sentence: str
    pause: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs are pulled: those in this state and at this stage ("" for any stage)."""

    state: str = "completed"
    stage: str = ""


@dataclass(slots=True)
class Poll:
    """Looks for jobs and pulls those that changed since they were pulled or pushed last.

    `on_pulled` hears of every archive, `on_trouble` of every sentence that is new. `connect` makes
    a connection, which lasts for one look: a server may be restarted meanwhile.
    """

    settings: Settings
    connect: Callable[[], Server]
    wanted: Wanted = field(default_factory=Wanted)
    on_pulled: Callable[[Target, Path], None] = lambda target, path: None
    on_trouble: Callable[[str], None] = lambda sentence: None
    _troubles: dict[Target, _Trouble] = field(default_factory=dict)

    def look(self) -> list[Target]:
        """Look once; returns what was pulled. InputError when the server cannot be asked."""
        pulled = []
        memories = Memories(self.settings)
        with self.connect() as server:
            for target, changed in self._jobs(server):
                before = self._troubles.get(target)
                if before is not None and before.changed != changed:
                    before = None
                memory = memories.read(target)
                if changed == memory.seen:
                    continue
                if before is not None and time.monotonic() < before.until:
                    continue
                try:
                    path = pull(server, target, self.settings)
                except (InputError, OSError) as exc:  # such as a full disk
                    sentence = one_line(f"{target}: {exc}")
                    if before is None or before.sentence != sentence:
                        self.on_trouble(sentence)
                    self._troubles[target] = _after(before, changed, sentence)
                    continue
                self._troubles.pop(target, None)
                pulled.append(target)
                self.on_pulled(target, path)
        return pulled

    def run(self, every: float, stop: threading.Event | None = None) -> None:
        """Look every so many seconds until `stop` is set; after trouble with longer pauses."""
        stop = stop or threading.Event()
        pause, trouble = every, ""
        while not stop.is_set():
            try:
                self.look()
                pause, trouble = every, ""
            except InputError as exc:
                if str(exc) != trouble:
                    trouble = str(exc)
                    self.on_trouble(trouble)
                pause = min(2 * pause, max(every, _LONGEST_PAUSE))
            stop.wait(pause)

    def _jobs(self, server: Server) -> list[tuple[Target, str]]:
        stage = {"stage": self.wanted.stage} if self.wanted.stage else {}
        with server.asking():
            jobs = server.client.jobs.list(
                state=self.wanted.state, dimension="2d", type="annotation", **stage
            )
            return [(Target(ExportKind.JOB, int(job.id)), str(job.updated_date)) for job in jobs]


def _after(before: _Trouble | None, changed: str, sentence: str) -> _Trouble:
    pause = min(2 * before.pause, _LONGEST_PAUSE) if before else 10.0
    return _Trouble(changed, sentence, pause, time.monotonic() + pause)
