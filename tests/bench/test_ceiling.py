"""Promise: the least number of key frames that docs/quality.md names is really the least."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import annotate, ceiling
from bench.annotate import Annotator, equal, halving
from bench.ceiling import Passes, all_passes, best, greedy, repairs
from bench.clips import find_clip
from bench.passes import Clip, Engine
from tests.bench.test_quality import in_our_layout
from tests.helpers.clips import tiny_clip


def random_passes(length: int, seed: int) -> Passes:
    random = np.random.default_rng(seed)
    quality, confidence = random.uniform(size=(2, length, length))
    return Passes(quality, confidence, random.uniform(size=(length, length)) > 0.2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_other_choice_of_as_many_key_frames_is_better(seed: int) -> None:
    passes = random_passes(8, seed)
    found = best(passes, 4)
    assert [len(keys) for keys in found] == [1, 2, 3, 4]
    for keys in found:
        others = combinations(range(1, passes.length), len(keys) - 1)
        most = max(passes.mean((0, *each)) for each in others)
        assert passes.mean(keys) == pytest.approx(most)


def test_who_adds_frames_one_by_one_takes_the_best_each_time() -> None:
    passes = random_passes(8, 3)
    found = greedy(passes, 4)
    for keys, more in pairwise(found):
        assert set(keys) < set(more)
        every = [passes.mean(sorted({*keys, i})) for i in range(8) if i not in keys]
        assert passes.mean(more) == pytest.approx(max(every))


def test_a_step_is_measured_by_the_best_one() -> None:
    passes = random_passes(8, 4)
    keys, better = greedy(passes, 2)
    found = repairs(passes, keys, better)
    assert found is not None
    assert found[0] == pytest.approx(1)
    assert found[1] < 1
    nothing = Passes(np.ones((8, 8)), np.ones((8, 8)), np.ones((8, 8), dtype=np.bool_))
    assert repairs(nothing, (0,), (0, 4)) is None


def test_the_table_of_passes_makes_the_results_that_the_annotator_gets(tmp_path: Path) -> None:
    """The masks jump about, apart from the pictures: each pass is wrong in a way of its own."""
    tiny, random = tiny_clip(12, objects=1), np.random.default_rng(0)
    shifts = random.integers(-8, 8, (12, 2)).tolist()
    maps = [np.roll(each, by, axis=(0, 1)) for each, by in zip(tiny.maps, shifts, strict=True)]
    in_our_layout(tmp_path / "data", replace(tiny, maps=maps))
    clip = Clip(find_clip("squares", tmp_path / "data"))
    engine = Engine(name="flow", cache=tmp_path / "cache", whole=True)
    passes, annotator = all_passes(clip, engine), Annotator(clip, engine)
    for keys in ((0,), (0, 5), (0, 3, 9), (0, 1, 2, 11)):
        assert passes.mean(keys) == pytest.approx(annotator.quality((keys,)), abs=1e-9)
    assert passes.mean((0,)) < passes.mean((0, 3, 9)) < 1


def test_motion_of_whole_frames_makes_nearly_the_same_masks(tmp_path: Path) -> None:
    in_our_layout(tmp_path / "data", tiny_clip(12, objects=1))
    clip = Clip(find_clip("squares", tmp_path / "data"))
    engines = [Engine(name="flow", cache=tmp_path, whole=whole) for whole in (False, True)]
    exact, whole = (engine.walk(clip, ((0,),), 0, 11).steps[11].labels for engine in engines)
    both, either = np.count_nonzero(exact & whole), np.count_nonzero(exact | whole)
    assert both > 0.7 * either


def test_equal_spacing_is_placed_anew_and_halving_only_adds() -> None:
    assert [equal(80, k) for k in (1, 2, 4)] == [(0,), (0, 40), (0, 20, 40, 60)]
    assert [halving(80, k) for k in (1, 2, 4)] == [(0,), (0, 40), (0, 20, 40, 60)]
    assert halving(80, 3) == (0, 20, 40)
    assert halving(80, 6) == (0, 10, 20, 40, 50, 60)


def test_the_benches_print_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, cache = in_our_layout(tmp_path / "data", tiny_clip(8, objects=1)), tmp_path / "cache"
    given = ["--data", str(data), "--cache", str(cache), "--most", "3"]
    figures = tmp_path / "curves.json"
    assert annotate.main([*given, "--engine", "flow", "--json", str(figures)]) == 0
    told = capsys.readouterr().out
    assert all(f"squares          {way}" in told for way in annotate.WAYS)
    assert figures.exists()
    assert ceiling.main(given) == 0
    told = capsys.readouterr().out
    assert all(f"squares          {way}" in told for way in ceiling.WAYS)
