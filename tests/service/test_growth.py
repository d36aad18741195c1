"""Promise: job page and API tell how many labelled frames a person's frames became, how sure that
is, and which frame to correct next.

A real worker's loop computes the run; the page and the API are those of the real application.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import server
from config import Settings
from jobs.views import JobState
from tests.helpers.clips import hud, masks_by_frame, tiny_clip, write_clip
from tests.worker.loops import a_loop, running, wait_for
from web.context import KEY
from web.openapi import document


def test_key_frames_labelled_frames_and_expected_iou(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", downloads_path=tmp_path / "in", engine="flow",
        ignore_labels=frozenset({"HUD"}),
    )  # fmt: skip
    app = server.create_app(settings)
    jobs, client = app.extensions[KEY].jobs, app.test_client()
    export = write_clip(tmp_path / "264.zip", tiny_clip(12), [0, 6], extra=[hud(3)])
    client.post("/api/jobs?name=264.zip", data=export.read_bytes())
    assert client.get("/api/jobs/264").get_json()["growth"] is None
    assert "Growth" not in client.get("/jobs/264").text
    client.post("/api/jobs/264/runs", json={"frames": "1-4"})
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)

    growth = client.get("/api/jobs/264").get_json()["growth"]
    report = json.loads(jobs.files.report("264", 1, 1).read_text())
    found = masks_by_frame(jobs.result("264"))
    labelled = [f for f, shapes in found.items() if any(s.label != "HUD" for s in shapes)]
    scores = [1 - each["score"] for each in report["divergence"]]
    assert growth == {"run": 1, **report["growth"]}
    assert (growth["human_frames"], growth["labelled_frames"]) == (2, len(labelled)) == (2, 6)
    assert growth["ratio"] == 3.0
    assert growth["expected_iou"] == pytest.approx(sum(scores) / len(scores), abs=1e-4)
    assert "growth" in document()["components"]["schemas"]["JobDetail"]["required"]
    assert client.get("/api/jobs/264/report.json").get_json() == report
    assert client.get("/api/jobs/264/report.json?run=2").status_code == 404
    suggested = client.get("/api/jobs/264").get_json()["next_frame"]
    assert suggested == {"run": 1, **report["next_frame"]}
    assert suggested["frame"] in {each["frame"] for each in report["divergence"]}
    assert client.get("/api/jobs/264").get_json()["left_out"] == report["left_out"] == []
    page = client.get("/jobs/264").text
    assert "2 frames by hand became 6 labelled frames (3.0 times as many)" in page
    assert f"Frame {suggested['frame']}, {suggested['label']}: {suggested['reason']}" in page
    assert f"expected IoU {growth['expected_iou']:.2f}" in page
    jobs.close()
