"""Sample paths: the forecast at each bar, the history's order between bars and coins."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cryptocast.arrays import FloatArray
from cryptocast.choices import TouchOn
from cryptocast.data.schema import BAR_US
from cryptocast.errors import TooFewBarsError
from cryptocast.models.base import Forecast
from cryptocast.models.interpolation import at_horizons
from cryptocast.models.quantile_shape import student_quantiles
from cryptocast.models.sample_paths import (
    Closes,
    SamplePaths,
    draw_paths,
    risks,
    shared_returns,
    touch_probabilities,
)
from cryptocast.scoring.quantiles import LEVELS

DAY = BAR_US["daily"]
HORIZONS = (1, 7, 14, 30)
DEVIATION = 0.03


def forecast_of(coin: str, values: FloatArray, volatility: FloatArray, horizons: Sequence[int] = HORIZONS) -> Forecast:
    return Forecast(
        coin=np.array([coin]),
        issued_at=np.array([0]),
        price=np.array([100.0]),
        horizons=np.array(horizons),
        levels=LEVELS,
        values=values[None],
        volatility=volatility[None],
        p_up=np.full((1, len(horizons)), 0.5),
    )


def student(coin: str, deviation: float = DEVIATION, horizons: Sequence[int] = HORIZONS) -> Forecast:
    volatility = deviation * np.sqrt(np.array(horizons, dtype=np.float64))
    return forecast_of(coin, volatility[:, None] * student_quantiles(), volatility, horizons)


def closes_of(returns: FloatArray) -> Closes:
    return np.arange(len(returns)) * DAY, 100.0 * np.exp(np.cumsum(returns))


def correlated(seed: int, bars: int, correlation: float) -> FloatArray:
    """(bars, 2) returns, Student t."""
    rng = np.random.default_rng(seed)
    normal = rng.multivariate_normal([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]], bars)
    return np.asarray(DEVIATION * normal / np.sqrt(rng.chisquare(5.0, (bars, 1)) / 5.0))


def history(*columns: FloatArray) -> FloatArray:
    return shared_returns([closes_of(one) for one in columns], DAY)


@settings(max_examples=20)
@given(st.floats(0.005, 0.1), st.integers(0, 2**31), st.sampled_from([(1, 7, 30), (5,), (2, 3)]))
def test_at_every_bar_the_paths_are_the_forecasts_quantiles(
    deviation: float, seed: int, horizons: tuple[int, ...]
) -> None:
    ours = student("bitcoin", deviation, horizons)
    bars = range(1, horizons[-1] + 1)
    paths = draw_paths([ours], history(correlated(3, 300, 0.0)[:, 0]), paths=400, seed=seed).log_returns[:, :, 0]
    # The k-th of 400 is the (k - 1/2) / 400 quantile: a level of LEVELS lies in the middle between two of them.
    ordered, at = np.sort(paths, axis=0), np.round(LEVELS * 400).astype(int)
    between = at_horizons(ours, bars).values[0]
    assert (between + 1e-12 >= ordered[at - 1].T).all()
    assert (between - 1e-12 <= ordered[at].T).all()


@pytest.mark.parametrize("correlation", [0.0, 0.8, -0.5])
def test_coins_move_together_as_they_did(correlation: float) -> None:
    moves = correlated(11, 1500, correlation)
    past = history(moves[:, 0], moves[:, 1])
    coins = [student("bitcoin"), student("ethereum", 0.05)]
    paths = draw_paths(coins, past, paths=3000, seed=7).log_returns
    truth = spearmanr(past[:, 0], past[:, 1]).statistic
    first = np.diff(paths[:, :8], axis=1).reshape(-1, 2)
    assert spearmanr(first[:, 0], first[:, 1]).statistic == pytest.approx(truth, abs=0.04)
    weeks = past[: len(past) // 7 * 7].reshape(-1, 7, 2).sum(axis=1)
    week = spearmanr(weeks[:, 0], weeks[:, 1]).statistic
    assert spearmanr(paths[:, 6, 0], paths[:, 6, 1]).statistic == pytest.approx(week, abs=0.12)  # of 214 weeks


def test_the_order_in_time_is_the_historys() -> None:
    noise = correlated(5, 1500, 0.0)[:, 0]
    trending = np.array([noise[bar] + 0.6 * noise[bar - 1] for bar in range(1, len(noise))])
    for moves, expected in ((noise, 0.0), (trending, 0.6 / 1.36)):
        paths = draw_paths([student("bitcoin")], history(moves), paths=3000, seed=7).log_returns[:, 10:20, 0]
        steps = np.diff(paths, axis=1)
        found = spearmanr(steps[:, :-1].ravel(), steps[:, 1:].ravel()).statistic
        assert found == pytest.approx(0.9 * expected, abs=0.08)  # one neighbour of ten is of another block


def test_the_same_seed_draws_the_same_paths_in_whatever_order_the_coins_come() -> None:
    moves = correlated(2, 400, 0.5)
    one, other = student("bitcoin"), student("ethereum", 0.05)
    paths = draw_paths([one, other], history(moves[:, 0], moves[:, 1]), paths=200, seed=7)
    again = draw_paths([other, one], history(moves[:, 1], moves[:, 0]), paths=200, seed=7)
    assert paths.coins == ("bitcoin", "ethereum")
    assert np.array_equal(paths.log_returns, again.log_returns[:, :, ::-1])
    another = draw_paths([one, other], history(moves[:, 0], moves[:, 1]), paths=200, seed=8)
    assert not np.array_equal(paths.log_returns, another.log_returns)


def test_only_bars_count_that_all_coins_have() -> None:
    moves = correlated(2, 60, 0.5)
    times, closes = closes_of(moves[:, 0])
    assert shared_returns([(times, closes), (times[30:], closes[30:])], DAY).shape == (29, 2)
    gap = np.delete(np.arange(60), 40)
    assert shared_returns([(times, closes), (times[gap], closes[gap])], DAY).shape == (57, 2)
    with pytest.raises(TooFewBarsError, match="There are 9 bars that all of these coins have"):
        shared_returns([(times, closes), (times[50:], closes[50:])], DAY)


def test_a_price_that_stood_still_gives_paths_all_the_same() -> None:
    paths = draw_paths([student("bitcoin")], history(np.zeros(40)), paths=100, seed=7)
    assert np.isfinite(paths.log_returns).all()


def garch(rng: np.random.Generator, paths: int, bars: int, variance: FloatArray) -> tuple[FloatArray, ...]:
    """Returns and the variance inside each bar (paths, bars) of GARCH(1, 1) with Student-t shocks, and what is next."""
    returns, inside = np.empty((paths, bars)), np.empty((paths, bars))
    for bar in range(bars):
        inside[:, bar] = variance * 4.0 / rng.chisquare(6.0, paths)
        returns[:, bar] = np.sqrt(inside[:, bar]) * rng.standard_normal(paths)
        variance = 0.03 * DEVIATION**2 + 0.07 * returns[:, bar] ** 2 + 0.90 * variance
    return returns, inside, variance


def highest(returns: FloatArray, inside: FloatArray, rng: np.random.Generator, on: TouchOn) -> FloatArray:
    """(paths, bars) the running maximum of the closes, or of Brownian bridges between them."""
    after = np.cumsum(returns, axis=1)
    before = after - returns
    bridge = (before + after + np.sqrt(returns**2 - 2.0 * inside * np.log(rng.random(returns.shape)))) / 2.0
    return np.maximum.accumulate(after if on == "close" else bridge, axis=1)


@pytest.mark.parametrize("on", ["high-low", "close"])
def test_touch_probabilities_are_calibrated_on_garch(on: TouchOn) -> None:
    """Prices that are touched with probability 5, 20 and 50 %, by us, are touched as often by the true process."""
    shares = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        past, _, variance = garch(rng, 1, 1500, np.array([DEVIATION**2]))
        returns, inside, _ = garch(rng, 20_000, 30, np.repeat(variance, 20_000))
        top, sums = highest(returns, inside, rng, on), np.cumsum(returns, axis=1)
        columns = [horizon - 1 for horizon in HORIZONS]
        values = np.quantile(np.concatenate([sums, -sums])[:, columns], LEVELS, axis=0).T
        ours = forecast_of("bitcoin", values, sums[:, columns].std(axis=0))
        paths = draw_paths([ours], history(past[0]), paths=4000, seed=7)
        grid = np.linspace(0.0, 1.0, 400)
        touched = np.array([touch_probabilities(paths, 0, 100.0 * np.exp(x), on) for x in grid])
        for bars in (7, 30):
            targets = [np.interp(-p, -touched[:, bars - 1], grid) for p in (0.05, 0.2, 0.5)]
            shares.append([(top[:, bars - 1] >= target).mean() for target in targets])
    mean = np.mean(shares, axis=0)
    assert mean == pytest.approx([0.05, 0.2, 0.5], abs=0.012)
    assert np.abs(np.array(shares) - [0.05, 0.2, 0.5]).max() < 0.03


def test_a_touch_by_high_or_low_is_likelier_than_by_a_close_and_grows_with_time() -> None:
    paths = draw_paths([student("bitcoin")], history(correlated(2, 400, 0.0)[:, 0]), paths=500, seed=7)
    for price in (80.0, 95.0, 105.0, 140.0):
        high, close = (touch_probabilities(paths, 0, price, on) for on in ("high-low", "close"))
        assert (high >= close).all()
        assert (np.diff(high) >= 0.0).all()
        assert 0.0 <= high[0] <= high[-1] <= 1.0
        ends_beyond = ((paths.prices()[:, :, 0] >= price) == (price > 100.0)).mean(axis=0)
        assert (close >= ends_beyond - 1e-12).all()
    assert (touch_probabilities(paths, 0, 100.0) == 1.0).all()


def test_value_at_risk_and_expected_shortfall_of_known_losses() -> None:
    moves = np.log1p(np.linspace(-0.5, 0.49, 100))[:, None, None]
    paths = SamplePaths(("bitcoin",), np.array([100.0]), moves, np.ones((1, 1)))
    (at_95,) = risks(paths, np.array([2.0]), 1, [0.95])
    assert at_95.value_at_risk == pytest.approx(92.0)  # the fifth worst of 100, 46 % of 200
    assert at_95.expected_shortfall == pytest.approx(96.0)
    (short,) = risks(paths, np.array([-1.0]), 1, [0.99])
    assert short.value_at_risk == pytest.approx(49.0)


def test_coins_that_move_together_do_not_spread_the_risk() -> None:
    coins = [student("bitcoin"), student("ethereum")]

    def shortfall(correlation: float) -> float:
        moves = correlated(4, 1000, correlation)
        paths = draw_paths(coins, history(moves[:, 0], moves[:, 1]), paths=2000, seed=7)
        return risks(paths, np.array([1.0, 1.0]), 7, [0.95])[0].expected_shortfall

    assert shortfall(0.0) < 0.85 * shortfall(0.95)
