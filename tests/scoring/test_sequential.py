import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.scoring.sequential import STAKES, bet_on_difference, independent_blocks


def differences(rng: np.random.Generator, n: int, k: int, better: float = 0.0) -> FloatArray:
    """Overlapping squared errors of two equal forecasts, less what the first is better by."""
    total = np.concatenate((np.zeros((1, 2)), rng.standard_normal((n + k - 1, 2)).cumsum(axis=0)))
    errors = (total[k:] - total[:-k]) ** 2 / k
    difference: FloatArray = errors[:, 0] - errors[:, 1] - better
    return difference


@pytest.mark.parametrize("k", [1, 7])
def test_looking_after_every_bet_it_is_rarely_fooled(k: int) -> None:
    rng = np.random.default_rng(k)
    fooled = sum(
        bet_on_difference(differences(rng, 1_000, k), scale=8.0, k=k).decided_at is not None for _ in range(500)
    )
    assert fooled / 500 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 500)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_its_error_under_continuous_looking_stays_below_alpha(k: int, alpha: float) -> None:
    rng = np.random.default_rng(100 + k)
    fooled = sum(
        bet_on_difference(differences(rng, 2_000, k), scale=8.0, k=k, alpha=alpha).decided_at is not None
        for _ in range(3_000)
    )
    assert fooled / 3_000 <= alpha


def test_a_test_that_is_looked_at_every_week_is_fooled_far_more_often() -> None:
    rng = np.random.default_rng(3)
    fooled = 0
    for _ in range(150):
        d = differences(rng, 500, 1)
        fooled += any(
            (diebold_mariano(d[:n], np.zeros(n), np.arange(n), horizon=1, step=1).p_better or 1.0) < 0.05
            for n in range(20, 501, 7)
        )
    assert fooled / 150 > 0.15


def test_a_better_forecast_is_found_and_a_worse_one_is_not() -> None:
    rng = np.random.default_rng(4)
    found = [bet_on_difference(differences(rng, 800, 1, better=0.5), scale=8.0) for _ in range(60)]
    assert np.mean([bets.decided_at is not None for bets in found]) > 0.9
    assert all(bet_on_difference(differences(rng, 800, 1, better=-0.5), scale=8.0).p > 0.2 for _ in range(60))


def test_the_fortune_is_that_of_a_slow_bettor() -> None:
    d = np.random.default_rng(5).standard_normal(40)
    fortunes = dict.fromkeys(STAKES, 1.0)
    expected = []
    for value in d.tolist():
        for stake in STAKES:
            fortunes[stake] *= 1.0 - stake * max(-2.0, min(2.0, value)) / 2.0
        expected.append(math.log(sum(fortunes.values()) / len(STAKES)))
    bets = bet_on_difference(d, scale=2.0)
    assert bets.log_fortune.tolist() == pytest.approx(expected)
    assert bets.e_value == pytest.approx(math.exp(expected[-1]))
    assert bets.p == pytest.approx(min(1.0, math.exp(-max(expected))))


def test_equal_losses_leave_the_fortune_as_it_was() -> None:
    bets = bet_on_difference(np.zeros(100), scale=1.0)
    assert bets.log_fortune.tolist() == pytest.approx([0.0] * 100)
    assert (bets.p, bets.decided_at) == (1.0, None)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 59))
def test_later_outcomes_change_no_earlier_fortune(values: list[float], k: int, cut: int) -> None:
    x = np.array(values)
    whole, part = bet_on_difference(x, scale=1.0, k=k), bet_on_difference(x[:cut], scale=1.0, k=k)
    shared = len(part.log_fortune)
    assert whole.log_fortune[:shared].tolist() == pytest.approx(part.log_fortune.tolist())
    assert whole.p <= part.p + 1e-12


@given(st.integers(0, 60), st.integers(1, 9))
def test_no_label_of_a_block_reaches_into_the_next(n: int, k: int) -> None:
    # Means of the positions name their blocks: k in a row, the next one issued when the last label has ended.
    means = independent_blocks(np.arange(n, dtype=np.float64), k)
    first = [round(mean - (k - 1) / 2) for mean in means.tolist()]
    assert first == [i * (2 * k - 1) for i in range(len(first))]
    assert all(start + k <= n for start in first)
    assert len(first) == sum(start + k <= n for start in range(0, n, 2 * k - 1))


def test_one_outlier_cannot_ruin_or_decide() -> None:
    d = np.zeros(50)
    d[10] = -1e9
    assert bet_on_difference(d, scale=1.0).p > 0.5
    d[10] = 1e9
    assert bet_on_difference(d, scale=1.0).e_value > 0.0


def test_nothing_yet_is_no_evidence() -> None:
    bets = bet_on_difference(np.zeros(3), scale=1.0, k=7)
    assert (bets.p, bets.e_value, bets.decided_at) == (1.0, 1.0, None)


def test_impossible_arguments_are_refused() -> None:
    for scale, alpha in ((0.0, 0.05), (math.nan, 0.05), (1.0, 0.0)):
        with pytest.raises(ValueError, match="scale"):
            bet_on_difference(np.zeros(3), scale=scale, alpha=alpha)
    with pytest.raises(ValueError, match="finite"):
        independent_blocks(np.array([math.nan]), 1)
    with pytest.raises(ValueError, match="1 or more"):
        independent_blocks(np.zeros(3), 0)
