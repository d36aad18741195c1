"""One sentence for every error, as JSON under /api/ and as a page elsewhere."""

from __future__ import annotations

import logging
import sqlite3

from flask import Flask, Response, jsonify, make_response, render_template, request
from sqlalchemy.exc import InterfaceError, OperationalError
from werkzeug.exceptions import HTTPException

from errors import ConflictError, InputError, NotFoundError, one_line

log = logging.getLogger(__name__)

OUR_FAULT = "Something went wrong on the server; its log says what. Trying again may help."
DATABASE_AWAY = (OperationalError, InterfaceError)


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
        detail = one_line(str(error.orig), 200).rstrip(".")
        log.warning("%s %s found no database: %s", request.method, request.path, detail)
        return answer(503, f"The database cannot be reached: {detail}; try again in a moment.")

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
