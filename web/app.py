"""Puts the web application together."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import IO

from flask import Flask, Request
from flask_socketio import SocketIO
from werkzeug.middleware.proxy_fix import ProxyFix

from config import Settings
from jobs.downloads import Downloads
from jobs.service import Jobs
from web import (
    api,
    auth,
    components,
    downloads,
    errors,
    events,
    health,
    layers,
    metrics,
    pages,
    pictures,
    sessions,
    studio,
    text,
    uploads,
)
from web.answers import Answers
from web.context import KEY, Context, Pulse
from web.green import AsyncMode, Offload

ROOT = Path(__file__).resolve().parent.parent
# Marks that turn the reading direction, by which a name could pass for another.
_TURNS = dict.fromkeys((0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")


def build(settings: Settings, *, async_mode: AsyncMode) -> Flask:
    """Return the application with its jobs opened and the database brought up to date.

    Raises SettingsError where a setting cannot be used.
    """
    app = Flask(
        "mask_relay",
        root_path=str(ROOT),
        template_folder=str(ROOT / "templates"),
        static_folder=str(ROOT / "static"),
    )
    app.request_class = _request_class(settings.data_dir / "incoming")
    app.config["MAX_CONTENT_LENGTH"] = settings.limits.archive_bytes
    app.json = Answers(app)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True, "finalize": _shown}
    offload = Offload(async_mode)
    settings = auth.with_key(settings)
    jobs = offload.call(Jobs, settings)
    pulse = Pulse(jobs.health, jobs.disk_free_bytes)
    made = Downloads(jobs.database, jobs.files)
    app.extensions[KEY] = Context(settings, jobs, offload, pulse, made)

    auth.install(app, settings, jobs.tokens, offload)
    text.install(app)
    errors.install(app)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(layers.blueprint)
    app.register_blueprint(pictures.blueprint)
    app.register_blueprint(sessions.blueprint)
    app.register_blueprint(downloads.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(studio.blueprint)
    app.register_blueprint(components.blueprint)
    uploads.install(app)
    pages.install_words(app)

    quiet = logging.getLogger(f"{__name__}.socketio")
    quiet.setLevel(logging.WARNING)
    socketio = SocketIO(
        app,
        async_mode=async_mode.value,  # always said: an installed eventlet is picked silently
        manage_session=False,
        max_http_buffer_size=64 * 1024,  # clients have nothing to say
        logger=quiet,
        engineio_logger=quiet,
    )
    events.install(socketio)
    if hops := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )
    return app


def _shown(value: object) -> object:
    """Return what a page prints of `value`: no marks that turn the reading direction."""
    return value.translate(_TURNS) if isinstance(value, str) else value


def _request_class(folder: Path) -> type[Request]:
    """Return a request whose uploaded form files lie unnamed in `folder`, not in the temp folder.

    The temp folder may be memory, and is often smaller than an export.
    """

    class Upload(Request):
        def _get_file_stream(
            self,
            total_content_length: int | None,
            content_type: str | None,
            filename: str | None = None,
            content_length: int | None = None,
        ) -> IO[bytes]:
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=folder)

    return Upload
