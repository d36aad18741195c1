"""Reading what a client sent: options of a run, numbers in the query, JSON bodies."""

from __future__ import annotations

import typing
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar

from flask import Request

from errors import InputError, one_line
from jobs.look import Look, Sort
from jobs.options import MOST_CLEANED, MOST_MEMORY, MOST_SEED, RunOptions
from jobs.views import JobState
from web.engines import ENGINES, SEGMENTERS
from web.errors import WrongTypeError
from web.text import is_plain, plain_argument

JSON_BYTES = 64 * 1024  # more than any sound set of options needs
MOST_SPANS = 10_000  # that `parallel_spans` may ask for
MOST_TEXT = 2000  # characters of an option that is a text
MOST_ENGINE = 80  # characters of an engine's name
_Number = TypeVar("_Number", int, float)
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def json_object(request: Request, most: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in the body, {} where there is no body at all; `most`: its bytes.

    Raises WrongTypeError for another content type and InputError where it is no JSON object.
    """
    request.max_content_length = most
    raw = request.get_data()
    if not raw:
        return {}
    if not request.is_json:
        raise WrongTypeError("Send the options as JSON, with 'Content-Type: application/json'.")
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # brackets in brackets, without end
        body = None
    if not isinstance(body, dict):
        raise InputError('The body is no JSON object: send something like {"mode": "initial"}.')
    return body


def run_options(body: dict[str, Any]) -> RunOptions:
    """Turn a JSON object into options; what is not given keeps its default.

    Raises InputError that names the field, what was given and what it may be.
    """
    hints = typing.get_type_hints(RunOptions)
    values: dict[str, Any] = {}
    for name, given in body.items():
        if name not in hints:
            raise InputError(f"The option {one_line(name, 60)!r} is unknown: {_known(hints)}.")
        values[name] = _value(name, given, hints[name])
    options = RunOptions(**values)
    if options.engine not in ENGINES:
        shown = one_line(repr(options.engine), 60)
        raise InputError(f"There is no engine named {shown}: use one of {', '.join(ENGINES)}.")
    if options.segmenter not in SEGMENTERS:
        shown = one_line(repr(options.segmenter), 60)
        raise InputError(
            f"There is no segmenter named {shown}: use one of {', '.join(SEGMENTERS)}."
        )
    for name in ("memory_frames", "memory_gap"):
        if not 0 <= getattr(options, name) <= MOST_MEMORY:
            raise InputError(
                f"The option {name!r} is a whole number, 0 (the engine's own) to {MOST_MEMORY}."
            )
    if not 0 <= options.parallel_spans <= MOST_SPANS:
        raise InputError(f"The option 'parallel_spans' is 0 (no limit) to {MOST_SPANS}.")
    if not 0 <= options.stop_at_divergence <= 1:
        raise InputError("The option 'stop_at_divergence' is a number from 0 (never) to 1.")
    for name in ("min_speck", "min_hole"):
        if not 0 <= getattr(options, name) <= MOST_CLEANED:
            raise InputError(
                f"The option {name!r} is a number of pixels, 0 (none is cleaned) to {MOST_CLEANED}."
            )
    if not 0 <= options.seed <= MOST_SEED:
        raise InputError(f"The option 'seed' is a whole number, 0 to {MOST_SEED}.")
    return options


def wanted(request: Request) -> Look:
    """Return which jobs the query asks for, and in which order; raises InputError."""
    raw = request.args.get("sort", "") or Sort.RECENT.value
    if raw not in {sort.value for sort in Sort}:
        known = ", ".join(Sort)
        raise InputError(f"sort={one_line(raw, 40)} is unknown: use one of {known}.")
    return Look(
        search=plain_argument(request, "search"),
        label=plain_argument(request, "label"),
        sort=Sort(raw),
    )


def only_state(request: Request) -> JobState | None:
    """Return the state that the query asks for, None for all; raises InputError."""
    raw = request.args.get("state", "")
    if not raw:
        return None
    try:
        return JobState(raw)
    except ValueError:
        known = ", ".join(JobState)
        raise InputError(f"state={one_line(raw, 40)} is unknown: use one of {known}.") from None


def whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from the query; raises InputError where it is none in [low, high]."""
    found = _within(request, name, int, low, high, f"a whole number, {low} to {high}")
    return default if found is None else found


def real(request: Request, name: str, low: float, high: float) -> float | None:
    """Return a number from the query, None where none is given; InputError unless [low, high]."""
    return _within(request, name, float, low, high, f"a number, {low:g} to {high:g}")


def _within(
    request: Request,
    name: str,
    kind: Callable[[str], _Number],
    low: _Number,
    high: _Number,
    asked: str,
) -> _Number | None:
    raw = request.args.get(name)
    if raw is None or raw == "":
        return None
    with suppress(ValueError):
        number = kind(raw)
        if low <= number <= high:
            return number
    raise InputError(f"{name}={one_line(raw, 40)} cannot be used: give {asked}.")


def _value(name: str, given: Any, kind: type) -> Any:
    if issubclass(kind, Enum):
        allowed = [str(member.value) for member in kind]
        if given in allowed:
            return kind(given)
        expected = " or ".join(allowed)
    else:
        if kind is float and type(given) is int:
            given = float(given)
        if type(given) is kind:  # not isinstance: true is no number
            return _text(name, given) if isinstance(given, str) else given
        expected = _KINDS[kind]
    shown = one_line(repr(given), 60)
    raise InputError(f"The option {name!r} cannot be {shown}: give {expected}.")


def _text(name: str, given: str) -> str:
    most = MOST_ENGINE if name == "engine" else MOST_TEXT
    if len(given) > most:
        raise InputError(f"The option {name!r} holds {len(given)} characters: give at most {most}.")
    if not is_plain(given):
        shown = one_line(repr(given), 60)
        raise InputError(f"The option {name!r} cannot be {shown}: it holds a control character.")
    return given


def _known(hints: dict[str, Any]) -> str:
    return "known are " + ", ".join(hints)
