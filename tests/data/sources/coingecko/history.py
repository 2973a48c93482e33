"""Answers of the upstream, and all bars of a coin in the last days, page by page, as a fetch asks for them."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl

from cryptocast.choices import Granularity
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.backfill import pages_of
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.upstream import History
from cryptocast.market import Market

DAY = 86_400_000
HOUR = 3_600_000
JAN_1 = 1_767_225_600_000  # 2026-01-01T00:00Z
NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
Points = list[tuple[float, float | None]]


def chart(prices: Points, caps: Points | None = None, volumes: Points | None = None) -> bytes:
    document = {"prices": prices, "market_caps": caps or [], "total_volumes": volumes or []}
    return json.dumps(document).encode()


def times(found: History) -> list[str]:
    return found.frame["close_time"].dt.strftime("%d %H:%M").to_list()


def history(upstream: CoinGecko, coin: str, vs: str, granularity: Granularity, days: int, now: datetime) -> History:
    key = SeriesKey(Market("coingecko", vs, granularity), coin)
    pages = pages_of(key, [(now - timedelta(days=days), now)], now)
    parts = [upstream.run(upstream.page(page, now)) for page in pages]
    frame = pl.concat([part.frame for part in reversed(parts)])
    frame = frame.unique("close_time", keep="last", maintain_order=True).sort("close_time")
    return History(frame, tuple(dict.fromkeys(note for part in parts for note in part.notes)))
