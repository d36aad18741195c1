"""Promise: kills at any frame, attempts on any worker: the same archive to the byte; and what
is incomplete or wrong is never published."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import Limits
from cvat_io.verify import VerificationError
from jobs.options import KeyFrames, RunOptions
from jobs.plan import RunInputs, RunPlan, plan_run
from tests.helpers.clips import contents, hud, masks_by_frame, tiny_clip, write_clip
from worker.assemble import Assembled, assemble
from worker.compute import compute_span
from worker.objects import Objects


def inputs(export: Path, **options) -> RunInputs:
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),
        engine="flow",
        ignore_labels=frozenset({"HUD"}),
        limits=Limits(),
    )


def attempt(given_inputs, plan, span, folder, fence, stop_after=None):
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_after

    return compute_span(
        given_inputs,
        plan,
        span,
        folder=folder,
        fence=fence,
        device="cpu",
        on_progress=lambda done, total: None,
        should_stop=should_stop,
    )


def put_together(given_inputs: RunInputs, plan: RunPlan, files, out: Path) -> Assembled:
    return assemble(
        given_inputs,
        plan,
        span_files=files,
        out=out,
        report=out.with_suffix(".json"),
        device="cpu",
        began=time.time(),
    )


@settings(max_examples=8, deadline=None)
@given(
    keys=st.sets(st.integers(0, 9), min_size=1, max_size=4),
    kills=st.lists(st.integers(1, 8), max_size=2),
    keyframes=st.sampled_from(KeyFrames),
)
def test_random_kills_never_change_a_byte_of_the_archive(keys, kills, keyframes):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export = write_clip(folder / "e.zip", tiny_clip(10), sorted(keys), extra=[hud(1), hud(8)])
        given_inputs = inputs(export, keyframes=keyframes)
        plan = plan_run(given_inputs)
        calm, wild = folder / "calm", folder / "wild"
        results = []
        for place, stops in ((calm, ()), (wild, kills)):
            place.mkdir()
            files = {}
            for span in plan.spans:
                for fence, stop in enumerate([*stops, None], 1):
                    outcome = attempt(given_inputs, plan, span, place, fence, stop)
                files[span.ordinal] = outcome.file
            put_together(given_inputs, plan, files, place / "r.zip")
            results.append((place / "r.zip").read_bytes())
        assert results[0] == results[1]
        before, after = masks_by_frame(export), masks_by_frame(calm / "r.zip")
        if keyframes is KeyFrames.COMPLETE:
            assert all(contents(after[key]) == contents(before[key]) for key in keys)


@pytest.fixture
def finished(tmp_path):
    given_inputs = inputs(write_clip(tmp_path / "e.zip", tiny_clip(8), (0, 5)))
    plan = plan_run(given_inputs)
    files = {s.ordinal: attempt(given_inputs, plan, s, tmp_path, 1).file for s in plan.spans}
    return given_inputs, plan, files


def test_assembling_again_gives_the_same_archive_and_says_its_checksum(tmp_path, finished):
    one = put_together(*finished, tmp_path / "a.zip")
    two = put_together(*finished, tmp_path / "b.zip")
    assert one.sha256 == two.sha256
    assert one.bytes == (tmp_path / "a.zip").stat().st_size
    assert (one.objects, one.frames_labelled) == (2, 8)


def test_the_systems_temp_folder_is_not_needed(tmp_path, finished, monkeypatch):
    """Promise: what a result waits in lies on the disk that holds results: a temp may be memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    put_together(*finished, tmp_path / "r.zip")
    assert (tmp_path / "r.zip").is_file()


def test_an_unfinished_span_is_never_published(tmp_path, finished):
    given_inputs, plan, files = finished
    lines = files[1].read_bytes().splitlines(keepends=True)
    files[1].write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RuntimeError, match="1 of the 2 frames"):
        put_together(given_inputs, plan, files, tmp_path / "r.zip")
    assert not list(tmp_path.glob("*r.*"))


def test_what_fails_verification_leaves_the_older_result_and_no_draft(
    tmp_path, finished, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise VerificationError("no")

    monkeypatch.setattr("worker.assemble.verify_result", refuse)
    out = tmp_path / "out"
    out.mkdir()
    (out / "r.zip").write_bytes(b"older")
    with pytest.raises(VerificationError):
        put_together(*finished, out / "r.zip")
    assert [file.name for file in out.iterdir()] == ["r.zip"]
    assert (out / "r.zip").read_bytes() == b"older"


def test_the_times_of_spans_are_found_beside_their_files(tmp_path, finished):
    put_together(*finished, tmp_path / "r.zip")
    report = json.loads((tmp_path / "r.json").read_text())
    assert all(span["seconds"] > 0 for span in report["spans"])
    assert report["stages"]["track"] > 0


def test_two_masks_of_one_key_frame_are_never_one_object():
    shape = object()
    seeds = {0: [shape, shape], 5: [shape, shape], 9: [shape]}
    objects = Objects(seeds, [[(0, 0), (5, 0)], [(5, 0), (0, 1)], [(5, 1), (9, 0)]])
    numbers = {(f, k): objects.number((f, k)) for f in seeds for k in range(len(seeds[f]))}
    assert numbers == {(0, 0): 1, (0, 1): 2, (5, 0): 1, (5, 1): 3, (9, 0): 3}
    assert objects.shown(3).frames == (5, 9)
