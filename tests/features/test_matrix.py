"""Rows, labels and their ends."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import VolatilityRule, build_matrix, known_volatility, volatility_rule
from cryptocast.features.targets import RANGE_FREEDOM
from cryptocast.features.variances import WINDOW, bar_variances
from tests.conftest import MakeCandles

DAY_US = 86_400_000_000
HORIZONS = (1, 7)


def _grid(candles: pl.DataFrame) -> pl.DataFrame:
    return complete_grid(candles.lazy(), DAY_US).collect()


def test_a_return_is_that_of_the_close_h_bars_later(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("bitcoin",), 60))
    matrix = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US)
    close = table["close"].to_numpy()
    for column, horizon in enumerate(HORIZONS):
        for row in range(0, len(matrix), 7):
            at = matrix.position[row]
            expected = np.log(close[at + horizon] / close[at]) if at + horizon < len(close) else np.nan
            np.testing.assert_allclose(matrix.returns[row, column], expected, rtol=1e-12)
    assert (matrix.label_end - matrix.issued_at[:, None] == np.array(HORIZONS) * DAY_US).all()


def test_no_return_is_taken_across_a_gap_as_if_it_were_one_bar(make_candles: MakeCandles) -> None:
    candles = make_candles(("bitcoin",), 80, drop=(50, 51))
    matrix = build_matrix(_grid(candles), [], horizons=(1,), bar_us=DAY_US)
    before_gap = matrix.position == 49
    inside = np.isin(matrix.position, [50, 51])
    assert np.isnan(matrix.returns[before_gap]).all()
    assert not inside.any()
    assert np.isfinite(matrix.returns[matrix.position == 52]).all()


def test_coins_do_not_borrow_each_others_bars(make_candles: MakeCandles) -> None:
    both = build_matrix(_grid(make_candles(("a", "b"), 70)), [], horizons=HORIZONS, bar_us=DAY_US)
    first = both.rows(both.coin == 0)
    last_label = first.label_end[np.isfinite(first.returns[:, 1]), 1].max()
    assert last_label == first.issued_at.max()
    second = both.rows(both.coin == 1)
    assert second.position.min() - both.panel.start[1] >= 20


def test_a_label_that_ends_later_is_hidden_at_its_moment(make_candles: MakeCandles) -> None:
    matrix = build_matrix(_grid(make_candles(("a", "b"), 90)), [], horizons=HORIZONS, bar_us=DAY_US)
    moment = int(np.sort(matrix.issued_at)[len(matrix) // 2])
    known = matrix.known_at(moment)
    assert known.issued_at.max() == moment
    shown = np.isfinite(known.returns)
    assert (known.label_end[shown] <= moment).all()
    assert shown[:, 0].sum() > shown[:, 1].sum() > 0
    assert np.isfinite(known.variance[shown]).all()


def test_unsorted_rows_and_bad_horizons_are_refused(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a",), 40))
    with pytest.raises(ValueError, match="complete time grid"):
        build_matrix(table.reverse(), [], horizons=(1,), bar_us=DAY_US)
    with pytest.raises(ValueError, match="increasing"):
        build_matrix(table, [], horizons=(7, 1), bar_us=DAY_US)


@pytest.mark.parametrize("bars", [0, 1, 20])
def test_coins_too_young_for_a_volatility_have_no_rows(make_candles: MakeCandles, bars: int) -> None:
    """With features as without: whoever asks says how many bars are needed."""
    table = _grid(make_candles(("a",), 40)).head(bars).with_columns(f=pl.col("close"), g=pl.col("open"))
    for names in ([], ["f", "g"]):
        made = build_matrix(table, names, horizons=HORIZONS, bar_us=DAY_US)
        assert (len(made), made.features.shape, made.returns.shape) == (0, (0, len(names)), (0, len(HORIZONS)))


def test_the_variance_of_a_label_is_the_mean_over_its_bars(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a",), 60))
    matrix = build_matrix(table, [], horizons=(7,), bar_us=DAY_US)
    high, low, opened, close = (table[c].to_numpy() for c in ("high", "low", "open", "close"))
    bar = 0.5 * np.log(high / low) ** 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2
    row = 5
    at = matrix.position[row]
    np.testing.assert_allclose(matrix.variance[row, 0], bar[at + 1 : at + 8].mean(), rtol=1e-10)
    assert matrix.freedom[row, 0] == pytest.approx(7 * RANGE_FREEDOM)


def test_close_only_bars_have_one_degree_of_freedom_each(make_candles: MakeCandles) -> None:
    matrix = build_matrix(_grid(make_candles(("a",), 60, range_known=False)), [], horizons=(7,), bar_us=DAY_US)
    assert matrix.freedom[3, 0] == pytest.approx(7.0)


@given(st.floats(0.05, 0.95), st.floats(0.5, 0.999), st.integers(1, 400))
def test_the_weight_of_the_recent_variance_fades_with_the_horizon(recent: float, persistence: float, h: int) -> None:
    rule = VolatilityRule(half_life=14, window=365, recent=recent, persistence=persistence)
    assert rule.weight(1) == pytest.approx(recent)
    assert 0 < rule.weight(h + 1) <= rule.weight(h) + 1e-12


@settings(max_examples=15)
@given(cut=st.integers(25, 119))
def test_the_volatility_known_at_issue_does_not_change_when_the_future_arrives(
    make_candles: MakeCandles, cut: int
) -> None:
    rule = volatility_rule(DAY_US)
    table = _grid(make_candles(("a",), 120))
    close = table["close"].to_numpy()
    whole, part = known_volatility(close, (7,), rule)[:cut], known_volatility(close[:cut], (7,), rule)
    np.testing.assert_allclose(whole, part, rtol=1e-12)


def slow_volatility(close: pl.Series, horizon: int, rule: VolatilityRule) -> np.ndarray:
    """The same by Polars' own averages, which skip nulls: one expression for each part of the formula."""
    squared = (pl.col("close") / pl.col("close").shift(1)).log() ** 2
    recent = squared.ewm_mean(half_life=rule.half_life, adjust=True, ignore_nulls=True).forward_fill()
    long = squared.rolling_mean(rule.window, min_samples=20)
    weight = rule.weight(horizon)
    variance = horizon * (weight * recent + (1 - weight) * long)
    return pl.DataFrame({"close": close}).select(v=variance.sqrt())["v"].to_numpy()


