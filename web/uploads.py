"""Uploads in pieces under /api/uploads: the server's side of tus 1.0.0.

https://tus.io/protocols/resumable-upload, core with the extensions creation, termination and
expiration, so that every tus client works. Written here since no tus library for Flask is kept up:
those on the package index were last released years ago, keep no lock and read a piece into memory.

Beyond the protocol, GET on an upload tells the same as JSON, and `Upload-Job` names the job that
came of it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Flask, Response, jsonify, request, url_for
from werkzeug.exceptions import ClientDisconnected, PreconditionFailed
from werkzeug.http import http_date

from errors import InputError, one_line
from jobs.receive import TooLargeError
from jobs.uploads import KEPT_SECONDS, BusyError, NoRoomError, UploadView
from web.context import here
from web.errors import WrongTypeError, answer
from web.green import AsyncMode, Source
from web.text import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

blueprint = Blueprint("uploads", __name__, url_prefix="/api/uploads")
VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
PIECE = "application/offset+octet-stream"
SILENT_SECONDS = 30.0  # a connection that brings nothing for longer makes room for another one
_READ = 1 << 16  # bytes asked for at once: what a broken connection loses is less than this
_MOST_PASSED_OVER = 1 << 26  # bytes of a refused piece: as many as our own page ever sends
_MOST = 2**63 - 1  # bytes; no disk and no database counts further


def install(app: Flask) -> None:
    """Answer under /api/uploads, and remove uploads that nobody touched for a day."""
    app.register_blueprint(blueprint)
    app.wsgi_app = _overridden(app.wsgi_app)  # type: ignore[assignment, method-assign]
    with app.app_context():
        context = here()
        context.call(context.jobs.uploads.sweep)


@blueprint.before_request
def require_version() -> None:
    """Raise PreconditionFailed for another version; a browser that looks at an upload has none."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    if request.headers.get("Tus-Resumable") != VERSION:
        raise PreconditionFailed(
            f"Uploads in pieces speak tus {VERSION}: send the header 'Tus-Resumable: {VERSION}'."
        )


@blueprint.after_request
def tell_version(response: Response) -> Response:
    """Say on every answer what we speak."""
    response.headers["Tus-Resumable"] = VERSION
    if response.status_code == PreconditionFailed.code:
        response.headers["Tus-Version"] = VERSION
    return response


@blueprint.errorhandler(BusyError)
@blueprint.errorhandler(NoRoomError)
@blueprint.errorhandler(TooLargeError)
def refused(error: InputError) -> Response:
    """Answer with the status that tus clients and programs know these by."""
    if isinstance(error, BusyError):
        return answer(423, str(error))
    return answer(507 if isinstance(error, NoRoomError) else 413, str(error))


@blueprint.route("", methods=["OPTIONS"], provide_automatic_options=False)
@blueprint.route("/<upload_id>", methods=["OPTIONS"], provide_automatic_options=False)
def capabilities(upload_id: str = "") -> Response:
    """Say what this server can."""
    response = Response(status=204)
    response.headers["Tus-Version"] = VERSION
    response.headers["Tus-Extension"] = EXTENSIONS
    response.headers["Tus-Max-Size"] = str(here().settings.limits.archive_bytes)
    return response


@blueprint.post("")
def create() -> Response:
    """Begin an upload: how long it is and what the archive is called."""
    context = here()
    length = _count("Upload-Length")
    view = context.call(context.jobs.uploads.create, _file_name(), length)
    response = _headed(Response(status=201), view)
    response.headers["Location"] = url_for("uploads.show", upload_id=view.id)
    return response


@blueprint.get("/<upload_id>")
def show(upload_id: str) -> Response:
    """Tell how far an upload came and what became of it (HEAD: in headers alone)."""
    context = here()
    view = context.call(context.jobs.uploads.view, upload_id)
    response = _headed(jsonify(dataclasses.asdict(view)), view)
    response.headers["Upload-Length"] = str(view.bytes)
    return response


