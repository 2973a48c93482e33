"""Candles made on the spot: seeded, valid, and as awkward as a test wants them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA

SAMPLE = Path(__file__).resolve().parents[2] / "cryptocast" / "data" / "sources" / "sample"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"

MakeBars = Callable[..., pl.DataFrame]


def make_bars(
    bars: int = 300,
    *,
    coins: Sequence[str] = ("bitcoin", "ether", "lite", "zcoin"),
    seed: int = 1,
    bar_us: int = BAR_US["daily"],
    scale: float = 1.0,
) -> pl.DataFrame:
    """Random walks with changing volatility, real ranges, volume and market cap; no gaps."""
    frames = []
    stamps = np.datetime64("2019-03-05T00:00:00", "us") + np.arange(bars) * np.timedelta64(bar_us, "us")
    for number, coin in enumerate(coins):
        rng = np.random.default_rng([seed, number])
        deviation = 0.03 * np.exp(0.7 * np.sin(np.arange(bars) / 30 + number))
        close = 50.0 * np.exp(np.cumsum(rng.normal(0, 1, bars) * deviation))
        start = np.concatenate([[50.0], close[:-1]]) * np.exp(rng.normal(0, 0.001, bars))
        high = np.maximum(start, close) * np.exp(np.abs(rng.normal(0, 0.5, bars)) * deviation)
        low = np.minimum(start, close) * np.exp(-np.abs(rng.normal(0, 0.5, bars)) * deviation)
        prices = {"open": start * scale, "high": high * scale, "low": low * scale, "close": close * scale}
        money = {"volume": np.exp(rng.normal(12, 0.6, bars)) * scale, "market_cap": close * 1e7 * scale}
        frames.append(pl.DataFrame({"close_time": stamps, **prices, **money}).with_columns(coin=pl.lit(coin)))
    whole = pl.concat(frames).with_columns(
        pl.col("close_time").dt.replace_time_zone("UTC"), range_known=pl.lit(value=True)
    )
    return whole.select(list(CANDLE_SCHEMA)).cast(CANDLE_SCHEMA)


@pytest.fixture(name="make_bars", scope="session")
def _make_bars() -> MakeBars:
    return make_bars


def real_series() -> list[pl.DataFrame]:
    """The shipped sample, and the shared development data where they exist."""
    return [
        pl.read_parquet(path) for path in (*sorted(SAMPLE.glob("*.parquet")), *sorted(SHARED.glob("*.daily.parquet")))
    ]


@pytest.fixture(scope="session")
def gapless_series() -> list[pl.DataFrame]:
    """Frames with open, high, low, close, volume on consecutive bars: made, tiny-priced, and real."""
    frames = [make_bars(800, coins=["bitcoin"]), make_bars(800, coins=["bitcoin"], seed=5, scale=1e-10)]
    return frames + [frame.filter(pl.col("volume") > 0) for frame in real_series()]
