import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptocast.arrays import FloatArray
from cryptocast.scoring.quantiles import (
    LEVELS,
    covered,
    crps,
    crps_relative,
    crps_weights,
    interval_columns,
    interval_score,
    intervals_on_offer,
    mean_of_quantiles,
    pinball,
)

finite = st.floats(-1e6, 1e6, allow_subnormal=False)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    n = draw(st.integers(1, 8))
    actual = draw(hnp.arrays(np.float64, n, elements=finite))
    values = np.sort(draw(hnp.arrays(np.float64, (n, LEVELS.size), elements=finite)), axis=1)
    return actual, values


def mean_under_normal(score: FloatArray, at: FloatArray) -> float:
    density = np.exp(-(at**2) / 2.0) / math.sqrt(2.0 * math.pi)
    return float(np.trapezoid(score * density, at))


def test_the_levels_are_the_thirteen_of_the_contract_and_cannot_be_changed() -> None:
    assert LEVELS.tolist() == [0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975]
    assert LEVELS.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        LEVELS[0] = 0.5


def test_each_level_weighs_its_cell_between_the_midpoints() -> None:
    expected = [0.0375, 0.0375, 0.075, *[0.1] * 7, 0.075, 0.0375, 0.0375]
    np.testing.assert_allclose(crps_weights(LEVELS), expected, rtol=0, atol=1e-15)


@given(st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=20, unique=True))
def test_weights_are_positive_and_sum_to_one(levels: list[float]) -> None:
    weights = crps_weights(np.sort(np.array(levels)))
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("levels", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 0.4], [0.5, 0.5], [0.1, math.nan, 0.9]])
def test_impossible_levels_are_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="levels"):
        crps_weights(np.array(levels))


def test_the_crps_of_a_perfect_normal_forecast_is_near_the_exact_value() -> None:
    # Exact: 1 / sqrt(pi) = 0.5642. A pinball loss at its own quantile z is expected to be phi(z), so the formula on our
    # levels gives 2 sum w_i phi(z_i) = 0.562274; the integral over all outcomes must agree.
    at = np.linspace(-9.0, 9.0, 40_001)
    score = crps(at, np.broadcast_to(NORMAL, (at.size, LEVELS.size)), LEVELS)
    by_hand = 2.0 * sum(w * NormalDist().pdf(z) for w, z in zip(crps_weights(LEVELS), NORMAL, strict=True))
    assert mean_under_normal(score, at) == pytest.approx(by_hand, abs=1e-6)
    assert by_hand == pytest.approx(0.562274, abs=1e-6)
    assert by_hand == pytest.approx(1.0 / math.sqrt(math.pi), rel=0.004)


def test_ten_midpoint_levels_give_the_published_value() -> None:
    # The known value of the K = 10 midpoint rule for a perfect N(0, 1) forecast: 0.568, 0.7 % above exact.
    levels = (np.arange(10) + 0.5) / 10
    values = np.array([NormalDist().inv_cdf(level) for level in levels])
    at = np.linspace(-9.0, 9.0, 20_001)
    score = crps(at, np.broadcast_to(values, (at.size, 10)), levels)
    assert mean_under_normal(score, at) == pytest.approx(0.568, abs=5e-4)


@given(
    hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-100, 100)),
    st.floats(-100, 100),
)
def test_on_midpoint_levels_it_is_the_crps_of_the_ensemble(members: FloatArray, actual: float) -> None:
    # Oracle: E|X - y| - E|X - X'| / 2 over equally likely members, which those levels are the quantiles of.
    members = np.sort(members)
    levels = (np.arange(members.size) + 0.5) / members.size
    distance = float(np.mean([abs(x - actual) for x in members]))
    spread = float(np.mean([abs(x - other) for x in members for other in members]))
    score = crps(np.array([actual]), members[None, :], levels)
    assert score[0] == pytest.approx(distance - spread / 2.0, abs=1e-9)


