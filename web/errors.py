"""One sentence for every error, as JSON under /api/ and as a page elsewhere."""

from __future__ import annotations

import errno
import logging
import sqlite3

from flask import Flask, Response, jsonify, make_response, render_template, request
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from errors import ConflictError, InputError, NotFoundError, one_line

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on the server; its log says what. Trying again may help."
DATABASE_AWAY = (OperationalError, InterfaceError)
_NO_ROOM = "The server's disk is full: make room in DATA_DIR, then go on (or send it again)."
_READ_ONLY = "The server's disk is read-only: make DATA_DIR writable, then go on (or send again)."
_DISK_REFUSES = {errno.ENOSPC: _NO_ROOM, errno.EDQUOT: _NO_ROOM, errno.EROFS: _READ_ONLY}
_SQLITE_REFUSES = {sqlite3.SQLITE_FULL: _NO_ROOM, sqlite3.SQLITE_READONLY: _READ_ONLY}


class WrongTypeError(InputError):
    """The body is of a kind that this address does not take (HTTP 415)."""


def status_of(error: InputError) -> int:
    """Return the HTTP status that says what kind of mistake `error` is."""
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, WrongTypeError):
        return 415
    return 400


def install(app: Flask) -> None:
    """Answer every error of `app` with its sentence."""

    @app.errorhandler(InputError)
    def input_error(error: InputError) -> Response:
        return answer(status_of(error), str(error))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        return answer(error.code, _sentence(app, error))

    @app.errorhandler(OperationalError)
    @app.errorhandler(InterfaceError)
    def database_away(error: OperationalError | InterfaceError) -> Response:
        if _is_our_query(error):
            return our_fault(error)
        if sentence := _SQLITE_REFUSES.get(getattr(error.orig, "sqlite_errorcode", 0)):
            return disk_refuses(error, sentence)
        detail = one_line(str(error.orig), 200).rstrip(".")
        log.warning("%s %s found no database: %s", request.method, request.path, detail)
        return answer(503, f"The database cannot be reached: {detail}; try again in a moment.")

    @app.errorhandler(OSError)
    def system_refuses(error: OSError) -> Response:
        sentence = _DISK_REFUSES.get(error.errno or 0)
        return disk_refuses(error, sentence) if sentence else our_fault(error)

    def disk_refuses(error: Exception, sentence: str) -> Response:
        log.error("%s %s: %s", request.method, request.path, one_line(str(error), 200))
        return answer(507, sentence)

    @app.errorhandler(Exception)
    def our_fault(error: Exception) -> Response:
        log.exception("%s %s failed", request.method, request.path, exc_info=error)
        return answer(500, OUR_FAULT)


def answer(status: int, sentence: str) -> Response:
    """Return `sentence` in the form that the asker reads."""
    if request.path.startswith("/api/"):
        response = jsonify(error=sentence)
    else:
        response = make_response(render_template("error.html", status=status, sentence=sentence))
    response.status_code = status
    return response


def _is_our_query(error: OperationalError | InterfaceError) -> bool:
    """Whether SQLite is there and refused what was asked: it names both kinds alike."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _sentence(app: Flask, error: HTTPException) -> str:
    if error.code == 404:
        return f"There is nothing at {one_line(request.path, 120)} on this server."
    if error.code == 405:
        return f"{request.method} is not possible at {one_line(request.path, 120)}."
    if error.code == 413:
        limit = request.max_content_length or app.config["MAX_CONTENT_LENGTH"]
        raised = (
            ""
            if limit != app.config["MAX_CONTENT_LENGTH"]
            else ("; the setting MAX_ARCHIVE_BYTES raises the limit")
        )
        return f"The body is larger than the {limit} bytes taken here{raised}."
    return one_line(error.description or error.name)
