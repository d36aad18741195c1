"""Promise: the builtin engines follow what they learned, and restart to the bit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from demo.clip import make_clip
from tests.helpers.engines import quick, use
from tests.tracker.scenes import (
    BAR,
    COIN,
    FAST,
    HIDDEN,
    SMALL,
    WALKER,
    WALL,
    Frames,
    blank,
    follow,
    iou,
    same,
    scene,
    texture,
)
from tracker.engines import learn, make
from tracker.protocol import Example, Step

CLIPS = Path(__file__).parents[2].parent / "shared" / "clips"


@pytest.fixture(autouse=True)
def quick_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    use(quick, monkeypatch)


def taught(frames: Frames) -> bytes:
    """What the fast engine learns from the first frame."""
    found = learn(FAST, [Example(*frames[0])])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def acted(learned_scene: bytes) -> tuple[Frames, list[Step]]:
    """The scene and what the engine says of its frames after the first."""
    frames = scene(15)
    return frames, follow(frames, learned_scene)


def mean_iou(steps: list[Step], frames: Frames) -> float:
    """Over all frames and all objects of the first frame."""
    given = np.setdiff1d(frames[0][1], 0)
    scores = [
        iou(step.labels, exact, number)
        for step, (_, exact) in zip(steps, frames[1:], strict=True)
        for number in given
    ]
    return float(np.mean(scores))


@pytest.mark.parametrize("back", [False, True], ids=["forward", "backward"])
def test_moving_objects_are_followed_forward_and_backward(learned: bytes, back: bool) -> None:
    frames = SMALL[12::-1] if back else SMALL[:13]
    assert mean_iou(follow(frames, learned), frames) > 0.9


def test_objects_are_followed_where_nothing_was_learned_too() -> None:
    assert mean_iou(follow(SMALL[:8]), SMALL[:8]) > 0.88


@pytest.fixture(scope="module")
def at_the_edge(learned: bytes) -> tuple[Frames, list[Step]]:
    """One object enters, another leaves."""
    frames = [make_clip(34, 256, 144).frame(i) for i in range(18, 34)]
    return frames, follow(frames, learned)


def test_an_object_that_enters_at_the_edge_goes_on_entering(
    at_the_edge: tuple[Frames, list[Step]],
) -> None:
    frames, steps = at_the_edge
    assert np.count_nonzero(frames[0][1] == 4) < 0.4 * np.count_nonzero(frames[-1][1] == 4)
    assert iou(steps[-1].labels, frames[-1][1], 4) > 0.88


def test_an_object_that_leaves_at_the_edge_is_gone(
    at_the_edge: tuple[Frames, list[Step]],
) -> None:
    frames, steps = at_the_edge
    assert (frames[0][1] == 3).any()
    assert not (frames[-1][1] == 3).any()
    for step, (_, exact) in zip(steps, frames[1:], strict=True):
        if not (exact == 3).any():
            assert np.count_nonzero(step.labels == 3) < 20


def test_objects_of_which_one_passes_in_front_of_the_other_both_go_on(
    acted: tuple[Frames, list[Step]],
) -> None:
    frames, steps = acted
    overlaps = [np.count_nonzero(labels == WALL) for _, labels in frames]
    assert min(overlaps) < 0.7 * overlaps[0], "the scene has one"
    last = steps[-1].labels
    assert iou(last, frames[-1][1], WALL) > 0.9
    assert iou(last, frames[-1][1], WALKER) > 0.9


def test_an_object_that_returns_is_found_again_with_its_own_number(
    acted: tuple[Frames, list[Step]],
) -> None:
    frames, steps = acted
    for index in HIDDEN:
        assert np.count_nonzero(steps[index - 1].labels == COIN) < 20
    assert iou(steps[-1].labels, frames[-1][1], COIN) > 0.8


def test_an_object_that_breaks_in_two_keeps_both_pieces(
    acted: tuple[Frames, list[Step]],
) -> None:
    frames, steps = acted
    pieces, places = cv2.connectedComponents((frames[-1][1] == BAR).astype(np.uint8))
    assert pieces == 3, "the ground and two"
    for piece in (1, 2):
        assert (steps[-1].labels[places == piece] == BAR).mean() > 0.8


def test_confidence_has_an_entry_in_range_for_every_object(
    acted: tuple[Frames, list[Step]],
) -> None:
    frames, steps = acted
    for step in steps:
        assert (step.labels.dtype, step.labels.shape) == (np.uint16, frames[0][1].shape)
        assert (step.confidence.dtype, step.confidence.shape) == (np.float32, (4,))
        assert ((step.confidence >= 0) & (step.confidence <= 1)).all()


def test_a_mask_that_has_slid_off_its_object_is_less_sure(learned_scene: bytes) -> None:
    frames = scene(2)
    propagator = make(FAST, learned=learned_scene)
    propagator.start(*frames[0])
    right = propagator.step(frames[1][0]).confidence
    propagator.remember(frames[0][0], np.roll(frames[0][1], 60, axis=0))
    assert propagator.step(frames[1][0]).confidence.mean() < right.mean() - 0.02


def test_a_fresh_propagator_goes_on_where_a_killed_one_stopped_to_the_bit(
    learned_scene: bytes, acted: tuple[Frames, list[Step]], tmp_path: Path
) -> None:
    """Also while an object is away; and what was learned comes from a file."""
    frames, whole = acted
    file = tmp_path / "learned.npz"
    file.write_bytes(learned_scene)
    for stop in (1, 7, 12):
        second = make(FAST, learned=file.read_bytes())
        second.start(*frames[0])
        second.remember(frames[stop][0], whole[stop - 1].labels)
        for index in range(stop, len(whole)):
            assert same(second.step(frames[index + 1][0]), whole[index]), (stop, index)


def test_starting_anew_forgets_everything(learned: bytes) -> None:
    used = make(FAST, learned=learned)
    used.start(*make_clip(1, 256, 144, seed=9).frame(0))
    used.step(SMALL[5][0])
    used.start(*SMALL[0])
    assert same(used.step(SMALL[1][0]), follow(SMALL[:2], learned)[0])


def test_masks_are_the_same_for_the_same_number_of_threads(learned: bytes, threads: None) -> None:
    for count in (1, 2):
        steps = []
        for _ in range(2):
            propagator = make(FAST, threads=count, learned=learned)
            propagator.start(*SMALL[0])
            steps.append(propagator.step(SMALL[1][0]))
        assert same(*steps)


def test_inputs_are_neither_changed_nor_kept(learned: bytes) -> None:
    expected = follow(SMALL[:3], learned)
    image, labels = SMALL[0][0].copy(), SMALL[0][1].copy()
    propagator = make(FAST, learned=learned)
    propagator.start(image, labels)
    first = propagator.step(SMALL[1][0])
    assert np.array_equal(image, SMALL[0][0])
    assert np.array_equal(labels, SMALL[0][1])
    labels[...] = 0
    first.labels[...] = 0  # what was handed out is the caller's own
    assert np.array_equal(propagator.step(SMALL[2][0]).labels, expected[1].labels)


def test_an_object_remembered_later_is_followed_from_there(learned: bytes) -> None:
    propagator = make(FAST, learned=learned)
    propagator.start(SMALL[0][0], np.zeros_like(SMALL[0][1]))
    propagator.step(SMALL[1][0])
    propagator.remember(*SMALL[2])
    step = propagator.step(SMALL[3][0])
    assert len(step.confidence) == SMALL[2][1].max()
    assert all(iou(step.labels, SMALL[3][1], n) > 0.8 for n in np.setdiff1d(SMALL[2][1], 0))


def test_an_object_drawn_only_on_the_second_key_frame_is_learned_too() -> None:
    frames = scene(4)
    first = np.where(frames[0][1] == COIN, 0, frames[0][1]).astype(np.uint16)
    examples = [Example(frames[0][0], first), Example(*frames[2])]
    found = learn(FAST, examples)
    assert iou(follow(frames[2:], found)[0].labels, frames[3][1], COIN) > 0.9


def test_grey_pictures_are_followed_too() -> None:
    grey = [
        (np.repeat(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), m)
        for i, m in SMALL[:8]
    ]
    assert mean_iou(follow(grey, taught(grey)), grey) > 0.92


def test_portrait_pictures_are_followed_too(learned: bytes) -> None:
    turned = [(np.rot90(i).copy(), np.rot90(m).copy()) for i, m in SMALL[:8]]
    assert mean_iou(follow(turned, learned), turned) > 0.92


def test_frames_of_4k_are_followed_at_their_own_size(learned: bytes) -> None:
    size = (3840, 2160)
    frames = [
        (cv2.resize(i, size), cv2.resize(m, size, interpolation=cv2.INTER_NEAREST))
        for i, m in SMALL[:2]
    ]
    step = follow(frames, learned)[0]
    assert step.labels.shape == (2160, 3840)
    assert mean_iou([step], frames) > 0.92


def test_a_tiny_object_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 pixels in all."""
    use(None, monkeypatch)
    frames = []
    for time in range(5):
        image, labels = texture(120, 160, 5), np.zeros((120, 160), dtype=np.uint16)
        where = np.s_[50:54, 40 + time : 45 + time]
        image[where], labels[where] = (230, 40, 40), 1
        frames.append((image, labels))
    assert np.count_nonzero(frames[0][1]) == 20
    assert iou(follow(frames, taught(frames))[-1].labels, frames[-1][1], 1) > 0.9


