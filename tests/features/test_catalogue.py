"""Laws that every feature of the catalogue obeys, whatever its formula."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.features.builder import (
    LOOKBACK,
    add_features,
    required_history,
    select_features,
)
from cryptocast.features.catalogue import FEATURES, Feature

MakeBars = Callable[..., pl.DataFrame]
DAY = BAR_US["daily"]
NAMES = [f.name for f in FEATURES]
KEYS = ["coin", "close_time"]
PRICES = ["open", "high", "low", "close"]


def _table(candles: pl.DataFrame, features: tuple[Feature, ...] = FEATURES) -> pl.DataFrame:
    return add_features(candles.lazy(), features, bar_us=DAY).collect()


def _same(left: pl.DataFrame, right: pl.DataFrame, *, tolerance: float = 1e-9) -> None:
    columns = [*KEYS, *(name for name in NAMES if name in left.columns)]
    assert_frame_equal(left.select(columns), right.select(columns), rel_tol=tolerance, abs_tol=tolerance)


def _drop_bars(candles: pl.DataFrame, first: int, count: int) -> pl.DataFrame:
    """Without some bars of every coin, counted from each coin's start."""
    return candles.filter(~pl.int_range(pl.len()).over("coin").is_between(first, first + count - 1))


def test_the_catalogue_is_large_and_covers_all_families() -> None:
    families = Counter(f.family for f in FEATURES)
    assert len(FEATURES) >= 80
    assert set(families) == {"price", "technical", "volatility", "volume", "time", "market"}
    assert min(families.values()) >= 7
    assert len(set(NAMES)) == len(NAMES)
    assert all(f.source and f.unit for f in FEATURES)


def test_memory_of_recursions_is_when_the_start_weighs_less_than_1e_8() -> None:
    memory = {f.name: f.memory for f in FEATURES}
    assert (memory["rsi_14"], memory["ema_200"]) == (249, 1842)
    assert required_history(FEATURES) == LOOKBACK == 199 + 1842 + 231 + 1
    assert required_history(select_features(["ret_7", "vol_30"])) == 30 + 30 + 4 + 1


def test_every_warmup_is_honest(make_bars: MakeBars) -> None:
    table = _table(make_bars(260))
    for coin, rows in table.group_by("coin"):
        nulls = {f.name: rows[f.name].null_count() for f in FEATURES}
        leading = {f.name: rows[f.name].head(f.warmup).null_count() for f in FEATURES}
        assert nulls == leading == {f.name: f.warmup for f in FEATURES}, coin


@pytest.mark.parametrize("seed", [2, 3])
def test_every_memory_is_honest(seed: int, make_bars: MakeBars) -> None:
    candles = make_bars(LOOKBACK + 200, seed=seed)
    last = candles["close_time"].max()
    whole = _table(candles).filter(pl.col("close_time") == last)
    for bars in sorted({required_history([f]) for f in FEATURES}):
        some = tuple(f for f in FEATURES if required_history([f]) == bars)
        tail = candles.filter(pl.int_range(pl.len()).over("coin") >= pl.len().over("coin") - bars)
        part = _table(tail, some).filter(pl.col("close_time") == last)
        _same(part, whole.select(*KEYS, *(f.name for f in some)), tolerance=1e-8)


def test_a_coin_that_lost_all_but_a_millionth_leaves_no_trace_in_its_windows(make_bars: MakeBars) -> None:
    candles = make_bars(800)
    row = pl.int_range(pl.len()).over("coin")
    fallen = candles.with_columns(
        pl.when(row < 100).then(pl.col(name) * 1e6).otherwise(name).alias(name) for name in (*PRICES, "volume")
    )
    windows = tuple(f for f in FEATURES if f.scope != "segment")
    last = candles["close_time"].max()
    whole, tail = (
        _table(frame, windows).filter(pl.col("close_time") == last) for frame in (fallen, fallen.filter(row >= 100))
    )
    _same(tail, whole, tolerance=1e-8)


def test_a_window_needs_no_bar_beyond_its_memory(make_bars: MakeBars) -> None:
    windows = tuple(f for f in FEATURES if f.scope != "segment")
    candles = make_bars(500)
    last = candles["close_time"].max()
    whole = _table(candles, windows).filter(pl.col("close_time") == last)
    for bars in sorted({f.memory + 1 for f in windows}):
        some = tuple(f for f in windows if f.memory + 1 == bars)
        tail = candles.filter(pl.int_range(pl.len()).over("coin") >= 500 - bars)
        part = _table(tail, some).filter(pl.col("close_time") == last)
        _same(part, whole.select(*KEYS, *(f.name for f in some)))


