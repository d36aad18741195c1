"""Promise: published video models follow objects as their library does, in bounded memory; a
killed worker's successor goes on to the bit; a person's corrections are followed from there on.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from errors import InputError
from tests.tracker.transformers_tiny import FAMILIES, picture, video_model
from tracker.engines import Power
from tracker.fits import FoundFits
from tracker.power import working
from tracker.propagators.transformers_video import VideoModelPropagator
from tracker.propagators.transformers_video.contest import decide
from tracker.propagators.transformers_video.propagator import FITS
from tracker.protocol import LabelMap, Step

SIZE = (45, 71)
POWER = Power(threads=1)
POINT, ON = np.array([[52.0, 9.0]], np.float32), np.array([1])


@pytest.fixture(autouse=True)
def _threads_as_before(threads: None) -> None:
    """What a propagator sets is put back."""


@cache
def tiny(family: str) -> tuple[Any, Any]:
    return video_model(family)


def fresh(family: str, **options: Any) -> VideoModelPropagator:
    return VideoModelPropagator(lambda device: tiny(family), POWER, **options)


@cache
def frame(number: int) -> np.ndarray:
    return picture(number, *SIZE)


def drawn(shift: int = 0, third: bool = False) -> LabelMap:
    labels = np.zeros(SIZE, np.uint16)
    labels[5:25, 8 + shift : 30 + shift] = 1
    labels[20:40, 40:60] = 2
    if third:
        labels[1:12, 50:69] = 3
    return labels


def equal(one: Step, other: Step) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.confidence, other.confidence)


def differ(one: Step, other: Step) -> bool:
    return bool((one.labels != other.labels).any())


def memories(propagator: VideoModelPropagator) -> list[tuple[str, torch.Tensor]]:
    """All that the library's session remembers, by a name."""
    session = propagator._session
    assert session is not None
    return [
        (f"{index} {kind} {past} {key}", value)
        for index, kinds in session._session.output_dict_per_obj.items()
        for kind, outputs in kinds.items()
        for past, output in outputs.items()
        for key, value in output.items()
    ]


