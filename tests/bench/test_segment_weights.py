"""Promise: fitted weights tell the object by the cue that tells it, and the file fits the code."""

from __future__ import annotations

import json

import numpy as np

from bench.segment_weights import WEIGHTS, Sample, both, left_out, weighed
from tests.tracker.scenes import texture
from tracker.segmenters.builtin import all_of
from tracker.segmenters.builtin_cues import (
    BOX,
    CLICK,
    CONSTANT,
    FIRST,
    LEARNED,
    THEN,
    at_edge,
    boxed,
    clicked,
)
from tracker.segmenters.builtin_looks import Look


def sample(clip: str, seed: int) -> Sample:
    chance = np.random.default_rng(seed)
    drawn = chance.random(500) < 0.3
    cues = {"telling": drawn + chance.normal(0, 0.2, 500), "idle": chance.normal(0, 1, 500)}
    return Sample(clip, cues, drawn, lambda odds: odds)


def test_the_cue_that_tells_the_object_counts_and_clips_left_out_are_found() -> None:
    """Promise: weights come from what separates object and background, and carry over."""
    samples = [sample(clip, seed) for seed, clip in enumerate("aabbcc")]
    first = both(samples)[FIRST]
    assert first["telling"] > 5 * abs(first["idle"])
    assert np.mean((weighed(samples[0], first) > 0) == samples[0].drawn) > 0.95
    assert left_out(samples, "b") > 0.9


def test_every_weight_that_is_shipped_belongs_to_a_cue_and_every_cue_has_one() -> None:
    """Promise: the weights file and the cues cannot drift apart unseen."""
    image = texture(96, 128, 0)
    look = Look.at(image, all_of(image), 128 * 96)
    own, other = np.zeros((2, *look.size), dtype=bool)
    own[10, 10] = other[2, 2] = True
    within = np.zeros(look.size, dtype=bool)
    within[5:15, 5:20] = True
    zero = np.zeros(look.size, dtype=np.float32)
    known = {
        CLICK: set(clicked(look, own, other, at_edge(look))),
        BOX: set(boxed(look, within, zero, zero)),
    }
    shipped = json.loads(WEIGHTS.read_text("utf-8"))
    for kind, names in known.items():
        assert set(shipped[kind][FIRST]) == names | {CONSTANT}
        assert set(shipped[kind][THEN]) == names | {CONSTANT, LEARNED}
