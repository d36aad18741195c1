"""Promise: what either pass said of a gap can be looked at beside the result, object by object.

It costs the run nothing: the files of the passes go, and whatever fails leaves the result as it is.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from config import Settings
from cvat_io.reader import open_export
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from tests.web import layered
from tests.worker.loops import a_loop, running, wait_for
from worker import derive
from worker.spanfile import SpanFile


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    settings = Settings(data_dir=tmp_path / "data", downloads_path=tmp_path / "in", engine="flow")
    jobs = Jobs(settings)
    path = tmp_path / "264.zip"
    path.write_bytes(layered.export(tmp_path / "made.zip"))
    with path.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine="flow"))
    yield jobs
    jobs.close()


def compute(jobs: Jobs, spans: dict[str, bytes] | None = None) -> Path:
    """Do the run; `spans` takes what the passes' files held. Returns the spans' folder."""
    folder = jobs.files.spans("264", 1, 1)
    loop = a_loop(jobs.settings, jobs.database)
    while loop.step():
        for path in folder.glob("*ward.jsonl"):
            if spans is not None:
                spans[path.name] = path.read_bytes()
    assert jobs.job("264").job.state is JobState.COMPLETED
    return folder


def masks(jobs: Jobs, layer: str) -> dict[int, list[dict]]:
    answer = jobs.layers.masks("264", layer, layered.FIRST, layered.LAST)
    return {each["frame"]: each["masks"] for each in json.loads(answer.body.text)["frames"]}


def test_a_pass_is_a_layer_with_the_objects_of_the_result(jobs: Jobs, tmp_path: Path) -> None:
    said: dict[str, bytes] = {}
    folder = compute(jobs, said)
    names = [each.name for each in jobs.layers.listed("264").layers]
    assert names == ["run-1", "run-1-forward", "run-1-backward", "revision-1"]
    assert not list(folder.glob("*ward.jsonl"))
    result = masks(jobs, "run-1")
    for one in ("forward", "backward"):
        (name,) = {name for name in said if one in name}
        path = tmp_path / name
        path.write_bytes(said[name])
        file, told = SpanFile(path), masks(jobs, f"run-1-{one}")
        assert set(file.frames) == {33, 36, 39, 42, 45}
        for frame in file.frames:
            boxes = {
                (m.mask.left, m.mask.top, m.mask.width, m.mask.height, tuple(m.mask.runs.tolist()))
                for m in file.read(frame).masks
            }
            assert boxes == {
                (*m["box"], tuple(map(int, m["runs"].split(",")))) for m in told[frame]
            }
            for mask in told[frame]:
                labels = {m["label"] for m in result[30] if m["object"] == mask["object"]}
                assert labels == {mask["label"]}
        for key in layered.KEYS:
            assert told[key] == result[key]


def test_frames_behind_the_last_key_frame_are_the_forward_pass_alone(jobs: Jobs) -> None:
    compute(jobs)
    forward, backward = masks(jobs, "run-1-forward"), masks(jobs, "run-1-backward")
    result = masks(jobs, "run-1")
    assert result[57]
    assert [m["runs"] for m in forward[57]] == [m["runs"] for m in result[57]]
    assert backward[57] == []
    lane = json.loads(jobs.layers.timeline("264", "run-1-backward").body.text)["objects"][0]
    assert base64.b64decode(lane["presence"])[-1] == 0


def test_the_layers_are_there_before_anybody_asks(jobs: Jobs) -> None:
    compute(jobs)
    sha256 = jobs.job("264").runs[0].result_sha256
    path = jobs.derived.path("264", f"layers/run-1.{sha256[:16]}")
    assert path.is_file()
    before = path.stat().st_ino
    assert masks(jobs, "run-1")[30]
    assert path.stat().st_ino == before


def test_a_disk_that_takes_no_layer_leaves_the_result_alone(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(derive, "write_passes", full)
    folder = compute(jobs)
    assert not list(folder.glob("*ward.jsonl"))
    with open_export(jobs.result("264"), jobs.settings.limits) as result:
        assert sum(1 for _ in result.tracks()) > 10
    assert [each.name for each in jobs.layers.listed("264").layers] == ["run-1", "revision-1"]


def test_a_run_of_one_direction_has_no_passes_to_compare(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", downloads_path=tmp_path / "in", engine="flow")
    jobs = Jobs(settings)
    path = tmp_path / "264.zip"
    path.write_bytes(layered.export(tmp_path / "made.zip"))
    with path.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(engine="flow", direction="forward"))
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    assert [each.name for each in jobs.layers.listed("264").layers] == ["run-1", "revision-1"]
    jobs.close()
