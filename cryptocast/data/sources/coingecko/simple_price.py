"""CoinGecko's live prices: many coins in one call."""

import math
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from cryptocast.errors import UpstreamError

__all__ = ["MAX_IDS", "MAX_QUERY_CHARS", "Quote", "chunks", "parse_quotes"]

MAX_IDS: Final = 100  # ids in one call; the upstream names no number, and answers 414 to what is too long
MAX_QUERY_CHARS: Final = 3_500  # of the ids; with host, path and options a URL stays below 4,000
COMMA_CHARS: Final = 3  # a comma in a query is sent as %2C
LATEST_S: Final = 4_102_444_800.0  # 2100


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a coin costs now, in the quote currency. None: unknown."""

    price: float
    market_cap: float | None = None
    volume_24h: float | None = None
    change_24h_pct: float | None = None
    updated_at: datetime | None = None


def parse_quotes(body: bytes, vs: str, asked: Collection[str] | None = None) -> dict[str, Quote]:
    """Quotes by coin from a `/simple/price` answer. Coins that are unknown, delisted or have no price are not in it.

    Zeros stand for unknown. Raises UpstreamError for JSON of another shape, such as one that names what was not
    `asked` for, and for what is no JSON.
    """
    try:
        answer = msgspec.json.decode(body, type=dict[str, dict[str, float | None]])
    except msgspec.ValidationError as error:
        raise UpstreamError(f"CoinGecko's answer holds no prices: {error}. Try again later.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(
            f"CoinGecko's prices are not whole JSON ({len(body)} bytes: {error}). Try again."
        ) from error
    if asked is not None and not answer.keys() <= set(asked):
        raise UpstreamError("CoinGecko's answer names what was not asked for. Try again later.")
    found = {}
    for coin, values in answer.items():
        price = _positive(values.get(vs))
        if price is not None:
            change = values.get(f"{vs}_24h_change")
            found[coin] = Quote(
                price=price,
                market_cap=_positive(values.get(f"{vs}_market_cap")),
                volume_24h=_positive(values.get(f"{vs}_24h_vol")),
                change_24h_pct=change if change is not None and math.isfinite(change) else None,
                updated_at=_moment(values.get("last_updated_at")),
            )
    return found


def chunks(coins: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The ids, each once and sorted, in lists that one call can carry."""
    chunk: list[str] = []
    chars = 0
    for coin in sorted(set(coins)):
        if chunk and (len(chunk) == MAX_IDS or chars + len(coin) + COMMA_CHARS > MAX_QUERY_CHARS):
            yield tuple(chunk)
            chunk, chars = [], 0
        chunk.append(coin)
        chars += len(coin) + COMMA_CHARS
    if chunk:
        yield tuple(chunk)


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _moment(seconds: float | None) -> datetime | None:
    """The time of a stamp in seconds; the upstream's other stamps are in milliseconds, so those are none."""
    if seconds is None or not 0 < seconds < LATEST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)
