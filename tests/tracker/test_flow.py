"""Promise: the flow engine follows objects, restarts to the bit, and nothing upsets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from demo.clip import make_clip
from tracker.engines import make
from tracker.protocol import Step

CLIPS = Path(__file__).parents[2].parent / "shared" / "clips"
SMALL = [make_clip(24, 256, 144).frame(i) for i in range(24)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def follow(frames: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Step]:
    propagator = make("flow")
    propagator.start(*frames[0])
    return [propagator.step(image) for image, _ in frames[1:]]


def iou(found: np.ndarray, exact: np.ndarray, number: int) -> float:
    a, b = found == number, exact == number
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def same(a: Step, b: Step) -> bool:
    return np.array_equal(a.labels, b.labels) and np.array_equal(a.confidence, b.confidence)


def blank(value: int = 0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def test_moving_objects_are_followed_forward_and_backward() -> None:
    for frames in (SMALL, SMALL[::-1]):
        steps = follow(frames)
        given = np.setdiff1d(frames[0][1], 0)
        scores = [
            iou(step.labels, exact, number)
            for step, (_, exact) in zip(steps, frames[1:], strict=True)
            for number in given
        ]
        assert np.mean(scores) > 0.9


def test_an_object_that_enters_at_the_edge_goes_on_entering() -> None:
    frames = [make_clip(34).frame(i) for i in range(19, 34)]
    steps = follow(frames)
    assert np.count_nonzero(frames[0][1] == 4) < 0.4 * np.count_nonzero(frames[-1][1] == 4)
    assert iou(steps[-1].labels, frames[-1][1], 4) > 0.9


def test_an_object_that_leaves_at_the_edge_is_gone_for_good() -> None:
    frames = [make_clip(34).frame(i) for i in range(18, 34)]
    assert (frames[0][1] == 3).any()
    steps = follow(frames)
    for step, (_, exact) in zip(steps, frames[1:], strict=True):
        if not (exact == 3).any():
            assert not (step.labels == 3).any()
    assert not (frames[-1][1] == 3).any()


def test_a_fresh_propagator_goes_on_where_a_killed_one_stopped_to_the_bit() -> None:
    whole = follow(SMALL)
    for stop in (1, 5, 12, 22):
        second = make("flow")
        second.start(*SMALL[0])
        second.remember(SMALL[stop][0], whole[stop - 1].labels)
        for index in range(stop, len(whole)):
            assert same(second.step(SMALL[index + 1][0]), whole[index]), (stop, index)


def test_starting_anew_forgets_everything() -> None:
    used = make("flow")
    used.start(*make_clip(1, 256, 144, seed=9).frame(0))
    used.step(SMALL[5][0])
    used.start(*SMALL[0])
    assert same(used.step(SMALL[1][0]), follow(SMALL[:2])[0])


def test_masks_are_the_same_whatever_the_number_of_threads(threads: None) -> None:
    results = []
    for count in (1, 2, 4, 7):
        cv2.setNumThreads(count)
        results.append(follow(SMALL[:7]))
    for other in results[1:]:
        assert all(same(a, b) for a, b in zip(results[0], other, strict=True))


def test_inputs_are_neither_changed_nor_kept() -> None:
    image, labels = SMALL[0][0].copy(), SMALL[0][1].copy()
    propagator = make("flow")
    propagator.start(image, labels)
    first = propagator.step(SMALL[1][0])
    assert np.array_equal(image, SMALL[0][0])
    assert np.array_equal(labels, SMALL[0][1])
    expected = follow(SMALL[:3])
    first.labels[...] = 0  # what was handed out is the caller's own
    assert np.array_equal(propagator.step(SMALL[2][0]).labels, expected[1].labels)


def test_a_key_frame_without_masks_gives_frames_without_masks() -> None:
    nothing = np.zeros((40, 60), dtype=np.uint16)
    propagator = make("flow")
    propagator.start(blank(), nothing)
    for value in (9, 200):
        step = propagator.step(blank(value))
        assert not step.labels.any()
        assert step.confidence.shape == (0,)


def test_an_object_remembered_later_is_followed_from_there() -> None:
    propagator = make("flow")
    propagator.start(SMALL[0][0], np.zeros_like(SMALL[0][1]))
    propagator.step(SMALL[1][0])
    propagator.remember(*SMALL[2])
    step = propagator.step(SMALL[3][0])
    assert len(step.confidence) == SMALL[2][1].max()
    assert all(iou(step.labels, SMALL[3][1], n) > 0.9 for n in np.setdiff1d(SMALL[2][1], 0))


def test_an_object_that_is_lost_stays_absent_until_it_is_remembered() -> None:
    propagator = make("flow")
    propagator.start(*SMALL[0])
    erased = np.where(SMALL[1][1] == 2, 0, SMALL[1][1]).astype(np.uint16)
    propagator.remember(SMALL[1][0], erased)
    for index in range(2, 5):
        assert not (propagator.step(SMALL[index][0]).labels == 2).any()
    propagator.remember(*SMALL[5])
    assert (propagator.step(SMALL[6][0]).labels == 2).any()


def test_confidence_has_an_entry_in_range_for_every_object_given() -> None:
    steps = follow(SMALL)
    for step in steps:
        assert step.confidence.dtype == np.float32
        assert len(step.confidence) == SMALL[0][1].max()
        assert ((step.confidence >= 0) & (step.confidence <= 1)).all()
        assert step.labels.dtype == np.uint16


def test_a_mask_that_has_slipped_off_its_object_is_less_sure() -> None:
    propagator = make("flow")
    propagator.start(*SMALL[0])
    right = propagator.step(SMALL[1][0]).confidence
    propagator.remember(SMALL[0][0], np.roll(SMALL[0][1], 12, axis=0))
    slipped = propagator.step(SMALL[1][0]).confidence
    for number in np.setdiff1d(SMALL[0][1], 0):
        assert slipped[number - 1] < right[number - 1] - 0.1


def test_three_hundred_objects_are_carried_in_one_label_map() -> None:
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (340, 420, 3), dtype=np.uint8), (0, 0), 1.5)
    labels = np.zeros((340, 420), dtype=np.uint16)
    for number in range(300):
        row, column = divmod(number, 20)
        top, left = 6 + 22 * row, 8 + 20 * column
        labels[top : top + 12, left : left + 12] = number + 1
    propagator = make("flow")
    propagator.start(texture, labels)
    for shift in (1, 2, 3):
        step = propagator.step(np.roll(texture, shift, axis=1))
    moved = np.roll(labels, 3, axis=1)
    assert step.confidence.shape == (300,)
    assert np.mean([iou(step.labels, moved, n) for n in range(1, 301)]) > 0.8
    assert len(np.setdiff1d(step.labels, 0)) == 300


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 300), (300, 2), (9, 9), (17, 33), (160, 90), (31, 64)]
)
def test_any_shape_of_frame_will_do(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(3)]
    for labels in (np.ones(shape, dtype=np.uint16), np.eye(*shape, dtype=np.uint16)):
        propagator = make("flow")
        propagator.start(images[0], labels)
        for image in images[1:]:
            assert propagator.step(image).labels.shape == shape


def test_grey_pictures_are_followed_too() -> None:
    grey = [
        (np.repeat(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), m)
        for i, m in SMALL[:10]
    ]
    last = follow(grey)[-1].labels
    assert np.mean([iou(last, grey[-1][1], n) for n in np.setdiff1d(grey[0][1], 0)]) > 0.85


def test_portrait_pictures_are_followed_too() -> None:
    turned = [(np.rot90(i).copy(), np.rot90(m).copy()) for i, m in SMALL[:10]]
    last = follow(turned)[-1].labels
    assert np.mean([iou(last, turned[-1][1], n) for n in np.setdiff1d(turned[0][1], 0)]) > 0.9


def test_large_pictures_are_followed_at_their_own_size() -> None:
    frames = [
        (cv2.resize(i, (1500, 843)), cv2.resize(m, (1500, 843), interpolation=cv2.INTER_NEAREST))
        for i, m in SMALL[:4]
    ]
    last = follow(frames)[-1].labels
    assert np.mean([iou(last, frames[-1][1], n) for n in np.setdiff1d(frames[0][1], 0)]) > 0.93


def test_a_picture_of_one_colour_keeps_the_mask() -> None:
    labels = np.zeros((40, 60), dtype=np.uint16)
    labels[10:30, 20:40] = 1
    propagator = make("flow")
    propagator.start(blank(128), labels)
    for _ in range(5):
        step = propagator.step(blank(128))
    assert iou(step.labels, labels, 1) > 0.9


@pytest.mark.parametrize(
    ("clip", "least"), [("blackswan", 0.88), ("car-shadow", 0.82), ("chair", 0.78)]
)
def test_real_clips_keep_their_object_for_twenty_frames(clip: str, least: float) -> None:
    if not CLIPS.is_dir():
        pytest.skip(f"no real clips in {CLIPS}")
    frames = []
    for path in sorted((CLIPS / clip / "images").glob("*.jpg"))[:21]:
        image = np.array(PIL.Image.open(path).convert("RGB"))
        mask = np.array(PIL.Image.open(CLIPS / clip / "masks" / f"{path.stem}.png")) > 0
        frames.append((image, mask.astype(np.uint16)))
    steps = follow(frames)
    found = [iou(s.labels, m, 1) for s, (_, m) in zip(steps, frames[1:], strict=True)]
    assert np.mean(found) > least
