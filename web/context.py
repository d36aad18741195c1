"""What the pages, the API and the events share while the application runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flask import current_app

from config import Settings
from jobs.downloads import Downloads
from jobs.service import Jobs
from jobs.views import Health
from web.green import Offload

T = TypeVar("T")
KEY = "mask-relay"  # where the application keeps it, in `Flask.extensions`
HEALTH_SECONDS = 5.0  # asking an absent broker takes seconds: pages ask no more often than this


class Pulse:
    """The server's health as it was a moment ago, for pages that are shown all the time."""

    def __init__(
        self, read: Callable[[], Health], free: Callable[[], int | None] = lambda: None
    ) -> None:
        """`free`: says how many bytes are free on the disk, None where that is not known."""
        self._read = read
        self._free = free
        self._known: tuple[float, Health, int | None] | None = None

    def health(self) -> Health:
        """Return the health, at most HEALTH_SECONDS old."""
        return self._now()[1]

    def disk_free_bytes(self) -> int | None:
        """Return what was free on the disk of DATA_DIR at the same time."""
        return self._now()[2]

    def _now(self) -> tuple[float, Health, int | None]:
        known = self._known  # read once: other threads may write it
        if known is None or time.monotonic() - known[0] > HEALTH_SECONDS:
            known = self._known = (time.monotonic(), self._read(), self._free())
        return known


@dataclass(frozen=True, slots=True)
class Context:
    """What requests share; `offload`: how to call jobs without holding up other clients."""

    settings: Settings
    jobs: Jobs
    offload: Offload
    pulse: Pulse
    downloads: Downloads

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Return `function(*args, **kwargs)` computed where blocking is harmless."""
        return self.offload.call(function, *args, **kwargs)


def here() -> Context:
    """Return the context of the application that serves this request."""
    return cast(Context, current_app.extensions[KEY])
