"""Promise: what both passes doubt is segmented once more, and taken only where they then agree
better; nobody who does not ask for it gets another byte, nobody can tell a killed worker, and
nobody gets it with the built-in segmenter, which makes masks worse."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cli
from config import Limits, Settings
from cvat_io.masks import decode, encode, encode_labels, iou
from cvat_io.model import MaskShape
from errors import InputError
from jobs.options import Direction, RunOptions
from jobs.plan import RunInputs, plan_run
from jobs.run_views import options_from
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import Clip, contents, masks_by_frame, shapes_of, tiny_clip, write_clip
from tests.helpers.segmenter import BrightSegmenter
from tests.worker import spans
from tests.worker.loops import a_loop, running, wait_for
from tracker import segmenters
from tracker.divergence import doubt
from tracker.fusion import fuse
from tracker.protocol import LabelMap, Step
from tracker.segmenters.protocol import Segmenter
from worker.assemble import assemble
from worker.compute import SpanOutcome
from worker.local import track
from worker.refine import FLAGGED, Decision, Refiner, _gains
from worker.spanfile import SpanFile

SIDE = 12  # of the clip's squares
FRAMES = 9
SEGMENTER = "sam2.1-hiera-tiny"  # whose weights are nowhere here: another one stands in for it


def half(shape: MaskShape, columns: slice) -> MaskShape:
    """A mask that a human drew badly: some columns of the object only."""
    pixels = decode(shape.mask)
    kept = np.zeros_like(pixels)
    kept[:, columns] = pixels[:, columns]
    mask = encode(kept, shape.mask.left, shape.mask.top)
    assert mask is not None
    return replace(shape, mask=mask, attributes=(("track_id", "a"),))


def quarrel(path: Path) -> tuple[Clip, Path]:
    """An export in which either key frame shows another part of one object, and another whole."""
    clip = tiny_clip(FRAMES)
    first, last = shapes_of(clip, 0, 0), shapes_of(clip, FRAMES - 1, FRAMES - 1)
    masks = [half(first[0], slice(0, 7)), first[1], half(last[0], slice(4, 12)), last[1]]
    return clip, write_clip(path, clip, (), masks=masks)


def inputs_of(export: Path, **options) -> RunInputs:
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(engine="flow", segmenter=SEGMENTER, **options),
        engine="flow",
        ignore_labels=frozenset(),
        limits=Limits(),
    )


def compute(
    given: RunInputs,
    folder: Path,
    *,
    fence: int = 1,
    stop_after: int | None = None,
    make: Callable[[], Segmenter] = lambda: BrightSegmenter(margin=8),
) -> SpanOutcome:
    plan = plan_run(given)
    (span,) = plan.spans
    return spans.compute(
        given, plan, span, folder, fence=fence, stop_after=stop_after, make_segmenter=make
    )


def never() -> Segmenter:
    raise AssertionError("nobody asked for a segmenter")


def test_what_passes_quarrel_about_is_settled_by_what_both_looks_find(tmp_path: Path) -> None:
    clip, export = quarrel(tmp_path / "e.zip")
    plain = SpanFile(compute(inputs_of(export), tmp_path / "plain", make=never).file)
    refined = SpanFile(compute(inputs_of(export, refine=True), tmp_path / "refined").file)
    middle = FRAMES // 2
    before = {mask.number: mask for mask in plain.read(middle).masks}
    after = {mask.number: mask for mask in refined.read(middle).masks}
    exact = encode_labels(clip.maps[middle])[1]
    assert before[1].score > 2 * before[2].score
    assert not before[1].refined
    assert after[1].refined
    assert after[1].score < before[1].score
    assert iou(before[1].mask, exact) < 0.8 < iou(after[1].mask, exact)


def test_what_is_not_in_doubt_stays_to_the_pixel(tmp_path: Path) -> None:
    _, export = quarrel(tmp_path / "e.zip")
    plain = SpanFile(compute(inputs_of(export), tmp_path / "plain", make=never).file)
    refined = SpanFile(compute(inputs_of(export, refine=True), tmp_path / "refined").file)
    for frame in plain.frames:
        one, two = ({m.number: m for m in f.read(frame).masks}[2] for f in (plain, refined))
        assert not two.refined
        assert iou(one.mask, two.mask) == 1


def test_without_doubt_no_segmenter_is_made_and_no_byte_is_other(tmp_path: Path) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(FRAMES), (0, FRAMES - 1))
    calm = compute(inputs_of(export), tmp_path / "plain", make=never).file.read_bytes()
    same = compute(inputs_of(export, refine=True), tmp_path / "refined", make=never).file
    assert same.read_bytes() == calm


def test_a_single_pass_is_left_as_it_is(tmp_path: Path) -> None:
    """With nothing to agree with, a second look would be a guess."""
    _, export = quarrel(tmp_path / "e.zip")
    forward = {"direction": Direction.FORWARD}
    plain = compute(inputs_of(export, **forward), tmp_path / "plain", make=never).file
    refined = compute(inputs_of(export, refine=True, **forward), tmp_path / "r", make=never).file
    assert refined.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("kill", range(FRAMES + 1, 2 * FRAMES - 3, 2))
def test_a_killed_workers_successor_refines_to_the_same_bytes(tmp_path: Path, kill: int) -> None:
    """It dies while it fuses, before and behind frames that were refined."""
    _, export = quarrel(tmp_path / "e.zip")
    given = inputs_of(export, refine=True)
    calm = compute(given, tmp_path / "calm")
    torn = compute(given, tmp_path / "wild", fence=1, stop_after=kill)
    before = SpanFile(torn.file).frames
    assert 0 < len(before) < FRAMES - 2
    again = compute(given, tmp_path / "wild", fence=2)
    assert again.file.read_bytes() == calm.file.read_bytes()
    with SpanFile(again.file) as file:
        for half in (before, set(file.frames) - set(before)):
            assert any(mask.refined for frame in half for mask in file.read(frame).masks)


def test_one_segmenter_serves_the_whole_span_and_sees_a_frame_once_at_most(tmp_path: Path) -> None:
    _, export = quarrel(tmp_path / "e.zip")
    made: list[BrightSegmenter] = []

    def make() -> Segmenter:
        made.append(BrightSegmenter(margin=8))
        return made[-1]

    outcome = compute(inputs_of(export, refine=True), tmp_path / "refined", make=make)
    (only,) = made
    with SpanFile(outcome.file) as file:
        refined = [f for f in file.frames if any(m.refined for m in file.read(f).masks)]
    assert 0 < len(refined) <= only.images <= len(file.frames)


def test_the_report_says_which_masks_were_refined_and_the_result_keeps_key_frames(
    tmp_path: Path,
) -> None:
    _, export = quarrel(tmp_path / "e.zip")
    given = inputs_of(export, refine=True)
    outcome = compute(given, tmp_path / "spans")
    assemble(
        given,
        plan_run(given),
        span_files={0: outcome.file},
        out=tmp_path / "r.zip",
        report=tmp_path / "r.json",
        device="cpu",
        began=0.0,
    )
    told = json.loads((tmp_path / "r.json").read_text())["divergence"]
    refined = [entry for entry in told if entry.get("refined")]
    assert {entry["label"] for entry in refined} == {"object"}
    assert 0 < len(refined) < len(told)
    before, after = masks_by_frame(export), masks_by_frame(tmp_path / "r.zip")
    for key in (0, FRAMES - 1):
        assert contents(before[key]) == contents(after[key])


def decide(one: Step, other: Step, previous: LabelMap) -> Decision:
    known = np.ones(len(one.confidence), dtype=np.bool_)
    step, agreement = fuse(one, other, weight_forward=0.5, in_forward=known, in_backward=known)
    return Decision(step, agreement, doubt(step, previous=previous, agreement=agreement))


def stepped(*squares: tuple[int, int, int, int]) -> Step:
    """A frame of 40x40 with object i + 1 in the i-th rectangle (left, top, right, bottom)."""
    labels = np.zeros((40, 40), dtype=np.uint16)
    for number, (left, top, right, bottom) in enumerate(squares, 1):
        labels[top:bottom, left:right] = number
    return Step(labels, np.full(len(squares), 0.95, dtype=np.float32))


def bright(*squares: tuple[int, int, int, int]) -> np.ndarray:
    return np.repeat((stepped(*squares).labels > 0)[..., None] * np.uint8(200), 3, axis=2)


def tried(forward: Step, backward: Step, previous: Step, image: np.ndarray) -> Decision:
    refiner = Refiner(lambda: BrightSegmenter(margin=24), lambda frame: image, threads=1)
    before = decide(forward, backward, previous.labels)
    return refiner.better(3, forward, backward, before, lambda a, b: decide(a, b, previous.labels))


def test_what_agrees_but_jumps_in_size_is_not_taken() -> None:
    """Both looks find the same large thing, which the object was not a frame ago."""
    small, large = stepped((15, 15, 21, 21)), stepped((5, 5, 31, 31))
    found = tried(small, large, small, bright((1, 1, 39, 39)))
    assert found.refined == ()
    assert np.array_equal(found.step.labels, small.labels)


def test_pixels_on_which_both_passes_agree_stay_as_they_are() -> None:
    """Neither what both give to the object, though the segmenter denies it, nor what none does."""
    forward, backward = stepped((5, 5, 13, 13)), stepped((7, 5, 15, 13))
    previous = stepped((5, 5, 15, 13))
    agreed = forward.labels == backward.labels
    refiner = Refiner(lambda: BrightSegmenter(margin=24), lambda frame: image, threads=1)
    image = bright((5, 5, 7, 13), (13, 5, 39, 39))
    # Unsure enough to be looked at again.
    forward, backward = (
        Step(step.labels, np.full(1, 0.7, dtype=np.float32)) for step in (forward, backward)
    )
    before = decide(forward, backward, previous.labels)
    found = refiner.better(3, forward, backward, before, lambda a, b: decide(a, b, previous.labels))
    assert found.refined == (1,)
    assert np.array_equal(found.step.labels[agreed], forward.labels[agreed])
    assert np.array_equal(found.step.labels, previous.labels)


def test_pixels_of_another_object_stay_its_own() -> None:
    """Everything is bright, so that the first object would take the second one's pixels."""
    forward, backward = (
        Step(step.labels, np.full(2, 0.7, dtype=np.float32))  # unsure enough to be looked at again
        for step in (
            stepped((2, 2, 10, 10), (10, 2, 18, 10)),
            stepped((2, 2, 14, 10), (14, 2, 22, 10)),
        )
    )
    previous = stepped((2, 2, 12, 10), (12, 2, 20, 10))
    assert (decide(forward, backward, previous.labels).doubt >= FLAGGED).all()
    found = tried(forward, backward, previous, bright((2, 2, 22, 10)))
    contested = (forward.labels == 2) & (backward.labels == 1)
    assert (found.step.labels[contested] == 2).all()  # where trust is equal, the forward pass wins


