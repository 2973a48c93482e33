"""The mixture of Student ts against drawn samples, and when a view is believed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.models.quantile_shape import TAIL_FREEDOM, student_quantiles
from cryptocast.models.student_mixture import (
    LEAST_FREEDOM,
    _log_gamma_slopes,
    mixed,
    probability_of_rise,
    supports_view,
)
from cryptocast.scoring.quantiles import LEVELS


def test_without_correction_and_spread_it_is_the_shape_of_the_baseline() -> None:
    made = mixed(np.zeros((2, 3)), np.zeros((2, 3)))
    np.testing.assert_allclose(made.deviation, 1.0, rtol=1e-4)
    np.testing.assert_allclose(made.freedom, TAIL_FREEDOM, rtol=1e-3)
    np.testing.assert_allclose(made.shape[1, 2], student_quantiles(), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("spread", [0.01, 0.05, 0.15])
def test_the_quantiles_are_those_of_the_drawn_mixture(spread: float) -> None:
    draws = np.random.default_rng(5)
    scale = np.exp(0.3 + np.sqrt(spread) * draws.standard_normal(1_000_000))
    sample = scale * draws.standard_t(TAIL_FREEDOM, 1_000_000) * np.sqrt((TAIL_FREEDOM - 2) / TAIL_FREEDOM)
    made = mixed(np.full((1, 1), 0.3), np.full((1, 1), spread))
    np.testing.assert_allclose(
        (made.deviation[:, :, None] * made.shape)[0, 0, 7:],
        np.quantile(np.abs(sample), 2 * LEVELS[7:] - 1),
        rtol=0.004 + 0.15 * spread,
    )
    assert made.freedom[0, 0] < TAIL_FREEDOM


@given(st.floats(-1.5, 1.5), st.floats(0.0, 3.0))
@settings(max_examples=50)
def test_quantiles_mirror_each_other_rise_and_stay_finite(log_scale: float, spread: float) -> None:
    made = mixed(np.full((1, 1), log_scale), np.full((1, 1), spread))
    assert np.isfinite(made.shape).all()
    assert (np.diff(made.shape) > 0).all()
    np.testing.assert_allclose(made.shape, -made.shape[:, :, ::-1])
    assert made.shape[0, 0, len(LEVELS) // 2] == 0.0
    assert made.freedom[0, 0] >= LEAST_FREEDOM - 1e-9


def test_the_tables_are_scipys() -> None:
    from scipy.special import digamma, polygamma

    half = np.exp(np.linspace(0.0, 5.0, 200))
    slope, curvature = _log_gamma_slopes(half)
    np.testing.assert_allclose(slope, digamma(half), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(curvature, polygamma(1, half), rtol=1e-11)


def test_the_probability_of_a_rise_grows_with_the_location() -> None:
    made = mixed(np.zeros((1, 5)), np.zeros((1, 5)))
    rise = probability_of_rise(np.array([[-1.0, -0.1, 0.0, 0.1, 1.0]]), made)[0]
    assert (np.diff(rise) > 0).all()
    assert rise[2] == pytest.approx(0.5)
    assert rise[0] + rise[4] == pytest.approx(1.0)


def _days(coins: int, bars: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.tile(np.arange(bars, dtype=np.int64), coins)


def test_a_true_view_is_believed_and_its_opposite_is_not() -> None:
    draws = np.random.default_rng(3)
    signal, noise = draws.normal(size=4000), draws.normal(size=4000)
    returns = np.sqrt(0.1) * signal + np.sqrt(0.9) * noise
    zeros = np.zeros(4000)
    assert supports_view(returns, zeros, np.sqrt(0.1) * signal, _days(10, 400), 1)
    assert not supports_view(returns, zeros, -np.sqrt(0.1) * signal, _days(10, 400), 1)
    assert not supports_view(returns, zeros, zeros, _days(10, 400), 1)


@pytest.mark.parametrize("horizon", [1, 14])
def test_a_view_of_noise_is_hardly_ever_believed(horizon: int) -> None:
    believed = 0
    for seed in range(200):
        draws = np.random.default_rng(seed)
        steps = draws.normal(size=(5, 400 + horizon))
        # Overlapping returns of coins that move together.
        steps = 0.7 * steps[:1] + 0.7 * steps
        returns = np.stack([np.convolve(s, np.ones(horizon), "valid")[:400] for s in steps]) / np.sqrt(horizon)
        view = np.repeat(0.3 * draws.normal(size=(1, 20)), 20, axis=1).repeat(5, axis=0)
        believed += supports_view(returns.ravel(), np.zeros(2000), view.ravel(), _days(5, 400), horizon)
    assert believed <= 2


def test_too_few_blocks_support_nothing() -> None:
    returns = np.full(300, 1.0)
    assert not supports_view(returns, np.zeros(300), returns, _days(1, 300), 30)
    assert not supports_view(np.full(300, np.nan), np.zeros(300), returns, _days(1, 300), 1)