def test_the_true_distribution_scores_better_than_a_shifted_a_wider_and_a_narrower_one() -> None:
    at = np.linspace(-9.0, 9.0, 4_001)

    def expected(values: FloatArray) -> float:
        return mean_under_normal(crps(at, np.broadcast_to(values, (at.size, LEVELS.size)), LEVELS), at)

    best = expected(NORMAL)
    assert all(expected(other) > best + 1e-3 for other in (NORMAL + 0.2, NORMAL * 1.2, NORMAL * 0.8))


@given(forecasts())
def test_pinball_and_crps_are_never_negative(forecast: tuple[FloatArray, FloatArray]) -> None:
    actual, values = forecast
    assert (pinball(actual, values, LEVELS) >= 0.0).all()
    assert (crps(actual, values, LEVELS) >= 0.0).all()


@given(forecasts())
def test_pinball_is_the_formula_cell_by_cell(forecast: tuple[FloatArray, FloatArray]) -> None:
    actual, values = forecast
    loss = pinball(actual, values, LEVELS)
    for row, y in enumerate(actual):
        for column, level in enumerate(LEVELS):
            f = values[row, column]
            assert loss[row, column] == pytest.approx(level * (y - f) if y >= f else (1 - level) * (f - y), rel=1e-9)


@given(hnp.arrays(np.float64, st.integers(1, 10), elements=finite))
def test_a_forecast_that_is_certain_and_right_costs_nothing(actual: FloatArray) -> None:
    values = np.repeat(actual[:, None], LEVELS.size, axis=1)
    assert (pinball(actual, values, LEVELS) == 0.0).all()
    assert (crps(actual, values, LEVELS) == 0.0).all()


@given(forecasts(), st.integers(0, 1000))
def test_the_order_of_the_forecasts_does_not_matter(forecast: tuple[FloatArray, FloatArray], seed: int) -> None:
    actual, values = forecast
    order = np.random.default_rng(seed).permutation(actual.size)
    shuffled = crps(actual[order], values[order], LEVELS)
    np.testing.assert_allclose(shuffled, crps(actual, values, LEVELS)[order], rtol=1e-12)


@given(forecasts(), st.floats(0.01, 100.0), st.floats(-1e3, 1e3))
def test_crps_moves_with_the_unit_and_not_with_the_origin(
    forecast: tuple[FloatArray, FloatArray], scale: float, shift: float
) -> None:
    actual, values = forecast
    moved = crps(actual * scale + shift, values * scale + shift, LEVELS)
    np.testing.assert_allclose(moved, crps(actual, values, LEVELS) * scale, rtol=1e-6, atol=1e-6)


def test_relative_crps_is_the_crps_of_prices_over_the_price_at_issue() -> None:
    price, log_return = 250.0, np.array([0.1, -0.3])
    quantiles = np.vstack([NORMAL * 0.05, NORMAL * 0.2 - 0.1])
    on_prices = crps(price * np.exp(log_return), price * np.exp(quantiles), LEVELS) / price
    np.testing.assert_allclose(crps_relative(log_return, quantiles, LEVELS), on_prices, rtol=1e-12)


def test_a_missing_number_makes_its_own_row_missing_and_no_other() -> None:
    actual = np.array([0.0, math.nan, 0.0])
    values = np.tile(NORMAL, (3, 1))
    values[2, 4] = math.nan
    assert np.isnan(crps(actual, values, LEVELS)).tolist() == [False, True, True]
    assert np.isnan(pinball(actual, values, LEVELS)).sum(axis=1).tolist() == [0, LEVELS.size, 1]


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(n,\), \(n, q\), \(q,\)"):
        pinball(np.zeros(3), np.zeros((2, 13)), LEVELS)
    with pytest.raises(ValueError, match="expected"):
        crps(np.zeros(3), np.zeros((3, 12)), LEVELS)
    with pytest.raises(ValueError, match="one shape"):
        interval_score(np.zeros(3), np.zeros(2), np.ones(3), 0.05)


