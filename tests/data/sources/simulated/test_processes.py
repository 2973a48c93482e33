import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cryptocast.arrays import FloatArray
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.data.sources.simulated.processes import (
    GarchT,
    PlantedSignal,
    Process,
    RandomWalk,
    Regimes,
    VolatilityBreak,
)
from cryptocast.features import add_features
from cryptocast.features.builder import select_features
from cryptocast.scoring.quantiles import LEVELS, crps
from tests.data.sources.simulated.truth import Truth, attainable_crps_gain, kurtosis, r_squared_ahead, truth_of

START = datetime(2015, 1, 1, tzinfo=UTC)
LEVEL_LIST = LEVELS.tolist()


def market(process: Process, *, seed: int = 1, correlation: float = 0.0) -> SimulatedMarket:
    return SimulatedMarket(process, seed, 0.03, correlation)


def returns_of(of: SimulatedMarket, coins: Sequence[str], bars: int) -> FloatArray:
    """(bars, coins) log returns from the candles, open to close."""
    frame = simulate(of, coins, bars, "daily", START)
    moved = frame.select((pl.col("close") / pl.col("open")).log()).to_series().to_numpy()
    return moved.reshape(len(coins), bars).T


def oracle(of: SimulatedMarket, coins: Sequence[str], bars: int) -> Truth:
    return truth_of(of, coins, bars, "daily", START)


def ahead(returns: FloatArray, horizon: int) -> FloatArray:
    """(bars - horizon, coins): the sum of the returns of the next `horizon` bars."""
    total = np.vstack([np.zeros((1, returns.shape[1])), np.cumsum(returns, axis=0)])
    result: FloatArray = total[1 + horizon :] - total[1:-horizon]
    return result


COINS = tuple(sorted(simulated_coins(20)))
ALL = (RandomWalk(), GarchT(), Regimes(), PlantedSignal(), VolatilityBreak(500))


def planted_table(r_squared: float, bars: int = 5000) -> tuple[FloatArray, FloatArray]:
    """Features (n, 2) ret_1 and ret_3 as the catalogue computes them, and the next return (n,)."""
    frame = simulate(market(PlantedSignal(r_squared), seed=13), COINS, bars, "daily", START)
    table = add_features(frame.lazy(), select_features(["ret_1", "ret_3"]), bar_us=BAR_US["daily"])
    coming = (pl.col("close").shift(-1) / pl.col("close")).log().over("coin").alias("next")
    rows = table.with_columns(coming).drop_nulls(["ret_1", "ret_3", "next"]).collect()
    return rows.select("ret_1", "ret_3").to_numpy(), rows["next"].to_numpy()


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.kind)
def test_the_truth_belongs_to_the_candles(process: Process) -> None:
    of = market(process)
    truth = oracle(of, COINS[:3], 60)
    np.testing.assert_allclose(truth.path.returns, returns_of(of, COINS[:3], 60), atol=1e-12)
    frame = simulate(of, COINS[:3], 60, "daily", START)
    table = oracle(of, COINS[2::-1], 60).frame((1, 7))  # asked for in another order
    assert table.select("coin", "close_time").equals(frame.select("coin", "close_time"))
    np.testing.assert_array_equal(table["mean_7"].to_numpy(), truth.mean(7).ravel(order="F"))
    np.testing.assert_array_equal(table["volatility_1"].to_numpy(), truth.volatility(1).ravel(order="F"))


@pytest.mark.parametrize("process", ALL[:4], ids=lambda process: process.kind)
def test_the_unconditional_volatility_is_the_stated_one(process: Process) -> None:
    returns = returns_of(market(process, seed=5), COINS, 5000)
    assert float(returns.std()) == pytest.approx(0.03, rel=0.03)
    assert abs(float(returns.mean())) < 4 * 0.03 / math.sqrt(returns.size)
    hourly = SimulatedMarket(process, 5)
    assert hourly.deviation("hourly") == pytest.approx(hourly.volatility / math.sqrt(24))


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.kind)
@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_returns_lie_around_the_true_mean_with_the_true_volatility(process: Process, horizon: int) -> None:
    of = market(process, seed=2)
    truth = oracle(of, COINS, 3000)
    known = slice(0, 3000 - horizon)
    score = (ahead(truth.path.returns, horizon) - truth.mean(horizon)[known]) / truth.volatility(horizon)[known]
    assert float(score.mean()) == pytest.approx(0, abs=0.05)
    assert float((score**2).mean()) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.kind)