@pytest.mark.parametrize("drop", [(), (60, 61, 78), tuple(range(1, 30))])
def test_the_volatility_is_that_of_the_plain_averages_gaps_or_not(
    make_candles: MakeCandles, drop: tuple[int, ...]
) -> None:
    rule = volatility_rule(DAY_US)
    close = _grid(make_candles(("a",), 500, drop=drop))["close"]
    for horizon in (1, 30):
        expected = slow_volatility(close, horizon, rule)
        np.testing.assert_allclose(known_volatility(close.to_numpy(), (horizon,), rule)[:, 0], expected, rtol=1e-10)


def test_variances_that_nobody_learns_from_may_be_left_out(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a", "b"), 90, drop=(40,)))
    whole = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US)
    short = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US, with_variance=False)
    assert np.isnan(short.variance).all()
    assert np.isnan(short.freedom).all()
    assert np.isfinite(whole.variance).any()
    for name in ("position", "price", "volatility", "returns", "label_end"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(short, name))


def test_the_volatility_is_right_on_average(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a",), 3000, changing_volatility=False, seed=4))
    matrix = build_matrix(table, [], horizons=(1, 30), bar_us=DAY_US)
    scaled = matrix.returns / matrix.volatility
    assert np.nanstd(scaled[:, 0]) == pytest.approx(1.0, abs=0.06)
    assert np.nanstd(scaled[:, 1]) == pytest.approx(1.0, abs=0.2)


def test_the_first_bar_behind_a_gap_is_a_row_with_the_volatility_known_before_it(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a",), 80, drop=(60, 61, 78)))
    matrix = build_matrix(table, [], horizons=(1,), bar_us=DAY_US)
    assert {62, 79} <= set(matrix.position.tolist()), "the newest bar must be forecast from, gap or not"
    behind = matrix.volatility[matrix.position == 62, 0]
    before = matrix.volatility[matrix.position == 59, 0]
    np.testing.assert_allclose(behind, before, rtol=0.05)


@pytest.mark.parametrize("bars", [1, 2, 3, 21])
def test_a_few_bars_are_few_or_no_rows_and_no_error(make_candles: MakeCandles, bars: int) -> None:
    matrix = build_matrix(_grid(make_candles(("a",), bars)), [], horizons=(1,), bar_us=DAY_US)
    assert len(matrix) == max(0, bars - 20)


def test_the_steady_volatility_is_the_root_of_both_and_wider_where_few_returns_are_known(
    make_candles: MakeCandles,
) -> None:
    table = _grid(make_candles(("a", "b"), 420, drop=(40, 41, 300)))
    matrix = build_matrix(table, [], horizons=(1, 30), bar_us=DAY_US)
    assert matrix.steady is not None
    for row in (0, 100, 379, len(matrix) - 1):
        panel, own = matrix.panel, slice(int(matrix.begin[row]), int(matrix.position[row]) + 1)
        twenty = bar_variances(panel.log_close[own], panel.variance[own])[:, -1]
        known = np.isfinite(np.diff(panel.log_close[own]))[-365:].sum()
        for column, horizon in enumerate((1, 30)):
            mean = np.sqrt(horizon * np.exp(np.log(twenty).mean()))
            wider = 1.0 + 1.5 * horizon / (known + horizon)
            expected = np.sqrt(matrix.volatility[row, column] * mean * wider)
            np.testing.assert_allclose(matrix.steady[row, column], expected, rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(21, 1399), seed=st.integers(0, 9))
def test_a_row_is_stated_in_the_same_volatilities_whatever_comes_after_and_however_much_came_before(
    make_candles: MakeCandles, cut: int, seed: int
) -> None:
    table = _grid(make_candles(("a",), 1400, drop=(700,), seed=seed))
    whole = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US)
    row = int(np.flatnonzero(whole.position <= cut)[-1])
    wild = table.with_columns(pl.col("open", "high", "low", "close") * (1.0 + 9.0 * (pl.int_range(pl.len()) > cut)))
    tail = table[max(0, cut - WINDOW) : cut + 1]
    for other, rtol in ((table[: cut + 1], 0.0), (wild, 0.0), (tail, 1e-8)):
        part = build_matrix(other, [], horizons=HORIZONS, bar_us=DAY_US)
        at = int(np.flatnonzero(part.issued_at == whole.issued_at[row])[0])
        assert whole.steady is not None
        assert part.steady is not None
        np.testing.assert_allclose(part.volatility[at], whole.volatility[row], rtol=rtol)
        np.testing.assert_allclose(part.steady[at], whole.steady[row], rtol=rtol)


def test_the_newest_rows_of_each_coin_are_the_last_of_all(make_candles: MakeCandles) -> None:
    table = _grid(make_candles(("a", "b"), 90, drop=(88,)))
    whole = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US)
    few = build_matrix(table, [], horizons=HORIZONS, bar_us=DAY_US, newest=2)
    last = whole.rows(np.isin(whole.position, [87, 89, 177, 179]))
    for name in ("position", "coin", "issued_at", "price", "volatility", "label_end"):
        np.testing.assert_array_equal(getattr(few, name), getattr(last, name))
    assert few.steady is not None
    assert last.steady is not None
    np.testing.assert_allclose(few.steady, last.steady, rtol=1e-11)
