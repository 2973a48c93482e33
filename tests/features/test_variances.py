"""Twenty variances of one coin and their mean."""

import numpy as np
import pytest

from cryptocast.features.averages import decayed_means
from cryptocast.features.variances import HALF_LIVES, VARIANCE_FLOOR, WINDOW, bar_variances, mean_variance


def test_history_before_the_window_and_bars_behind_the_issue_change_no_bit() -> None:
    rng = np.random.default_rng(3)
    values = rng.exponential(size=2500)
    values[rng.random(2500) < 0.1] = np.nan
    whole = decayed_means(values, WINDOW, HALF_LIVES)
    for begin, end in ((0, 1700), (900, 2500), (2500 - WINDOW, 2500)):
        part = decayed_means(values[begin:end], WINDOW, HALF_LIVES)
        np.testing.assert_array_equal(part[:, -1], whole[:, end - 1])


def test_the_mean_is_that_of_the_logarithms_and_a_bar_that_did_not_trade_is_no_zero() -> None:
    rng = np.random.default_rng(4)
    log_close, ranged = np.cumsum(rng.normal(0.0, 0.04, 600)), rng.exponential(0.0016, 600)
    log_close[300:306] = log_close[299]
    ranged[300:306] = 0.0
    several = bar_variances(log_close, ranged)
    assert several.shape == (2 * len(HALF_LIVES), 600)
    mean = mean_variance(log_close, ranged, np.arange(1, 600))
    np.testing.assert_allclose(mean, np.exp(np.log(np.maximum(several[:, 1:], VARIANCE_FLOOR)).mean(axis=0)))
    assert mean[-1] == pytest.approx(0.0016, rel=0.3)
    np.testing.assert_allclose(mean_variance(np.zeros(40), np.zeros(40), np.array([39])), VARIANCE_FLOOR)


def test_a_few_bars_looked_at_one_by_one_have_the_mean_of_all() -> None:
    rng = np.random.default_rng(5)
    log_close, ranged = np.cumsum(rng.normal(0.0, 0.04, 2500)), rng.exponential(0.0016, 2500)
    log_close[rng.random(2500) < 0.1] = np.nan
    places = np.array([1, 30, WINDOW - 1, WINDOW, 2499])
    one_by_one = mean_variance(log_close, ranged, places, few=True)
    np.testing.assert_allclose(one_by_one, mean_variance(log_close, ranged, places), rtol=1e-11)
