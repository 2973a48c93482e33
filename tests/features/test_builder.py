"""The builder gives the same values however coins are stacked, cut and served, and those of the release before it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import (
    LOOKBACK,
    add_features,
    feature_hash,
    last_features,
    select_features,
    with_features,
)
from cryptocast.features.catalogue import FEATURES, Feature
from cryptocast.features.expressions import CLOSE
from tests.conftest import MakeCandles
from tests.features.make_golden import EVERY, GOLDEN, sample_candles

MakeBars = Callable[..., pl.DataFrame]
DAY = BAR_US["daily"]
NAMES = [f.name for f in FEATURES]
KEYS = ["coin", "close_time"]


def _table(candles: pl.DataFrame, features: tuple[Feature, ...] = FEATURES) -> pl.DataFrame:
    return add_features(candles.lazy(), features, bar_us=DAY).collect()


@pytest.mark.parametrize("name", ["sample", "simulated"])
def test_every_value_is_that_of_the_release_before(name: str) -> None:
    candles = sample_candles() if name == "sample" else pl.read_parquet(GOLDEN / "candles.parquet")
    ours = _table(candles).select(*KEYS, *NAMES).gather_every(EVERY)
    theirs = pl.read_parquet(GOLDEN / f"{name}.parquet").select(*KEYS, *NAMES)
    assert ours.select(KEYS).equals(theirs.select(KEYS))
    for feature in NAMES:
        mine, other = (frame[feature].to_numpy() for frame in (ours, theirs))
        assert np.array_equal(np.isnan(mine), np.isnan(other)), feature
        known = other[~np.isnan(other)]
        # Relative to the size of the column: a value that crosses 0 has no digits of its own there.
        size = np.abs(known).mean() if len(known) else 0.0
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9 * size, err_msg=feature)


def test_a_bar_without_a_price_cuts_what_is_recursive_even_where_its_high_stands(make_bars: MakeBars) -> None:
    candles = make_bars(120, coins=["bitcoin"])
    row = pl.int_range(pl.len())
    broken = candles.with_columns(pl.when(row == 60).then(-1.0).otherwise("close").alias("close"))
    recursive = select_features(["di_14", "adx_14", "atr_14", "rsi_14"])
    missing = _table(candles.filter(row != 60), recursive)
    assert_frame_equal(
        _table(broken, recursive).select(f.name for f in recursive), missing.select(f.name for f in recursive)
    )


def test_a_constant_is_a_feature_too(make_bars: MakeBars) -> None:
    constant = Feature("one", "price", pl.lit(1.0), 0, 0, "mine", "flag")
    last = Feature("last", "price", CLOSE.last(), 0, 0, "mine", "flag")
    for coins in (["a"], ["a", "b"]):
        candles = make_bars(5, coins=coins)
        table = _table(candles, (constant, last))
        assert table["one"].to_list() == [1.0] * len(candles)
        assert table["last"].to_list() == candles.select(pl.col("close").last().over("coin"))["close"].to_list()


def test_no_bars_have_no_features(make_bars: MakeBars) -> None:
    table = _table(make_bars(5).clear())
    assert (table.height, table.columns[-len(NAMES) :]) == (0, NAMES)


def test_the_order_of_rows_changes_nothing(make_bars: MakeBars) -> None:
    candles = make_bars(150)
    assert_frame_equal(_table(candles.sample(fraction=1.0, shuffle=True, seed=4)), _table(candles))


def test_hourly_bars_take_the_same_way(make_bars: MakeBars) -> None:
    candles = make_bars(200, bar_us=BAR_US["hourly"])
    hole = candles.filter(pl.int_range(pl.len()).over("coin") != 100)
    table = add_features(hole.lazy(), bar_us=BAR_US["hourly"]).collect()
    assert table.height == 800
    assert table["close_time"].diff().median() == timedelta(hours=1)
    assert table["hour_sin"].n_unique() > 10


def test_names_must_be_free(make_bars: MakeBars) -> None:
    mine = Feature("close", "price", CLOSE, 0, 0, "mine", "log")
    with pytest.raises(ValueError, match="close"):
        add_features(make_bars(5).lazy(), [mine], bar_us=DAY)
    with pytest.raises(ValueError, match="ret_1"):
        add_features(make_bars(5).lazy(), [FEATURES[0], FEATURES[0]], bar_us=DAY)
    with pytest.raises(ValueError, match="unknown features: ret_0"):
        select_features(["ret_1", "ret_0"])


def test_a_coin_has_the_same_values_to_the_last_bit_in_whatever_block_it_is_computed(make_bars: MakeBars) -> None:
    names = ["bitcoin", *(f"coin-{n:02d}" for n in range(120))]
    candles = make_bars(300, coins=names)
    ragged = candles.filter(pl.int_range(pl.len()).over("coin") >= pl.col("coin").rank("dense").cast(pl.Int64) * 2)
    own = tuple(f for f in FEATURES if not f.needs & {"coins", "bitcoin"})
    for frame in (candles, ragged):
        table = _table(frame, own)
        for coin in ("coin-03", "coin-39"):
            alone = _table(frame.filter(pl.col("coin") == coin), own)
            assert_frame_equal(table.filter(pl.col("coin") == coin), alone, check_exact=True)


def test_serving_and_training_take_the_same_formulas(make_bars: MakeBars) -> None:
    candles = make_bars(LOOKBACK + 30)
    last = candles["close_time"].max()
    whole = _table(candles).filter(pl.col("close_time") == last)
    tail = candles.filter(pl.int_range(pl.len()).over("coin") >= 30)
    columns = [*KEYS, *NAMES]
    served = _table(tail).filter(pl.col("close_time") == last)
    assert_frame_equal(served.select(columns), whole.select(columns), rel_tol=1e-8, abs_tol=1e-8)


def test_the_hash_is_the_same_in_another_process_and_follows_every_fact() -> None:
    code = "from cryptocast.features import FEATURES, feature_hash; print(feature_hash(FEATURES))"
    for threads in ("1", "3"):
        alone = {**os.environ, "POLARS_MAX_THREADS": threads}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=alone)
        assert said.stdout.strip() == feature_hash(FEATURES)
    first = FEATURES[0]
    changed = [
        replace(first, expr=first.expr * 1.0000001),
        replace(first, memory=2),
        replace(first, name="other"),
        replace(first, scope="segment"),
        replace(first, needs=frozenset({"range"})),
    ]
    hashes = {feature_hash([f]) for f in [first, *changed]}
    assert len(hashes) == 6
    assert feature_hash(FEATURES[:2]) != feature_hash(FEATURES[1::-1])


def test_the_hash_of_a_polars_expression_follows_its_values_and_not_how_it_is_written() -> None:
    first = Feature("mine", "price", (CLOSE / CLOSE.shift(1)).log(), 1, 1, "mine", "log")
    written_otherwise = replace(first, expr=CLOSE.log() - CLOSE.log().shift(1))
    different = replace(first, expr=(CLOSE / CLOSE.shift(1)).log() * 1.0000001)
    assert feature_hash([first]) == feature_hash([written_otherwise])
    assert feature_hash([first]) != feature_hash([different])


@pytest.mark.parametrize("drop", [(), (2300, 2301, 2395), tuple(range(2390, 2400))])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_last_bars_are_those_of_the_whole_table(
    make_candles: MakeCandles, drop: tuple[int, ...], rows: int
) -> None:
    candles = make_candles(("bitcoin", "ethereum", "dogecoin"), 2400, drop=drop)
    whole = with_features(candles, features=FEATURES, bar_us=DAY)
    found = last_features(with_features(candles, features=(), bar_us=DAY), FEATURES, rows=rows, bar_us=DAY)

    assert found.shape == (3, rows, len(FEATURES))
    for place, coin in enumerate(sorted(("bitcoin", "ethereum", "dogecoin"))):
        own = whole.filter(pl.col("coin") == coin).tail(rows).select([f.name for f in FEATURES])
        expected = own.select(pl.all().fill_null(float("nan"))).to_numpy()
        np.testing.assert_array_equal(np.isnan(found[place]), np.isnan(expected))
        scale = np.maximum(1.0, np.abs(np.nan_to_num(expected)))
        assert np.nanmax(np.abs(found[place] - expected) / scale) < 1e-8


def test_the_last_bars_of_coins_that_end_apart_see_each_other_as_in_the_whole_table(make_candles: MakeCandles) -> None:
    candles = make_candles(("bitcoin", "ethereum", "dogecoin"), 2400)
    last = candles["close_time"].max()
    ends = {"bitcoin": 0, "ethereum": 3, "dogecoin": 200}  # bars that are missing at the end
    late = pl.col("coin").replace_strict(ends, return_dtype=pl.Int64)
    apart = candles.filter(pl.col("close_time") <= pl.lit(last) - pl.duration(days=late))
    whole = with_features(apart, features=FEATURES, bar_us=DAY)
    found = last_features(with_features(apart, features=(), bar_us=DAY), FEATURES, rows=1, bar_us=DAY)

    for place, coin in enumerate(sorted(ends)):
        own = whole.filter(pl.col("coin") == coin).tail(1).select([f.name for f in FEATURES])
        expected = own.select(pl.all().fill_null(float("nan"))).to_numpy()[0]
        np.testing.assert_allclose(found[place, 0], expected, rtol=1e-8, atol=1e-8)


def test_a_coin_with_fewer_bars_than_asked_for_begins_with_nothing(make_candles: MakeCandles) -> None:
    candles = make_candles(("bitcoin",), 4)
    found = last_features(with_features(candles, features=(), bar_us=DAY), FEATURES[:3], rows=6, bar_us=DAY)
    assert np.isnan(found[0, :2]).all()
    assert np.isfinite(found[0, -1, 0])
