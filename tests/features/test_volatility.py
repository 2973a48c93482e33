"""Volatility estimators against a slow NumPy that follows the papers."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy import stats

from cryptocast.features import volatility
from cryptocast.features.builder import evaluate

Floats = npt.NDArray[np.float64]
Bars = dict[str, Floats]
MakeBars = Callable[..., pl.DataFrame]


def _returns(bars: Bars) -> Floats:
    return np.diff(np.log(bars["close"]))


def _garman_klass(bars: Bars) -> Floats:
    spread, body = np.log(bars["high"] / bars["low"]), np.log(bars["close"] / bars["open"])
    return 0.5 * spread**2 - (2 * math.log(2) - 1) * body**2


def _rogers_satchell(bars: Bars) -> Floats:
    o, h, l, c = (np.log(bars[name]) for name in ("open", "high", "low", "close"))  # noqa: E741
    variance: Floats = (h - c) * (h - o) + (l - c) * (l - o)
    return variance


def _bar_variance(bars: Bars) -> Floats:
    return np.log(bars["open"][1:] / bars["close"][:-1]) ** 2 + _garman_klass(bars)[1:]


def _ewma(bars: Bars, decay: float) -> float:
    squares = _returns(bars) ** 2
    weights = decay ** np.arange(len(squares))[::-1]
    return 0.5 * math.log((weights * squares).sum() / weights.sum())


def _jump(bars: Bars) -> float:
    r = np.abs(_returns(bars))
    bipower = math.pi / 2 * (r[1:] * r[:-1]).mean()
    return float(max(1 - bipower / (r[1:] ** 2).mean(), 0))


def _log_deviation(variances: Floats) -> float:
    return 0.5 * math.log(variances.mean())


# name: expression, bars that it sees (0: all so far), what it says of them
ORACLES: dict[str, tuple[pl.Expr, int, Callable[[Bars], float]]] = {
    "realized": (volatility.realized_volatility(14), 15, lambda b: _log_deviation(_returns(b) ** 2)),
    "ewma": (volatility.ewma_volatility(0.94, 30), 0, lambda b: _ewma(b, 0.94)),
    "parkinson": (
        volatility.parkinson(7),
        7,
        lambda b: _log_deviation(np.log(b["high"] / b["low"]) ** 2 / (4 * math.log(2))),
    ),
    "garman klass": (volatility.garman_klass(7), 7, lambda b: _log_deviation(_garman_klass(b))),
    "rogers satchell": (volatility.rogers_satchell(7), 7, lambda b: _log_deviation(_rogers_satchell(b))),
    "har 1": (volatility.har_component(1), 2, lambda b: math.log(_bar_variance(b).mean())),
    "har 7": (volatility.har_component(7), 8, lambda b: math.log(_bar_variance(b).mean())),
    "semivariance": (
        volatility.semivariance_balance(30),
        31,
        lambda b: -(np.sign(_returns(b)) * _returns(b) ** 2).sum() / (_returns(b) ** 2).sum(),
    ),
    "ratio": (
        volatility.volatility_ratio(7, 30),
        31,
        lambda b: _log_deviation(_returns(b)[-7:] ** 2) - _log_deviation(_returns(b) ** 2),
    ),
    "vol of vol": (
        volatility.volatility_of_volatility(30),
        37,
        lambda b: float(np.std([_log_deviation(_returns(b)[i : i + 7] ** 2) for i in range(30)])),
    ),
    "jump": (volatility.jump_share(30), 32, _jump),
    "range surprise": (
        volatility.range_surprise(30),
        30,
        lambda b: math.log(np.log(b["high"] / b["low"])[-1] / np.log(b["high"] / b["low"]).mean()),
    ),
    "range to close": (
        volatility.range_to_close(30),
        31,
        lambda b: (
            _log_deviation(np.log(b["high"] / b["low"])[1:] ** 2 / (4 * math.log(2))) - _log_deviation(_returns(b) ** 2)
        ),
    ),
    "shock": (volatility.return_shock(30), 32, lambda b: _returns(b)[-1] / math.sqrt((_returns(b)[:-1] ** 2).mean())),
    "largest": (
        volatility.largest_move(7, 30),
        31,
        lambda b: math.log(np.abs(_returns(b)[-7:]).max()) - _log_deviation(_returns(b) ** 2),
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_an_estimator_equals_its_slow_version(name: str, make_bars: MakeBars) -> None:
    formula, seen, oracle = ORACLES[name]
    frame = make_bars(150, coins=["bitcoin"])
    bars = {column: frame[column].to_numpy() for column in ("open", "high", "low", "close")}
    ours = evaluate(frame, x=formula)["x"]
    first = seen - 1 if seen else 30
    assert ours.null_count() == first
    start = [row - seen + 1 if seen else 0 for row in range(first, 150)]
    rows = [{k: v[low : first + i + 1] for k, v in bars.items()} for i, low in enumerate(start)]
    np.testing.assert_allclose(ours.to_numpy()[first:], [oracle(row) for row in rows], rtol=1e-9, atol=1e-12)


def test_long_windows_equal_their_slow_versions_once_full(make_bars: MakeBars) -> None:
    frame = make_bars(500, coins=["bitcoin"])
    closes = np.log(frame["close"].to_numpy())
    returns = np.diff(closes)
    row = evaluate(
        frame,
        vol=volatility.realized_volatility(365),
        kurtosis=volatility.return_kurtosis(90),
        ratio=volatility.variance_ratio(7, 90),
        zscore=volatility.volatility_zscore(365),
    ).row(-1, named=True)
    weekly = np.array([_log_deviation(returns[i - 7 : i] ** 2) for i in range(7, len(returns) + 1)])[-365:]
    steps = (closes[7:] - closes[:-7])[-90:]
    assert row["vol"] == pytest.approx(_log_deviation(returns[-365:] ** 2), rel=1e-9)
    assert row["kurtosis"] == pytest.approx(math.log(stats.kurtosis(returns[-90:], fisher=False)), rel=1e-9)
    assert row["ratio"] == pytest.approx(math.log((steps**2).mean() / 7 / (returns[-90:] ** 2).mean()), rel=1e-9)
    assert row["zscore"] == pytest.approx((weekly[-1] - weekly.mean()) / weekly.std(), rel=1e-9)


def test_the_age_of_a_large_move_counts_bars_and_stops_at_ninety() -> None:
    rng = np.random.default_rng(3)
    returns = rng.uniform(-0.02, 0.02, 300)
    returns[150] = 0.3
    frame = pl.DataFrame({"close": np.exp(np.cumsum(returns))})
    age = evaluate(frame, x=volatility.large_move_age(30))["x"]
    for bars in (0, 1, 10, 89):
        assert age[150 + bars] == pytest.approx(math.log(1 + bars) / math.log(91))
    assert age[149] == age[240] == age[299] == 1.0


def test_a_bar_that_only_saw_its_close_counts_with_its_squared_return() -> None:
    frame = pl.DataFrame(
        {"open": [1.0, None, 2.0], "high": [1.1, None, 2.2], "low": [0.9, None, 1.9], "close": [1.0, 2.0, 2.1]}
    )
    variance = evaluate(frame, x=volatility.bar_variance())["x"].to_list()
    assert variance[0] is None
    assert variance[1] == pytest.approx(math.log(2) ** 2)
    spread, body = math.log(2.2 / 1.9), math.log(2.1 / 2.0)
    assert variance[2] == pytest.approx(0.5 * spread**2 - (2 * math.log(2) - 1) * body**2)


def test_a_flat_series_sits_on_the_floor(make_bars: MakeBars) -> None:
    flat = make_bars(500, coins=["bitcoin"]).with_columns(
        pl.lit(0.1).alias(name) for name in ("open", "high", "low", "close")
    )
    row = evaluate(
        flat,
        vol=volatility.realized_volatility(30),
        garman_klass=volatility.garman_klass(30),
        har=volatility.har_component(7),
        ratio=volatility.volatility_ratio(7, 30),
        semi=volatility.semivariance_balance(30),
        jump=volatility.jump_share(30),
        kurtosis=volatility.return_kurtosis(90),
        zscore=volatility.volatility_zscore(365),
        shock=volatility.return_shock(30),
    ).row(-1, named=True)
    floor = math.log(1e-8)
    assert row["vol"] == row["garman_klass"] == pytest.approx(floor / 2)
    assert row["har"] == pytest.approx(floor)
    assert row["kurtosis"] == pytest.approx(math.log(3))
    assert [row[name] for name in ("ratio", "semi", "jump", "zscore", "shock")] == pytest.approx([0.0] * 5, abs=1e-9)