def test_an_object_that_fills_the_frame_goes_on_filling_it() -> None:
    picture = texture(120, 180, 6, (120, 160, 90))
    everywhere = np.ones((120, 180), dtype=np.uint16)
    frames = [(np.roll(picture, time, axis=1), everywhere) for time in range(4)]
    assert (follow(frames, taught(frames))[-1].labels == 1).mean() > 0.95


def test_a_picture_of_one_colour_keeps_the_mask() -> None:
    labels = np.zeros((80, 120), dtype=np.uint16)
    labels[20:60, 40:80] = 1
    frames = [(blank(128, (80, 120)), labels)] * 4
    assert iou(follow(frames, taught(frames))[-1].labels, labels, 1) > 0.7


def test_three_hundred_objects_compete_in_one_label_map() -> None:
    picture = texture(340, 420, 7)
    labels = np.zeros((340, 420), dtype=np.uint16)
    for number in range(300):
        row, column = divmod(number, 20)
        top, left = 6 + 22 * row, 8 + 20 * column
        labels[top : top + 12, left : left + 12] = number + 1
        picture[top : top + 12, left : left + 12] //= 2
    frames = [
        (np.roll(picture, shift, axis=1), np.roll(labels, shift, axis=1)) for shift in (0, 1, 2)
    ]
    step = follow(frames, taught(frames))[-1]
    assert step.confidence.shape == (300,)
    assert len(np.setdiff1d(step.labels, 0)) > 290
    assert mean_iou([step], [frames[0], frames[-1]]) > 0.75