@settings(max_examples=8, deadline=None)
@given(
    bars=st.integers(40, 140), seed=st.integers(0, 10**6), cut=st.floats(0.1, 0.95), holes=st.sets(st.integers(1, 130))
)
def test_the_past_does_not_change_when_the_future_arrives(bars: int, seed: int, cut: float, holes: set[int]) -> None:
    rng = np.random.default_rng(seed)
    closes = np.exp(np.cumsum(rng.normal(0, 0.05, (2, bars)), axis=1))
    candles = _plain(closes, ["bitcoin", "other"])
    gappy = candles.filter(~pl.int_range(pl.len()).is_in(sorted(holes)))
    stamps = gappy["close_time"].unique().sort()
    moment = stamps[int(cut * (len(stamps) - 1))]
    early = gappy.filter(pl.col("close_time") <= moment)
    before = _table(early)
    after = _table(gappy).join(before.select(KEYS), on=KEYS, how="semi", maintain_order="left")
    _same(before, after)


def _plain(closes: np.ndarray, coins: list[str]) -> pl.DataFrame:
    """(coins, bars) closes as candles whose range is 1 % to either side."""
    stamps = np.datetime64("2020-01-01", "us") + np.arange(closes.shape[1]) * np.timedelta64(DAY, "us")
    frames = [
        pl.DataFrame({"close_time": stamps, "close": row}).with_columns(
            coin=pl.lit(coin),
            close_time=pl.col("close_time").dt.replace_time_zone("UTC"),
            open=pl.col("close") * 0.999,
            high=pl.col("close") * 1.01,
            low=pl.col("close") / 1.01,
            volume=pl.lit(1e6) + pl.int_range(pl.len()) % 7,
            market_cap=pl.lit(1e9),
            range_known=pl.lit(value=True),
        )
        for coin, row in zip(coins, closes, strict=True)
    ]
    return pl.concat([frame.select(list(CANDLE_SCHEMA)) for frame in frames])


@pytest.mark.parametrize("scale", [1e-10, 1e5])
def test_a_price_level_means_nothing(scale: float, make_bars: MakeBars) -> None:
    candles = make_bars(500)
    still = pl.int_range(pl.len()).over("coin").is_between(200, 320)
    # A stretch on which the price does not move at all, where ratios would be ratios of rounding errors.
    frozen = candles.with_columns(
        pl.when(still).then(pl.col(name).first().over("coin")).otherwise(name).alias(name) for name in PRICES
    ).with_columns(high=pl.max_horizontal(PRICES), low=pl.min_horizontal(PRICES))
    for frame in (candles, frozen):
        one = pl.col("coin") == "lite"
        scaled = frame.with_columns(
            pl.when(one).then(pl.col(name) * scale).otherwise(name).alias(name)
            for name in (*PRICES, "volume", "market_cap")
        )
        _same(_table(scaled), _table(frame))


def test_strict_features_are_null_over_a_gap_and_then_right_again(make_bars: MakeBars) -> None:
    gap, length, bars = 450, 3, 1100
    candles = make_bars(bars)
    whole = _table(candles)
    holed = _table(_drop_bars(candles, gap, length))
    fresh = _table(candles.filter(pl.int_range(pl.len()).over("coin") >= gap + length))
    for coin in candles["coin"].unique():
        columns = [frame.filter(pl.col("coin") == coin) for frame in (whole, holed, fresh)]
        for feature in FEATURES:
            full, with_gap, restarted = (frame[feature.name].to_numpy() for frame in columns)
            np.testing.assert_allclose(with_gap[:gap], full[:gap], rtol=1e-12)
            assert np.isnan(with_gap[gap : gap + length]).all(), feature.name
            behind, unbroken = with_gap[gap + length :], full[gap + length :]
            if not feature.lenient:
                # Known again exactly where a series that starts behind the gap is known, and with its values; before
                # that only what reads two closes and no bar between them has a value: that of the unbroken series.
                known = ~np.isnan(restarted)
                np.testing.assert_allclose(behind[known], restarted[known], rtol=1e-9, atol=1e-11, err_msg=feature.name)
                early = ~known & ~np.isnan(behind)
                np.testing.assert_allclose(behind[early], unbroken[early], rtol=1e-9, atol=1e-11, err_msg=feature.name)
            left = feature.memory + feature.warmup + 1
            np.testing.assert_allclose(behind[left:], unbroken[left:], rtol=1e-8, atol=1e-8, err_msg=feature.name)


def test_windows_of_consecutive_bars_are_null_until_the_gap_has_left(make_bars: MakeBars) -> None:
    candles = make_bars(200, coins=["bitcoin"])
    table = _table(_drop_bars(candles, 100, 1))
    known_again = {
        name: int(np.flatnonzero(table[name].is_not_null().to_numpy()[101:])[0]) + 101
        for name in ("ret_1", "vol_7", "vol_30", "rsi_14", "garman_klass_7", "zscore_30", "volume_ratio_7", "skew_30")
    }
    assert known_again == {
        "ret_1": 102,
        "vol_7": 108,
        "vol_30": 131,
        "rsi_14": 115,
        "garman_klass_7": 107,
        "zscore_30": 130,
        "volume_ratio_7": 107,
        "skew_30": 131,
    }


