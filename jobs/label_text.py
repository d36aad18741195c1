"""The labels of a job as one column, in which a single one can be searched for."""

from __future__ import annotations

from collections.abc import Iterable

_BETWEEN = "\x1f"  # which no XML and so no label holds


def written(labels: Iterable[str]) -> str:
    """The text of the column; each label stands between two separators."""
    found = _BETWEEN.join(labels)
    return f"{_BETWEEN}{found}{_BETWEEN}" if found else ""


def wanted(label: str) -> str:
    """What the column contains where it holds this label."""
    return f"{_BETWEEN}{label}{_BETWEEN}"


def read(text: str) -> tuple[str, ...]:
    """The labels of a column's text."""
    return tuple(text.strip(_BETWEEN).split(_BETWEEN)) if text else ()