def same_state(one: VideoModelPropagator, other: VideoModelPropagator) -> None:
    ours, theirs = memories(one), memories(other)
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (name, tensor), (_, expected) in zip(ours, theirs, strict=True):
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("family", FAMILIES)
def test_frames_are_followed_as_by_the_library(family: str) -> None:
    model, processor = tiny(family)
    propagator = fresh(family)
    propagator.start(frame(0), drawn())
    session = processor.init_video_session(dtype=torch.float32)
    masks = [drawn() == number for number in (1, 2)]
    processor.add_inputs_to_inference_session(session, 0, [1, 2], input_masks=masks)
    seen = []
    for number in range(12):
        with working(POWER), torch.inference_mode():
            pixels = processor(images=frame(number), return_tensors="pt")["pixel_values"]
            said = model(session, frame=pixels)
            grown = processor.post_process_masks([said.pred_masks], [SIZE], binarize=False)[0]
        if not number:
            continue
        step = propagator.step(frame(number))
        best = grown[:, 0].max(0)
        expected = torch.where(best.values > 0, best.indices + 1, 0).numpy()
        np.testing.assert_array_equal(step.labels, expected)
        assert step.labels.dtype == np.uint16
        assert step.confidence.dtype == np.float32
        assert step.confidence.shape == (2,)
        assert ((step.confidence >= 0) & (step.confidence <= 1)).all()
        seen += np.unique(expected).tolist()
    assert {1, 2} <= set(seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_forgotten_was_needed(family: str) -> None:
    thrifty, hoarding = fresh(family), fresh(family, keep_all=True)
    for propagator in (thrifty, hoarding):
        propagator.start(frame(0), drawn())
    for number in range(1, 31):
        equal(thrifty.step(frame(number)), hoarding.step(frame(number)))
        if number == 9:
            for propagator in (thrifty, hoarding):
                propagator.remember(frame(number), drawn(7))
        if number in (15, 16):
            equal(*(one.click(frame(number), 2, POINT, ON) for one in (thrifty, hoarding)))
    assert hoarding.held > 3 * thrifty.held


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_does_not_grow_with_the_video(family: str) -> None:
    propagator = fresh(family)
    labels = np.where(drawn() == 1, drawn(), np.uint16(0))
    propagator.start(frame(0), labels)
    held = []
    for number in range(1, 201):
        propagator.step(frame(number % 7))
        if number >= 100:
            held.append(propagator.held)
            if number % 20 == 0:
                propagator.remember(frame(number % 7), labels)
    assert max(held) == held[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_successor_goes_on_to_the_bit(family: str) -> None:
    # The pictures of frames 4 and 5 are equal: a clip may stand still.
    order = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10]
    first = fresh(family)
    assert first.replays
    first.start(frame(0), drawn())
    steps = []
    for number in range(1, 9):
        image = frame(order[number])
        step = first.step(image)
        if number == 3:
            first.remember(image, drawn(20))
            first.remember(image, drawn(9))
            step = Step(drawn(9), step.confidence)
        if number == 6:
            step = first.click(image, 2, POINT, ON)
        if number == 7:
            first.remember(image, drawn())
            first.remember(image, step.labels)
        steps.append(step)
    for done in (2, 3, 5, 6, 7, 8):
        successor = fresh(family)
        successor.start(frame(0), drawn())
        for number in range(1, done + 1):
            successor.remember(frame(order[number]), steps[number - 1].labels)
        for number in range(done + 1, 9):
            step = successor.step(frame(order[number]))
            if number in (3, 6):
                successor.remember(frame(order[number]), steps[number - 1].labels)
            else:
                equal(step, steps[number - 1])
        for number in range(9, 12):
            step = successor.step(frame(order[number]))
            if done == 2:
                steps.append(first.step(frame(order[number])))
            equal(step, steps[number - 1])
        same_state(successor, first)


@pytest.mark.parametrize("family", FAMILIES)
def test_corrections_are_followed(family: str) -> None:
    left, corrected, clicked = fresh(family), fresh(family), fresh(family)
    for propagator in (left, corrected, clicked):
        propagator.start(frame(0), drawn())
        propagator.step(frame(1))
    before = left.step(frame(2))
    equal(before, corrected.step(frame(2)))
    equal(before, clicked.step(frame(2)))
    corrected.remember(frame(2), drawn(25))
    told = clicked.click(frame(2), 2, POINT, ON)
    assert differ(told, before)
    assert told.confidence[0] == before.confidence[0]
    after = [one.step(frame(3)) for one in (left, corrected, clicked)]
    assert differ(after[1], after[0])
    assert differ(after[2], after[0])


def test_a_click_is_the_librarys_and_clicks_add_up() -> None:
    model, processor = tiny("edgetam")
    propagator = fresh("edgetam")
    propagator.start(frame(0), np.where(drawn() == 1, drawn(), np.uint16(0)))
    session = processor.init_video_session(dtype=torch.float32)
    processor.add_inputs_to_inference_session(session, 0, 1, input_masks=drawn() == 1)
    pixels = [processor(images=frame(n), return_tensors="pt")["pixel_values"] for n in (0, 1)]
    with working(POWER):
        model(session, frame=pixels[0])
        model(session, frame=pixels[1])
    propagator.step(frame(1))
    clicks = np.array([[12, 9], [60, 30]], np.float32)
    said = None
    for count in (1, 2):
        step = propagator.click(frame(1), 1, clicks[count - 1 : count], np.array([2 - count]))
        processor.add_inputs_to_inference_session(
            session,
            1,
            1,
            input_points=[[clicks[:count].tolist()]],
            input_labels=[[[1, 0][:count]]],
            original_size=SIZE,
        )
        with working(POWER):
            said = model(session, frame_idx=1, frame=pixels[1])
        grown = processor.post_process_masks([said.pred_masks], [SIZE])[0]
        np.testing.assert_array_equal(step.labels == 1, grown[0, 0].numpy())


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_may_come_late_and_go(family: str) -> None:
    propagator, successor = fresh(family), fresh(family)
    propagator.start(frame(0), np.zeros(SIZE, np.uint16))
    step = propagator.step(frame(1))
    assert not step.labels.any()
    assert step.confidence.shape == (0,)
    propagator.remember(frame(1), drawn())
    assert propagator.step(frame(2)).confidence.shape == (2,)
    propagator.remember(frame(2), drawn(third=True))
    step = propagator.step(frame(3))
    assert step.confidence.shape == (3,)
    gone = np.where(drawn(third=True) == 2, np.uint16(0), drawn(third=True))
    propagator.remember(frame(3), gone)
    successor.start(frame(0), np.zeros(SIZE, np.uint16))
    for number, labels in enumerate([drawn(), drawn(third=True), gone], 1):
        successor.remember(frame(number), labels)
    for number in (4, 5):
        equal(propagator.step(frame(number)), successor.step(frame(number)))
    same_state(propagator, successor)
    propagator.start(frame(3), np.minimum(drawn(), 1))
    assert propagator.step(frame(4)).confidence.shape == (1,)


def test_what_cannot_be_is_refused() -> None:
    propagator = fresh("edgetam")
    with pytest.raises(RuntimeError):
        propagator.step(frame(1))
    propagator.start(frame(0), drawn())
    propagator.step(frame(1))
    with pytest.raises(InputError, match="Object 7 is not followed"):
        propagator.click(frame(1), 7, POINT, ON)
    with pytest.raises(InputError, match="outside"):
        propagator.click(frame(1), 1, POINT + 100, ON)
    with pytest.raises(ValueError, match="given last"):
        propagator.click(frame(2), 1, POINT, ON)
    with pytest.raises(ValueError, match="does not fit"):
        propagator.remember(frame(1), drawn()[1:])


def test_the_strongest_object_gets_the_pixel() -> None:
    first = torch.full((1, 1, 2, 3), -4.0)
    second = first.clone()
    first[..., 0], first[..., 1] = 3.0, 1.0
    second[..., 1] = 2.0
    absent = torch.full((1, 1, 2, 3), -1024.0)
    objects = [(1, first, 5.0), (3, second, 5.0), (4, absent, -5.0)]
    decision = decide(objects, lambda low: low[0, 0], (2, 3), 4)
    np.testing.assert_array_equal(decision.labels, [[1, 3, 0]] * 2)
    sure = decision.confidence
    assert sure[1] == 1  # nobody
    assert sure[3] > 0.99  # away, as its score says
    assert 0.5 < sure[0] < 0.95  # it lost pixels that it claimed
    assert 0.8 < sure[2] < 0.99


class SmallCard:
    """A device on which, from a frame on, memory runs out at the `at`-th look, by PyTorch's error.

    Nothing runs out where what is remembered lies in main memory (`offload`), or on the processor.
    """

    def __init__(self, family: str, offload: bool, at: int) -> None:
        self._model, self._processor = copy.deepcopy(tiny(family))
        self._device = ""
        self._offload = offload
        self._left = at
        self.propagator: VideoModelPropagator | None = None
        encoder = self._model.memory_encoder
        encoder.register_forward_hook(self._allocate)

    def model_on(self, device: str) -> tuple[Any, Any]:
        self._device = device
        return self._model, self._processor

    def _allocate(self, module: object, given: object, made: object) -> None:
        assert self.propagator is not None
        self._left -= 1
        fit = FITS[self.propagator._fit]
        if self._left < 0 and not self._device and not (self._offload and fit.offload):
            raise torch.OutOfMemoryError("there is no room")


@pytest.mark.parametrize(("at", "offload"), [(0, False), (4, True)])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_does_not_fit_goes_on_in_a_named_smaller_way(
    family: str, at: int, offload: bool
) -> None:
    """Also in the middle of a video, with the same masks, and later key frames begin with it."""
    heard: list[str] = []
    found = FoundFits()
    card = SmallCard(family, offload, at)
    power = replace(POWER, device="cuda:0", on_smaller=heard.append)
    small = VideoModelPropagator(card.model_on, power, found=found)
    card.propagator = small
    large = fresh(family)
    for propagator in (small, large):
        propagator.start(frame(0), drawn())
    for number in range(1, 7):
        equal(small.step(frame(number)), large.step(frame(number)))
        if number == 5:  # a correction, which the model is given as masks
            for propagator in (small, large):
                propagator.remember(frame(number), drawn(7))
    same_state(small, large)
    assert heard[-1] == FITS[1 if offload else 2].words
    steps = len(heard)
    later = VideoModelPropagator(card.model_on, power, found=found)
    card.propagator = later
    later.start(frame(0), drawn())
    assert heard[steps:] == [heard[-1]]


def test_what_fits_nowhere_is_said_in_a_sentence() -> None:
    def nowhere(device: str) -> tuple[Any, Any]:
        raise torch.OutOfMemoryError("there is no room")

    with pytest.raises(InputError, match="does not fit into this machine's memory in any way"):
        VideoModelPropagator(nowhere, POWER)
