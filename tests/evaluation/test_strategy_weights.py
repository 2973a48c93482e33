import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.evaluation.strategy import Costs, simulate
from cryptocast.evaluation.strategy_weights import (
    between_decisions,
    long_short,
    random_entries,
    volatility_target,
)


def test_the_position_shrinks_as_volatility_grows() -> None:
    # 7-bar volatility of daily bars: 0.1 is 0.1 sqrt(365 / 7) a year.
    weights = volatility_target(np.array([0.1, 0.2, 0.0, 0.001]), horizon=7, periods=365.0, target=0.4)
    assert weights.tolist() == pytest.approx([0.4 / (0.1 * math.sqrt(365 / 7)), 0.4 / (0.2 * math.sqrt(365 / 7)), 1, 1])
    assert volatility_target(np.array([0.01]), horizon=1, periods=365.0, target=0.8, most=3.0) == pytest.approx(3.0)


def test_signs_follow_the_probability_and_no_view_is_flat() -> None:
    p_up = np.array([0.2, 0.45, 0.5, 0.55, 0.8])
    assert long_short(p_up).tolist() == [-1, -1, 0, 1, 1]


def test_between_decisions_the_last_one_holds() -> None:
    weights = np.array([9.0, 1.0, math.nan, 9.0, 0.5])
    decided = np.array([False, True, False, False, True])
    assert between_decisions(weights, decided).tolist() == [0.0, 1.0, 1.0, 1.0, 0.5]
    assert between_decisions(np.empty(0), np.empty(0, dtype=np.bool_)).size == 0


@given(st.lists(st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=40), st.integers(0, 99))
def test_random_entries_keep_exposure_and_turnover(weights: list[float], seed: int) -> None:
    given_weights = np.array(weights)
    drawn = random_entries(given_weights, 5, np.random.default_rng(seed))
    assert drawn.shape == (5, len(weights))
    spells = np.count_nonzero(np.diff(given_weights)) + 1
    for one in drawn:
        assert sorted(one.tolist()) == sorted(weights)
        if spells >= 3:
            assert np.abs(np.diff(one)).sum() == np.abs(np.diff(given_weights)).sum()
            assert (one[0], one[-1]) == (weights[0], weights[-1])


def test_random_entries_come_at_other_moments_and_cost_the_same() -> None:
    rng = np.random.default_rng(1)
    weights = np.repeat(rng.integers(0, 2, 60), rng.integers(1, 9, 60)).astype(np.float64)
    drawn = random_entries(weights, 20, rng)
    assert np.mean([(one == weights).all() for one in drawn]) == 0.0
    close = np.full(len(weights), 5.0)
    ends = [simulate(close, one, costs=Costs(20.0)).equity[-1] for one in (weights, *drawn)]
    assert ends == pytest.approx([ends[0]] * 21)


def test_a_position_that_is_never_closed_is_rotated() -> None:
    weights = np.linspace(0.2, 0.9, 30)
    for one in random_entries(weights, 10, np.random.default_rng(2)):
        start = int(one.argmin())
        assert np.roll(one, -start).tolist() == weights.tolist()


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="volatility"):
        volatility_target(np.array([math.nan]), horizon=1, periods=365, target=0.4)
    with pytest.raises(ValueError, match="above 0"):
        volatility_target(np.array([0.1]), horizon=1, periods=365, target=0.0)
    for p_up in (math.nan, 1.2):
        with pytest.raises(ValueError, match="p_up"):
            long_short(np.array([p_up]))
    with pytest.raises(ValueError, match="decided"):
        between_decisions(np.zeros(2), np.zeros(3, dtype=np.bool_))
    with pytest.raises(ValueError, match="draws"):
        random_entries(np.zeros(2), 0, np.random.default_rng(1))
