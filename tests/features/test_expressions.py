"""Shared columns are made once, runs end where a bar is missing, and windows equal NumPy's."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cryptocast.features import price, volatility
from cryptocast.features.builder import evaluate
from cryptocast.features.expressions import (
    CLOSE,
    HIGH,
    INGREDIENTS,
    LOW,
    by_run,
    columns_read,
    correlation,
    log_return,
    mean,
    spread,
    squared_return,
)
from tests.features.frames import series

Floats = npt.NDArray[np.float64]

values = st.lists(st.one_of(st.floats(0.1, 1e3), st.just(math.nan)), min_size=1, max_size=60)


def from_first(*prices: Floats) -> Floats:
    """What a run is seen to be: its own first value, and how many inputs there are."""
    return np.asarray(prices[0] - prices[0][0] + len(prices), dtype=np.float64)


def test_an_ingredient_is_one_column_whoever_names_it() -> None:
    assert log_return(7).meta.eq(log_return(7))
    assert not log_return(7).meta.eq(log_return(8))
    assert mean(squared_return(), 30).meta.is_column()
    assert mean(squared_return(), 30).meta.eq(mean(squared_return(), 30))
    assert not mean(CLOSE.log(), 30).meta.is_column()  # no column, so nobody shares it


def test_what_is_made_of_an_expression_without_a_name_of_its_own_is_not_shared() -> None:
    with pytest.raises(ValueError, match="is no column"):
        correlation(CLOSE.log(), LOW, 30)


def test_what_is_read_is_followed_to_the_candles() -> None:
    read = columns_read(volatility.realized_volatility(30))
    assert read - INGREDIENTS.keys() == {"close"}
    assert set(log_return(1).meta.root_names()) < read


def test_a_run_ends_where_an_input_is_missing_and_where_the_coin_ends() -> None:
    frame = pl.DataFrame(
        {"coin": ["a"] * 4 + ["b"] * 3, "close": [1.0, 2.0, None, 5.0, 7.0, 9.0, 8.0], "high": [1.0] * 5 + [None, 1.0]}
    )
    one, two = (by_run(from_first, *inputs) for inputs in ((CLOSE,), (CLOSE, HIGH)))
    table = evaluate(frame, one=one, two=two)
    assert table["one"].to_list() == [1.0, 2.0, None, 1.0, 1.0, 3.0, 2.0]
    assert table["two"].to_list() == [2.0, 3.0, None, 2.0, 2.0, None, 2.0]


def test_several_arrays_of_a_run_are_the_fields_of_one_column() -> None:
    both = by_run(lambda close: (close, -close), CLOSE, fields=("up", "down"))
    table = evaluate(series([1.0, math.nan, 3.0]), down=both.struct.field("down"), up=both.struct.field("up"))
    assert table.rows() == [(-1.0, 1.0), (None, None), (-3.0, 3.0)]


@pytest.mark.parametrize("figure", ["mean", "deviation"])
@settings(max_examples=40, deadline=None)
@given(x=values, window=st.sampled_from([1, 2, 5, 30, 90]))
def test_a_window_equals_its_loop(figure: str, x: list[float], window: int) -> None:
    rule = mean if figure == "mean" else spread
    loop: Callable[..., float] = np.mean if figure == "mean" else np.std
    least = window if window < 90 else 45
    rows = [np.array(x[max(0, row - window + 1) : row + 1]) for row in range(len(x))]
    known = [row[~np.isnan(row)] for row in rows]
    expected = [loop(row) if len(row) >= least else math.nan for row in known]
    ours = evaluate(series(x), x=rule(CLOSE, window))["x"].to_numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-7)


def test_moments_and_correlations_equal_scipys() -> None:
    rng = np.random.default_rng(1)
    returns, y = rng.normal(0.001, 0.03, (2, 90))
    frame = pl.DataFrame({"close": np.exp(np.cumsum(returns)), "low": y})
    formulas = {"s": price.return_skewness(60), "k": volatility.return_kurtosis(60)}
    row = evaluate(frame, **formulas, c=correlation(log_return(1), LOW, 60)).row(-1)
    last = returns[-60:]
    expected = (stats.skew(last), math.log(stats.kurtosis(last, fisher=False)), np.corrcoef(last, y[-60:])[0, 1])
    assert row == pytest.approx(expected, rel=1e-9)
    flat = evaluate(series(np.ones(70)), **formulas, c=correlation(log_return(1), log_return(2), 60)).row(-1)
    assert flat == (0.0, math.log(3.0), 0.0)
