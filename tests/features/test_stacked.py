"""Rows of several matrices as one: nothing about a row changes but its place."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import BY_ROW, Matrix, build_matrix
from cryptocast.features.stacked import stacked
from cryptocast.features.variances import HALF_LIVES
from cryptocast.models.references import rw_empirical
from cryptocast.models.variances import log_base
from tests.conftest import simulated_candles

DAY = BAR_US["daily"]
COINS = ("bitcoin", "ethereum", "litecoin", "monero")
CANDLES = simulated_candles(COINS, 130, drop=(40, 41))


def matrix_of(candles: pl.DataFrame) -> Matrix:
    chosen = select_features(("ret_1", "vol_7"))
    table = add_features(candles.lazy(), chosen, bar_us=DAY).collect()
    return build_matrix(table, [f.name for f in chosen], horizons=(1, 7), bar_us=DAY)


WHOLE = matrix_of(CANDLES)
OF_COIN = [matrix_of(CANDLES.filter(pl.col("coin") == coin)) for coin in COINS]


@settings(max_examples=25, deadline=None)
@given(keep=st.lists(st.booleans(), min_size=len(WHOLE), max_size=len(WHOLE)).filter(any))
def test_rows_drawn_from_parts_are_those_drawn_from_all_coins_at_once(keep: list[bool]) -> None:
    mask = np.array(keep)
    parts = [one.rows(mask[WHOLE.coin == place]) for place, one in enumerate(OF_COIN)]
    together, expected = stacked([part for part in parts if len(part)]), WHOLE.rows(mask)
    np.testing.assert_array_equal(together.coin_names, expected.coin_names)
    for name in BY_ROW:
        if name not in ("position", "coin"):
            np.testing.assert_array_equal(getattr(together, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(together.panel.close_time[together.position], expected.issued_at)
    # What looks back on a coin's bars sees the same bars.
    np.testing.assert_array_equal(log_base(together, HALF_LIVES), log_base(expected, HALF_LIVES))
    np.testing.assert_array_equal(rw_empirical(together).forecast.values, rw_empirical(expected).forecast.values)


def test_a_row_as_it_was_known_keeps_the_series_that_it_saw() -> None:
    alone = OF_COIN[1]
    panel = alone.panel
    seen: dict[str, Any] = {
        name: np.concatenate([getattr(panel, name), getattr(panel, name)[:30]])
        for name in ("coin", "close_time", "log_close", "variance", "volatility")
    }
    longer = replace(panel, start=np.append(panel.start, len(panel.coin) + 30), **seen)
    position = alone.position.copy()
    position[3] = len(panel.coin) + 29
    both = stacked([OF_COIN[0], replace(alone, panel=longer, position=position)])
    row = len(OF_COIN[0]) + 3
    assert both.panel.coins == COINS[:2]
    assert both.begin[row] == both.panel.start[2]
    assert both.panel.coin[both.position[row]] == 1
    assert len(both.panel.start) == 4


def test_prices_that_score_are_the_returns_where_a_part_has_no_others() -> None:
    paid = OF_COIN[0].returns + 1.0
    both = stacked([replace(OF_COIN[0], paid=paid), OF_COIN[1]])
    assert both.paid is not None
    np.testing.assert_array_equal(both.paid, np.concatenate([paid, OF_COIN[1].returns]))


def test_a_coin_is_in_one_part_alone() -> None:
    with pytest.raises(ValueError, match="never spliced"):
        stacked([OF_COIN[0], OF_COIN[0]])
    with pytest.raises(ValueError, match="no matrix"):
        stacked([])