def _awkward(make_bars: MakeBars) -> dict[str, pl.DataFrame]:
    candles = make_bars(420)
    row = pl.int_range(pl.len()).over("coin")
    money = [*PRICES, "volume", "market_cap"]
    return {
        "flat": candles.with_columns(pl.lit(0.1).alias(name) for name in money),
        "tiny": candles.with_columns(pl.col(name) * 1e-14 for name in money),
        "huge": candles.with_columns(pl.col(name) * 1e14 for name in money),
        "crash": candles.with_columns(pl.when(row > 200).then(pl.col(n) * 1e-9).otherwise(n).alias(n) for n in PRICES),
        "then flat": candles.with_columns(pl.when(row > 200).then(3.0).otherwise(n).alias(n) for n in PRICES),
        "gaps": candles.filter((row % 17 != 3) | (row < 5)),
        "closes only": candles.with_columns(
            pl.col("close").alias("open"), high="close", low="close", range_known=pl.lit(value=False)
        ),
        "no volume": candles.with_columns(volume=pl.lit(0.0), market_cap=pl.lit(None, dtype=pl.Float64)),
        "bad prints": candles.with_columns(
            pl.when(row == 210).then(pl.lit(value)).otherwise(name).alias(name)
            for name, value in (
                ("close", float("nan")),
                ("high", float("inf")),
                ("low", -1.0),
                ("volume", float("nan")),
            )
        ),
        "two bars": candles.filter(row < 2),
        "one coin": candles.filter(pl.col("coin") == "lite"),
    }


def test_no_value_is_ever_nan_or_infinite(make_bars: MakeBars) -> None:
    for name, candles in _awkward(make_bars).items():
        table = _table(candles)
        assert set(table.select(NAMES).dtypes) == {pl.Float64}, name
        finite = table.select(pl.col(NAMES).is_finite().all())  # null counts as finite here: `all` passes over it
        assert finite.row(0) == (True,) * len(NAMES), name


def test_a_broken_price_is_a_missing_bar_to_the_features_and_comes_back_as_it_was(make_bars: MakeBars) -> None:
    candles = make_bars(150, coins=["bitcoin"])
    broken = candles.with_columns(pl.when(pl.int_range(pl.len()) == 100).then(-5.0).otherwise("close").alias("close"))
    table = _table(broken)
    assert_frame_equal(table.select(list(CANDLE_SCHEMA)), broken)
    closes = ["rsi_14", "vol_30", "zscore_30", "ewma_94"]
    _same(table.select(*KEYS, *closes), _table(_drop_bars(candles, 100, 1)).select(*KEYS, *closes))


def test_bars_that_only_saw_their_close_have_no_range_features_but_all_others(make_bars: MakeBars) -> None:
    table = _table(_awkward(make_bars)["closes only"])
    empty = {f.name for f in FEATURES if table[f.name].null_count() == table.height}
    assert empty == {f.name for f in FEATURES if "range" in f.needs}


def test_features_come_back_once_ranges_are_known(make_bars: MakeBars) -> None:
    candles = make_bars(300)
    row = pl.int_range(pl.len()).over("coin")
    late = candles.with_columns(range_known=row >= 150)
    fresh = candles.filter(row >= 150)
    ranged = [f.name for f in FEATURES if f.needs == {"range"} and f.name != "range_to_close_30"]
    both = _table(late).filter(row >= 150).select(*KEYS, *ranged)
    # The true range of the first bar with a range reads the close before it; everything else starts anew.
    _same(both, _table(fresh).select(*KEYS, *ranged))


def test_what_candles_cannot_say_is_null_in_the_same_schema(make_bars: MakeBars) -> None:
    candles = make_bars(120)
    table = add_features(candles.lazy(), bar_us=DAY, without=frozenset({"bar_volume"})).collect()
    assert table.schema == _table(candles).schema
    empty = {f.name for f in FEATURES if table[f.name].null_count() == table.height}
    warming = {f.name for f in FEATURES if f.warmup >= 120}
    assert empty == {f.name for f in FEATURES if "bar_volume" in f.needs} | warming


def test_a_coins_own_features_do_not_depend_on_the_other_coins(make_bars: MakeBars) -> None:
    candles = make_bars(150)
    own = tuple(f for f in FEATURES if not f.needs & {"coins", "bitcoin"})
    lone = candles.filter(pl.col("coin") == "lite")
    assert_frame_equal(_table(lone, own), _table(candles, own).filter(pl.col("coin") == "lite"))


def test_one_feature_alone_has_the_values_it_has_in_company(make_bars: MakeBars) -> None:
    candles = make_bars(150)
    for name in ("rank_ret_30", "btc_beta_60", "adx_14", "ret_7"):
        alone = _table(candles, select_features([name]))
        assert alone.columns == [*CANDLE_SCHEMA, name]
        assert alone[name].equals(_table(candles)[name])
