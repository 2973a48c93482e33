"""Six exchanges as they answer for spot markets: bars, lists of markets, and their ways to say no. No sockets.

Each lies below a path of its own (`/binance/api/v3/klines`), in the shapes of its documentation; prices are those of
the same walks that the rest of the stand-in looks up.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.rehearsal.clock import Clock
from cryptocast.rehearsal.coins import CURRENCIES, Coin
from cryptocast.rehearsal.faults import Rule
from cryptocast.rehearsal.messages import Endpoint, HttpRequest, Reply, json_reply
from cryptocast.rehearsal.price_walks import DAY_MS, FIVE_MS, HOUR_MS, LAST_MS, PriceWalks

Trouble: TypeAlias = Literal["unknown_market", "too_many", "unavailable", "too_long", "bad_request", "restricted"]

WINDOW_S: Final = 60.0
HALT_SHARE: Final = 0.002  # of the hours in which nobody trades at all
TURNOVER: Final = 0.002  # of the coins that exist, traded in a day
LISTED_LATER_MS: Final = 60 * DAY_MS  # each coin comes so much after the one before it


@dataclass(frozen=True, slots=True)
class Pair:
    """A market: base and quote as the exchange spells them."""

    coin: Coin
    vs: str  # in which the prices of the stand-in are looked up
    base: str
    quote: str
    since_ms: int


class TradedBar(NamedTuple):
    """One bar; volumes in coins and in the quote currency."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    base_volume: float
    quote_volume: float
    is_open: bool

    @property
    def mean(self) -> float:
        """What was paid for a coin; 0 if none was sold."""
        return self.quote_volume / self.base_volume if self.base_volume else 0.0


class Dialect(ABC):
    """What one exchange says. opened: its first day. quotes: the currencies of its markets."""

    name: ClassVar[str]
    opened: ClassVar[datetime]
    quotes: ClassVar[tuple[str, ...]]
    bars_paths: ClassVar[tuple[str, ...]]
    markets_path: ClassVar[str]
    spellings: ClassVar[Mapping[str, str]] = {}
    skips_quiet_bars: ClassVar[bool] = False
    counts_from_the_end: ClassVar[bool] = False  # which of too many bars are answered: the newest

    @abstractmethod
    def symbol(self, pair: Pair) -> str:
        """How calls name a market."""

    def names(self, pair: Pair) -> tuple[str, ...]:
        """All that calls may name it by."""
        return (self.symbol(pair),)

    @abstractmethod
    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        """Symbol, milliseconds of a bar, first and last opening (None: not bounded), how many at most. Raises
        ValueError for what the exchange would not take."""

    @abstractmethod
    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:
        """The answer."""

    @abstractmethod
    def markets(self, pairs: Sequence[Pair]) -> Any:
        """The list of markets."""

    @abstractmethod
    def refusal(self, trouble: Trouble) -> Reply:
        """How it says no."""