@blueprint.patch("/<upload_id>")
def append(upload_id: str) -> Response:
    """Take the next piece; the last one makes the archive a revision of its job."""
    context = here()
    if request.mimetype != PIECE:
        raise WrongTypeError(f"Send a piece with the header 'Content-Type: {PIECE}'.")
    offset = _count("Upload-Offset")
    stream = _Patient(request.stream, context.offload.mode, request.environ)
    length = request.content_length
    try:
        view = context.offload.consume(
            stream, lambda body: context.jobs.uploads.append(upload_id, offset, body, length)
        )
    except InputError:
        stream.pass_over(_MOST_PASSED_OVER)
        raise
    return _headed(Response(status=204), view)


@blueprint.delete("/<upload_id>")
def remove(upload_id: str) -> Response:
    """Give an upload up; a job that came of it stays."""
    context = here()
    context.call(context.jobs.uploads.remove, upload_id)
    return Response(status=204)


class _Patient:
    """A body whose end is also where its connection breaks, or falls silent for too long.

    What arrived until then is kept, and the upload is free for whoever goes on with it: a client
    whose network went away leaves a connection behind that would never end by itself.
    """

    def __init__(self, stream: Source, mode: AsyncMode, environ: dict[str, Any]) -> None:
        self._stream = stream
        self._mode = mode
        if "werkzeug.socket" in environ:
            environ["werkzeug.socket"].settimeout(SILENT_SECONDS)

    def read(self, size: int = -1, /) -> bytes:
        with suppress(ClientDisconnected, OSError):
            return self._read(_READ if size < 0 else min(size, _READ))
        return b""

    def pass_over(self, most: int) -> None:
        """Read what is still on its way: who is cut off while sending never sees the answer."""
        while most > 0 and (data := self.read(_READ)):
            most -= len(data)

    def _read(self, size: int) -> bytes:
        if self._mode is AsyncMode.EVENTLET:
            import eventlet

            with eventlet.Timeout(SILENT_SECONDS, TimeoutError()):
                return self._stream.read(size)
        if self._mode is AsyncMode.GEVENT:
            import gevent

            with gevent.Timeout(SILENT_SECONDS, TimeoutError()):
                return self._stream.read(size)
        return self._stream.read(size)


def _headed(response: Response, view: UploadView) -> Response:
    response.headers["Upload-Offset"] = str(view.offset)
    if view.job:
        response.headers["Upload-Job"] = view.job
    elif request.method in {"POST", "PATCH"}:
        response.headers["Upload-Expires"] = http_date(time.time() + KEPT_SECONDS)
    return response


def _count(header: str) -> int:
    """Return a header that is a number of bytes; raises InputError where it is none."""
    raw = request.headers.get(header, "")
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= 19 and int(raw) <= _MOST):
        raise InputError(
            f"The header {header}: {one_line(raw, 40)} cannot be used: give a number of bytes."
        )
    return int(raw)


def _file_name() -> str:
    """Return the archive's name out of Upload-Metadata: pairs of a key and base64, by commas."""
    example = "'Upload-Metadata: filename MjY0LnppcA==' (the name in base64)"
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key != "filename":
            continue
        try:
            name = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError) as exc:
            raise InputError(f"The archive's name is no base64 of UTF-8: send {example}.") from exc
        if not is_plain(name):
            raise InputError(
                f'The name "{one_line(name, 120)}" holds a control character: give the archive a '
                "plain name, such as 264.zip."
            )
        return name
    raise InputError(f"The archive's name is missing: send {example}.")


def _overridden(app: WSGIApplication) -> WSGIApplication:
    """Take the method from X-HTTP-Method-Override, as tus asks, for who can only send POST."""

    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", "").upper()
        ours = environ.get("PATH_INFO", "").startswith("/api/uploads/")
        if ours and environ["REQUEST_METHOD"] == "POST" and method in {"PATCH", "DELETE"}:
            environ["REQUEST_METHOD"] = method
        return app(environ, start_response)

    return call
