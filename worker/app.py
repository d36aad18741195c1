"""The Celery application of a worker, and what runs in its one child process.

The child holds a `Crew` of loops in threads; the task "relay.wake" only tells them to look for
work. So a message is answered at once even while a span is computed, a second one costs nothing,
and the loops go on looking by themselves while the broker is away. The child is spawned, not
forked: CUDA does not survive a fork.

Stopping in good order (SIGTERM, or Ctrl-C once) lets each loop finish its frame and hand its span
back; a second signal ends the child at once, and then the span's lease ends by itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from billiard import pool
from celery import Celery, current_app, shared_task
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown
from celery.utils.log import get_multiprocessing_logger
from celery.worker.consumer import Consumer

import logs
from config import Settings
from jobs.queue import TICK_SECONDS, WAKE, make_app
from worker.crew import Crew
from worker.heartbeat import Identity
from worker.signals import hear

STOP_SIGNAL = signal.SIGUSR2 if sys.platform != "win32" else signal.SIGTERM  # the pool uses USR1
_UNREAD_LIMIT = 10  # how often, every 0.1 s, an ending child looks whether its parent read all
_log = logging.getLogger(__name__)
_SETUP = "relay_setup"  # our own key in Celery's configuration: it travels to the child
_CREW = "relay_crew"  # attribute of the child's application


class WakeConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer without delayed delivery: that would declare 28 queues, all unused here."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # Celery has no types
        """The steps in which the consumer starts."""

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        )


def make_worker_app(settings: Settings, identity: Identity) -> Celery:
    """The application that `worker.main` runs."""
    app = make_app(settings)
    app.conf.update(
        {
            "imports": (__name__,),
            "worker_consumer": f"{__name__}:WakeConsumer",
            _SETUP: (settings, identity),
            "worker_log_format": settings.log_format,  # for `start_log`, in the child too
        }
    )
    return app


def start_log(loglevel: int, format: str, **_: Any) -> None:
    """Log in our way, in the worker and in its child; else Celery would in its own."""
    logs.start(format, debug=loglevel == logging.DEBUG)
    pools = get_multiprocessing_logger()
    pools.propagate = True  # it has no handler of its own
    pools.setLevel(logging.ERROR)


def wake() -> None:
    """Look for work now."""
    crew: Crew | None = getattr(current_app, _CREW, None)
    if crew is not None:
        crew.wake()


def start_crew(**_: Any) -> None:
    """Begin to work, in the freshly spawned child."""
    setup = current_app.conf.get(_SETUP)
    if setup is None:  # somebody else's Celery application in this process
        return
    settings, identity = setup
    # An ending child waits until its parent has read all its results. A parent that is stopping
    # too may never do so, and by default that costs 30 s. Nobody misses the result of a wake-up.
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = _UNREAD_LIMIT
    crew = Crew(settings, identity)
    setattr(current_app, _CREW, crew)

    def on_stop(number: int, frame: FrameType | None) -> None:
        """Nothing: what there is to do, `hear` does."""

    def on_term(number: int, frame: FrameType | None) -> None:
        # Whole process groups are told to stop at once (systemd, `timeout`): hand back, then go.
        raise SystemExit(0)

    signal.signal(STOP_SIGNAL, on_stop)
    signal.signal(signal.SIGTERM, on_term)
    hear({STOP_SIGNAL, signal.SIGTERM}, crew.ask_to_stop)

    def stop_crew(**_: Any) -> None:
        crew.ask_to_stop()
        crew.join()

    worker_process_shutdown.connect(stop_crew, weak=False)
    threading.Thread(target=_end_with_parent, args=(crew,), daemon=True).start()
    crew.start()


def _end_with_parent(crew: Crew) -> None:
    """End the child when the worker itself was killed (Linux does so at once, others do not)."""
    parent = os.getppid()
    while not crew.stopping.wait(TICK_SECONDS):
        if os.getppid() != parent:
            _log.warning("The worker's main process is gone: this child ends.")
            crew.ask_to_stop()
            crew.join()
            os._exit(1)


shared_task(wake, name=WAKE, ignore_result=True)
setup_logging.connect(start_log)
worker_process_init.connect(start_crew)
