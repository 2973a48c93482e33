"""The candle frame: the one shape in which bars travel through every room."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from cryptocast.choices import Granularity
from cryptocast.market import Market, OfMarket
from cryptocast.times import DAY_US, HOUR_US

# Microseconds in one bar.
BAR_US: Final[dict[Granularity, int]] = {"daily": DAY_US, "hourly": HOUR_US}

TIME = pl.Datetime("us", "UTC")

CANDLE_SCHEMA: Final = pl.Schema(
    {
        "coin": pl.String(),  # CoinGecko id
        "close_time": TIME,  # the moment the bar is complete, and so known
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),  # in the quote currency; null where unknown
        "market_cap": pl.Float64(),  # null where unknown
        "range_known": pl.Boolean(),  # false where only the close was seen: open, high and low then equal it
    }
)


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey(OfMarket):
    """Names one series of candles. Series of different sources are never spliced."""

    market: Market
    coin: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a series came from and what it holds."""

    key: SeriesKey
    fetched_at: datetime  # UTC; the last time that its source was asked for the newest bars
    content_hash: str  # sha256 over the canonical bytes of the frame
    rows: int
    first: datetime  # close time of the first bar
    last: datetime  # close time of the last bar
    notes: tuple[str, ...] = ()  # conversions and repairs, in words
    market: str | None = None  # where it was traded, e.g. BTC/USDT; None for sources without markets

    @property
    def market_in_other_currency(self) -> str | None:
        """The market, if its prices stand in for those that the key names: BTC/USDT for usd."""
        quote = (self.market or self.key.vs).rpartition("/")[2].lower()
        return None if quote == self.key.vs else self.market


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """One series: a frame in CANDLE_SCHEMA, sorted and unique by close_time, and its provenance."""

    frame: pl.DataFrame
    provenance: Provenance
