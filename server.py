"""The web application's entry.

`patch` comes first where an async mode is asked for that needs it: nothing here imports Flask, the
database or the network before it could run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from web.green import AsyncMode, patch

if TYPE_CHECKING:
    from flask import Flask

    from config import Settings

__all__ = ["AsyncMode", "create_app", "patch", "serve"]


def create_app(settings: Settings, *, async_mode: str = "threading") -> Flask:
    """Build the application, database brought up to date, nothing running in the background yet.

    `async_mode`: threading, eventlet or gevent (for the last two call `patch` first).
    Raises SettingsError for an unknown mode and where a setting cannot be used.
    """
    from web.app import build

    return build(settings, async_mode=AsyncMode.named(async_mode))


def serve(settings: Settings, async_mode: str = "threading") -> None:
    """Run the server until SIGTERM or SIGINT, with the watcher and the embedded broker beside it.

    Where it would listen beyond this machine and has no key, one is made and shown on stderr.
    Raises SettingsError where the port is taken, and where a key cannot be read or made.
    """
    from web.run import run

    run(settings, AsyncMode.named(async_mode))
