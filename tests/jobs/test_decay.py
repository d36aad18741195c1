"""Promise: what a run's scores say of each step is found again, and what was lost says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.decay import both_ways, one_way, usual_cost

COSTS = st.lists(st.floats(0.001, 0.05), min_size=1, max_size=40)
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(COSTS)
def test_the_costs_of_a_pass_are_found_again(costs: list[float]) -> None:
    lost = np.cumsum(costs)
    found = one_way(1 - np.exp(-lost), 0.0)
    assert found.costs == pytest.approx(costs, abs=1e-9)
    assert found.left == pytest.approx(np.exp(-np.append(0, lost[:-1])))


@given(COSTS, COSTS)
def test_between_two_key_frames_both_passes_costs_are_found_again(
    ahead: list[float], back: list[float]
) -> None:
    """The step in the worst place is not seen: at least the difference of what it joins."""
    lost = np.concatenate([np.cumsum(ahead), np.cumsum(back)[::-1]])
    found = both_ways(1 - np.exp(-lost), 0.0)
    middle = len(ahead)
    costs = np.array([*ahead, abs(sum(ahead) - sum(back)), *back[::-1]])
    assert len(found.costs) == len(lost) + 1
    assert found.costs.sum() == pytest.approx(costs.sum(), abs=1e-6)
    assert np.cumsum(found.costs)[: middle - 1] == pytest.approx(
        np.cumsum(costs)[: middle - 1], abs=1e-6
    )


@given(SCORES)
def test_whatever_the_scores_no_step_gives_anything_back(scores: list[float]) -> None:
    for found in (one_way(np.array(scores), 0.02), both_ways(np.array(scores), 0.02)):
        assert (found.costs >= 0).all()
        assert (found.left > 0).all()
        assert (found.left <= 1).all()
        assert np.isfinite(found.believed(usual_cost([found]))).all()


def test_steps_of_a_lost_mask_are_taken_to_cost_the_usual() -> None:
    """5 steps of 2 %, then lost: what comes behind seems to cost nothing, and is not known."""
    scores = np.array([*(1 - np.exp(-0.02 * np.arange(1, 6))), *[0.95] * 20])
    found = one_way(scores, 0.0)
    usual = usual_cost([found])
    costs = found.believed(usual)
    assert (costs[:5] < usual / 2).all()
    assert costs[6:] == pytest.approx(usual, rel=0.01)
    assert 0.1 < usual < 0.25  # one loss of nearly all in six steps
