"""Promise: the growth that a page shows is the report's, and a report without it does no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.growth import read_growth
from jobs.options import Direction
from jobs.report import DivergenceLog, Report


def write(path: Path, *scores: float, human: int = 2, labelled: int = 7) -> None:
    with DivergenceLog(path.parent) as log:
        for number, score in enumerate(scores):
            log.add(number, 1, "car", score, "unsure")
        facts = Report(
            engine="flow", device="cpu", width=64, height=48, frames_total=9, frames_tracked=5,
            objects=1, seconds=1.0, frames_per_second=5.0, learning_seconds=0.0,
            growth=log.growth(human, labelled), flagged_frames=log.flagged, notices=[],
            next_frame=log.next_frame([0], Direction.BOTH), left_out=log.left_out(1),
            stages={}, spans=[],
        )  # fmt: skip
        log.write_report(path, facts)


def test_it_is_what_the_report_says(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(path, 0.0, 0.5, 0.1)
    growth = read_growth(path, 3)
    assert growth is not None
    assert (growth.run, growth.human_frames, growth.labelled_frames) == (3, 2, 7)
    assert (growth.ratio, growth.expected_iou) == (3.5, 0.8)
    report = json.loads(path.read_text())
    assert report["flagged_frames"] == 1
    divergence = report["divergence"]
    assert growth.expected_iou == pytest.approx(1 - sum(d["score"] for d in divergence) / 3)


def test_nothing_computed_is_no_perfect_score(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(path)
    growth = read_growth(path, 1)
    assert growth is not None
    assert growth.expected_iou is None


@pytest.mark.parametrize("text", ["", "{}", '{"growth": 1}', '{"growth": {"ratio": []}}', "\0"])
def test_an_older_or_damaged_report_has_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    assert read_growth(path, 1) is None
    path.write_text(text)
    assert read_growth(path, 1) is None


def test_a_frame_is_flagged_once_however_many_objects_are_in_doubt(tmp_path: Path) -> None:
    with DivergenceLog(tmp_path) as log:
        for frame, scores in ((3, (0.5, 0.9, 0.1)), (4, (0.49, 0.2)), (5, (0.0, 0.7))):
            for number, score in enumerate(scores, 1):
                log.add(frame, number, "car", score, "unsure")
        assert log.flagged == 2
