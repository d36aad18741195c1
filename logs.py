"""The log of servers and workers: text for people, or JSON, one object a line, for programs.

Every line goes to stderr. As JSON it holds `time` (ISO 8601, UTC), `level`, `logger` and `message`;
a traceback is the one field `exception`; what an attempt is about (see `attempt`) and what a line
brings along by itself, such as the actor of an audit line, are fields too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from types import TracebackType
from typing import ParamSpec, TypeVar

from pythonjsonlogger.json import JsonFormatter

P = ParamSpec("P")
T = TypeVar("T")

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)

_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_attempt: ContextVar[dict[str, str | int] | None] = ContextVar("attempt", default=None)
_log = logging.getLogger(__name__)


def start(log_format: str, *, debug: bool = False) -> None:
    """Log to stderr from now on, warnings included. What is set up already stays as it is.

    `log_format`: one of `FORMATS`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == JSON else logging.Formatter(_LINE))
    handler.addFilter(_add_attempt)
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if log_format == JSON:  # what Python itself writes to stderr would be no JSON
        logging.captureWarnings(capture=True)
        sys.excepthook = _on_error
        threading.excepthook = _on_thread_error


@contextmanager
def attempt(*, job: str, run: int, span: int, attempt: int, fence: int) -> Iterator[None]:
    """Let every line that is logged in this context say which attempt it belongs to.

    `run`, `span`: the run's number within its job, the span's ordinal within its run. Threads that
    are started meanwhile log in the context of what `carry` returns.
    """
    fields: dict[str, str | int] = {
        "job": job, "run": run, "span": span, "attempt": attempt, "fence": fence,
    }  # fmt: skip
    token = _attempt.set(fields)
    try:
        yield
    finally:
        _attempt.reset(token)


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` bound to this context, for a thread of its own (which has none)."""
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return run


class _Json(JsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
                "stack_info": "stack",
            },
        )

    def formatTime(  # noqa: N802 - the standard library's name
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """Write the time as "2026-01-31T12:00:00.123+00:00"."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _add_attempt(record: logging.LogRecord) -> bool:
    for name, value in (_attempt.get() or {}).items():
        if not hasattr(record, name):  # a line's own fields win
            setattr(record, name, value)
    return True


def _on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("The process ends.", exc_info=(kind, error, trace))


def _on_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "?"
        _log.error("The thread %s ended.", name, exc_info=args.exc_value)
