"""Promise: spans that are computed in one batch get the masks that each would get alone.

Whoever ends, fails or is stopped leaves the others alone, and a device that is too small for a
batch gets one span at a time.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.golden import GOLDEN
from demo.clip import make_clip
from tests.tracker.deaot import golden
from tracker.engines import Power
from tracker.power import working
from tracker.propagators.deaot import Batcher, DeAOTPropagator, Eviction, Memories
from tracker.propagators.deaot.batch import Clip, advance
from tracker.propagators.deaot.decide import decided
from tracker.propagators.deaot.network import DeAOT
from tracker.propagators.deaot.picture import normalised, shrunk
from tracker.propagators.deaot.tracker import Tracker
from tracker.protocol import Image, LabelMap

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/deaot is not here")
ALIKE = 0.9999  # of the pixels of a span
FEW = Memories(gap=2, most=3, eviction=Eviction.KEEP_KEY_FRAMES)
SIZE = 96, 160
LONG = make_clip(8, 160, 96)
FRAMES = [LONG.frame(index)[0] for index in range(8)]
SMALL = [np.ascontiguousarray(frame[:64, :96]) for frame in FRAMES]


def columns(count: int, like: Image) -> LabelMap:
    """A label map of `count` objects: columns of the picture."""
    width = like.shape[1]
    return np.broadcast_to(np.arange(width) * count // width + 1, like.shape[:2]).astype(np.uint16)


Span = tuple[Sequence[Image], int]  # its frames, and how many objects are on the first


def follow(network: DeAOT, batcher: Batcher, span: Span, spans: int = 1) -> list[LabelMap]:
    frames, objects = span
    propagator = DeAOTPropagator(
        lambda device: network, Power(threads=1, spans=spans), FEW, batcher=lambda network: batcher
    )
    propagator.start(frames[0], columns(objects, frames[0]))
    return [propagator.step(frame).labels for frame in frames[1:]]


def at_once(work: Sequence[Callable[[], object]]) -> None:
    """Do all of it in threads that begin together; none may hang."""
    ready = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        ready.wait()
        one()

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def together(network: DeAOT, batcher: Batcher, spans: Sequence[Span]) -> list[list[LabelMap]]:
    found: list[list[LabelMap]] = [[] for _ in spans]

    def one(index: int) -> None:
        found[index] = follow(network, batcher, spans[index], len(spans))

    at_once([lambda index=index: one(index) for index in range(len(spans))])  # type: ignore[misc]
    return found


def require_alike(network: DeAOT, spans: Sequence[Span], found: list[list[LabelMap]]) -> None:
    for span, masks in zip(spans, found, strict=True):
        alone = follow(network, Batcher(), span)
        assert len(masks) == len(alone)
        assert np.mean(np.stack(masks) == np.stack(alone)) >= ALIKE


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_logits_of_a_batch_are_those_of_each_clip_alone(variant: str) -> None:
    """Three, thirteen and no objects; one clip is ahead of the others and remembers more frames."""
    network = golden.network(variant)
    size = tuple(
        side + network.variant.corners for side in (96, 160)
    )  # as the network wants its sides
    objects, ahead = (3, 13, 0), (2, 0, 0)

    def begun() -> list[Tracker]:
        trackers = [Tracker(network, Memories(gap=1, most=9)) for _ in objects]
        for tracker, count, frames in zip(trackers, objects, ahead, strict=True):
            tracker.look(normalised(FRAMES[0], size))
            if count:
                tracker.meet(shrunk(columns(count, FRAMES[0]), size), count)
            for index in range(frames):
                ask(tracker, index, count, known=index > 0)
        return trackers

    def clip(tracker: Tracker, index: int, count: int, *, known: bool) -> Clip:
        labels = shrunk(np.roll(columns(count, FRAMES[0]), index, axis=1), size)
        image = normalised(FRAMES[index + 1], size)
        return Clip(tracker, image, labels if known and count else None)

    def ask(tracker: Tracker, index: int, count: int, *, known: bool) -> list[Tensor]:
        return advance([clip(tracker, index, count, known=known)])[0]

    with torch.inference_mode(), working(Power(threads=1)):
        one_by_one, at_once = begun(), begun()
        same: list[Tensor] = []
        for index in range(2):
            known = [index + frames > 0 for frames in ahead]
            batch = [
                clip(tracker, index + frames, count, known=k)
                for tracker, count, frames, k in zip(at_once, objects, ahead, known, strict=True)
            ]
            found = advance(batch)
            for place, tracker in enumerate(one_by_one):
                frame, count = index + ahead[place], objects[place]
                alone = ask(tracker, frame, count, known=known[place])
                assert len(found[place]) == len(alone) == -(-count // 10)
                for ours, theirs in zip(found[place], alone, strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=0, atol=golden.TOLERANCE)
                if count:
                    masks = [
                        decided(each, SIZE, corners=network.variant.corners)
                        for each in (found[place], alone)
                    ]
                    same.append((masks[0] == masks[1]).float().mean())
        assert np.mean(same) >= ALIKE
        assert [t.remembered() for t in at_once] == [t.remembered() for t in one_by_one]


@pytest.mark.parametrize(
    "spans",
    [
        [(FRAMES, 3), (FRAMES[::-1], 13)],
        [(FRAMES, 3), (FRAMES[2:6], 13), (FRAMES[::-1][:6], 0)],
        [(FRAMES, 3), (SMALL, 13), (FRAMES[3:], 2), (SMALL[::-1], 3)],
    ],
    ids=["two", "three of different lengths", "of two sizes"],
)
def test_spans_in_threads_get_the_masks_of_each_alone(spans: Sequence[Span]) -> None:
    network, batcher = golden.network("DeAOTT"), Batcher(worth=0.5)
    found = together(network, batcher, spans)
    assert max(batcher.sizes) > 1, "they were computed together"
    require_alike(network, spans, found)


def test_frames_of_different_sizes_never_share_a_batch() -> None:
    network, batcher = golden.network("DeAOTT"), Batcher()
    spans = [(FRAMES[:6], 3), (SMALL[:6], 3)]
    found = together(network, batcher, spans)
    assert set(batcher.sizes) == {1}
    require_alike(network, spans, found)


def test_one_that_is_stopped_or_fails_midway_leaves_the_others_alone() -> None:
    """One span is given up after two frames; one meets a frame that the network cannot take."""
    network, batcher = golden.network("DeAOTT"), Batcher()
    broken = [*FRAMES[:3], np.zeros((96, 160, 4), dtype=np.uint8), *FRAMES[4:]]
    found: list[list[LabelMap]] = []
    failed: list[BaseException] = []

    def fails() -> None:
        try:
            follow(network, batcher, (broken, 3), 3)
        except Exception as exc:  # noqa: BLE001 - whatever the libraries say of such a frame
            failed.append(exc)

    at_once(
        [
            lambda: found.append(follow(network, batcher, (FRAMES, 13), 3)),
            lambda: follow(network, batcher, (FRAMES[:3], 3), 3),
            fails,
        ]
    )
    assert len(failed) == 1
    require_alike(network, [(FRAMES, 13)], found)


def test_an_error_in_a_batch_is_only_of_the_clip_that_it_comes_from() -> None:
    network = golden.network("DeAOTT")
    batcher = Batcher()
    size = 97, 161
    trackers = [Tracker(network, FEW) for _ in range(2)]
    with torch.inference_mode():
        for tracker in trackers:
            tracker.look(normalised(FRAMES[0], size))
            tracker.meet(shrunk(columns(3, FRAMES[0]), size), 3)
    shown = normalised(FRAMES[1], size)
    clips = [Clip(trackers[0], shown, None), Clip(trackers[1], shown[:, :2], None)]
    said: list[object] = [None, None]

    def ask(index: int) -> None:
        with torch.inference_mode():
            try:
                said[index], _ = batcher.advance(clips[index], alike=size, most=2)
            except RuntimeError as exc:
                said[index] = exc

    in_line(batcher, [lambda: ask(0), lambda: ask(1)])
    assert isinstance(said[0], list)
    assert isinstance(said[1], RuntimeError)


def test_a_thread_that_is_ended_while_it_computes_for_others_leaves_that_to_them() -> None:
    network, batcher = copy.deepcopy(golden.network("DeAOTT")), Batcher()
    network.prepare()
    propagators = [
        DeAOTPropagator(
            lambda device: network, Power(threads=1, spans=2), FEW, batcher=lambda network: batcher
        )
        for _ in range(2)
    ]
    for propagator in propagators:
        propagator.start(FRAMES[0], columns(3, FRAMES[0]))
    ended: list[str] = []

    def end(module: nn.Module, given: object) -> None:
        if not ended:
            ended.append(threading.current_thread().name)
            raise SystemExit

    network.encoder.register_forward_pre_hook(end)
    found: list[LabelMap] = []

    def step(which: int) -> None:
        with contextlib.suppress(SystemExit):
            found.append(propagators[which].step(FRAMES[1]).labels)

    in_line(batcher, [lambda: step(0), lambda: step(1)])
    assert len(ended) == len(found) == 1


def in_line(batcher: Batcher, work: Sequence[Callable[[], object]]) -> None:
    """Do all of it in threads that have all come before the first of them has its turn."""
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    with batcher.alone():
        for thread in threads:
            thread.start()
        pause = threading.Event()
        while len(batcher._line) < len(work):
            pause.wait(0.001)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def refusing(most: int) -> DeAOT:
    """A network on a device whose memory holds `most` images at once."""
    network = copy.deepcopy(golden.network("DeAOTT"))
    network.prepare()

    def refuse(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("there is no room")

    network.LSTT.layers[0].linear_QV.register_forward_pre_hook(refuse)
    return network


def test_a_batch_that_does_not_fit_becomes_one_span_at_a_time_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network, batcher = refusing(1), Batcher()
    spans = [(FRAMES, 3), (FRAMES[::-1], 13)]
    propagators = [
        DeAOTPropagator(
            lambda device: network, Power(threads=1, spans=2), FEW, batcher=lambda network: batcher
        )
        for _ in spans
    ]
    found: list[list[LabelMap]] = [[], []]
    for propagator, (frames, objects) in zip(propagators, spans, strict=True):
        propagator.start(frames[0], columns(objects, frames[0]))
    for index in range(1, len(FRAMES)):

        def step(which: int, index: int = index) -> None:
            found[which].append(propagators[which].step(spans[which][0][index]).labels)

        in_line(batcher, [lambda: step(0), lambda: step(1)])
    assert set(batcher.sizes) == {1}
    assert len(caplog.messages) == 2, "each of the two says so, once"
    assert all(said.endswith("going on with one span at a time") for said in caplog.messages)
    require_alike(golden.network("DeAOTT"), spans, found)


class Small:
    """A device with room for `room` clips beside what they hold."""

    def __init__(self, room: int) -> None:
        self.room = room

    def free(self) -> int:
        return 1000 * self.room + 999

    def begin(self) -> None:
        """Nothing to prepare."""

    def taken(self) -> int:
        return 1000


@pytest.mark.parametrize("room", [0, 2])
def test_a_batch_is_no_larger_than_free_memory_allows(room: int) -> None:
    """The first step of a size is computed alone: it shows what one needs."""
    network, batcher = golden.network("DeAOTT"), Batcher(Small(room))
    spans = [(FRAMES[:5], 1)] * 3
    propagators = [
        DeAOTPropagator(
            lambda device: network, Power(threads=1, spans=3), FEW, batcher=lambda network: batcher
        )
        for _ in spans
    ]
    for propagator in propagators:
        propagator.start(FRAMES[0], columns(1, FRAMES[0]))
    propagators[0].step(FRAMES[1])
    assert batcher.sizes == {1: 1}
    in_line(batcher, [lambda one=one: one.step(FRAMES[2]) for one in propagators])  # type: ignore[misc]
    assert max(batcher.sizes) == max(1, room)