def test_the_interval_score_is_width_plus_the_miss_times_two_over_alpha() -> None:
    # By hand: width 4; misses of 1 below and 3 above cost 2 / 0.2 each.
    actual, lower, upper = np.array([0.0, -3.0, 5.0]), np.full(3, -2.0), np.full(3, 2.0)
    np.testing.assert_allclose(interval_score(actual, lower, upper, 0.2), [4.0, 14.0, 34.0])


@given(forecasts(), st.sampled_from([20, 40, 60, 80, 90, 95]))
def test_the_interval_score_is_the_pinball_of_its_two_ends(
    forecast: tuple[FloatArray, FloatArray], percent: int
) -> None:
    # Gneiting and Raftery (2007), section 6.2: IS = 2 / alpha times (pinball at alpha / 2 + pinball at 1 - alpha / 2).
    actual, values = forecast
    low, high = interval_columns(LEVELS, percent)
    alpha = 1.0 - percent / 100.0
    both = pinball(actual, values, LEVELS)[:, [low, high]].sum(axis=1)
    score = interval_score(actual, values[:, low], values[:, high], alpha)
    np.testing.assert_allclose(score, both * 2.0 / alpha, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 95.0, math.nan])
def test_an_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        interval_score(np.zeros(1), np.zeros(1), np.ones(1), alpha)


def test_the_intervals_on_offer_are_central_and_have_their_percent() -> None:
    assert intervals_on_offer(LEVELS) == (20, 40, 60, 80, 90, 95)
    for percent in intervals_on_offer(LEVELS):
        low, high = interval_columns(LEVELS, percent)
        assert LEVELS[high] - LEVELS[low] == pytest.approx(percent / 100.0)
        assert LEVELS[high] + LEVELS[low] == pytest.approx(1.0)


@pytest.mark.parametrize("percent", [0, 50, 99, 100, -80])
def test_an_interval_that_is_not_on_offer_is_refused_with_those_that_are(percent: int) -> None:
    with pytest.raises(ValueError, match="on offer: 20, 40, 60, 80, 90, 95 %"):
        interval_columns(LEVELS, percent)


def test_the_ends_of_an_interval_belong_to_it() -> None:
    hits = covered(np.array([-1.0, 0.0, 1.0, 1.1]), np.full(4, -1.0), np.full(4, 1.0))
    assert hits.dtype == np.bool_
    assert hits.tolist() == [True, True, True, False]


def test_a_missing_outcome_is_neither_a_hit_nor_a_miss() -> None:
    with pytest.raises(ValueError, match="actual has 1 NaN of 2"):
        covered(np.array([0.0, math.nan]), np.zeros(2), np.ones(2))


def test_crossed_intervals_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 intervals"):
        covered(np.zeros(2), np.array([-1.0, 1.0]), np.array([1.0, -1.0]))


@given(forecasts())
def test_the_mean_lies_among_the_quantiles_and_follows_shape(forecast: tuple[FloatArray, FloatArray]) -> None:
    _, values = forecast
    mean = mean_of_quantiles(values, LEVELS)
    assert mean.shape == (len(values),)
    assert ((values[:, 0] - 1e-6 <= mean) & (mean <= values[:, -1] + 1e-6)).all()
    # What cancels leaves rounding of the size of the values.
    rounding = 1e-12 * float(np.abs(values).max(initial=1.0))
    np.testing.assert_allclose(mean_of_quantiles(values[:, None, :], LEVELS)[:, 0], mean, atol=rounding)


def test_the_mean_of_a_symmetric_distribution_is_its_median_and_of_a_skewed_one_above() -> None:
    assert mean_of_quantiles(NORMAL, LEVELS) == pytest.approx(0.0, abs=1e-12)
    # A lognormal with sigma 0.2 has the mean exp(0.02) = 1.0202; its tails beyond the outer levels are cut.
    assert 1.01 < mean_of_quantiles(np.exp(0.2 * NORMAL), LEVELS) < math.exp(0.02)


def test_the_mean_needs_one_value_per_level() -> None:
    with pytest.raises(ValueError, match="expected"):
        mean_of_quantiles(np.zeros((2, 5)), LEVELS)