class BitstampDialect(Dialect):
    """Strings; the open bar can be left out."""

    name = "bitstamp"
    opened = datetime(2011, 8, 18, tzinfo=UTC)
    quotes = ("USD", "EUR")
    bars_paths = ("api/v2/ohlc/",)
    markets_path = "api/v2/markets"

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}{pair.quote}".lower()

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        limit = int(request.params["limit"])
        step_ms = int(request.params["step"]) * 1000
        if not 1 <= limit <= 1000 or step_ms not in (HOUR_MS, DAY_MS):
            raise ValueError("limit or step")
        start, end = (_scaled(request, name, 1000) for name in ("start", "end"))
        return request.path.strip("/").split("/")[-1], step_ms, start, end, limit

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:
        if request.params.get("exclude_current_candle") == "true":
            bars = [bar for bar in bars if not bar.is_open]
        rows = [
            {
                "timestamp": str(bar.open_ms // 1000),
                "open": repr(bar.open),
                "high": repr(bar.high),
                "low": repr(bar.low),
                "close": repr(bar.close),
                "volume": repr(bar.base_volume),
            }
            for bar in bars
        ]
        return {"data": {"pair": f"{pair.base}/{pair.quote}", "ohlc": rows}}

    def markets(self, pairs: Sequence[Pair]) -> Any:
        return [
            {
                "name": f"{pair.base}/{pair.quote}",
                "market_symbol": self.symbol(pair),
                "base_currency": pair.base,
                "base_decimals": 8,
                "counter_currency": pair.quote,
                "counter_decimals": 2,
                "minimum_order_value": "10",
                "trading": "Enabled",
                "instant_and_market_orders": "Enabled",
                "description": f"{pair.base} / {pair.quote}",
                "market_type": "SPOT",
            }
            for pair in pairs
        ]

    def refusal(self, trouble: Trouble) -> Reply:
        status = {"unknown_market": 404, "too_many": 429, "unavailable": 503, "restricted": 403}.get(trouble, 400)
        return json_reply({"code": f"{status}.001", "errors": [], "message": trouble.replace("_", " ")}, status=status)


class CoinbaseDialect(Dialect):
    """Numbers; newest first; low before high, open fourth; no bar where nobody traded."""

    counts_from_the_end = True
    name = "coinbase"
    opened = datetime(2015, 1, 8, tzinfo=UTC)
    quotes = ("USD", "EUR", "USDC")
    bars_paths = ("products/",)
    markets_path = "products"
    skips_quiet_bars = True

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}-{pair.quote}"

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        step_ms = int(request.params["granularity"]) * 1000
        if step_ms not in (HOUR_MS, DAY_MS):
            raise ValueError("granularity")
        symbol = request.path.strip("/").split("/")[-2]
        if "start" not in request.params:
            return symbol, step_ms, None, None, 300
        start, end = (_iso_ms(request.params[name]) for name in ("start", "end"))
        return symbol, step_ms, start, end, 300 if (end - start) // step_ms < 300 else -1

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:  # noqa: ARG002
        return [
            [bar.open_ms // 1000, bar.low, bar.high, bar.open, bar.close, bar.base_volume] for bar in reversed(bars)
        ]

    def markets(self, pairs: Sequence[Pair]) -> Any:
        return [
            {
                "id": self.symbol(pair),
                "base_currency": pair.base,
                "quote_currency": pair.quote,
                "quote_increment": "0.01",
                "base_increment": "0.00000001",
                "display_name": f"{pair.base}-{pair.quote}",
                "min_market_funds": "1",
                "margin_enabled": False,
                "post_only": False,
                "limit_only": False,
                "cancel_only": False,
                "status": "online",
                "status_message": "",
                "trading_disabled": False,
                "fx_stablecoin": False,
                "max_slippage_percentage": "0.02",
                "auction_mode": False,
            }
            for pair in pairs
        ]

    def refusal(self, trouble: Trouble) -> Reply:
        status, message = {
            "unknown_market": (404, "NotFound"),
            "too_many": (429, "Public rate limit exceeded"),
            "unavailable": (503, "ServiceUnavailable"),
            "restricted": (403, "Forbidden"),
            "too_long": (
                400,
                "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
            ),
        }.get(trouble, (400, "Invalid request"))
        return json_reply({"message": message}, status=status)


class BinanceDialect(Dialect):
    """Twelve columns of strings, oldest first; codes are negative."""

    name = "binance"
    opened = datetime(2017, 8, 17, tzinfo=UTC)
    quotes = ("USDT", "USDC", "BTC")
    bars_paths = ("api/v3/klines",)
    markets_path = "api/v3/exchangeInfo"

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}{pair.quote}"

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        step_ms = {"1d": DAY_MS, "1h": HOUR_MS}.get(request.params["interval"], 0)
        limit = int(request.params.get("limit", "500"))
        if not step_ms or not 1 <= limit <= 1000:
            raise ValueError("interval or limit")
        start, end = (_scaled(request, name, 1) for name in ("startTime", "endTime"))
        return request.params["symbol"], step_ms, start, end, limit

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:  # noqa: ARG002
        step_ms = {"1d": DAY_MS, "1h": HOUR_MS}[request.params["interval"]]
        return [
            [
                bar.open_ms,
                *_texts(bar.open, bar.high, bar.low, bar.close, bar.base_volume),
                bar.open_ms + step_ms - 1,
                repr(bar.quote_volume),
                100,
                *_texts(bar.base_volume / 2, bar.quote_volume / 2),
                "0",
            ]
            for bar in bars
        ]

    def markets(self, pairs: Sequence[Pair]) -> Any:
        symbols = [
            {
                "symbol": self.symbol(pair),
                "status": "TRADING",
                "baseAsset": pair.base,
                "baseAssetPrecision": 8,
                "quoteAsset": pair.quote,
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": [],
                "permissions": [],
                "permissionSets": [["SPOT"]],
            }
            for pair in pairs
        ]
        return {"timezone": "UTC", "serverTime": 0, "rateLimits": [], "exchangeFilters": [], "symbols": symbols}

    def refusal(self, trouble: Trouble) -> Reply:
        status, code, message = {
            "unknown_market": (400, -1121, "Invalid symbol."),
            "too_many": (429, -1003, "Too much request weight used."),
            "unavailable": (503, -1001, "Internal error; unable to process your request. Please try again."),
            "restricted": (451, 0, "Service unavailable from a restricted location."),
        }.get(trouble, (400, -1102, "Mandatory parameter was not sent, was empty/null, or malformed."))
        return json_reply({"code": code, "msg": message}, status=status)


