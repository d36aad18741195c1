"""Promise: without any weights to fetch, prompts become masks, and what a person said is so."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.segment import next_click
from errors import InputError
from tests.tracker.scenes import iou, texture
from tests.tracker.segmenters.tiny import picture
from tracker.segmenters.builtin import LOGITS, BuiltinSegmenter
from tracker.segmenters.protocol import Answer, Stroke


@pytest.fixture(autouse=True)
def _as_before(threads: None) -> None:
    cv2.setNumThreads(2)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red disc (1) and a blue bar (2) on grey ground, 320x240."""
    labels = np.zeros((240, 320), dtype=np.uint8)
    cv2.circle(labels, (100, 120), 50, 1, -1)
    cv2.rectangle(labels, (210, 60), (260, 180), 2, -1)
    image = texture(240, 320, 0)
    for number, colour in ((1, (210, 60, 50)), (2, (60, 80, 210))):
        image[labels == number] = texture(240, 320, number, colour)[labels == number]
    return image, labels


@pytest.fixture(scope="module")
def looking() -> BuiltinSegmenter:
    segmenter = BuiltinSegmenter()
    segmenter.set_image(scene()[0])
    return segmenter


def clicked(segmenter: BuiltinSegmenter, *clicks: tuple[float, float, int]) -> Answer:
    given = np.array(clicks, dtype=np.float32)
    return segmenter.predict(given[:, :2], given[:, 2].astype(np.int64))


def good(answer: Answer, number: int, least: float = 0.7) -> bool:
    return iou(answer.mask, scene()[1] == number, True) > least


def test_a_click_finds_either_object(looking: BuiltinSegmenter) -> None:
    assert good(clicked(looking, (100, 120, 1)), 1)
    answer = clicked(looking, (235, 120, 1))
    assert good(answer, 2)
    assert 0.5 < answer.score <= 1
    assert answer.logits.shape == LOGITS
    assert answer.logits.dtype == np.float32


def test_a_box_finds_its_object(looking: BuiltinSegmenter) -> None:
    assert good(looking.predict(box=np.array([45, 65, 155, 175], dtype=np.float32)), 1)
    assert good(looking.predict(box=np.array([205, 55, 266, 186], dtype=np.float32)), 2)
    beyond = looking.predict(box=np.array([-40, -40, 900, 900], dtype=np.float32))
    assert beyond.mask.shape == (240, 320)


def test_strokes_draw_and_erase(looking: BuiltinSegmenter) -> None:
    through = Stroke(np.array([[70, 100], [100, 130], [130, 110]], dtype=np.float32), 9, True)
    answer = looking.predict(strokes=[through])
    assert good(answer, 1, 0.65)
    assert answer.mask[130, 100]
    assert answer.mask[100:104, 68:72].all()
    both = Stroke(np.array([[100, 120], [235, 120]], dtype=np.float32), 5, True)
    wide = looking.predict(strokes=[both])
    assert wide.mask[118:123, 100:236].all()
    off = Stroke(np.array([[210, 60], [260, 180], [210, 180]], dtype=np.float32), 7, False)
    less = looking.predict(strokes=[both, off]).mask
    assert not less[180, 215:260].any()
    beyond = Stroke(np.array([[100, 120], [-50, -900]], dtype=np.float32), 40, True)
    assert looking.predict(strokes=[beyond]).mask[120, 100]


