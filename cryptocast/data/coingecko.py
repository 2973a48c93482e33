"""CoinGecko: its answers made into candles, its errors into ours, and the calls that bring a coin's history.

The parsers are pure. What the API gets wrong is listed in `market_chart`; every quirk has a test.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec
import polars as pl

from cryptocast.config import CoinGeckoConfig, Granularity
from cryptocast.data.coins import check_coin, check_vs, suggestion
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.errors import ConfigError, CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.net import Answer, ApiClient, Limiter, LoopThread, NetSettings

__all__ = ["CoinGecko", "History", "explain", "market_chart", "upstream_error"]

log = logging.getLogger(__name__)

Plan: TypeAlias = Literal["keyless", "demo", "pro"]
Point: TypeAlias = tuple[float, float | None]

FREE_DAYS: Final = 365  # history that keyless and demo plans may see
HOURLY_DAYS: Final = 90  # longest span that is answered in hours
DAILY_FROM_DAYS: Final = 91  # shortest span that is answered in days
CALLS_PER_MINUTE: Final[Mapping[Plan, int]] = {"keyless": 5, "demo": 25, "pro": 250}
KEY_HEADERS: Final[Mapping[Plan, str]] = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
HOUR_TOLERANCE: Final = 0.25  # of a bar: a point further from the hour says nothing about its close
FIRST_MS, LAST_MS = 1_230_768_000_000, 4_102_444_800_000  # 2009 and 2100


class MarketChart(msgspec.Struct, frozen=True):
    """Three series of [milliseconds, value]; they may differ in length."""

    prices: list[Point]
    market_caps: list[Point] = []
    total_volumes: list[Point] = []


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Closed close-only bars in CANDLE_SCHEMA (none is possible for a young coin), and what was left out, in words."""

    frame: pl.DataFrame
    notes: tuple[str, ...]


def market_chart(body: bytes, coin: str, granularity: Granularity, now: datetime) -> History:
    """Candles from a `/coins/{id}/market_chart` (or `/range`) answer.

    A stamp of 00:00 is the close of the day before, and so already our close time. Daily points off midnight (the last
    one is "now") are left out. Hourly points miss the hour by some seconds to minutes: the one closest to the hour is
    its close. The arrays are joined by stamp. Bars whose price is null or zero are left out, with a note; zero or null
    volumes and market caps are unknown. Hourly volume is a rolling sum of 24 hours, not the hour's own: kept, with a
    note, for the features to leave alone. Only bars closed at `now`. Raises UpstreamError for a body that is not JSON,
    DataError for one that is no chart.
    """
    chart = _decode(body)
    bar_ms = BAR_US[granularity] // 1000
    prices = _on_grid(chart.prices, bar_ms, granularity)
    off_grid = len(chart.prices) - len(prices)
    if granularity == "daily" and off_grid > max(2, len(prices)):
        raise DataError(
            f"CoinGecko's {len(chart.prices)} points for {coin} are not daily: {off_grid} are off midnight."
        )
    volumes = _on_grid(chart.total_volumes, bar_ms, granularity)
    caps = _on_grid(chart.market_caps, bar_ms, granularity)
    last_ms = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    times = sorted(at for at, value in prices.items() if value and at <= last_ms)
    closes = [prices[at] for at in times]
    unpriced = sum(not value for value in prices.values())
    frame = pl.DataFrame(
        {
            "coin": [coin] * len(times),
            "close_time": [at * 1000 for at in times],
            **dict.fromkeys(("open", "high", "low", "close"), closes),
            "volume": [volumes.get(at) or None for at in times],
            "market_cap": [caps.get(at) or None for at in times],
            "range_known": [False] * len(times),
        },
        schema={name: pl.Int64() if name == "close_time" else kind for name, kind in CANDLE_SCHEMA.items()},
    ).cast(CANDLE_SCHEMA)
    notes = ["close-only bars: high and low are not known"]
    notes += ["hourly volume is a rolling sum of 24 hours"] if granularity == "hourly" else []
    notes += [f"{unpriced} bars without a price left out"] if unpriced else []
    return History(frame=frame, notes=tuple(notes))