class KrakenDialect(Dialect):
    """The last 720 bars whatever is asked, the last of them open; errors with status 200; XBT."""

    counts_from_the_end = True
    name = "kraken"
    opened = datetime(2013, 10, 6, tzinfo=UTC)
    quotes = ("USD", "EUR")
    bars_paths = ("0/public/OHLC",)
    markets_path = "0/public/AssetPairs"
    spellings = {"BTC": "XBT", "DOGE": "XDG"}  # noqa: RUF012 - a table
    skips_quiet_bars = True

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}{pair.quote}"

    def names(self, pair: Pair) -> tuple[str, ...]:
        return self.symbol(pair), f"X{pair.base}Z{pair.quote}"

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        step_ms = int(request.params.get("interval", "1")) * 60_000
        if step_ms not in (HOUR_MS, DAY_MS):
            raise ValueError("interval")
        since = _scaled(request, "since", 1000)
        return request.params["pair"], step_ms, None if since is None else since + 1, None, 720

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:  # noqa: ARG002
        rows = [
            [
                bar.open_ms // 1000,
                *_texts(bar.open, bar.high, bar.low, bar.close, bar.mean, bar.base_volume),
                100 if bar.base_volume else 0,
            ]
            for bar in bars
        ]
        last = rows[-2][0] if len(rows) > 1 else 0
        return {"error": [], "result": {f"X{pair.base}Z{pair.quote}": rows, "last": last}}

    def markets(self, pairs: Sequence[Pair]) -> Any:
        return {
            "error": [],
            "result": {
                f"X{pair.base}Z{pair.quote}": {
                    "altname": self.symbol(pair),
                    "wsname": f"{pair.base}/{pair.quote}",
                    "aclass_base": "currency",
                    "base": f"X{pair.base}",
                    "aclass_quote": "currency",
                    "quote": f"Z{pair.quote}",
                    "lot": "unit",
                    "cost_decimals": 5,
                    "pair_decimals": 1,
                    "lot_decimals": 8,
                    "lot_multiplier": 1,
                    "leverage_buy": [],
                    "leverage_sell": [],
                    "fees": [[0, 0.4]],
                    "fees_maker": [[0, 0.25]],
                    "fee_volume_currency": "ZUSD",
                    "ordermin": "0.00005",
                    "costmin": "0.5",
                    "tick_size": "0.1",
                    "status": "online",
                }
                for pair in pairs
            },
        }

    def refusal(self, trouble: Trouble) -> Reply:
        if trouble == "restricted":
            return json_reply({}, status=403)
        message = {
            "unknown_market": "EQuery:Unknown asset pair",
            "too_many": "EGeneral:Too many requests",
            "unavailable": "EService:Unavailable",
        }.get(trouble, "EGeneral:Invalid arguments")
        return json_reply({"error": [message]})


