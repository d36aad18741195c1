"""The one way in which this project tells a person that something they can change is wrong.

`InputError` carries one sentence that says what is wrong, where, and what to do. The CLI prints it
as its only line on stderr (exit 2), the API returns it as JSON, the pages show it, and a failed job
keeps it as its reason: the same words everywhere. Every other exception is our fault and keeps its
traceback in the log.
"""

from __future__ import annotations

import unicodedata

MAX_SENTENCE = 400  # characters; the CLI's contract for its line on stderr


def one_line(text: str, limit: int = MAX_SENTENCE) -> str:
    """Make `text` fit for one line of a terminal, a log and a page.

    Control, format and surrogate characters (which could move a terminal's cursor or reverse the
    reading direction) become spaces, runs of white space become one blank, and text longer than
    `limit` characters ends in an ellipsis.
    """
    clean = "".join(" " if unicodedata.category(c) in _UNPRINTABLE else c for c in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class InputError(Exception):
    """Something a person gave us is wrong; `str(error)` is the sentence to show."""

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class NotFoundError(InputError):
    """What was asked for by name or number is not there (HTTP 404)."""


class ConflictError(InputError):
    """The request is sound but does not fit the present state (HTTP 409)."""


class SettingsError(InputError):
    """A value in the environment or in .env cannot be used; the sentence names the variable."""
