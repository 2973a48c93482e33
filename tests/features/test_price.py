"""Price features against loops that say the same in NumPy."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy import stats

from cryptocast.features import price
from cryptocast.features.builder import evaluate
from cryptocast.features.expressions import enough, log_return

Floats = npt.NDArray[np.float64]
MakeBars = Callable[..., pl.DataFrame]


def _trend(closes: Floats) -> float:
    returns = np.diff(np.log(closes))
    return float(returns.sum() / np.sqrt((returns**2).sum()))


def _autocorrelation(closes: Floats) -> float:
    returns = np.diff(np.log(closes))
    return float(np.corrcoef(returns[1:], returns[:-1])[0, 1])


# name: expression, closes that it sees, what it says of them
ORACLES: dict[str, tuple[pl.Expr, int, Callable[[Floats], float]]] = {
    "log_return": (log_return(7), 8, lambda c: np.log(c[-1] / c[0])),
    "momentum": (price.momentum(30, 7), 31, lambda c: np.log(c[-8] / c[0])),
    "trend": (price.trend_strength(30), 31, _trend),
    "zscore": (price.zscore(30), 30, lambda c: (np.log(c[-1]) - np.log(c).mean()) / np.log(c).std()),
    "high": (price.distance_to_high(30), 30, lambda c: np.log(c[-1] / c.max())),
    "low": (price.distance_to_low(30), 30, lambda c: np.log(c[-1] / c.min())),
    "skewness": (price.return_skewness(30), 31, lambda c: float(stats.skew(np.diff(np.log(c))))),
    "max": (price.max_return(30), 31, lambda c: np.diff(np.log(c)).max()),
    "min": (price.min_return(30), 31, lambda c: np.diff(np.log(c)).min()),
    "up": (price.up_share(30), 31, lambda c: np.sign(np.diff(c)).mean()),
    "autocorrelation": (price.autocorrelation(30), 32, _autocorrelation),
}


@pytest.mark.parametrize("name", ORACLES)
def test_a_price_feature_equals_its_loop(name: str, make_bars: MakeBars) -> None:
    formula, seen, oracle = ORACLES[name]
    frame = make_bars(120, coins=["bitcoin"])
    closes = frame["close"].to_numpy()
    ours = evaluate(frame, x=formula)["x"]
    assert ours.null_count() == seen - 1
    expected = [oracle(closes[row - seen + 1 : row + 1]) for row in range(seen - 1, len(closes))]
    np.testing.assert_allclose(ours.to_numpy()[seen - 1 :], expected, rtol=1e-9, atol=1e-12)


def test_a_return_over_a_missing_bar_is_a_real_return_but_the_bars_beside_it_have_none() -> None:
    frame = pl.DataFrame({"close": [1.0, 2.0, None, 4.0, 8.0]})
    assert evaluate(frame, x=log_return(1))["x"].is_null().to_list() == [True, False, True, True, False]
    assert evaluate(frame, x=log_return(2))["x"].to_list()[3] == pytest.approx(np.log(2))


def test_a_fall_by_a_factor_of_a_million_leaves_no_trace_when_it_has_left_the_window(make_bars: MakeBars) -> None:
    frame = make_bars(200, coins=["bitcoin"])
    fallen = frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 100).then(pl.col("close") * 1e6).otherwise("close").alias("close")
    )
    for formula in (price.zscore(30), price.return_skewness(30), price.trend_strength(30)):
        calm, after = (evaluate(f, x=formula)["x"].to_numpy()[140:] for f in (frame, fallen))
        np.testing.assert_allclose(after, calm, rtol=1e-9, atol=1e-9)


def test_a_long_window_answers_from_half_of_its_bars_on() -> None:
    assert [enough(w) for w in (1, 30, 89, 90, 365)] == [1, 30, 89, 45, 183]
