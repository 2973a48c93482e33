"""Scores of predicted volatilities rank them as the truth would."""

import numpy as np
import pytest

from cryptocast.scoring.volatility import log_variance_error, qlike


def test_golden_values() -> None:
    realised, volatility = np.array([0.0, 4.0, np.nan]), np.array([2.0, 2.0, 1.0])
    np.testing.assert_allclose(qlike(realised, volatility), [np.log(4.0), np.log(4.0) + 1.0, np.nan])
    np.testing.assert_allclose(log_variance_error(np.array([1.0, 0.0]), np.array([np.e, 1.0])), [4.0, np.inf])


def test_the_true_volatility_has_the_least_loss_on_noisy_squared_returns() -> None:
    rng = np.random.default_rng(2)
    true = np.exp(rng.normal(0.0, 0.5, 40_000))
    squared = (true * rng.standard_t(6, 40_000) * np.sqrt(4 / 6)) ** 2
    losses = [qlike(squared, true * factor).mean() for factor in (0.8, 0.9, 1.0, 1.1, 1.25)]
    assert int(np.argmin(losses)) == 2
    assert losses[2] < qlike(squared, np.full_like(true, np.sqrt(np.mean(true**2)))).mean()


@pytest.mark.parametrize(("realised", "volatility"), [(-1.0, 1.0), (1.0, 0.0)])
def test_impossible_numbers_are_refused(realised: float, volatility: float) -> None:
    for loss in (qlike, log_variance_error):
        with pytest.raises(ValueError, match="negative, or a volatility"):
            loss(np.array([realised]), np.array([volatility]))
