"""Promise: the simulated annotator has a clip filled as the product does it, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.annotate import (
    Annotator,
    annotate,
    annotate_together,
    equal,
    halving,
    needed,
    ratios,
    ratios_of_means,
    ratios_together,
    together,
)
from bench.clips import find_clip
from bench.passes import Clip, Engine, Rounds
from tests.bench.test_quality import in_our_layout
from tests.helpers.clips import tiny_clip
from tests.helpers.engines import light, use
from tracker import engines
from tracker.protocol import Example


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    in_our_layout(tmp_path / "data", tiny_clip(12, objects=1))
    return Clip(find_clip("squares", tmp_path / "data"))


def learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    use(light, monkeypatch)
    return Engine(name="builtin", cache=tmp_path / "cache")


def test_only_what_lies_beside_a_new_key_frame_is_made_anew(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator = Annotator(clip, learning(tmp_path, monkeypatch))
    rounds: Rounds = ((0,), (0, 4), (0, 4, 8))
    before = {each.doubt.frame: each for each in annotator.fill(rounds[:2])}
    after = {each.doubt.frame: each for each in annotator.fill(rounds)}
    assert sorted(after) == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert all(after[frame] == before[frame] for frame in (1, 2, 3))
    assert any(after[frame] != before[frame] for frame in (5, 6, 7, 9, 10, 11))


def test_an_engine_goes_on_from_what_it_learned_in_the_round_before(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = learning(tmp_path, monkeypatch)
    given: list[bytes | None] = []
    learn = engines.learn

    def watched(name: str, examples: Sequence[Example], **more: Any) -> bytes | None:
        given.append(more["earlier"])
        return learn(name, examples, **more)

    monkeypatch.setattr(engines, "learn", watched)
    engine.walk(clip, ((0,), (0, 4)), 4, 11)
    assert given[0] is None
    assert given[1] is not None
    assert len(given) == 2
    engine.walk(clip, ((0, 4),), 4, 11)
    assert given[2:] == [None], "a first run with the same key frames begins from nothing"


def test_who_goes_on_and_who_places_anew(clip: Clip, tmp_path: Path) -> None:
    annotator = Annotator(clip, Engine(name="flow", cache=tmp_path))
    for way in ("suggested", "halving", "random", "equal"):
        found = annotate(annotator, way, 4)
        assert len(found) == 4
        assert found[0] == annotator.quality(((0,),))
        assert all(0 < each <= 1 for each in found)
    assert annotate(annotator, "equal", 3)[2] == annotator.quality((equal(12, 3),))
    halved = [halving(12, count) for count in (1, 2, 3, 4)]
    assert all(set(few) < set(more) for few, more in pairwise(halved))
    rounds = annotator.suggestions(4)
    assert rounds[0] == (0,)
    assert all(set(few) <= set(more) for few, more in pairwise(rounds))


def test_key_frames_needed_are_counted_and_read_off() -> None:
    curve, measure = [0.5, 0.7, 0.8, 0.9], [0.5, 0.6, 0.8, 0.95]
    assert needed(curve, 0.75) == 3
    assert ratios(curve, measure) == [2 / 2, 3 / 3, 5 / 4], (
        "one more than all where none reaches it"
    )
    assert ratios_of_means(curve, measure) == pytest.approx([1.5 / 2, 3 / 3, 5 / 4])
    assert np.isclose(ratios_of_means(curve, [0.5, 0.75])[0], 2.5 / 2)
    # Two clips: 2 key frames in all, 3, ... 6. As good as 2 to each with 3, as 3 to each with 6.
    assert ratios_together([0.5, 0.7, 0.7, 0.8, 0.9], [0.5, 0.6, 0.85], 2) == [3 / 4, 6 / 6]
    assert ratios_together([0.5, 0.7], [0.5, 0.8], 2) == [4 / 4], "one more than all"


def test_of_many_clips_the_one_that_gains_most_gets_the_next_key_frame(tmp_path: Path) -> None:
    clips, chosen_ones = [], []
    for name, length in (("short", 10), ("long", 24)):
        footage = tiny_clip(length, objects=1)
        noise = np.random.default_rng(length).integers(0, 255, (length, 48, 64, 3), dtype=np.uint8)
        footage = replace(footage, images=[*footage.images[:4], *noise[4:]])  # nothing to follow
        in_our_layout(tmp_path / name, footage)
        clips.append(Clip(find_clip("squares", tmp_path / name)))
    annotators = [
        Annotator(clip, Engine(name="flow", cache=tmp_path / f"cache-{number}"))
        for number, clip in enumerate(clips)
    ]
    given = list(together(annotators, 3))
    assert given[0] == (((0,),), ((0,),))
    assert len(given) == 5, "three key frames to each in the mean"
    for few, more in pairwise(given):
        gains = [
            0.0 if each is None else each.repairs
            for each in map(Annotator.suggestion, annotators, few)
        ]
        chosen = gains.index(max(gains))
        assert [len(own) for own in more] == [
            len(own) + (place == chosen) for place, own in enumerate(few)
        ]
        assert set(few[chosen][-1]) < set(more[chosen][-1])
        chosen_ones.append(chosen)
    assert chosen_ones[0] == 1
    assert set(chosen_ones) == {0, 1}
    found = annotate_together(annotators, 3)
    assert len(found) == 5
    assert found[0] == np.mean([each.quality(((0,),)) for each in annotators])
    assert found[-1] == np.mean(list(map(Annotator.quality, annotators, given[-1])))
