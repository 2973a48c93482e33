"""Writes the golden feature values: python tests/features/make_golden.py. Only when values are meant to change.

The files that lie there were written by the release before features became Polars expressions.
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.data.sources.sample import load_sample
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from tests.features.conftest import make_bars

GOLDEN: Final = Path(__file__).with_name("golden")
SAMPLE_COINS: Final = ("bitcoin", "ethereum", "litecoin")
SAMPLE_BARS: Final = 700
PRICES: Final = ("open", "high", "low", "close")
EVERY: Final = 7  # rows of which the values are kept
NAMES: Final = [feature.name for feature in FEATURES]


def sample_candles() -> pl.DataFrame:
    """The last bars of the shipped coins, with holes."""
    frames = [load_sample(coin).frame.tail(SAMPLE_BARS) for coin in SAMPLE_COINS]
    row = pl.int_range(pl.len()).over("coin")
    holes = (pl.col("coin") == "litecoin") & (row.is_between(500, 503) | (row == 620))
    return pl.concat(frames).filter(~holes)


def simulated_candles() -> pl.DataFrame:
    """Walks with all that candles may lack: bars, ranges, volumes, caps, prices; and a stretch that is flat."""
    candles = make_bars(480, coins=("bitcoin", "ether", "lite", "zcoin"), seed=77)
    row, coin = pl.int_range(pl.len()).over("coin"), pl.col("coin")
    rng = np.random.default_rng(7)
    drawn = pl.Series(rng.random(candles.height))
    lost = (
        ((coin == "bitcoin") & row.is_between(300, 302))
        | ((coin == "ether") & ((row < 40) | (row == 250) | row.is_between(380, 420)))
        | ((coin == "lite") & (drawn < 0.02))
    )
    still = (coin == "zcoin") & row.is_between(200, 270)
    return (
        candles.with_columns(
            pl.when(still).then(pl.col(name).filter(row == 200).first().over("coin")).otherwise(name).alias(name)
            for name in PRICES
        )
        .with_columns(
            *(pl.when((coin == "zcoin") & (row == 330)).then(-1.0).otherwise(n).alias(n) for n in PRICES),
            pl.when((coin == "lite") & (drawn > 0.97)).then(0.0).otherwise("volume").alias("volume"),
            pl.when((coin == "ether") & (row < 150)).then(None).otherwise("market_cap").alias("market_cap"),
            (~((coin == "ether") & row.is_between(200, 215))).alias("range_known"),
        )
        .filter(~lost)
    )


def values(candles: pl.DataFrame) -> pl.DataFrame:
    """coin, close_time and all features of every seventh row."""
    table = add_features(candles.lazy(), FEATURES, bar_us=BAR_US["daily"]).collect()
    return table.select("coin", "close_time", *NAMES).gather_every(EVERY)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    simulated = simulated_candles().select(list(CANDLE_SCHEMA))
    simulated.write_parquet(GOLDEN / "candles.parquet")
    values(simulated).write_parquet(GOLDEN / "simulated.parquet")
    values(sample_candles()).write_parquet(GOLDEN / "sample.parquet")