def _decode(body: bytes) -> MarketChart:
    try:
        return msgspec.json.decode(body, type=MarketChart)
    except msgspec.ValidationError as error:
        raise DataError(f"CoinGecko's answer is not a market chart: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"CoinGecko's answer is not whole JSON ({len(body)} bytes: {error}). Try again.") from error


def _on_grid(points: list[Point], bar_ms: int, granularity: Granularity) -> dict[int, float | None]:
    """Close time in ms -> the value of the point closest to it; of two at the same distance the later in the answer."""
    tolerance = bar_ms * HOUR_TOLERANCE if granularity == "hourly" else 0
    found: dict[int, tuple[float, float | None]] = {}
    for stamp, value in points:
        if not FIRST_MS <= stamp < LAST_MS or (value is not None and (not math.isfinite(value) or value < 0)):
            raise DataError(f"CoinGecko's answer holds the point [{stamp:.0f}, {value}]. Try again later.")
        at = math.floor(stamp / bar_ms + 0.5) * bar_ms
        away = abs(stamp - at)
        if away <= tolerance and (at not in found or away <= found[at][0]):
            found[at] = (away, value)
    return {at: value for at, (_, value) in found.items()}


def upstream_error(body: bytes) -> tuple[int | None, str]:
    """Code and message of an error answer in any of its four shapes; (None, "") where it has another or is no JSON."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, ""
    code: Any = None
    message: Any = None
    for _ in range(3):  # error -> status -> fields
        if not isinstance(content, dict):
            message = message or content
            break
        code = content.get("error_code", code)
        message = content.get("error_message", message)
        content = content.get("error", content.get("status"))
    return code if isinstance(code, int) else None, _printable(message) if isinstance(message, str) else ""


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() and c.isascii() else " " for c in text).split())[:160]


def explain(answer: Answer, coin: str, vs: str, plan: Plan) -> CryptocastError:
    """The error that an answer other than 200 means, with what to do about it."""
    code, message = upstream_error(answer.body)
    said = f" It says: {message.rstrip('.')}." if message else ""
    if answer.status == 404:
        return DataError(
            f"CoinGecko knows no coin {coin!r}.{suggestion(coin)}"
            " Ids are names such as bitcoin, not symbols such as btc."
        )
    if answer.status in (400, 422) and re.search("vs_currency", message):
        return UsageError(f"CoinGecko has no prices in {vs!r}. Choose another --vs, e.g. usd or eur.")
    if code in (10010, 10011):
        return ConfigError(f"The API key is of another plan than [coingecko] plan = {plan!r}. Set the plan of the key.")
    if code == 10012:
        return UpstreamError(
            f"CoinGecko gives the plan {plan!r} at most {FREE_DAYS} days of history. Ask with --days 365."
        )
    if answer.status in (401, 403) or code in (10002, 10005):
        return UpstreamError(
            f"CoinGecko refused (status {answer.status}).{said}"
            " Check CRYPTOCAST_COINGECKO_API_KEY and [coingecko] plan."
        )
    if answer.status == 429:
        wait = answer.retry_after_s(datetime.now(UTC))
        when = f"in {wait:.0f} s" if wait is not None else "in some minutes"
        return UpstreamError(f"CoinGecko's rate limit is used up. Try again {when}, or use a free demo key.")
    return UpstreamError(f"CoinGecko failed (status {answer.status}).{said} Try again later.")


class CoinGecko:
    """The history of coins, from one pooled client in a loop of its own. Close it, or use it as a context manager.

    The key comes from the caller, who reads it from the environment; `client` builds the HTTP client (for tests).
    """

    def __init__(
        self,
        config: CoinGeckoConfig,
        *,
        api_key: str | None = None,
        client: Callable[..., ApiClient] = ApiClient,
        limiter: Limiter | None = None,
    ) -> None:
        self._plan: Plan = config.plan
        self._limiter = limiter or Limiter(config.calls_per_minute or CALLS_PER_MINUTE[config.plan])
        self._client = client(
            config.pro_base_url if config.plan == "pro" else config.base_url,
            name="CoinGecko",
            limiter=self._limiter,
            headers=_key_header(config.plan, api_key),
            settings=NetSettings(
                connect_timeout_s=config.connect_timeout_s,
                read_timeout_s=config.read_timeout_s,
                deadline_s=config.deadline_s,
                max_connections=config.max_connections,
                keepalive_s=config.keepalive_s,
                max_retries=config.max_retries,
            ),
        )
        self._loop: LoopThread | None = None

    def history(self, coin: str, vs: str, granularity: Granularity, days: int, now: datetime) -> History:
        """Bars of about the last `days` days that were closed at `now`; see `history_async`."""
        self._loop = self._loop or LoopThread()
        return self._loop.run(self.history_async(coin, vs, granularity, days, now))

    async def history_async(self, coin: str, vs: str, granularity: Granularity, days: int, now: datetime) -> History:
        """Daily: one call. Hourly: one call for each 90 days. Free plans see 365 days; more is clamped, with a note.

        Raises DataError (unknown coin, an answer that makes no sense), UsageError (unknown vs), UpstreamError.
        """
        check_coin(coin)
        check_vs(vs)
        notes: list[str] = []
        if self._plan != "pro" and days > FREE_DAYS:
            notes.append(f"{days} days asked, the {self._plan} plan gives {FREE_DAYS}")
            days = FREE_DAYS
        parts = [await self._recent(coin, vs, granularity, days, now)]
        if granularity == "hourly":
            for start, end in _older_spans(days, now):
                parts.append(await self._span(coin, vs, start, end, now))
        frame = pl.concat([part.frame for part in reversed(parts)])
        frame = frame.unique("close_time", keep="last", maintain_order=True).sort("close_time")
        notes += [note for part in parts for note in part.notes]
        return History(frame=frame, notes=tuple(dict.fromkeys(notes)))

    async def _recent(self, coin: str, vs: str, granularity: Granularity, days: int, now: datetime) -> History:
        # The step of the answer follows the number of days, not a parameter that free plans may use.
        asked = max(days, DAILY_FROM_DAYS) if granularity == "daily" else min(max(days, 2), HOURLY_DAYS)
        body = await self._get(f"/coins/{coin}/market_chart", {"vs_currency": vs, "days": str(asked)}, coin, vs)
        return market_chart(body, coin, granularity, now)

    async def _span(self, coin: str, vs: str, start: datetime, end: datetime, now: datetime) -> History:
        span = {"from": str(int(start.timestamp())), "to": str(int(end.timestamp()))}
        body = await self._get(f"/coins/{coin}/market_chart/range", {"vs_currency": vs, **span}, coin, vs)
        return market_chart(body, coin, "hourly", now)

    async def _get(self, path: str, params: Mapping[str, str], coin: str, vs: str) -> bytes:
        answer = await self._client.get(path, params)
        if answer.status != 200:
            raise explain(answer, coin, vs, self._plan)
        return answer.body

    def close(self) -> None:
        """Close the connections and the loop of `history`."""
        if self._loop is not None:
            self._loop.run(self._client.close())
            self._loop.close()
            self._loop = None

    async def aclose(self) -> None:
        """Close the connections: for callers of `history_async`."""
        await self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _older_spans(days: int, now: datetime) -> list[tuple[datetime, datetime]]:
    """Spans of at most 90 days before the newest 90, newest first, an hour inside of what the plan may see."""
    oldest = now - timedelta(days=days) + timedelta(hours=1)
    end = now - timedelta(days=HOURLY_DAYS)
    spans = []
    while oldest < end - timedelta(hours=1):
        start = max(oldest, end - timedelta(days=HOURLY_DAYS - 1))
        spans.append((start, end))
        end = start
    return spans


def _key_header(plan: Plan, api_key: str | None) -> dict[str, str]:
    if plan == "keyless":
        if api_key:
            log.warning("an API key is set but [coingecko] plan is keyless: the key is not used")
        return {}
    if not api_key:
        raise ConfigError(
            f"[coingecko] plan = {plan!r} needs a key in the environment variable CRYPTOCAST_COINGECKO_API_KEY."
        )
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ConfigError("CRYPTOCAST_COINGECKO_API_KEY holds blanks or characters that no key has. Copy it again.")
    return {KEY_HEADERS[plan]: api_key}
