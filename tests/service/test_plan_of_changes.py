"""Promise: the start form, the API and the job page tell what a re-segmentation is about.

A real worker's loop computes the runs; page and API are those of the real application.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import server
from config import Settings
from jobs.views import JobState
from tests.helpers.clips import shapes_of, tiny_clip, write_clip
from tests.helpers.trips import exported
from tests.worker.loops import a_loop, running, wait_for
from web.context import KEY

RESEGMENT = {"mode": "resegment", "engine": "flow"}


def test_the_plan_lists_what_changed_and_the_run_says_how_much_it_recomputed(
    tmp_path: Path,
) -> None:
    """Promise: frames, objects, seconds, changes and conflicts before; N of M frames after."""
    settings = Settings(data_dir=tmp_path / "data", downloads_path=tmp_path / "in", engine="flow")
    app = server.create_app(settings)
    jobs, client = app.extensions[KEY].jobs, app.test_client()
    clip = tiny_clip(12)
    first = write_clip(tmp_path / "264.zip", clip, [0, 6])
    client.post("/api/jobs?name=264.zip", data=first.read_bytes())
    guess = client.post("/api/jobs/264/plan", json={"engine": "flow"}).get_json()["expected"]
    assert guess["basis"].startswith("a rough default for flow")
    client.post("/api/jobs/264/runs", json={"engine": "flow"})
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)

    now = exported(jobs.result("264"))
    big = replace(now[3][0], mask=replace(now[3][0].mask, top=now[3][0].mask.top + 3))
    now[3] = [big, replace(big, mask=replace(big.mask, left=big.mask.left + 4)), now[3][1]]
    now[9] = [shape for shape in shapes_of(clip, 9, 9) if shape.label == "object"]
    edited = write_clip(
        tmp_path / "now.zip", clip, (), masks=[*chain(*now.values())], with_images=False
    )
    client.post("/api/jobs?name=264.zip", data=edited.read_bytes())
    plan = client.post("/api/jobs/264/plan", json=RESEGMENT).get_json()
    assert (plan["frames_total"], plan["frames_in_job"], plan["objects"]) == (6, 12, 3)
    assert plan["expected"]["basis"] == "measured in one earlier run of flow"
    assert plan["expected"]["seconds"] > 0
    told = {(each["kind"], each["label"], each["frames"]) for each in plan["changes"]}
    assert ("deleted", "thing", "9") in told
    assert ("edited", "object", "3") in told
    assert ("added", "object", "3") in told
    assert len(plan["conflicts"]) == 1
    assert "several masks" in plan["conflicts"][0]
    told_of = 'Object 2 ("thing"): its 2 masks on frames 10-11 are taken away'
    assert plan["beyond"][0].startswith(f"{told_of}, since no key frame")
    assert plan["beyond"][1:] == [
        'What is new of "object" on frame 3 is followed no further than key frames 0, 6, which '
        "lack it."
    ]
    form = client.post("/jobs/264/plan", json=RESEGMENT).text
    assert "Recomputes 6 of 12 frames" in form
    assert "Takes about" in form
    assert "Deleted, &#34;thing&#34;: 1 mask, frame 9" in form
    assert told_of.replace('"', "&#34;") in form
    assert "1 place that could be taken in two ways" in form

    client.post("/api/jobs/264/runs", json=RESEGMENT)
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    run = client.get("/api/jobs/264").get_json()["runs"][0]
    assert (run["frames_total"], run["frames_in_job"]) == (6, 12)
    assert "6 of 12 frames recomputed" in client.get("/jobs/264").text
    jobs.close()
