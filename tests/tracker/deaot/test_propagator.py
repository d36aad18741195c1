"""Promise: DeAOT is a propagator like the others: any object numbers, restart to the bit, bounded.

Generated weights, so how well it follows means nothing here: only that it is the same, and whose.
"""

from __future__ import annotations

import copy
import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench.golden import GOLDEN
from demo.clip import make_clip
from errors import InputError
from tests.tracker.deaot import golden
from tracker.engines import Power
from tracker.fits import FoundFits
from tracker.propagators.deaot import DeAOTPropagator, Eviction, Memories
from tracker.propagators.deaot.propagator import FITS
from tracker.protocol import LabelMap, Step

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared/deaot is not here")
FRAMES = [make_clip(14, 160, 96).frame(i) for i in range(14)]
FEW = Memories(gap=2, most=3, eviction=Eviction.KEEP_KEY_FRAMES)


def made(variant: str = "DeAOTT", memories: Memories = FEW) -> DeAOTPropagator:
    return DeAOTPropagator(lambda device: golden.network(variant), Power(), memories)


def follow(propagator: DeAOTPropagator, labels: LabelMap) -> list[Step]:
    propagator.start(FRAMES[0][0], labels)
    return [propagator.step(image) for image, _ in FRAMES[1:]]


def same(one: Step, other: Step) -> bool:
    return np.array_equal(one.labels, other.labels) and np.array_equal(
        one.confidence, other.confidence
    )


def many(labels: LabelMap, count: int) -> LabelMap:
    """`count` objects: columns of the picture."""
    columns = np.arange(labels.shape[1]) * count // labels.shape[1] + 1
    return np.broadcast_to(columns, labels.shape).astype(np.uint16)


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_a_successor_that_replays_goes_on_to_the_bit(variant: str) -> None:
    whole = follow(made(variant), FRAMES[0][1])
    assert any(step.labels.any() for step in whole)
    for stop in (1, 6):
        second = made(variant)
        assert second.replays
        second.start(*FRAMES[0])
        for index in range(1, stop + 1):
            second.remember(FRAMES[index][0], whole[index - 1].labels)
        for index in range(stop + 1, len(FRAMES)):
            assert same(second.step(FRAMES[index][0]), whole[index - 1])


def test_start_forgets_everything() -> None:
    used = made()
    follow(used, many(FRAMES[0][1], 12))
    fresh, again = follow(made(), FRAMES[0][1]), follow(used, FRAMES[0][1])
    assert all(same(one, other) for one, other in zip(fresh, again, strict=True))


def test_numbers_of_objects_are_only_names() -> None:
    """Gaps and large numbers cost nothing and change nothing."""
    labels = FRAMES[0][1]
    plain = follow(made(), labels)
    names = np.array([0, 7, 12, 40, 300, 65535], dtype=np.uint16)
    renamed = follow(made(), names[labels])
    for one, other in zip(plain, renamed, strict=True):
        assert np.array_equal(names[one.labels], other.labels)
    for step in renamed:
        assert len(step.confidence) == 65535
        assert set(np.unique(step.labels)) <= set(names.tolist())


def test_more_than_ten_objects_in_smaller_and_larger_batches() -> None:
    labels = many(FRAMES[0][1], 23)
    at_once = follow(made(memories=Memories(gap=2, most=3, together=8)), labels)
    one_by_one = follow(made(memories=Memories(gap=2, most=3, together=1)), labels)
    differ = [
        np.mean(one.labels != other.labels) for one, other in zip(at_once, one_by_one, strict=True)
    ]
    assert np.mean(differ) < 1e-3
    assert max(step.labels.max() for step in at_once) > 10


def test_a_correction_of_the_last_frame_is_followed() -> None:
    kept, corrected = made(), made()
    for each in (kept, corrected):
        each.start(*FRAMES[0])
        each.step(FRAMES[1][0])
    corrected.remember(FRAMES[1][0], np.roll(FRAMES[1][1], 30, axis=1))
    assert not same(kept.step(FRAMES[2][0]), corrected.step(FRAMES[2][0]))


def test_objects_that_are_given_later_join() -> None:
    propagator = made()
    labels = FRAMES[0][1]
    propagator.start(FRAMES[0][0], np.where(labels == 1, labels, 0).astype(np.uint16))
    first = propagator.step(FRAMES[1][0])
    assert len(first.confidence) == 1
    propagator.remember(FRAMES[1][0], FRAMES[1][1])
    later = propagator.step(FRAMES[2][0])
    assert len(later.confidence) == labels.max()
    assert set(np.unique(later.labels)) - {0, 1}


