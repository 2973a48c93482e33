"""What the upstream says about a coin as it stands: the values of /simple/price, /coins/markets and /coins/{id}."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from cryptocast.rehearsal.charts import Desk
from cryptocast.rehearsal.coins import Coin
from cryptocast.rehearsal.market import DAY_MS, FIRST_MS, FIVE_MS, HOUR_MS
from cryptocast.rehearsal.messages import Request

__all__ = ["CHANGES_MS", "Quote", "coin_document", "iso", "market_row", "price_entry", "quote", "quote_at"]

CACHE_MS: Final = 60_000  # what is current changes once a minute
CHANGES_MS: Final = {
    "1h": HOUR_MS,
    "24h": DAY_MS,
    "7d": 7 * DAY_MS,
    "14d": 14 * DAY_MS,
    "30d": 30 * DAY_MS,
    "200d": 200 * DAY_MS,
    "1y": 365 * DAY_MS,
}
EXTREMES_DAYS: Final = 1500  # how far back all-time highs and lows are looked for
IMAGES: Final = "https://coin-images.coingecko.com/coins/images"


@dataclass(frozen=True, slots=True)
class Quote:
    """A coin in one currency at its last update."""

    at_ms: int
    price: float
    cap: float
    volume: float
    before: float | None  # price 24 hours earlier

    @property
    def change(self) -> float | None:
        """Of the last 24 hours, in percent."""
        return percent(self.price, self.before)


def quote(desk: Desk, coin: Coin, vs: str, now_ms: int) -> Quote | None:
    """The coin at its last update: of this minute, or of the one in which it stopped. None: it has no price."""
    end_ms = now_ms if coin.stopped_at is None else min(now_ms, coin.stopped_at * 1000)
    return quote_at(desk, coin, vs, end_ms - end_ms % CACHE_MS, now_ms)


def quote_at(desk: Desk, coin: Coin, vs: str, at_ms: int, now_ms: int) -> Quote | None:
    """The coin at a moment, as it is told now. None: it had no price."""
    at = np.array([at_ms], dtype=np.int64)
    earlier, last = desk.value(coin, np.array([at_ms - DAY_MS, at_ms], dtype=np.int64), now_ms, vs).tolist()
    if math.isnan(last):
        return None
    return Quote(
        at_ms=at_ms,
        price=last,
        cap=float(desk.cap(coin, np.array([last]), at)[0]),
        volume=float(desk.market.volume(coin, at, vs)[0]),
        before=None if math.isnan(earlier) else earlier,
    )


def day_range(desk: Desk, coin: Coin, vs: str, at_ms: int, now_ms: int) -> tuple[float, float]:
    """Lowest and highest five-minute price of the 24 hours before a moment at which the coin has a price."""
    fives = np.arange(-(-at_ms // FIVE_MS) - 288, at_ms // FIVE_MS + 1, dtype=np.int64) * FIVE_MS
    prices = desk.value(coin, np.append(fives, at_ms), now_ms, vs)
    return float(np.nanmin(prices)), float(np.nanmax(prices))


def price_entry(request: Request, quotes: dict[str, Quote]) -> dict[str, float | None]:
    """The inner object of /simple/price."""
    entry: dict[str, float | None] = {}
    precision = request.params.get("precision")
    for vs, found in quotes.items():
        entry[vs] = rounded(found.price, precision)
        if request.flag("include_market_cap"):
            entry[f"{vs}_market_cap"] = found.cap
        if request.flag("include_24hr_vol"):
            entry[f"{vs}_24h_vol"] = found.volume
        if request.flag("include_24hr_change"):
            entry[f"{vs}_24h_change"] = found.change
        if request.flag("include_last_updated_at"):
            entry["last_updated_at"] = found.at_ms // 1000
    return entry


def market_row(request: Request, desk: Desk, coin: Coin, vs: str, rank: int, now_ms: int) -> dict[str, Any]:
    """A row of /coins/markets. Without a price, everything is null that may be null."""
    row: dict[str, Any] = dict.fromkeys(ROW)
    row |= {"id": coin.id, "symbol": coin.symbol, "name": coin.name, "image": f"{IMAGES}/{rank}/large/{coin.id}.png"}
    row["last_updated"] = iso(now_ms - now_ms % CACHE_MS)
    found = quote(desk, coin, vs, now_ms)
    if found is not None:
        row |= _market_values(desk, coin, vs, found, rank, now_ms, request.params.get("precision"))
        row["last_updated"] = iso(found.at_ms)
    for span in request.names("price_change_percentage"):
        if span in CHANGES_MS:
            row[f"price_change_percentage_{span}_in_currency"] = _change_over(desk, coin, vs, found, span, now_ms)
    if request.flag("sparkline"):
        row["sparkline_in_7d"] = {"price": _week(desk, coin, vs, now_ms)}
    return row


ROW: Final = (
    "id",
    "symbol",
    "name",
    "image",
    "current_price",
    "market_cap",
    "market_cap_rank",
    "fully_diluted_valuation",
    "total_volume",
    "high_24h",
    "low_24h",
    "price_change_24h",
    "price_change_percentage_24h",
    "market_cap_change_24h",
    "market_cap_change_percentage_24h",
    "circulating_supply",
    "total_supply",
    "max_supply",
    "ath",
    "ath_change_percentage",
    "ath_date",
    "atl",
    "atl_change_percentage",
    "atl_date",
    "roi",
    "last_updated",
)


def _market_values(
    desk: Desk, coin: Coin, vs: str, found: Quote, rank: int, now_ms: int, precision: str | None
) -> dict[str, Any]:
    changed = None if found.before is None else found.price - found.before
    today = found.at_ms // DAY_MS
    days = np.arange(max(today - EXTREMES_DAYS, FIRST_MS // DAY_MS), today + 1, dtype=np.int64) * DAY_MS
    past = desk.market.price(coin, days, vs)
    past = np.where(np.isnan(past), found.price, past)
    low, high = day_range(desk, coin, vs, found.at_ms, now_ms)
    top, bottom = int(past.argmax()), int(past.argmin())
    return {
        "current_price": rounded(found.price, precision),
        "market_cap": round(found.cap),
        "market_cap_rank": rank if coin.capped else None,
        "fully_diluted_valuation": round(found.price * coin.max_supply) if coin.max_supply else None,
        "total_volume": round(found.volume),
        "high_24h": rounded(high, precision),
        "low_24h": rounded(low, precision),
        "price_change_24h": changed,
        "price_change_percentage_24h": found.change,
        "market_cap_change_24h": None if changed is None else changed * coin.supply,
        "market_cap_change_percentage_24h": found.change,
        "circulating_supply": coin.supply,
        "total_supply": coin.supply,
        "max_supply": coin.max_supply,
        "ath": rounded(float(past[top]), precision),
        "ath_change_percentage": percent(found.price, float(past[top])),
        "ath_date": iso(int(days[top])),
        "atl": rounded(float(past[bottom]), precision),
        "atl_change_percentage": percent(found.price, float(past[bottom])),
        "atl_date": iso(int(days[bottom])),
    }


def coin_document(request: Request, desk: Desk, coin: Coin, rank: int, now_ms: int) -> dict[str, Any]:
    """The answer of /coins/{id}, with what the booleans leave in."""
    document: dict[str, Any] = {
        "id": coin.id,
        "symbol": coin.symbol,
        "web_slug": coin.id,
        "name": coin.name,
        "asset_platform_id": None,
        "platforms": {"": ""},
        "block_time_in_minutes": 0,
        "hashing_algorithm": None,
        "categories": ["Layer 1 (L1)"],
        "description": {"en": f'{coin.name} is <a href="https://www.coingecko.com">made up</a> for rehearsals.'},
        "links": {"homepage": ["", "", ""]},
        "image": {"large": f"{IMAGES}/{rank}/large/{coin.id}.png"},
        "genesis_date": None,
        "market_cap_rank": rank,
        "last_updated": iso(now_ms - now_ms % CACHE_MS),
    }
    if request.flag("localization", default=True):
        document["localization"] = {"en": coin.name, "de": coin.name}
    if request.flag("market_data", default=True):
        document["market_data"] = _market_data(request, desk, coin, rank, now_ms)
    if request.flag("community_data", default=True):
        document["community_data"] = {"telegram_channel_user_count": None}
    if request.flag("developer_data", default=True):
        document["developer_data"] = {"forks": None, "stars": None}
    if request.flag("tickers", default=True):
        document["tickers"] = []
    return document


def _market_data(request: Request, desk: Desk, coin: Coin, rank: int, now_ms: int) -> dict[str, Any]:
    data: dict[str, Any] = {"last_updated": iso(now_ms - now_ms % CACHE_MS), "market_cap_rank": rank}
    data |= {name: {} for name in ("current_price", "market_cap", "total_volume", "high_24h", "low_24h")}
    for vs in ("usd", "eur", "btc"):
        found = quote(desk, coin, vs, now_ms)
        if found is None:
            continue
        low, high = day_range(desk, coin, vs, found.at_ms, now_ms)
        values = {
            "current_price": rounded(found.price, None),
            "market_cap": found.cap,
            "total_volume": found.volume,
            "high_24h": high,
            "low_24h": low,
        }
        for name, value in values.items():
            data[name][vs] = value
        data["last_updated"] = iso(found.at_ms)
    dollars = quote(desk, coin, "usd", now_ms)
    for span in ("24h", "7d", "14d", "30d", "200d", "1y"):
        data[f"price_change_percentage_{span}"] = _change_over(desk, coin, "usd", dollars, span, now_ms)
    data |= {"circulating_supply": coin.supply, "total_supply": coin.supply, "max_supply": coin.max_supply}
    if request.flag("sparkline"):
        data["sparkline_7d"] = {"price": _week(desk, coin, "usd", now_ms)}
    return data


def _change_over(desk: Desk, coin: Coin, vs: str, found: Quote | None, span: str, now_ms: int) -> float | None:
    if found is None:
        return None
    before = float(desk.value(coin, np.array([found.at_ms - CHANGES_MS[span]], dtype=np.int64), now_ms, vs)[0])
    return percent(found.price, None if np.isnan(before) else before)


def _week(desk: Desk, coin: Coin, vs: str, now_ms: int) -> list[float]:
    hours = np.arange(now_ms // HOUR_MS - 167, now_ms // HOUR_MS + 1, dtype=np.int64) * HOUR_MS
    prices = desk.value(coin, hours, now_ms, vs)
    return [float(price) for price in prices[~np.isnan(prices)]]


def percent(now: float, before: float | None) -> float | None:
    """The change in percent; None if it cannot be told."""
    return None if not before else (now / before - 1) * 100


def rounded(value: float, precision: str | None) -> float | int:
    """A price as the upstream tells it: `full`, a number of decimals, or by size, an int where it is large."""
    if precision == "full":
        return value
    if precision is not None and precision.isdecimal() and int(precision) <= 18:
        return round(value, int(precision))
    return round(value) if value >= 1000 else float(f"{value:.6g}")


def iso(at_ms: int) -> str:
    """A moment as text, with milliseconds and Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
