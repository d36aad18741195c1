"""Promise: an engine is shown every key frame as it was drawn, once a run, and all spans use it.

The engine's own learning is stood in for where only its arguments matter: what it does with them is
tested beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from config import Limits, Settings
from cvat_io.masks import encode
from cvat_io.model import MaskShape
from errors import InputError
from jobs.db import Database
from jobs.options import Mode, RunOptions
from jobs.plan import RunInputs, plan_run
from jobs.service import Jobs
from jobs.views import JobState, SpanState
from tests.helpers.clips import Clip, hud, shapes_of, tiny_clip, write_clip
from tracker import engines
from tracker.protocol import Example
from worker.heartbeat import Identity, Pace
from worker.learning import KeyFrameExamples, Learned, learn_objects, read_earlier, write_learned
from worker.local import track
from worker.loop import SpanLoop

QUICK = Pace(lease=5.0, heartbeat=0.05, tick=0.05)
ENDED = (JobState.COMPLETED, JobState.FAILED)


@pytest.fixture(autouse=True)
def learning_by_default(light_engines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here "auto" is an engine that learns."""
    known = dict(engines._REGISTRY)
    monkeypatch.setattr(
        engines, "_REGISTRY", MappingProxyType({"builtin": known.pop("builtin"), **known})
    )