def test_the_quantiles_of_the_oracle_cover_what_they_say(process: Process) -> None:
    truth = oracle(market(process, seed=3), COINS, 1001)
    below = truth.path.returns[1:, :, None] <= truth.quantiles(LEVELS)[:-1]
    error = 4 * np.sqrt(LEVELS * (1 - LEVELS) / 20_000)
    assert (np.abs(below.mean(axis=(0, 1)) - LEVELS) < error).all()


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.kind)
def test_nothing_but_the_signal_can_be_told_from_the_past(process: Process) -> None:
    returns = returns_of(market(process, seed=4), COINS, 3000)
    lagged = float(np.corrcoef(returns[1:].ravel(), returns[:-1].ravel())[0, 1])
    if isinstance(process, PlantedSignal):
        assert lagged < -0.2
    else:
        assert abs(lagged) < 0.03


@pytest.mark.parametrize("process", [RandomWalk(), GarchT(0.0, 0.0, 6.0)], ids=["normal", "t"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_any_two_coins_are_correlated_as_stated(process: Process, correlation: float) -> None:
    returns = returns_of(market(process, seed=6, correlation=correlation), COINS[:6], 20_000)
    off = np.asarray(np.corrcoef(returns.T))[np.triu_indices(6, 1)]
    np.testing.assert_allclose(off, correlation, atol=0.04)
    if correlation == 0.0:  # independent, not only uncorrelated
        squares = np.asarray(np.corrcoef((returns**2).T))[np.triu_indices(6, 1)]
        np.testing.assert_allclose(squares, 0.0, atol=0.04)


def test_a_random_walk_has_a_constant_volatility() -> None:
    returns = returns_of(market(RandomWalk(), seed=8), ["bitcoin"], 20_000)[:, 0]
    assert (oracle(market(RandomWalk()), ["bitcoin"], 50).volatility() == 0.03).all()
    deviations = returns.reshape(40, 500).std(axis=1)
    assert deviations == pytest.approx(0.03, rel=0.15)  # five standard errors: 0.03 / sqrt(1000)
    squares = returns**2
    assert abs(np.corrcoef(squares[1:], squares[:-1])[0, 1]) < 0.03
    assert stats.kurtosis(returns, fisher=False) == pytest.approx(3, abs=0.15)


def test_garch_has_the_kurtosis_of_its_formula() -> None:
    process = GarchT(alpha=0.05, beta=0.90, degrees=9.0)  # light enough tails for the estimate to settle
    # The t has 3 * 7 / 5 = 4.2; 4.2 (1 - 0.95^2) / (1 - 0.9^2 - 2 * 0.05 * 0.9 - 0.05^2 * 4.2) = 4.575.
    assert kurtosis(process) == pytest.approx(4.575, abs=0.001)
    returns = returns_of(market(process, seed=9), COINS, 20_000)
    assert stats.kurtosis(returns.ravel(), fisher=False) == pytest.approx(kurtosis(process), rel=0.1)
    assert kurtosis(GarchT(0.3, 0.65, 4.5)) == math.inf


def test_garch_variance_follows_its_recursion_and_its_shocks_are_t() -> None:
    process = GarchT()
    truth = oracle(market(process, seed=10), COINS, 1000)
    variance = truth.volatility() ** 2
    omega = 0.03**2 * (1 - process.alpha - process.beta)
    slow = omega + process.alpha * truth.path.returns[1:] ** 2 + process.beta * variance[:-1]
    np.testing.assert_allclose(variance[1:], slow, rtol=1e-10)
    shocks = truth.path.returns[1:] / truth.volatility()[:-1] / math.sqrt(4 / 6)
    assert stats.kstest(shocks.ravel(), stats.t(6).cdf).pvalue > 0.01
    size = np.abs(truth.path.returns)
    assert np.corrcoef(size[1:].ravel(), size[:-1].ravel())[0, 1] > 0.08


def test_regimes_are_shared_calm_most_of_the_time_and_three_times_wilder_else() -> None:
    process = Regimes()
    truth = oracle(market(process, seed=11), COINS[:4], 20_000)
    state = truth.path.state
    assert (state == state[:, :1]).all()
    assert float(state.mean()) == pytest.approx(0.25, abs=0.05)
    changes = int(np.abs(np.diff(state[:, 0])).sum())
    assert 20_000 / changes == pytest.approx(40, rel=0.2)  # mean stay of 60 and 20
    diffused = (truth.path.returns - truth.path.jump)[1:]
    calm, wild = (float(diffused[state[:-1] == regime].std()) for regime in (0, 1))
    assert wild / calm == pytest.approx(3, rel=0.03)
    jumps = truth.path.jump[truth.path.jump != 0]
    assert jumps.size / state.size == pytest.approx(0.01, rel=0.1)
    assert float(jumps.std()) == pytest.approx(4 * 0.03, rel=0.1)


def test_a_break_comes_at_its_bar_and_the_oracle_sees_it_coming() -> None:
    process = VolatilityBreak(bar=500, factor=2.5)
    truth = oracle(market(process, seed=12), COINS, 1000)
    before, behind = truth.path.returns[:500].std(), truth.path.returns[500:].std()
    assert (before, behind) == (pytest.approx(0.03, rel=0.05), pytest.approx(0.075, rel=0.05))
    one, three = truth.volatility()[:, 0], truth.volatility(3)[:, 0]
    assert (one[498], one[499]) == (pytest.approx(0.03), pytest.approx(0.075))
    assert three[497] == pytest.approx(math.sqrt(2 * 0.03**2 + 0.075**2))
    assert (three[496], three[499]) == (pytest.approx(0.03 * 3**0.5), pytest.approx(0.075 * 3**0.5))


@pytest.mark.parametrize("r_squared", [0.0, 0.1, 0.3])
def test_least_squares_finds_the_signal_in_two_features_of_the_catalogue(r_squared: float) -> None:
    features, coming = planted_table(r_squared)
    weights, *_ = np.linalg.lstsq(features, coming, rcond=None)
    c = PlantedSignal(r_squared).coefficient
    np.testing.assert_allclose(weights, [-3 * c, c], atol=0.02)
    explained = 1 - ((coming - features @ weights) ** 2).mean() / (coming**2).mean()
    assert float(explained) == pytest.approx(r_squared, abs=0.01)


def test_no_other_return_of_the_past_adds_to_the_signal() -> None:
    truth = oracle(market(PlantedSignal(), seed=14), COINS, 5000)
    surprise = truth.path.returns[1:] - truth.mean()[:-1]
    for lag in range(1, 12):
        past = truth.path.returns[: len(surprise) - lag + 1]
        assert abs(np.corrcoef(surprise[lag - 1 :].ravel(), past.ravel())[0, 1]) < 0.015


def test_the_coefficient_in_the_docstring_is_right() -> None:
    assert PlantedSignal().coefficient == pytest.approx(0.130, abs=0.0005)
    assert PlantedSignal(0.0).coefficient == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 30])