def test_a_key_frame_without_objects_and_frames_of_any_size() -> None:
    for height, width in ((1, 1), (7, 300), (33, 17), (97, 161)):
        image = np.full((height, width, 3), 90, dtype=np.uint8)
        labels = np.zeros((height, width), dtype=np.uint16)
        propagator = made()
        propagator.start(image, labels)
        assert not propagator.step(image).labels.any()
        labels[: (height + 1) // 2] = 1
        propagator.start(image, labels)
        step = propagator.step(image)
        assert step.labels.shape == (height, width)
        assert step.confidence.shape == (1,)


class SmallCard:
    """A device that refuses, by PyTorch's own error, more than `room` groups of full-size frames.

    Its processor, the last of the fits, refuses nothing. `refused`: how often it did.
    """

    def __init__(self, room: float) -> None:
        self._network = copy.deepcopy(golden.network("DeAOTT"))
        self._network.prepare()
        self._network.LSTT.layers[0].linear_ID_V.register_forward_pre_hook(self._allocate)
        self._room = room
        self._used: DeAOTPropagator | None = None
        self.refused = 0

    def _allocate(self, module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        assert self._used is not None
        groups, tokens = given[0].shape[0], given[0].shape[1]
        if not FITS[self._used._fit].device and groups * tokens > self._room * CELLS:
            self.refused += 1
            raise torch.OutOfMemoryError("there is no room")

    def propagator(
        self, heard: list[str], found: FoundFits | None = None, device: str = "cuda:0"
    ) -> DeAOTPropagator:
        power = Power(device=device, on_smaller=heard.append)
        self._used = DeAOTPropagator(
            lambda place: self._network, power, replace(FEW, together=2), found=found
        )
        return self._used


LARGE = np.repeat(np.repeat(FRAMES[0][0], 5, axis=0), 5, axis=1)
CELLS = 51 * 31  # of a frame of 800 x 480; at 640 pixels it has 41 * 25


def crowd(count: int) -> LabelMap:
    return many(np.zeros(LARGE.shape[:2], dtype=np.uint16), count)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (1, "ten objects at a time"),
        (0.7, "ten objects at a time and frames of 640 pixels"),
        (0.2, "the processor in place of the graphics card"),
    ],
)
def test_what_does_not_fit_goes_on_in_a_named_smaller_way(
    caplog: pytest.LogCaptureFixture, room: float, words: str
) -> None:
    """Whoever asked for it hears of the last step alone, and the log of all."""
    heard: list[str] = []
    propagator = SmallCard(room).propagator(heard)
    propagator.start(LARGE, crowd(23))
    assert propagator.step(LARGE).labels.any()
    assert heard == [words]
    assert caplog.messages[-1].endswith(f"going on with {words}")


def test_what_fits_is_found_once_for_the_same_work() -> None:
    """Later key frames and spans of a process begin with it, and say so too."""
    heard: list[str] = []
    card, found = SmallCard(0.7), FoundFits()
    card.propagator(heard, found).start(LARGE, crowd(23))
    assert (card.refused, len(heard)) == (2, 1)
    again = card.propagator(heard, found)
    again.start(LARGE, crowd(23))
    again.start(LARGE, crowd(22))
    assert card.refused == 2
    assert heard == ["ten objects at a time and frames of 640 pixels"] * 3
    card.propagator(heard, found, device="cuda:1").start(LARGE, crowd(23))
    assert card.refused == 4  # another card may be larger


def test_what_fits_nowhere_is_said_in_a_sentence() -> None:
    network = copy.deepcopy(golden.network("DeAOTT"))

    def refuse(module: nn.Module, given: object) -> None:
        raise torch.OutOfMemoryError("there is no room")

    network.encoder.register_forward_pre_hook(refuse)
    with pytest.raises(InputError, match="does not fit into this machine's memory in any way"):
        DeAOTPropagator(lambda device: network, Power(), FEW).start(*FRAMES[0])


def test_a_key_frame_stays_even_where_one_memory_is_all_there_is() -> None:
    one = Memories(gap=1, most=1, eviction=Eviction.KEEP_KEY_FRAMES)
    never = follow(made(memories=Memories(gap=9999, most=1)), FRAMES[0][1])
    assert all(map(same, follow(made(memories=one), FRAMES[0][1]), never))


@pytest.mark.parametrize("eviction", list(Eviction))
def test_memory_is_bounded(eviction: Eviction) -> None:
    """After the bound is reached, no tensor more is held, however long the video."""

    def held() -> int:
        gc.collect()
        tensors = (t for t in gc.get_objects() if type(t) is torch.Tensor)
        return sum(t.untyped_storage().nbytes() for t in tensors)

    propagator = made(memories=Memories(gap=1, most=3, eviction=eviction))
    propagator.start(*FRAMES[0])
    sizes = []
    for index in range(30):
        propagator.step(FRAMES[index % len(FRAMES)][0])
        if index in (8, 29):
            sizes.append(held())
    assert propagator.remembered() == [3]
    assert sizes[0] == sizes[1]
