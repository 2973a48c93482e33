"""The time grid: one row for each bar that a coin should have."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cryptocast.data.schema import BAR_US
from cryptocast.errors import DataError
from cryptocast.features.grid import complete_grid

DAY = BAR_US["daily"]
START = datetime(2020, 1, 1, tzinfo=UTC)
MakeBars = Callable[..., pl.DataFrame]


def _frame(days: dict[str, list[int]]) -> pl.DataFrame:
    rows = [(coin, START + timedelta(days=day), float(day)) for coin, some in days.items() for day in some]
    schema = {"coin": pl.String(), "close_time": pl.Datetime("us", "UTC"), "close": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_missing_bars_become_null_rows_between_a_coins_own_first_and_last() -> None:
    grid = complete_grid(_frame({"b": [4, 7], "a": [3, 1]}).lazy(), DAY).collect()
    expected = [
        ("a", 1, 1.0),
        ("a", 2, None),
        ("a", 3, 3.0),
        ("b", 4, 4.0),
        ("b", 5, None),
        ("b", 6, None),
        ("b", 7, 7.0),
    ]
    assert [(coin, (time - START).days, close) for coin, time, close in grid.rows()] == expected


def test_a_complete_frame_only_gets_sorted(make_bars: MakeBars) -> None:
    candles = make_bars(30)
    assert_frame_equal(complete_grid(candles.sample(fraction=1, shuffle=True, seed=1).lazy(), DAY).collect(), candles)


def test_the_flag_of_a_missing_bar_is_not_true(make_bars: MakeBars) -> None:
    holed = make_bars(10, coins=["bitcoin"]).filter(pl.int_range(pl.len()) != 5)
    assert complete_grid(holed.lazy(), DAY).collect()["range_known"].to_list()[5] is None


def test_an_empty_frame_stays_empty(make_bars: MakeBars) -> None:
    candles = make_bars(3).clear()
    assert_frame_equal(complete_grid(candles.lazy(), DAY).collect(), candles)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sets(st.integers(0, 60), min_size=1), min_size=1))
def test_nothing_is_lost_and_nothing_is_filled(days: dict[str, set[int]]) -> None:
    candles = _frame({coin: sorted(some) for coin, some in days.items()})
    grid = complete_grid(candles.lazy(), DAY).collect()
    assert grid.height == sum(max(some) - min(some) + 1 for some in days.values())
    assert_frame_equal(grid.drop_nulls(), candles.sort("coin", "close_time"))
    assert (grid.select(pl.col("close_time").diff().over("coin"))["close_time"].drop_nulls() == timedelta(days=1)).all()


def test_bars_off_the_grid_are_refused_with_their_number() -> None:
    frame = _frame({"a": [1, 2, 3]}).with_columns(
        pl.when(pl.col("close") == 2.0)
        .then(pl.col("close_time") + timedelta(hours=1))
        .otherwise("close_time")
        .alias("close_time")
    )
    with pytest.raises(DataError, match="a has 1 candles off its grid"):
        complete_grid(frame.lazy(), DAY).collect()


def test_repeated_bars_are_refused() -> None:
    with pytest.raises(DataError, match="a has 1 candles twice"):
        complete_grid(_frame({"a": [1, 2, 2, 3]}).lazy(), DAY).collect()


def test_a_bar_of_no_length_is_a_wrong_argument() -> None:
    with pytest.raises(ValueError, match="bar_us is 0"):
        complete_grid(_frame({"a": [1]}).lazy(), 0)