def test_the_share_explained_at_any_horizon_is_that_of_its_formula(horizon: int) -> None:
    of = market(PlantedSignal(0.3), seed=15)
    truth = oracle(of, COINS, 10_000)
    actual, mean = ahead(truth.path.returns, horizon), truth.mean(horizon)[:-horizon]
    explained = 1 - ((actual - mean) ** 2).mean() / (actual**2).mean()
    assert r_squared_ahead(of, horizon) == pytest.approx(float(explained), abs=0.012)
    assert r_squared_ahead(market(GarchT()), horizon) == attainable_crps_gain(market(GarchT()), horizon) == 0.0


@pytest.mark.parametrize("horizon", [1, 2, 7])
def test_the_attainable_gain_is_what_the_oracle_gains(horizon: int) -> None:
    of = market(PlantedSignal(), seed=16)
    truth = oracle(of, COINS, 10_000)
    actual = ahead(truth.path.returns, horizon).ravel()
    quantiles = truth.quantiles(LEVELS, horizon)[:-horizon].reshape(-1, len(LEVELS))
    blind = float(actual.std()) * stats.norm.ppf(LEVELS)[None, :].repeat(len(actual), axis=0)
    gain = 1 - crps(actual, quantiles, LEVELS).mean() / crps(actual, blind, LEVELS).mean()
    assert attainable_crps_gain(of, horizon) == pytest.approx(float(gain), abs=0.005)
    if horizon == 1:
        assert attainable_crps_gain(of) == pytest.approx(1 - math.sqrt(0.9))


def test_what_the_oracle_cannot_say_exactly_it_does_not_say() -> None:
    for process in (GarchT(), Regimes()):
        with pytest.raises(ValueError, match="one bar ahead only, not 7"):
            oracle(market(process), ["bitcoin"], 10).quantiles(LEVELS, 7)
    with pytest.raises(ValueError, match="the horizon is 0 bars"):
        oracle(market(RandomWalk()), ["bitcoin"], 10).mean(0)


def test_the_jump_mixture_is_that_of_a_slow_count() -> None:
    process = Regimes(jump_share=0.05)
    truth = oracle(market(process), ["bitcoin"], 400)
    calm, wild = process.diffusion(0.03)
    for at, spread in ((np.argmin(truth.path.state), calm), (np.argmax(truth.path.state), wild)):
        for level, value in zip(LEVEL_LIST, truth.quantiles(LEVELS)[at, 0], strict=True):
            jumped = math.hypot(spread, 4 * 0.03)
            share = 0.95 * stats.norm.cdf(value / spread) + 0.05 * stats.norm.cdf(value / jumped)
            assert share == pytest.approx(level, abs=1e-9)
