"""The wake-up: one message that says "there is work" and names none.

The database is the truth; whoever wakes claims from it, and looks by itself every few seconds when
no message comes. A lost, late or doubled wake-up is therefore harmless, and nothing here is
retried or waited for longer than a moment.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import Any

from celery import Celery

from config import Settings
from errors import one_line
from jobs import broker
from jobs.db import database_url

WAKE = "relay.wake"
EXCHANGE = "relay"
TICK_SECONDS = 2.0  # how often an idle worker looks for work by itself
_log = logging.getLogger(__name__)


def broker_url(settings: Settings) -> str:
    """Where wake-ups go: BROKER_URL, the embedded broker, or nowhere where there is none."""
    return settings.broker_url or broker.url(settings) or "memory://"


def queue_name(settings: Settings) -> str:
    """The queue of this installation: installations with one broker do not wake one another.

    It follows from the database, which is what makes workers and servers one installation.
    """
    url = database_url(settings)
    place = f"{url.host}:{url.port}/{url.database}?{sorted(url.query.items())}"
    return f"relay-{sha256(place.encode()).hexdigest()[:12]}"


def make_app(settings: Settings) -> Celery:
    """A Celery application for this installation, without tasks of its own."""
    app = Celery("mask-relay", broker=broker_url(settings), set_as_current=False)
    app.conf.update(celery_settings(settings))
    return app


def celery_settings(settings: Settings) -> dict[str, Any]:
    """What workers and publishers agree on.

    Tasks are acknowledged before they run and nothing waits for their results: the message is
    not what keeps the work safe. Wake-ups that nobody fetched expire, and the queue itself vanishes
    when it was not used for a day.
    """
    name = queue_name(settings)
    wide = settings.broker_url.startswith(("amqp", "pyamqp"))
    queue = {
        "exchange": EXCHANGE,
        "exchange_type": "direct",
        "routing_key": name,
        "queue_arguments": {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-expires": 24 * 3600 * 1000,
        },
    }
    return {
        "task_default_queue": name,
        "task_default_queue_type": "quorum",
        "task_default_exchange": EXCHANGE,
        "task_default_routing_key": name,
        "task_queues": {name: queue},
        "task_create_missing_queues": False,
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_publish_retry": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "worker_pool_start_method": "spawn",
        # A spawned child imports everything anew, on a busy machine that takes a while.
        "worker_proc_alive_timeout": 120.0,
        "worker_detect_quorum_queues": True,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 2.0,
        "broker_heartbeat": 20,
        "broker_transport_options": {"confirm_publish": True} if wide else {},
    }


class Waker:
    """Publishes wake-ups, and starts the embedded broker where that is used and not there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Celery | None = None

    def wake(self, count: int = 1) -> bool:
        """Publish `count` wake-ups. False (and a line in the log) when the broker is away."""
        try:
            if not self._settings.broker_url and not broker.ensure(self._settings):
                return False
            if self._app is None:
                self._app = make_app(self._settings)
            queue = queue_name(self._settings)
            for _ in range(count):
                self._app.send_task(
                    WAKE, queue=queue, expires=2 * TICK_SECONDS, ignore_result=True, retry=False
                )
        except Exception as exc:  # noqa: BLE001 - the boundary: a lost wake-up is harmless
            reason = one_line(f"{type(exc).__name__}: {exc}", 200)
            _log.warning("The broker is away (%s); workers will find the work by looking.", reason)
            return False
        return True

    def state(self) -> str:
        """`ok`, or what is wrong with the broker, for the health page."""
        if not self._settings.broker_url:
            if not broker.available():
                return "degraded: no embedded broker on this system; work is found by polling"
            answers = broker.answers(self._settings)
            return "ok" if answers else "degraded: the embedded broker is not running"
        try:
            with make_app(self._settings).connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except Exception as exc:  # noqa: BLE001 - the boundary: whatever is wrong, work goes on
            _log.debug("The broker cannot be used.", exc_info=True)
            return one_line(f"degraded: {type(exc).__name__}: {exc}", 200)
        return "ok"

    def close(self) -> None:
        """Close the connections to the broker."""
        if self._app is not None:
            self._app.close()
