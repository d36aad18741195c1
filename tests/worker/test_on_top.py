"""Promise: what a person draws on top of objects that are there is followed, or they are told.

Human pixels are never altered, and what does not lie below stays byte for byte.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np

from cvat_io.masks import encode
from cvat_io.model import MaskShape
from jobs.service import Jobs
from tests.helpers.clips import contents, masks_by_frame, tiny_clip, write_clip
from tests.helpers.trips import exported, key_frames, objects_by_frame, plan_of, roughened, run
from tests.worker.test_carried_doubts import AGAIN, FLOW, Run, run_job
from tests.worker.test_rounds import Rounds, drawn

assert run_job  # the fixture

LENGTH = 12
CLIP = tiny_clip(LENGTH)
KEYS, CORRECTED = (0, 8), 4

Now = dict[int, list[MaskShape]]


def with_a_head(folder: Path, z_order: int) -> tuple[Rounds, Now]:
    """A job, and what CVAT gives back of it once a person drew a head on the object."""
    job = Rounds(folder, drawn(*KEYS, clip=CLIP), CLIP)
    job.result = roughened(job.result, folder / "rough.zip")
    return job, add_a_head(job.exported(), z_order)


def add_a_head(now: Now, z_order: int) -> Now:
    """Draw it on the object of the corrected frame."""
    body = next(shape for shape in now[CORRECTED] if shape.label == "object").mask
    head = encode(np.ones((6, 6), dtype=np.bool_), body.left + 3, body.top + 3)
    assert head is not None
    now[CORRECTED].append(MaskShape(CORRECTED, "thing", head, z_order=z_order))
    return now


def conflicts(folder: Path, job: Rounds, now: Now) -> list[str]:
    """What the plan lists of the correction."""
    export = write_clip(folder / "planned.zip", CLIP, (), masks=[*chain(*now.values())])
    changes = plan_of(export, job.result).changes
    assert changes is not None
    return [each.sentence for each in changes.compared[CORRECTED].conflicts]


def test_a_head_that_is_drawn_on_a_body_is_followed_as_in_a_first_run(tmp_path: Path) -> None:
    """Promise: the body gives way beside that frame, and nothing else is made anew."""
    job, now = with_a_head(tmp_path, z_order=1)
    assert conflicts(tmp_path, job, now) == [
        'Frame 4: a mask of "thing" lies on top of object 1, by its z-order: what is below is made '
        "anew beside this frame too, so that it gives way."
    ]
    before = masks_by_frame(job.result)
    report = tmp_path / "report.json"
    job.correct(now, report=report)
    assert key_frames(job.result) == [0, CORRECTED, 8]
    assert json.loads(report.read_text())["notices"] == []
    after = objects_by_frame(job.result)
    masks = masks_by_frame(job.result)
    first = run(
        write_clip(tmp_path / "first.zip", CLIP, (), masks=[*now[0], *now[4], *now[8]]),
        tmp_path / "first_result.zip",
    )
    assert first["objects"] == 3
    full = objects_by_frame(tmp_path / "first_result.zip")
    for frame in range(LENGTH):
        if frame in (*KEYS, CORRECTED):
            assert contents(masks[frame]) == contents(now[frame])
        elif frame > 8:
            assert contents(masks[frame]) == contents(before[frame])
        else:
            thing = [s for s in before[frame] if s.label == "thing"]
            assert contents([after[frame][2]]) == contents(thing)
            assert (3 in after[frame]) == (3 in full[frame])
            assert contents([after[frame][1]]) == contents([full[frame][1]])
    assert {3, 5} <= {frame for frame in after if 3 in after[frame]}


def test_what_is_drawn_on_a_body_at_its_height_is_told_to_be_covered(tmp_path: Path) -> None:
    """Promise: nothing that was made is left out silently: plan, run and divergence say it."""
    job, now = with_a_head(tmp_path, z_order=0)
    (told,) = conflicts(tmp_path, job, now)
    assert 'most of a mask of "thing" lies on object 1' in told
    before = masks_by_frame(job.result)
    report = tmp_path / "report.json"
    job.correct(now, report=report)
    masks = masks_by_frame(job.result)
    assert contents(masks[CORRECTED]) == contents(now[CORRECTED])
    for frame in set(range(LENGTH)) - {CORRECTED, *KEYS}:
        assert contents(masks[frame]) == contents(before[frame])
    said = json.loads(report.read_text())
    (notice,) = said["notices"]
    assert notice.startswith('Object 3 ("thing") has no mask on frame')
    gone = [each["frame"] for each in said["divergence"] if each["object"] == 3 and each["gone"]]
    assert {3, 5} <= set(gone)


def test_the_run_of_a_job_tells_what_is_covered_too(
    jobs: Jobs, run_job: Run, tmp_path: Path
) -> None:
    run_job(write_clip(tmp_path / "264.zip", CLIP, KEYS), FLOW)
    now = add_a_head(exported(jobs.result("264")), z_order=0)
    again = write_clip(tmp_path / "again.zip", CLIP, (), masks=[*chain(*now.values())])
    report = run_job(again, AGAIN)
    (notice,) = report["notices"]
    assert notice.startswith('Object 3 ("thing") has no mask on frame')
    job = jobs.job("264")
    assert job.runs[0].notices == (notice,)
    assert any(notice in event.text for event in job.log)