class OkxDialect(Dialect):
    """Newest first; `after` is older than, `before` newer than; errors with status 200."""

    counts_from_the_end = True
    name = "okx"
    opened = datetime(2018, 1, 11, tzinfo=UTC)
    quotes = ("USDT", "USDC")
    bars_paths = ("api/v5/market/history-candles", "api/v5/market/candles")
    markets_path = "api/v5/public/instruments"

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}-{pair.quote}"

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        step_ms = {"1Dutc": DAY_MS, "1H": HOUR_MS}.get(request.params.get("bar", "1m"), 0)
        limit = int(request.params.get("limit", "100"))
        if not step_ms or not 1 <= limit <= 300:
            raise ValueError("bar or limit")
        before, after = _scaled(request, "before", 1), _scaled(request, "after", 1)
        first = None if before is None else before + 1
        return request.params["instId"], step_ms, first, None if after is None else after - 1, limit

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:  # noqa: ARG002
        rows = [
            [
                str(bar.open_ms),
                *_texts(bar.open, bar.high, bar.low, bar.close),
                *_texts(bar.base_volume, bar.quote_volume, bar.quote_volume),
                "0" if bar.is_open else "1",
            ]
            for bar in reversed(bars)
        ]
        return {"code": "0", "msg": "", "data": rows}

    def markets(self, pairs: Sequence[Pair]) -> Any:
        rows = [
            {
                "instType": "SPOT",
                "instId": self.symbol(pair),
                "baseCcy": pair.base,
                "quoteCcy": pair.quote,
                "lotSz": "0.00000001",
                "minSz": "0.00001",
                "tickSz": "0.1",
                "listTime": str(pair.since_ms),
                "state": "live",
            }
            for pair in pairs
        ]
        return {"code": "0", "msg": "", "data": rows}

    def refusal(self, trouble: Trouble) -> Reply:
        status, code, message = {
            "unknown_market": (200, "51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
            "too_many": (429, "50011", "Too Many Requests"),
            "unavailable": (503, "50001", "Service temporarily unavailable. Please try again later."),
            "restricted": (403, "50124", "This operation is not available in your region."),
        }.get(trouble, (200, "51000", "Parameter error"))
        return json_reply({"code": code, "msg": message, "data": []}, status=status)


class BybitDialect(Dialect):
    """Newest first; without `category=spot` the prices of a future; errors with status 200."""

    counts_from_the_end = True
    name = "bybit"
    opened = datetime(2021, 7, 5, tzinfo=UTC)
    quotes = ("USDT", "USDC")
    bars_paths = ("v5/market/kline",)
    markets_path = "v5/market/instruments-info"

    def symbol(self, pair: Pair) -> str:
        return f"{pair.base}{pair.quote}"

    def asked(self, request: HttpRequest) -> tuple[str, int, int | None, int | None, int]:
        step_ms = {"D": DAY_MS, "60": HOUR_MS}.get(request.params["interval"], 0)
        limit = int(request.params.get("limit", "200"))
        if not step_ms or not 1 <= limit <= 1000:
            raise ValueError("interval or limit")
        start, end = (_scaled(request, name, 1) for name in ("start", "end"))
        if start is not None and end is None:
            end = start + limit * step_ms - 1
        return request.params["symbol"], step_ms, start, end, limit

    def bars(self, pair: Pair, bars: Sequence[TradedBar], request: HttpRequest) -> Any:
        category = request.params.get("category", "linear")
        premium = 1.0 if category == "spot" else 1.0007
        rows = [
            [
                str(bar.open_ms),
                *_texts(*(price * premium for price in (bar.open, bar.high, bar.low, bar.close))),
                *_texts(bar.base_volume, bar.quote_volume),
            ]
            for bar in reversed(bars)
        ]
        result = {"category": category, "symbol": self.symbol(pair), "list": rows}
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 0}

    def markets(self, pairs: Sequence[Pair]) -> Any:
        rows = [
            {
                "symbol": self.symbol(pair),
                "baseCoin": pair.base,
                "quoteCoin": pair.quote,
                "innovation": "0",
                "status": "Trading",
                "marginTrading": "none",
                "stTag": "0",
                "lotSizeFilter": {"basePrecision": "0.000001", "quotePrecision": "0.0000001", "minOrderQty": "0.00005"},
                "priceFilter": {"tickSize": "0.01"},
                "riskParameters": {},
            }
            for pair in pairs
        ]
        result = {"category": "spot", "list": rows, "nextPageCursor": ""}
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 0}

    def refusal(self, trouble: Trouble) -> Reply:
        status, code, message = {
            "unknown_market": (200, 10001, "Not supported symbols"),
            "too_many": (200, 10006, "Too many visits. Exceeded the API Rate Limit."),
            "unavailable": (200, 10016, "Server error."),
            "restricted": (403, 10024, "The product or service you are seeking to access is not available to you."),
        }.get(trouble, (200, 10001, "HttpRequest parameter error."))
        return json_reply(
            {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": 0}, status=status
        )


EXCHANGES: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        BitstampDialect(),
        CoinbaseDialect(),
        BinanceDialect(),
        KrakenDialect(),
        OkxDialect(),
        BybitDialect(),
    )
}


