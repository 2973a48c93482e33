import math
from itertools import combinations

import numpy as np
import pytest

from cryptocast.scoring.overfitting import backtest_overfitting


def test_it_equals_a_slow_loop_over_the_halves() -> None:
    rng = np.random.default_rng(1)
    returns = 0.01 * rng.standard_normal((100, 7)) + 0.001
    parts = np.array_split(np.arange(100), 6)
    logits, losses = [], 0
    for half in combinations(range(6), 3):
        inside = np.concatenate([parts[i] for i in half])
        outside = np.concatenate([parts[i] for i in range(6) if i not in half])
        best = int(np.argmax(returns[inside].mean(axis=0) / returns[inside].std(axis=0, ddof=1)))
        ratios = returns[outside].mean(axis=0) / returns[outside].std(axis=0, ddof=1)
        rank = (ratios <= ratios[best]).sum() / 8
        logits.append(math.log(rank / (1 - rank)))
        losses += ratios[best] < 0
    result = backtest_overfitting(returns, blocks=6)
    np.testing.assert_allclose(result.logits, logits, atol=1e-12)
    assert result.probability == np.mean(np.array(logits) <= 0)
    assert result.loss == losses / 20
    assert result.choices.sum() == pytest.approx(1.0)


def test_on_noise_it_is_near_one_half() -> None:
    rng = np.random.default_rng(2)
    found = [backtest_overfitting(rng.standard_normal((240, 20)), blocks=8).probability for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_with_one_real_edge_it_is_near_zero() -> None:
    returns = np.random.default_rng(3).standard_normal((960, 20))
    returns[:, 4] += 0.3
    result = backtest_overfitting(returns)
    assert len(result.logits) == 12_870
    assert result.probability < 0.01
    assert result.loss < 0.01
    assert result.choices.argmax() == 4


def test_a_setting_that_wins_by_one_lucky_block_is_overfitted() -> None:
    rng = np.random.default_rng(4)
    returns = rng.standard_normal((160, 10)) + np.linspace(0, 0.2, 10)
    for column in range(9):
        returns[16 * column : 16 * column + 16, column] += 4.0
        returns[:, column] -= 0.6
    assert backtest_overfitting(returns, blocks=10).probability > 0.4


def test_trials_that_never_vary_count_as_zero_and_equal_ones_share_their_rank() -> None:
    returns = np.zeros((40, 3))
    result = backtest_overfitting(returns, blocks=4)
    assert result.logits.tolist() == [0.0] * 6
    assert result.probability == 1.0
    constant = backtest_overfitting(np.full((40, 3), 0.1), blocks=4)
    assert constant.logits.tolist() == [0.0] * 6


def test_a_common_level_does_not_cost_precision() -> None:
    returns = np.random.default_rng(5).standard_normal((60, 4)) * 1e-6
    shifted = backtest_overfitting(returns + 1.0, blocks=4).choices
    slow = [(returns + 1.0)[:30], (returns + 1.0)[30:]]
    assert shifted.sum() == pytest.approx(1.0)
    ratio = np.array([part.mean(axis=0) / part.std(axis=0, ddof=1) for part in slow])
    assert shifted[int(ratio[0].argmax())] > 0
    assert shifted[int(ratio[1].argmax())] > 0


@pytest.mark.parametrize(("shape", "blocks"), [((40, 1), 4), ((40, 3), 5), ((40, 3), 0), ((7, 3), 4)])
def test_impossible_arguments_are_refused(shape: tuple[int, int], blocks: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        backtest_overfitting(np.zeros(shape), blocks=blocks)
    with pytest.raises(ValueError, match="finite"):
        backtest_overfitting(np.full((40, 3), math.nan), blocks=4)
