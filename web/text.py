"""Which texts of clients are taken: what no database stores and no line shows is refused early."""

from __future__ import annotations

import unicodedata

from flask import Flask, Request, request

from errors import InputError, NotFoundError, one_line

MOST_SEARCHED = 500  # characters; no name is longer
# PostgreSQL stores no NUL, UTF-8 has no surrogates, and other control characters break lines.
_UNFIT = frozenset({"Cc", "Cs"})


def is_plain(text: str) -> bool:
    """Whether `text` holds neither control characters (NUL, line breaks) nor lone surrogates."""
    return not any(unicodedata.category(character) in _UNFIT for character in text)


def plain_argument(incoming: Request, name: str) -> str:
    """Return a text of the query, "" where it is not given; raises InputError where not plain."""
    text = incoming.args.get(name, "")[:MOST_SEARCHED]
    if not is_plain(text):
        raise InputError(f"The {name} holds a control character: give a part of a name.")
    return text


def install(app: Flask) -> None:
    """Let no id that cannot be one reach the database; install it after the guard of `auth`."""

    @app.before_request
    def refuse_unfit_id() -> None:
        job_id = (request.view_args or {}).get("job_id", "")
        if not is_plain(job_id):
            raise NotFoundError(
                f'There is no job "{one_line(job_id, 120)}": its id would hold no such character.'
            )