def exchange_route(request: HttpRequest) -> tuple[str, Endpoint] | None:
    """Exchange and endpoint; None for what is no exchange's."""
    name, _, path = request.path.strip("/").partition("/")
    if name not in EXCHANGES:
        return None
    dialect = EXCHANGES[name]
    if path == dialect.markets_path:
        return name, "exchange_markets"
    return name, "exchange_bars" if path.startswith(dialect.bars_paths) else "unknown"


def in_dialect(reply: Reply, exchange: str, rule: Rule) -> Reply:
    """An answer that a fault has made into an error, as this exchange would say it; the status is the rule's, unless
    the exchange hides errors behind 200."""
    if rule.fault == "too_many":
        refusal = EXCHANGES[exchange].refusal("too_many")
        waits = {name: value for name, value in reply.headers.items() if name == "retry-after"}
        return Reply(refusal.status, refusal.body, {**refusal.headers, **waits})
    if rule.fault == "error" and rule.shape == "error":
        refusal = EXCHANGES[exchange].refusal("unavailable")
        return Reply(200 if refusal.status == 200 else rule.status, refusal.body, refusal.headers)
    return reply


@dataclass(slots=True)
class ExchangeDesk:
    """The exchanges as functions from requests to answers, at the time of the clock. coins: as listed now. per_minute:
    calls that each of them takes from us, 0: any number."""

    market: PriceWalks
    clock: Clock
    coins: Callable[[], Mapping[str, Coin]]
    per_minute: int = 0
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    def pairs(self, dialect: Dialect) -> tuple[Pair, ...]:
        """Its markets: every coin that has a price, the earlier the bigger; two coins of one symbol: the bigger."""
        opened_ms = int(dialect.opened.timestamp()) * 1000
        now_s = self.clock.now_s()
        pairs: dict[str, Pair] = {}
        for rank, coin in enumerate(one for one in self.coins().values() if one.priced and one.is_listed(now_s)):
            base = dialect.spellings.get(coin.symbol.upper(), coin.symbol.upper())
            since = max(opened_ms + rank * LISTED_LATER_MS, (coin.listed_at or 0) * 1000)
            for quote in dialect.quotes:
                vs = "usd" if quote in ("USDT", "USDC") else quote.lower()
                if vs in CURRENCIES and base != quote and since < self.clock.now_ms():
                    pair = Pair(coin, vs, base, quote, min(since, opened_ms + 1200 * DAY_MS))
                    pairs.setdefault(dialect.symbol(pair), pair)
        return tuple(pairs.values())

    def answer(self, request: HttpRequest) -> Reply:
        """The answer of the exchange whose path is asked for."""
        route = exchange_route(request)
        if route is None or request.method != "GET":
            return Reply(404, b"", {})
        name, endpoint = route
        dialect = EXCHANGES[name]
        if self._is_full(name):
            return dialect.refusal("too_many")
        if endpoint == "exchange_markets":
            return json_reply(dialect.markets(self.pairs(dialect)))
        if endpoint != "exchange_bars":
            return dialect.refusal("unknown_market")
        try:
            symbol, step_ms, first, last, limit = dialect.asked(request)
        except (KeyError, ValueError):
            return dialect.refusal("bad_request")
        if limit < 0:
            return dialect.refusal("too_long")
        pair = next((one for one in self.pairs(dialect) if symbol in dialect.names(one)), None)
        if pair is None:
            return dialect.refusal("unknown_market")
        bars = self.bars(pair, step_ms, first, last, limit, quiet=not dialect.skips_quiet_bars, dialect=dialect)
        return json_reply(dialect.bars(pair, bars, request))

    def bars(
        self,
        pair: Pair,
        step_ms: int,
        first_ms: int | None,
        last_ms: int | None,
        limit: int,
        *,
        quiet: bool,
        dialect: Dialect,
    ) -> list[TradedBar]:
        """Bars that open between the two moments, oldest first, the open one among them. quiet: also hours in which
        nobody traded."""
        now_ms = self.clock.now_ms()
        newest = min(now_ms, LAST_MS - DAY_MS if last_ms is None else last_ms) // step_ms
        oldest = -(-max(pair.since_ms, first_ms or 0) // step_ms)
        openings = np.arange(oldest, newest + 1, dtype=np.int64) * step_ms
        newest_first = first_ms is None or dialect.counts_from_the_end
        openings = _some(openings, 2 * limit, newest_first)
        if not quiet and step_ms == HOUR_MS:
            openings = openings[self.market.noise(pair.coin, "halt", openings // HOUR_MS) >= HALT_SHARE]
        openings = _some(openings, limit, newest_first)
        at = np.minimum(openings[:, None] + np.arange(step_ms // FIVE_MS + 1, dtype=np.int64) * FIVE_MS, now_ms)
        prices = self.market.price(pair.coin, at.ravel(), pair.vs).reshape(at.shape)
        bars = []
        for opening, row, coins in zip(
            openings.tolist(), prices, self._sold(pair.coin, openings, step_ms), strict=True
        ):
            if np.isnan(row).any():
                continue
            table = (float(row[0]), float(row.max()), float(row.min()), float(row[-1]))
            bars.append(TradedBar(opening, *table, coins, coins * float(row.mean()), opening + step_ms > now_ms))
        return bars

    def _is_full(self, name: str) -> bool:
        now, recent = self.clock.now_s(), self._recent.setdefault(name, deque())
        while recent and not now - WINDOW_S < recent[0] <= now:
            recent.popleft()
        recent.append(now)
        return 0 < self.per_minute < len(recent)

    def _sold(self, coin: Coin, openings: Any, step_ms: int) -> list[float]:
        """Coins that are traded in each bar: those of a day are those of its hours."""
        hours = (openings // HOUR_MS)[:, None] + np.arange(step_ms // HOUR_MS)
        share = 0.5 + self.market.noise(coin, "sold", hours.ravel()).reshape(hours.shape)
        return [float(value) for value in (share * coin.supply * TURNOVER / 24).sum(axis=1)]


def _some(openings: Int64Array, limit: int, newest: bool) -> Int64Array:
    return openings[-limit:] if newest else openings[:limit]


def _texts(*numbers: float) -> list[str]:
    return [repr(number) for number in numbers]


def _scaled(request: HttpRequest, name: str, to_ms: int) -> int | None:
    text = request.params.get(name)
    return None if text is None else int(text) * to_ms


def _iso_ms(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
