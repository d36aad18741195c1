"""Starting one worker: the database made ready, the broker started if it is ours, then Celery."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import threading
from types import FrameType
from typing import Any

from billiard.process import active_children
from celery.signals import worker_ready

from config import Settings
from jobs import broker
from jobs.db import open_database
from tracker import engines, models
from worker.app import STOP_SIGNAL, make_worker_app
from worker.heartbeat import Identity
from worker.local import require_device
from worker.signals import hear

_BROKER_CHECK_SECONDS = 5.0


def run_worker(settings: Settings, name: str = "", device: str = "auto") -> int:
    """Run one worker until it is told to stop (SIGTERM, Ctrl-C); returns its exit code.

    `name`: for the dashboard, by default the host's and the process's number. `device`: "auto",
    "cpu" or "cuda:N". Raises InputError for a device or an ENGINE that is none, or whose weights
    are missing, SettingsError for a database that cannot be used.
    """
    require_device(device)
    models.use_folder(settings.model_dir)
    engine = engines.resolve(settings.engine)
    if settings.engine != engines.AUTO and engine.model:
        models.require_present(engine.model)
    open_database(settings).close()
    host = socket.gethostname()
    identity = Identity(
        name=name.strip()[:100] or f"{host}-{os.getpid()}", host=host, device=device
    )
    ended = threading.Event()
    if not settings.broker_url:
        broker.ensure(settings)
        threading.Thread(target=_keep_broker, args=(settings, ended), daemon=True).start()
    app = make_worker_app(settings, identity)
    worker = app.Worker(
        hostname=f"{_node(identity.name)}@{host}",
        pool="prefork",
        concurrency=1,
        loglevel=logging.DEBUG if settings.debug else logging.INFO,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    # Else the child would write a first line in a form of its own, before our log is set up there.
    os.environ.pop("_MP_FORK_LOGLEVEL_", None)

    def hand_back() -> None:
        # At once: Celery itself tells its children only after its own connections are closed.
        # Not by way of Celery's pool: that knows its child only some time after it began to work.
        for child in active_children():
            if child.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, STOP_SIGNAL)

    def on_hangup(number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    keep = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup

    def end_with_terminal(**_: Any) -> None:
        # Celery restarts at SIGHUP: a worker whose terminal is closed would live on, unseen.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if keep else on_hangup)

    asks = (getattr(signal, name, None) for name in ("SIGTERM", "SIGINT", "SIGQUIT"))
    hear({number for number in asks if number is not None}, hand_back)
    worker_ready.connect(end_with_terminal, weak=False)
    try:
        worker.start()
    finally:
        ended.set()
    return int(worker.exitcode or 0)


def _keep_broker(settings: Settings, ended: threading.Event) -> None:
    """Start the embedded broker again when it went away under us."""
    while not ended.wait(_BROKER_CHECK_SECONDS):
        broker.ensure(settings)


def _node(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)