def test_nothing_found_leaves_all_as_it_was() -> None:
    forward, backward = stepped((5, 5, 13, 13)), stepped((9, 9, 17, 17))
    found = tried(forward, backward, stepped((7, 7, 15, 15)), bright())
    assert found.refined == ()
    assert found.doubt[0] >= FLAGGED


def test_both_looks_at_the_same_thing_are_taken() -> None:
    forward, backward = stepped((5, 7, 13, 15)), stepped((9, 7, 17, 15))
    found = tried(forward, backward, stepped((7, 7, 15, 15)), bright((7, 7, 15, 15)))
    assert found.refined == (1,)
    assert found.agreement[0] == 1
    assert np.array_equal(found.step.labels, stepped((7, 7, 15, 15)).labels)


def test_a_run_that_was_stored_before_the_option_came_has_it_off() -> None:
    assert options_from({"engine": "flow"}).refine is False
    assert RunOptions().refine is False


REFUSAL = (
    "Looking again at doubtful frames ('refine') needs a segmenter with published weights, since "
    "the built-in one was measured to make masks worse: name another segmenter, one that `relay "
    "models` says makes masks."
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "264.zip", tiny_clip(4), (0, 3))


@pytest.mark.parametrize("verb", ["track", "submit"])
def test_the_command_line_refuses_the_built_in_segmenter_before_it_takes_anything(
    small: Path,
    verb: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    out = ["--out", "r.zip"] if verb == "track" else []
    assert cli.main([verb, str(small), "--engine", "flow", "--refine", *out]) == 2
    assert capfd.readouterr().err.strip().endswith(REFUSAL)
    assert not (tmp_path / "r.zip").exists()
    assert not (tmp_path / "data" / "jobs").exists()


def test_missing_weights_are_told_before_anything_is_computed(
    small: Path, tmp_path: Path, settings: Settings
) -> None:
    options = RunOptions(engine="flow", refine=True, segmenter=SEGMENTER)
    with pytest.raises(InputError, match=SEGMENTER):
        track(small, tmp_path / "r.zip", options=options, settings=settings)


def receive(jobs: Jobs, export: Path) -> None:
    with export.open("rb") as stream:
        jobs.receive(export.name, stream)


def test_the_queue_refuses_it_alike(small: Path, jobs: Jobs) -> None:
    receive(jobs, small)
    for start in (jobs.plan, jobs.start_run):
        with pytest.raises(InputError) as refused:
            start("264", RunOptions(engine="flow", refine=True))
        assert str(refused.value) == REFUSAL


@pytest.mark.parametrize(("segmenter", "said"), [("builtin", REFUSAL), (SEGMENTER, SEGMENTER)])
def test_a_worker_refuses_such_a_run_at_its_first_span(
    small: Path, jobs: Jobs, settings: Settings, segmenter: str, said: str
) -> None:
    """However it came into the database: weights are missing, or the segmenter is the built-in."""
    receive(jobs, small)
    jobs.start_run("264", RunOptions(engine="flow", refine=True, segmenter=SEGMENTER))
    if segmenter == "builtin":
        with closing(sqlite3.connect(settings.data_dir / "relay.db")) as database:
            database.execute(
                "UPDATE runs SET options = json_set(options, '$.segmenter', 'builtin')"
            )
            database.commit()
    assert a_loop(settings, jobs.database).step()
    job = jobs.job("264").job
    assert job.state is JobState.FAILED
    assert said in job.reason
    assert job.run is not None
    assert job.run.frames_done == 0


def test_the_queue_gives_the_same_bytes_as_relay_track(
    tmp_path: Path, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that others publish are not here, so a small segmenter is made in their place."""
    made: list[Path | None] = []

    def segmenter(
        options: RunOptions, device: str, kept: Path | None = None, **more: object
    ) -> Segmenter:
        made.append(kept)
        return BrightSegmenter(margin=8)

    monkeypatch.setattr(segmenters, "require", lambda name: None)
    monkeypatch.setattr("worker.span_work.segmenter", segmenter)
    monkeypatch.setattr("worker.local.segmenter", segmenter)
    _, export = quarrel(tmp_path / "264.zip")
    options = RunOptions(engine="flow", refine=True, segmenter=SEGMENTER)
    receive(jobs, export)
    jobs.start_run("264", options)
    with running(a_loop(settings, jobs.database)):
        wait_for(jobs, "264", JobState.COMPLETED)
    track(export, tmp_path / "here.zip", options=options, settings=settings)
    assert jobs.result("264").read_bytes() == (tmp_path / "here.zip").read_bytes()
    assert made == [settings.data_dir / "embeddings", None]
    track(export, tmp_path / "off.zip", options=replace(options, refine=False), settings=settings)
    assert (tmp_path / "off.zip").read_bytes() != (tmp_path / "here.zip").read_bytes()


@pytest.mark.parametrize(
    ("agreement", "doubt", "others", "taken"),
    [
        (0.7, 0.5, 0.3, True),
        (0.7, 0.5, 0.2, True),  # another one gains too
        (0.6, 0.5, 0.3, False),  # the passes agree no better
        (0.5, 0.5, 0.3, False),
        (0.7, 0.6, 0.3, False),  # it is in as much doubt as before
        (0.7, 0.7, 0.3, False),
        (0.7, 0.5, 0.4, False),  # another one pays for it
    ],
)
def test_a_second_look_counts_where_one_gains_and_nobody_loses(
    agreement: float, doubt: float, others: float, taken: bool
) -> None:
    """The passes agree more, the object is in less doubt, and no other one in more: all three."""
    nothing = Step(np.zeros((1, 1), np.uint16), np.ones(2, np.float32))

    def decision(agreed: float, own: float, other: float) -> Decision:
        pair = np.array([1.0, agreed], np.float32), np.array([other, own], np.float32)
        return Decision(nothing, *pair)

    before = decision(0.6, 0.6, 0.3)
    assert _gains(2, decision(agreement, doubt, others), before) is taken
