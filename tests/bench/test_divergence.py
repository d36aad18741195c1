"""Promise: divergence ranks bad masks of real video above good ones; its benches reckon right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.annotate import needed, ratios, ratios_of_means
from bench.clips import CLIPS, find_clip, write_footage
from bench.divergence import Sample, auc, fit, left_out
from bench.judged import judge
from bench.passes import Clip, Engine
from config import Settings
from jobs.options import RunOptions
from tests.bench.test_quality import in_our_layout
from tests.helpers.clips import tiny_clip
from tracker.divergence import score
from tracker.signs import Kind, Sign
from worker.local import track


@pytest.mark.skipif(not CLIPS.is_dir(), reason="../shared/clips is not here")
def test_bad_masks_of_a_real_clip_rank_above_good_ones(tmp_path: Path) -> None:
    """One mask on the first frame; the car drives off, and flow loses its shadowy outline."""
    clip = Clip(find_clip("car-shadow").cut(30))
    found = judge(clip, Engine(name="flow", cache=tmp_path), [0])
    scores = np.array([score(each.signs, each.kind)[0] for each in found], dtype=np.float64)
    losses = np.array([loss for each in found for _, loss in each.losses(clip)])
    bad = losses > 0.3
    assert 0 < bad.sum() < len(bad)
    ranked = auc(scores, bad)
    assert ranked is not None
    assert ranked >= 0.9


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    bad = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), bad) == 1
    assert auc(np.array([0.1, 0.3, 0.2, 0.4]), bad) == 0.75
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), bad) == 0.5
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), bad & False) is None


def samples() -> list[Sample]:
    """Four clips on which one sign tells everything, another one nothing, a third one the wrong."""
    random = np.random.default_rng(0)
    found = []
    for clip in "abcd":
        for signs in random.uniform(0, 1, (50, len(Sign))):
            loss = float(np.clip(signs[Sign.UNLIKE] + random.normal(0, 0.05), 0, 1))
            signs[Sign.FADED] = 1 - loss
            found.append(Sample(clip, "flow", "first", Kind.SINGLE, signs, loss))
    return found


def test_weights_are_never_negative_and_hold_on_clips_that_had_no_part() -> None:
    given = samples()
    weights = fit(given).weights
    assert (weights >= 0).all()
    assert weights[Sign.UNLIKE] == weights.max() > 2
    assert weights[Sign.FADED] == weights[Sign.APART] == weights[Sign.MISSED] == 0
    ranked = auc(left_out(given), np.array([each.loss > 0.3 for each in given]))
    assert ranked is not None
    assert ranked > 0.95


def test_key_frames_needed_for_the_same_are_counted_in_whole_ones_and_of_means_in_parts() -> None:
    equal = [0.5, 0.6, 0.7, 0.9]
    assert [needed([0.5, 0.7, 0.8], target) for target in equal] == [1, 2, 2, 4]
    assert ratios([0.5, 0.7, 0.8], equal) == [1, 2 / 3, 1]
    assert ratios_of_means([0.5, 0.7, 0.8], equal) == pytest.approx([0.75, 2 / 3, 1])


def test_the_benches_judge_as_the_product_does(tmp_path: Path) -> None:
    """Before the first key frame, between two and after the last."""
    in_our_layout(tmp_path / "data", tiny_clip(12, objects=1))
    footage, keys = find_clip("squares", tmp_path / "data"), (2, 8)
    found = judge(Clip(footage), Engine(name="flow", cache=tmp_path), keys)
    ours = {each.frame: float(score(each.signs, each.kind)[0]) for each in found}
    export = tmp_path / "e.zip"
    write_footage(export, footage, keys)
    track(
        export,
        tmp_path / "r.zip",
        options=RunOptions(engine="flow"),
        settings=Settings(),
        report=tmp_path / "r.json",
    )
    told = json.loads((tmp_path / "r.json").read_text())["divergence"]
    assert {each["frame"]: each["score"] for each in told} == pytest.approx(ours, abs=1e-3)
