"""Market features: bitcoin at the same moment, and a coin's place among the others."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES

MakeBars = Callable[..., pl.DataFrame]
MARKET = [f for f in FEATURES if f.family == "market"]
DAY = BAR_US["daily"]


def _table(candles: pl.DataFrame) -> pl.DataFrame:
    return add_features(candles.lazy(), MARKET, bar_us=DAY).collect()


def _coin(table: pl.DataFrame, coin: str) -> pl.DataFrame:
    return table.filter(pl.col("coin") == coin)


def test_bitcoin_columns_are_bitcoins_at_the_same_close(make_bars: MakeBars) -> None:
    candles = make_bars(120)
    table = _table(candles)
    closes = np.log(_coin(candles, "bitcoin")["close"].to_numpy())
    returns = np.diff(closes)
    for coin in ("bitcoin", "zcoin"):
        row = _coin(table, coin).row(-1, named=True)
        assert row["btc_ret_7"] == pytest.approx(closes[-1] - closes[-8], rel=1e-9)
        assert row["btc_vol_30"] == pytest.approx(0.5 * np.log((returns[-30:] ** 2).mean()), rel=1e-9)


def test_beta_and_correlation_equal_numpys(make_bars: MakeBars) -> None:
    candles = make_bars(150)
    row = _coin(_table(candles), "lite").row(-1, named=True)
    own, bitcoin = (np.diff(np.log(_coin(candles, coin)["close"].to_numpy())) for coin in ("lite", "bitcoin"))
    for bars in (60, 90):
        covariance = np.cov(own[-bars:], bitcoin[-bars:], ddof=0)
        assert row[f"btc_beta_{bars}"] == pytest.approx(covariance[0, 1] / covariance[1, 1], rel=1e-9)
        assert row[f"btc_corr_{bars}"] == pytest.approx(np.corrcoef(own[-bars:], bitcoin[-bars:])[0, 1], rel=1e-9)


def test_bitcoin_moves_one_to_one_with_itself(make_bars: MakeBars) -> None:
    row = _coin(_table(make_bars(120)), "bitcoin").row(-1, named=True)
    assert [row[n] for n in ("btc_beta_60", "btc_corr_60", "btc_beta_90", "btc_corr_90")] == pytest.approx([1.0] * 4)
    assert row["btc_strength_30"] == pytest.approx(0.0, abs=1e-12)


def test_without_bitcoin_its_columns_are_null_and_the_cross_section_stays(make_bars: MakeBars) -> None:
    row = _coin(_table(make_bars(120, coins=["a", "b", "c"])), "b").row(-1, named=True)
    assert {row[f.name] for f in MARKET if "bitcoin" in f.needs} == {None}
    assert None not in {row[f.name] for f in MARKET if "coins" in f.needs}


def test_two_coins_make_no_cross_section(make_bars: MakeBars) -> None:
    table = _table(make_bars(120, coins=["bitcoin", "b"]))
    cross = [f.name for f in MARKET if f.scope == "moment"]
    assert table.select(pl.col(cross).null_count().unique()).row(0) == (240,) * len(cross)


def test_ranks_run_from_worst_to_best_and_ties_share(make_bars: MakeBars) -> None:
    candles = make_bars(60, coins=["a", "b", "c", "d"])
    growth = {"a": 1.0, "b": 1.01, "c": 1.01, "d": 1.02}
    row = pl.int_range(pl.len()).over("coin")
    base = pl.col("coin").replace_strict(growth, return_dtype=pl.Float64)
    steady = candles.with_columns(close=base.pow(row))
    last = _table(steady).group_by("coin", maintain_order=True).last()
    assert last["rank_ret_30"].to_list() == pytest.approx([0.0, 0.5, 0.5, 1.0])
    assert last["breadth_30"].to_list() == pytest.approx([0.75] * 4)
    returns = np.array([0, np.log(1.01), np.log(1.01), np.log(1.02)]) * 30
    assert last["dispersion_30"].to_list() == pytest.approx([returns.std()] * 4)


def test_market_volatility_is_the_mean_over_the_coins_that_are_there(make_bars: MakeBars) -> None:
    table = _table(make_bars(80))
    last = table.filter(pl.col("close_time") == pl.col("close_time").max())
    own = last["market_vol_30"] + last["vol_over_market_30"]
    assert own.mean() == pytest.approx(last["market_vol_30"][0])
    order = np.argsort(np.argsort(own.to_numpy())) / 3
    assert last["rank_vol_30"].to_list() == pytest.approx(order.tolist())


def test_a_coin_in_a_gap_has_no_rank_and_the_others_keep_theirs(make_bars: MakeBars) -> None:
    candles = make_bars(80)
    moment = candles["close_time"].unique().sort()[60]
    gap = (pl.col("coin") == "lite") & (pl.col("close_time") == moment)
    at = _table(candles.filter(~gap)).filter(pl.col("close_time") == moment)
    assert at.filter(pl.col("coin") == "lite")["rank_ret_30"].item() is None
    assert sorted(at["rank_ret_30"].drop_nulls()) == pytest.approx([0.0, 0.5, 1.0])
