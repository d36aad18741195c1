"""What a person's frames grew into: read from the report that stands beside a published result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.views import GrowthView

_KEY = b'"growth": '
_HEAD_BYTES = 4096  # the key stands before all lists of a report, which may be many megabytes


def read_growth(report: Path, run: int) -> GrowthView | None:
    """The growth of a run from its REPORT.json; None where the report is gone or older than this.

    Only the file's beginning is read.
    """
    try:
        with report.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        text = head[head.index(_KEY) + len(_KEY) :].decode(errors="replace")
        found: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
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
