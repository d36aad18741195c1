"""Running the server: the socket, the watcher, the embedded broker, the events, and a clean end."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, cast

from config import Settings
from errors import SettingsError
from jobs import watch
from web.app import build
from web.auth import require_safe_binding
from web.context import KEY, Context
from web.events import Watch
from web.green import AsyncMode

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Flask

log = logging.getLogger(__name__)
BACKLOG = 128  # connections that may wait to be accepted


def run(settings: Settings, mode: AsyncMode) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SettingsError where the port cannot be had, or the key where one is needed.
    """
    listener = listen(settings)
    with listener, _signals_end_it():
        settings = require_safe_binding(settings)
        app = build(settings, async_mode=mode)
        context = cast(Context, app.extensions[KEY])
        events = Watch(app.extensions["socketio"], context)
        with beside(context):
            events.start()
            host, port = listener.getsockname()[:2]
            log.info("Mask Relay: http://%s:%d", f"[{host}]" if ":" in host else host, port)
            try:
                _serve(app, listener, mode)
            except KeyboardInterrupt:
                log.info("Stopping.")
            finally:
                events.stop()


@contextmanager
def beside(context: Context) -> Iterator[None]:
    """Run what belongs to a server: the embedded broker (which outlives it) and the watcher."""
    context.call(context.jobs.start_broker)
    watcher = watch.Watch(context.jobs)
    watcher.start()
    try:
        yield
    finally:
        # Called directly: when the server ends, nobody is left whom waiting could hold up.
        watcher.stop()
        context.jobs.close()


def listen(settings: Settings) -> socket.socket:
    """Open the listening socket; raises SettingsError that names HOST and PORT."""
    place = f"HOST={settings.host} PORT={settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise SettingsError(f"{place} cannot be used: {exc.strerror}.") from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise SettingsError(
            f"{place} cannot be used: {exc.strerror}. Give another PORT, or stop what uses it."
        ) from exc
    return listener


def _serve(app: Flask, listener: socket.socket, mode: AsyncMode) -> None:
    """Answer requests until a signal ends it, each mode with the server that belongs to it."""
    if mode is AsyncMode.EVENTLET:
        import eventlet.wsgi

        eventlet.wsgi.server(listener, _chunks_end(app), log_output=False, debug=False)
    elif mode is AsyncMode.GEVENT:
        import gevent
        from gevent import pywsgi
        from geventwebsocket.handler import WebSocketHandler

        logging.getLogger(WebSocketHandler.__module__).setLevel(logging.WARNING)
        green = pywsgi.WSGIServer(listener, app, log=None, handler_class=WebSocketHandler)
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, green.stop)  # an exception would leave its event loop
        green.serve_forever()
    else:
        from werkzeug.serving import make_server

        # Its request log would fill the terminal: a dashboard asks all the time.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        host, port = listener.getsockname()[:2]
        server = make_server(host, port, app, threaded=True, fd=listener.fileno())
        try:
            server.serve_forever()
        finally:
            server.server_close()


def _chunks_end(app: Flask) -> WSGIApplication:
    """Tell that eventlet ends a chunked body by itself; without that it would be taken for empty.

    (Werkzeug reads a body without a length only where `wsgi.input_terminated` says so.)
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
            environ["wsgi.input_terminated"] = True
        return app(environ, start_response)

    return answer


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGTERM end the server in the way in which SIGINT does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
