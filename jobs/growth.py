"""What a run says of its result: read from the report that stands beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.views import GrowthView, LeftOutView, NextFrameView

# What is read stands before the long lists of a report, which may be many megabytes.
_HEAD_BYTES = 1 << 18
_DIVERGENCE = b'  "divergence": ['


def read_growth(report: Path, run: int) -> GrowthView | None:
    """The growth of a run from its REPORT.json; None where the report is gone or older than this.

    Only the file's beginning is read, here and below.
    """
    try:
        found = _read(report, "growth")
        expected = found["expected_iou"]
        return GrowthView(
            run=run,
            human_frames=int(found["human_frames"]),
            labelled_frames=int(found["labelled_frames"]),
            ratio=float(found["ratio"]),
            expected_iou=None if expected is None else float(expected),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_next_frame(report: Path, run: int) -> NextFrameView | None:
    """The frame to correct next; None where there is none, and where `read_growth` has None."""
    try:
        return next_frame_view(run, _read(report, "next_frame"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def next_frame_view(run: int, found: Mapping[str, Any] | None) -> NextFrameView | None:
    """The frame to correct next as a report of `run` has it, whatever else stands there.

    Raises ValueError, KeyError or TypeError where something is missing.
    """
    if found is None:
        return None
    return NextFrameView(
        run=run,
        frame=int(found["frame"]),
        object=int(found["object"]),
        label=str(found["label"]),
        score=float(found["score"]),
        why=str(found["why"]),
        reason=str(found["reason"]),
        repairs=float(found["repairs"]),
        iou_gain=float(found["iou_gain"]),
    )


def read_left_out(report: Path) -> tuple[LeftOutView, ...]:
    """Where objects were left out; () where they were not, and where `read_growth` has None."""
    try:
        return tuple(
            LeftOutView(
                object=int(each["object"]), label=str(each["label"]), frames=str(each["frames"])
            )
            for each in _read(report, "left_out")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def read_divergence(report: Path) -> Iterator[dict[str, Any]]:
    """The entries of a report's divergence, one at a time: each stands in a line of its own.

    Raises OSError, and ValueError where the file is none of ours or not whole.
    """
    with report.open("rb") as file:
        head = next((line for line in file if line.startswith(_DIVERGENCE)), b"")
        whole = head == _DIVERGENCE + b"]\n"
        for line in file:
            if line.startswith(b"    {"):
                yield json.loads(line.strip().rstrip(b","))
            whole = whole or line.strip() == b"]"
    if not whole:
        raise ValueError(f"{report} ends too early")


def _read(report: Path, key: str) -> Any:
    """The value of a key that stands in the beginning of a report."""
    with report.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    mark = f'\n  "{key}": '.encode()
    text = head[head.index(mark) + len(mark) :].decode(errors="replace")
    return json.JSONDecoder().raw_decode(text)[0]