def test_a_key_frame_without_masks_gives_frames_without_masks(learned: bytes) -> None:
    frames = [(blank(value), np.zeros((40, 60), dtype=np.uint16)) for value in (0, 9, 200)]
    for step in follow(frames, learned):
        assert not step.labels.any()
        assert step.confidence.shape == (0,)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (9, 9), (17, 33), (31, 64)])
def test_any_shape_of_frame_will_do(shape: tuple[int, int], learned: bytes) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(2)]
    for labels in (np.ones(shape, dtype=np.uint16), np.eye(*shape, dtype=np.uint16)):
        frames = [(image, labels) for image in images]
        assert follow(frames, learned)[0].labels.shape == shape


@pytest.mark.parametrize(
    ("clip", "least"), [("blackswan", 0.88), ("car-shadow", 0.82), ("chair", 0.68)]
)
def test_real_clips_keep_their_object_for_twenty_frames(
    clip: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(None, monkeypatch)
    if not CLIPS.is_dir():
        pytest.skip(f"no real clips in {CLIPS}")
    frames = []
    for path in sorted((CLIPS / clip / "images").glob("*.jpg"))[:21]:
        image = np.array(PIL.Image.open(path).convert("RGB"))
        mask = np.array(PIL.Image.open(CLIPS / clip / "masks" / f"{path.stem}.png")) > 0
        frames.append((image, mask.astype(np.uint16)))
    steps = follow(frames, taught(frames))
    assert mean_iou(steps, frames) > least
