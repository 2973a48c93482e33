"""From candles to rows: one path for training and forecast."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.data.age import Age
from cryptocast.data.sources.sample import load_sample
from cryptocast.errors import DataError
from cryptocast.features.catalogue import FEATURES
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import (
    CoinPool,
    Failures,
    feature_table,
    gather,
    last_rows,
    matrix_of,
    without_stablecoins,
)
from cryptocast.workflows.context import Selection
from cryptocast.workflows.market_data.resolve import CoinCandles
from tests.workflows.test_features import context


def test_the_last_rows_are_those_of_the_whole_table_gaps_or_not(tmp_path: Path) -> None:
    used = context(tmp_path)
    (pool,) = gather(used, Selection(("bitcoin", "ethereum")).resolved(used.config), pool=())
    names = [feature.name for feature in FEATURES]
    whole = matrix_of(feature_table(pool, FEATURES), pool, (1, 7), names)
    for rows in (1, 40):
        found = last_rows(pool, (1, 7), FEATURES, tail=2400, rows=rows)
        for coin in pool.coins:
            own, expected = (one.rows(np.flatnonzero(one.coin_names == coin)[-rows:]) for one in (found, whole))
            np.testing.assert_array_equal(own.issued_at, expected.issued_at)
            np.testing.assert_allclose(own.volatility, expected.volatility, rtol=1e-8)
            np.testing.assert_allclose(own.features, expected.features, rtol=1e-8, atol=1e-8)
            assert np.isnan(own.variance).all()


def test_named_stablecoins_are_left_out_and_alone_they_are_refused(tmp_path: Path) -> None:
    config = context(tmp_path).config
    candles = load_sample("bitcoin")
    still = candles.frame.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    last = candles.provenance.last
    age = Age(last, last, has_ended=True, stale=False, late=0)
    bars = {
        "bitcoin": CoinCandles(candles, age),
        "dollar": CoinCandles(replace(candles, frame=still), age, notice="pegged"),
    }
    pool = CoinPool(Market("sample", "usd", "daily"), ("bitcoin", "dollar"), bars, ())
    assert pool.notices == ("pegged",)
    moving = without_stablecoins(config, pool)
    assert (moving.named, moving.coins) == (("bitcoin",), ("bitcoin",))
    assert [error.coin for error in moving.left_out] == ["dollar"]
    with pytest.raises(DataError, match="dollar is a stablecoin"):
        without_stablecoins(config, replace(pool, named=("dollar",)))


def test_the_error_of_one_coin_is_a_row_beside_the_answers_and_of_all_coins_an_error() -> None:
    failures = Failures()
    for coin in ("a", "b"):
        with failures.of((coin,)):
            raise DataError(f"{coin} is not there")
    assert [(row.coin, row.error) for row in failures.rows] == [("a", "a is not there"), ("b", "b is not there")]
    failures.raise_unless(["an answer"])
    with pytest.raises(DataError, match="a is not there"):
        failures.raise_unless([])