class Spy:
    """Notes what the engine is asked to learn from and to make; learns quickly, or when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []
        self.maps: list[list[np.ndarray]] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.begun = threading.Event()
        self._make = engines.make
        monkeypatch.setattr(engines, "learn", self._learn)
        monkeypatch.setattr(engines, "make", self._made)

    def _learn(
        self,
        name: str,
        examples: Sequence[Example],
        *,
        should_stop: Callable[[], bool] | None = None,
        on_progress: Callable[[float], None] | None = None,
        **more: Any,
    ) -> bytes | None:
        self.learned.append({"name": name, **more})
        self.maps.append([example.labels for example in examples])
        self.begun.set()
        while not self.may_end.wait(0.005):
            if should_stop is not None and should_stop():
                return None
        if on_progress is not None:
            on_progress(1.0)
        return f"learned {len(examples)} seed {more['seed']}".encode()

    def _made(self, name: str, device: str = "cpu", seed: int = 0, **more: Any) -> Any:
        self.made.append({"name": name, "seed": seed, **more})
        return self._make(name, device, seed)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    found = Spy(monkeypatch)
    yield found
    found.may_end.set()


def inputs(export: Path, **options: Any) -> RunInputs:
    return RunInputs(
        annotations=export,
        images=export,
        previous=None,
        options=RunOptions(**options),
        engine="builtin",
        ignore_labels=frozenset({"HUD"}),
        limits=Limits(),
    )


def learn(given: RunInputs, **more: Any) -> Learned:
    return learn_objects(given, plan_run(given), device="cpu", **more)


# What the engine is shown


def test_every_key_frame_is_shown_as_drawn_without_ignored_labels(tmp_path: Path, spy: Spy) -> None:
    clip = tiny_clip(9)
    export = write_clip(tmp_path / "e.zip", clip, (0, 4, 8), extra=[hud(0), hud(4)])
    # Only the span from 4 to 8 is wanted, but all key frames teach.
    outcome = learn(inputs(export, frames="5"))
    assert outcome.learned == b"learned 3 seed 0"
    assert not outcome.stopped
    assert outcome.seconds > 0
    for labels, index in zip(spy.maps[0], (0, 4, 8), strict=True):
        assert labels.dtype == np.uint16
        assert np.array_equal(labels, clip.maps[index])


def test_a_key_frame_without_masks_is_shown_empty(tmp_path: Path, spy: Spy) -> None:
    clip = tiny_clip(8)
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    settings = Settings()
    export = write_clip(tmp_path / "e.zip", clip, (0, 7))
    track(export, first, options=RunOptions(), settings=settings)
    emptied = write_clip(
        tmp_path / "f.zip",
        clip,
        (),
        masks=[s for i in range(8) if i != 3 for s in shapes_of(clip, i, i)],
    )
    options = RunOptions(mode=Mode.RESEGMENT, frames="3")
    track(emptied, second, options=options, settings=settings, previous=first)
    assert any(not labels.any() for labels in spy.maps[1])


def test_where_masks_overlap_the_upper_one_is_shown(tmp_path: Path, spy: Spy) -> None:
    square = np.ones((12, 12), dtype=np.bool_)
    masks = [
        MaskShape(frame=0, label="object", mask=encode(square, 10, 10), z_order=1),
        MaskShape(frame=0, label="thing", mask=encode(square, 16, 10), z_order=0),
    ]
    learn(inputs(write_clip(tmp_path / "e.zip", tiny_clip(3), (), masks=masks)))
    (labels,) = spy.maps[0]
    assert (labels[10, 10], labels[10, 17], labels[10, 25]) == (1, 1, 2)


def test_images_are_read_only_when_asked_for(tmp_path: Path) -> None:
    class Images:
        height, width = 48, 64

        def __init__(self) -> None:
            self.read_frames: list[int] = []

        def read(self, frame: int) -> np.ndarray:
            self.read_frames.append(frame)
            return np.zeros((48, 64, 3), dtype=np.uint8)

    images = Images()
    clip = tiny_clip(9)
    seeds = {frame: shapes_of(clip, frame, frame) for frame in (2, 5, 8)}
    examples = KeyFrameExamples(images, (2, 5, 8), seeds)  # type: ignore[arg-type]
    assert (len(examples), len(examples[1:])) == (3, 2)
    assert images.read_frames == []
    assert np.array_equal(examples[-1].labels, clip.maps[8])
    assert np.array_equal(examples[1:][0].labels, clip.maps[5])
    assert images.read_frames == [8, 5]
    with pytest.raises(IndexError):
        examples[3]


def test_masks_that_do_not_fit_their_image_are_refused_in_words(tmp_path: Path) -> None:
    clip = tiny_clip(4)
    export = write_clip(tmp_path / "e.zip", clip, (0,), with_images=False)
    smaller = Clip([i[:40, :50].copy() for i in clip.images], clip.maps, clip.kinds)
    images = write_clip(tmp_path / "i.zip", smaller, (0,))
    given = inputs(images)
    with pytest.raises(InputError, match="50"):
        learn_objects(replace(given, annotations=export), plan_run(given), device="cpu")


def test_seed_and_threads_reach_the_engine(tmp_path: Path, spy: Spy) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(3), (0,))
    options = RunOptions(seed=2**32 - 1)
    track(export, tmp_path / "r.zip", options=options, settings=Settings(threads=3))
    assert spy.learned[0]["seed"] == spy.made[0]["seed"] == 2**32 - 1
    assert spy.learned[0]["threads"] == spy.made[0]["threads"] == 3
    assert spy.learned[0]["earlier"] is None
    assert spy.made[0]["learned"] == b"learned 1 seed 4294967295"


def test_nothing_is_learned_where_nothing_is_to_be_computed(tmp_path: Path, spy: Spy) -> None:
    export = write_clip(tmp_path / "e.zip", tiny_clip(2), (0, 1))
    report = track(export, tmp_path / "r.zip", options=RunOptions(), settings=Settings())
    assert spy.learned == []
    assert report["learning_seconds"] == 0.0


def test_what_was_learned_is_put_there_whole_and_under_the_name_of_its_attempt(
    tmp_path: Path,
) -> None:
    assert write_learned(tmp_path, 3, b"abc") == "learned.3.npz"
    assert [p.name for p in tmp_path.iterdir()] == ["learned.3.npz"]
    assert read_earlier(tmp_path / "learned.3.npz") == b"abc"
    assert write_learned(tmp_path, 4, None) == ""
    assert read_earlier(tmp_path / "learned.4.npz") is None
    assert read_earlier(tmp_path) is None, "what cannot be read is as if it were not there"


# In the queue


@pytest.fixture
def ready(jobs: Jobs, export: Path) -> Jobs:
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)
    return jobs


@contextmanager
def running(settings: Settings, database: Database, *names: str) -> Iterator[None]:
    loops = [
        SpanLoop(settings, database, Identity(name=name, host="here", device="cpu"), pace=QUICK)
        for name in names
    ]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.ask_to_stop()
        for thread in threads:
            thread.join()


def wait_for(condition: Callable[[], bool], jobs: Jobs) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(jobs.list_jobs())


def ended(jobs: Jobs) -> bool:
    return jobs.job("264").job.state in ENDED


def learned_files(jobs: Jobs, run: int = 1) -> list[Path]:
    return sorted(jobs.files.job("264").glob(f"*/runs/{run}/spans/learned.*"))


def test_one_worker_learns_while_the_other_waits_and_all_spans_use_it(
    ready: Jobs, settings: Settings, database: Database, spy: Spy
) -> None:
    spy.may_end.clear()
    ready.start_run("264", RunOptions(seed=5))
    with running(settings, database, "one", "two"):
        wait_for(spy.begun.is_set, ready)
        doing = "job 264, learning the objects"
        wait_for(lambda: sorted(w.doing for w in ready.workers()) == ["", doing], ready)
        run = ready.job("264").runs[0]
        assert run.learning
        assert (run.frames_done, [s.state for s in run.spans]) == (
            0,
            [SpanState.LEASED, *[SpanState.QUEUED] * 3],
        )
        spy.may_end.set()
        wait_for(lambda: ended(ready), ready)
    assert ready.job("264").job.state is JobState.COMPLETED
    assert len(spy.learned) == 1, "once for the whole run"
    # Who waited has loaded the engine meanwhile, with nothing learned.
    assert {m["learned"] for m in spy.made if "learned" in m} == {b"learned 3 seed 5"}
    assert [file.read_bytes() for file in learned_files(ready)] == [b"learned 3 seed 5"]


def test_a_worker_that_is_stopped_while_it_learns_hands_back_and_another_learns(
    ready: Jobs, settings: Settings, database: Database, spy: Spy
) -> None:
    spy.may_end.clear()
    ready.start_run("264", RunOptions())
    with running(settings, database, "first"):
        wait_for(spy.begun.is_set, ready)
    span = ready.job("264").runs[0].spans[0]
    assert (span.state, span.attempts) == (SpanState.QUEUED, 0)
    assert ready.job("264").log[-1].text == "Handed back: learning the objects."
    assert learned_files(ready) == []
    spy.may_end.set()
    with running(settings, database, "second"):
        wait_for(lambda: ended(ready), ready)
    run = ready.job("264").runs[0]
    assert (run.spans[0].worker, run.spans[0].state) == ("second", SpanState.DONE)
    assert ready.job("264").job.state is JobState.COMPLETED


def test_an_error_in_learning_fails_the_run_with_its_sentence(
    ready: Jobs, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise InputError("Frame 6 cannot be read: export again.")

    monkeypatch.setattr(engines, "learn", fail)
    ready.start_run("264", RunOptions())
    with running(settings, database, "w"):
        wait_for(lambda: ended(ready), ready)
    job = ready.job("264")
    assert job.job.reason == "Frame 6 cannot be read: export again."
    assert job.runs[0].spans[0].attempts == 1


def correct(jobs: Jobs, export: Path) -> None:
    write_clip(export, tiny_clip(12), [0, 3, 6, 11], with_images=False)
    with export.open("rb") as stream:
        jobs.receive("264.zip", stream)


def test_a_re_segmentation_starts_from_what_the_earlier_run_learned(
    ready: Jobs, settings: Settings, database: Database, spy: Spy, export: Path
) -> None:
    ready.start_run("264", RunOptions())
    with running(settings, database, "w"):
        wait_for(lambda: ended(ready), ready)
        correct(ready, export)
        ready.start_run("264", RunOptions(mode=Mode.RESEGMENT, frames="3"))
        wait_for(lambda: ended(ready), ready)
        ready.start_run("264", RunOptions())
        wait_for(lambda: ended(ready), ready)
    earlier = [learned["earlier"] for learned in spy.learned]
    assert earlier == [None, b"learned 3 seed 0", None], "and an initial run from nothing"


def test_without_the_file_of_the_earlier_run_learning_starts_from_nothing(
    ready: Jobs, settings: Settings, database: Database, spy: Spy, export: Path
) -> None:
    ready.start_run("264", RunOptions())
    with running(settings, database, "w"):
        wait_for(lambda: ended(ready), ready)
        for file in learned_files(ready):
            file.unlink()
        correct(ready, export)
        ready.start_run("264", RunOptions(mode=Mode.RESEGMENT, frames="3"))
        wait_for(lambda: ended(ready), ready)
    assert [learned["earlier"] for learned in spy.learned] == [None, None]
    assert ready.job("264").job.state is JobState.COMPLETED


def test_an_engine_that_does_not_learn_is_done_at_once_and_without_a_file(
    ready: Jobs, settings: Settings, database: Database, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = engines.resolve
    monkeypatch.setattr(engines, "resolve", lambda name: replace(resolve(name), learns=False))
    ready.start_run("264", RunOptions())
    with running(settings, database, "w"):
        wait_for(lambda: ended(ready), ready)
    assert ready.job("264").job.state is JobState.COMPLETED
    assert spy.learned == []
    assert learned_files(ready) == []
    assert {made["learned"] for made in spy.made} == {None}