def test_an_earlier_mask_is_kept_and_corrected(looking: BuiltinSegmenter) -> None:
    _, labels = scene()
    both = labels > 0
    near = cv2.dilate(both.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert iou(looking.predict(mask=near).mask, both, True) > 0.85
    place, no = np.array([[235, 120]], dtype=np.float32), np.array([0])
    assert good(looking.predict(place, no, mask=both), 1, 0.85)
    yes = np.array([1])
    more = looking.predict(place, yes, mask=labels == 1).mask
    assert iou(more, both, True) > 0.6
    first = clicked(looking, (100, 120, 1))
    again = looking.predict(np.array([[100, 120]], dtype=np.float32), yes, mask=first.logits)
    assert good(again, 1)


def test_five_clicks_correct_a_hard_picture() -> None:
    image = texture(180, 320, 3)
    drawn = np.zeros((180, 320), dtype=bool)
    drawn[40:140, 60:160] = True
    drawn[70:110, 160:260] = True
    image[drawn] = texture(180, 320, 4, (120, 90, 90))[drawn]  # hardly another colour
    segmenter = BuiltinSegmenter()
    segmenter.set_image(image)
    found, clicks, scores = np.zeros_like(drawn), [], []
    for _ in range(8):
        click = next_click(found, drawn)
        assert click is not None
        clicks.append(click)
        found = clicked(segmenter, *clicks).mask
        scores.append(iou(found, drawn, True))
    assert max(scores[4:]) > scores[0] or scores[0] > 0.9
    assert scores[-1] > 0.6


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    clicks=st.dictionaries(
        st.tuples(st.integers(0, 319), st.integers(0, 239)),
        st.integers(0, 1),
        max_size=12,
        min_size=1,
    ),
    box=st.none() | st.just((45.0, 65.0, 155.0, 175.0)) | st.just((0.0, 0.0, 3.0, 2.0)),
    start=st.sampled_from(["", "mask", "logits"]),
    stroke=st.sampled_from([None, True, False]),
)
def test_every_point_is_honoured_whatever_else_is_said(
    clicks: dict[tuple[int, int], int],
    box: tuple[float, ...] | None,
    start: str,
    stroke: bool | None,
) -> None:
    segmenter = _looking()
    earlier = {"": None, "mask": scene()[1] == 1, "logits": np.ones(LOGITS, dtype=np.float32)}
    path = np.array([[20, 20], [300, 200]], dtype=np.float32)
    answer = segmenter.predict(
        np.array(list(clicks), dtype=np.float32),
        np.array(list(clicks.values())),
        None if box is None else np.array(box, dtype=np.float32),
        earlier[start],
        [] if stroke is None else [Stroke(path, 11, stroke)],
    )
    for (x, y), label in clicks.items():
        assert answer.mask[y, x] == (label == 1)
    assert 0 <= answer.score <= 1
    assert np.isfinite(answer.logits).all()


@lru_cache(maxsize=1)
def _looking() -> BuiltinSegmenter:
    segmenter = BuiltinSegmenter()
    segmenter.set_image(scene()[0])
    return segmenter


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 7), (33, 800), (1100, 900)])
def test_any_size_of_image_will_do(size: tuple[int, int]) -> None:
    segmenter = BuiltinSegmenter()
    segmenter.set_image(picture(*size) if min(size) > 4 else np.zeros((*size, 3), np.uint8))
    last = np.array([[size[1] - 1, size[0] - 1], [-0.5, -0.5]], dtype=np.float32)
    answer = segmenter.predict(last[:1], np.array([1]))
    assert answer.mask.shape == size
    assert answer.mask[-1, -1]
    boxed = segmenter.predict(box=np.array([-0.5, -0.5, size[1], size[0]], dtype=np.float32))
    assert boxed.mask.shape == size
    if size != (1, 1):
        both = segmenter.predict(last, np.array([0, 1]))
        assert both.mask[0, 0]
        assert not both.mask[-1, -1]


def test_equal_prompts_give_equal_masks_whatever_was_asked_between() -> None:
    image, _ = scene()
    first, second = BuiltinSegmenter(), BuiltinSegmenter()
    box = np.array([45, 65, 155, 175], dtype=np.float32)
    first.set_image(image)
    one, boxed = clicked(first, (100, 120, 1), (235, 120, 0)), first.predict(box=box)
    second.set_image(picture(90, 70))
    second.set_image(image)
    clicked(second, (5, 5, 1))
    again, other = second.predict(box=box), clicked(second, (100, 120, 1), (235, 120, 0))
    assert np.array_equal(one.logits, other.logits)
    assert np.array_equal(one.mask, other.mask)
    assert np.array_equal(boxed.mask, again.mask)


def test_only_background_gives_an_empty_mask(looking: BuiltinSegmenter) -> None:
    answer = clicked(looking, (5, 5, 0))
    assert not answer.mask.any()
    assert answer.score == 0


def test_what_cannot_be_meant_is_refused_with_a_sentence(looking: BuiltinSegmenter) -> None:
    with pytest.raises(InputError, match="as the object and as background"):
        clicked(looking, (5.2, 5, 1), (5, 5.1, 0))
    with pytest.raises(InputError, match="outside of the image of 320 x 240"):
        clicked(looking, (320, 5, 1))
    with pytest.raises(InputError, match="Nothing says"):
        looking.predict()
    with pytest.raises(InputError, match="8-bit RGB"):
        BuiltinSegmenter().set_image(np.zeros((0, 4, 3), dtype=np.uint8))
    with pytest.raises(RuntimeError, match="set_image"):
        clicked(BuiltinSegmenter(), (1, 1, 1))
