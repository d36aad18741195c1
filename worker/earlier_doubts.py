"""What the previous result's report says of its masks, for those that are carried over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.growth import read_divergence


@dataclass(frozen=True, slots=True)
class EarlierDoubt:
    """An entry of the divergence, `number` as the previous result numbers objects.

    `refined`, `gone`, `left_out`: see `jobs.report.Report`.
    """

    frame: int
    number: int
    label: str
    score: float
    why: str
    refined: bool
    gone: bool
    left_out: bool


class EarlierDoubts:
    """Reads a report along with the frames, which ascend in it; holds one entry at a time."""

    def __init__(self, report: Path | None) -> None:
        """`report`: None where there is none; one that is damaged tells nothing from there on."""
        self._entries = _entries(report)
        self._next = next(self._entries, None)

    def of(self, frame: int) -> list[EarlierDoubt]:
        """The entries of a frame; ask for frames in ascending order."""
        found = []
        while self._next is not None and self._next.frame <= frame:
            if self._next.frame == frame:
                found.append(self._next)
            self._next = next(self._entries, None)
        return found


def _entries(report: Path | None) -> Iterator[EarlierDoubt]:
    if report is None:
        return
    try:
        for each in read_divergence(report):
            yield _entry(each)
    except (OSError, ValueError, KeyError, TypeError):
        return


def _entry(each: dict[str, Any]) -> EarlierDoubt:
    return EarlierDoubt(
        frame=int(each["frame"]),
        number=int(each["object"]),
        label=str(each["label"]),
        score=float(each["score"]),
        why=str(each["why"]),
        refined=bool(each.get("refined")),
        gone=bool(each.get("gone")),
        left_out=bool(each.get("left_out")),
    )
