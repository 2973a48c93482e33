"""CoinGecko's live prices: many coins in one call."""

import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final

import msgspec

from cryptocast.data.sources.upstream import decoded
from cryptocast.errors import UpstreamError
from cryptocast.net.batcher import COMMA_CHARS

MAX_IDS: Final = 100  # ids in one call; the upstream names no number, and answers 414 to what is too long
MAX_QUERY_CHARS: Final = 3_500  # of the ids; with host, path and options a URL stays below 4,000
LATEST_S: Final = 4_102_444_800.0  # 2100


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a coin costs now, in the quote currency. None: unknown."""

    price: float
    market_cap: float | None = None
    volume_24h: float | None = None
    change_24h_pct: float | None = None
    updated_at: datetime | None = None


def parse_quotes(body: bytes, vs: str, coins: Collection[str]) -> dict[str, Quote]:
    """Quotes by coin from a `/simple/price` answer. Coins that are unknown, delisted or have no price are not in it.

    Zeros stand for unknown. Raises UpstreamError for JSON of another shape, such as one that names other coins than
    `coins`, and for what is no JSON.
    """
    answer = decoded(body, dict[str, dict[str, float | None]], "CoinGecko's answer of prices")
    if not answer.keys() <= set(coins):
        raise UpstreamError("CoinGecko's answer names coins that were not asked for. Try again later.")
    quotes = {}
    for coin, values in answer.items():
        price = _positive(values.get(vs))
        if price is not None:
            change = values.get(f"{vs}_24h_change")
            quotes[coin] = Quote(
                price=price,
                market_cap=_positive(values.get(f"{vs}_market_cap")),
                volume_24h=_positive(values.get(f"{vs}_24h_vol")),
                change_24h_pct=change if change is not None and math.isfinite(change) else None,
                updated_at=_moment(values.get("last_updated_at")),
            )
    return quotes


def one_call(coins: Iterable[str]) -> tuple[str, ...]:
    """The first ids, each once and sorted, that one call can carry."""
    ids = sorted(set(coins))
    chars = accumulate(len(coin) + COMMA_CHARS for coin in ids)
    return tuple(coin for coin, total in zip(ids, chars, strict=True) if total <= MAX_QUERY_CHARS)[:MAX_IDS]


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _moment(seconds: float | None) -> datetime | None:
    """The time of a stamp in seconds; the upstream's other stamps are in milliseconds, so those are none."""
    if seconds is None or not 0 < seconds < LATEST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)
