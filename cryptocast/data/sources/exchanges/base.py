"""What the exchanges share: calls for pages of bars, rows made into candles, and the client that goes between.

A new exchange is one module with an `HttpExchange`: where its calls go and what is different about its answers. All of
it is about spot markets.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, cast

import msgspec
import polars as pl

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.coin_names import CoinTicker, coins_in_table, row_of, tickers_of
from cryptocast.data.coins import check_coin, check_vs, suggestion
from cryptocast.data.intervals import Span, merged
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.base import FIRST, Access, Source
from cryptocast.data.sources.coingecko.source import coin_list_of
from cryptocast.data.sources.errors import RateLimited, UnknownCoin
from cryptocast.data.sources.exchanges.markets import Listing, MarketList, Traded, choose_market
from cryptocast.data.sources.upstream import History, Page, Upstream
from cryptocast.errors import CryptocastError, UpstreamError
from cryptocast.net import ApiClient, Limiter, NetSettings, Priority, Try
from cryptocast.times import as_microseconds

T = TypeVar("T")

FIRST_S, LAST_S = 1_230_768_000, 4_102_444_800  # 2009 and 2100
RESTRICTED: Final = {403, 451}  # a firewall, or a country that the exchange does not serve
PROBE_S: Final = 6.0
LONGEST_WAIT_S: Final = 600.0
BUSY: Final = {418, 429}  # 418: banned for a while after too many 429s (Binance)


class MarketCall(NamedTuple):
    """One GET below the address of the exchange."""

    path: str
    params: dict[str, str]


class Row(NamedTuple):
    """One bar as the exchange has it. open_s: when it opens, in seconds since 1970. quote_volume: what was paid for the
    coins that were traded; None where the exchange does not say."""

    open_s: int
    open: float
    high: float
    low: float
    close: float
    base_volume: float
    quote_volume: float | None = None


class Opening(NamedTuple):
    """Bars that open from first_s to last_s, both included, in seconds since 1970."""

    first_s: int
    last_s: int


class Asking(NamedTuple):
    """How urgent a call is. patient: wait once for a rate limit that asks for longer than a call may take."""

    priority: Priority = Priority.USER
    patient: bool = False


DEFAULT: Final = Asking()


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What an exchange publishes, kept a little below. page_bars: of one answer. calls: for one address in window_s.
    keeps_bars: so many of the newest bars can be had at all, None: every bar since the market opened."""

    page_bars: int
    calls: int
    window_s: float = 60.0
    keeps_bars: int | None = None


class MarketSource(Source):
    """Spot markets, by whatever way they are asked. A gap is a gap: bars end where trading paused.

    opened: its first bars of any coin. limits: see `CallLimits`.
    """

    is_fetched: ClassVar[bool] = True
    opened: ClassVar[datetime] = FIRST
    limits: CallLimits

    def explain_missing(self, config: Config, key: SeriesKey) -> str:  # noqa: ARG002 - for sources that need it
        """Where to get it."""
        return (
            f"The store has no {self.title} candles of {key.coin}."
            f" Fetch them: cryptocast fetch {key.coin} --source {self.name}"
        )

    def oldest(self, config: Config, now: datetime) -> datetime:  # noqa: ARG002 - likewise
        """The day on which the exchange opened."""
        return self.opened

    def days_a_call(self, granularity: Granularity) -> int | None:
        """A page."""
        return max(1, self.limits.page_bars * BAR_US[granularity] // BAR_US["daily"])

    def pages(self, key: SeriesKey, spans: Sequence[Span], now: datetime) -> tuple[Page, ...]:
        """The calls that bring these spans, newest first, each of at most a page of bars."""
        bar = timedelta(microseconds=BAR_US[key.granularity])
        step = bar * self.limits.page_bars
        oldest = now - bar * self.limits.keeps_bars if self.limits.keeps_bars else self.opened
        pages = []
        for start, end in merged(spans):
            first = max(start, oldest)
            while end > first:
                pages.append(Page(key, max(first, end - step), end, ends_now=end >= now))
                end -= step
        return tuple(sorted(pages, key=lambda page: page.end, reverse=True))

    def lists(self, upstream: Upstream, key: SeriesKey, now: datetime) -> bool:
        """By its list of markets. Of a market that does not trade any more too: it has a history."""
        client = cast("MarketClient", upstream)
        if not client.is_named(key.coin):
            return False
        try:
            client.run(client.market(Page(key, now, now, ends_now=True), now))
        except UnknownCoin:
            return False
        return True

    def probe(self, config: Config, api_key: str | None) -> str:  # noqa: ARG002 - no exchange wants the key
        """One call, without patience: how many markets there are. Raises as a page does."""
        impatient = msgspec.structs.replace(config.exchanges, deadline_s=PROBE_S, max_retries=0)
        access = Access(msgspec.structs.replace(config, exchanges=impatient), lambda: datetime.now(UTC))
        with self.connect(access) as upstream:
            client = cast("MarketClient", upstream)
            markets = client.run(client.markets(DEFAULT))
        return f"{self.title} answers: {len(markets):,} markets"


class HttpExchange(MarketSource):
    """An exchange that is asked over HTTP. address: of its market data."""

    address: ClassVar[str]

    @abstractmethod
    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """The call for the bars that open from `first_s` to `last_s`, both included; at most a page of them."""

    @abstractmethod
    def rows(self, answer: Any) -> Iterable[Row]:
        """The bars of an answer, in any order, the open one possibly among them. Raises LookupError, TypeError or
        ValueError where its shape is another."""

    @abstractmethod
    def markets_call(self) -> MarketCall:
        """The call for the list of all markets."""

    @abstractmethod
    def markets(self, answer: Any) -> Iterable[Listing]:
        """The spot markets of that answer. Raises as `rows` does."""

    def complaint(self, status: int, answer: Any) -> str | None:  # noqa: ARG002 - decoded JSON; some need both
        """The code of an error inside an answer, whatever its status; None if it is no error."""
        return None if status == 200 else str(status)

    def is_unknown_market(self, code: str) -> bool:  # noqa: ARG002 - for exchanges that say so
        """Whether a complaint means that the market does not exist."""
        return False

    def is_busy(self, code: str) -> bool:  # noqa: ARG002 - likewise
        """Whether a complaint means too many calls."""
        return False

    def connect(self, access: Access) -> "ExchangeClient":
        """See `ExchangeClient`."""
        return ExchangeClient(self, access)


class MarketClient(Upstream):
    """Bars of spot markets; the list of all markets lies below the store for a day.

    The limit of calls is shared by all processes of a store.
    """

    def __init__(self, source: MarketSource, access: Access) -> None:
        folder = access.config.store.path
        self._source, self._config, self._on_try = source, access.config, access.on_try
        self._markets = MarketList(folder / "cache" / source.name / "markets.json")
        limits = source.limits
        self.calls_per_minute = math.ceil(limits.calls * 60.0 / limits.window_s)
        self._limiter = Limiter(
            limits.calls, window_s=limits.window_s, state_file=folder / "run" / f"{source.name}-calls.json"
        )

    @abstractmethod
    async def bars(self, symbol: str, key: SeriesKey, span: Opening, asking: Asking) -> Sequence[Row]:
        """The bars that open in the span, both ends included; others may be among them."""

    @abstractmethod
    async def markets(self, asking: Asking) -> Sequence[Listing]:
        """Every spot market."""

    async def page(
        self, page: Page, now: datetime, *, priority: Priority = Priority.USER, patient: bool = False
    ) -> History:
        """The bars of one page that are closed at `now`; one call, and now and then one for the list of markets.

        Raises UnknownCoin for a coin that has no market there, RateLimited, UpstreamError.
        """
        check_coin(page.key.coin)
        check_vs(page.key.vs)
        asking = Asking(priority, patient)
        traded = await self.market(page, now, asking)
        market = traded.listing.name
        bar_us = BAR_US[page.key.granularity]
        bar_s = bar_us // 1_000_000
        start, end = traded.clipped(page.start, min(page.end, now))
        span = Opening(as_microseconds(start) // bar_us * bar_s, (as_microseconds(end) // bar_us - 1) * bar_s)
        if span.last_s < span.first_s:
            return History(pl.DataFrame(schema=CANDLE_SCHEMA), market=market)
        rows = await self.bars(traded.listing.symbol, page.key, span, asking)
        inside = [row for row in rows if span.first_s <= row.open_s <= span.last_s and row.open_s % bar_s == 0]
        history = candles(inside, page.key, market, title=self._source.title)
        if tickers_of(page.key.coin, self._config.exchanges.tickers):
            return history
        guess = f"{traded.listing.base} is in no table of tickers and was taken for {page.key.coin}"
        return replace(history, notes=(*history.notes, guess))

    async def listings(self, now: datetime, asking: Asking = DEFAULT) -> tuple[Listing, ...]:
        """Every spot market: from disk while younger than a day, else one call. An older list is better than none."""
        stored = self._markets.read()
        if stored is not None and stored.is_fresh(now):
            return stored.listings
        try:
            listings = tuple(await self.markets(asking))
        except UpstreamError:
            if stored is None:
                raise
            return stored.listings
        self._markets.write(listings, now)
        return listings

    async def market(self, page: Page, now: datetime, asking: Asking = DEFAULT) -> Traded:
        """The market of the series: that of its stored bars, else the best one there is now. Raises UnknownCoin."""
        coin, vs, title = page.key.coin, page.key.vs, self._source.title
        listings: Sequence[Listing] = await self.listings(now, asking)
        if page.market is not None:
            base, _, quote = page.market.rpartition("/")
            names = tickers_of(coin, self._config.exchanges.tickers) or (CoinTicker(coin, base),)
            listings = [one for one in listings if one.name == page.market]
            traded = choose_market(names, listings, quote.lower())
            if traded is None:
                raise UpstreamError(
                    f"{title} does not list {page.market} any more, from which the stored candles of {coin} come."
                )
            return traded
        names = self._names(coin)
        traded = choose_market(names, listings, vs)
        if traded is not None:
            return traded
        tickers = {name.ticker for name in names}
        quotes = sorted({one.quote for one in listings if one.base in tickers and one.trades})
        if quotes:
            raise UnknownCoin(f"{title} trades {coin} not in {vs}, but in {', '.join(quotes)}.", is_certain=True)
        own = f" If it has a ticker there, name it: [exchanges] tickers = {{ {coin} = 'TICKER' }}."
        hint = "" if coin in coins_in_table() else suggestion(coin) or own
        raise UnknownCoin(f"{title} does not trade {coin}.{hint}", is_certain=True)

    def is_named(self, coin: str) -> bool:
        """Whether a table says what the coin is called on exchanges: nobody takes a like-named one for it unasked."""
        listed = coin_list_of(self._config)
        return bool(tickers_of(coin, self._config.exchanges.tickers)) or (listed is not None and coin in listed)

    def _names(self, coin: str) -> tuple[CoinTicker, ...]:
        """Its tickers; of a coin that no table has the symbol that it has at CoinGecko, else its id in capitals, unless
        that is the ticker of another coin."""
        own = self._config.exchanges.tickers
        if names := tickers_of(coin, own):
            return names
        listed = coin_list_of(self._config)
        ticker = coin.upper() if listed is None or coin not in listed else listed.symbol_of(coin) or ""
        others = () if listed is None else set(listed.with_symbol(ticker)) - {coin}
        return () if row_of(ticker, own) or others else (CoinTicker(coin, ticker),)

    def _count(self, attempt: Try) -> None:
        self.calls += 1
        if self._on_try is not None:
            self._on_try(attempt)


class ExchangeClient(MarketClient):
    """One exchange over one pooled HTTP client."""

    def __init__(self, exchange: HttpExchange, access: Access) -> None:
        super().__init__(exchange, access)
        settings = access.config.exchanges
        self._exchange = exchange
        self._client = ApiClient(
            address(exchange, settings.base_url),
            name=exchange.title,
            remedy="Check the network, or use another --source.",
            limiter=self._limiter,
            breaker=access.breaker,
            on_try=self._count,
            settings=NetSettings(
                deadline_s=min(settings.deadline_s, access.deadline_s or settings.deadline_s),
                max_retries=settings.max_retries,
            ),
        )

    async def bars(self, symbol: str, key: SeriesKey, span: Opening, asking: Asking) -> Sequence[Row]:
        """One call."""
        call = self._exchange.call(symbol, key.granularity, span.first_s, span.last_s)
        return await self._rows(call, self._exchange.rows, key.coin, asking)

    async def markets(self, asking: Asking) -> Sequence[Listing]:
        """One call."""
        return await self._rows(self._exchange.markets_call(), self._exchange.markets, "", asking)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _rows(self, call: MarketCall, read: Callable[[Any], Iterable[T]], coin: str, asking: Asking) -> list[T]:
        answer = await self._client.get(call.path, call.params, priority=asking.priority)
        pause_s = answer.retry_after_s(datetime.now(UTC)) if answer.status in BUSY else None
        if asking.patient and pause_s is not None and pause_s <= LONGEST_WAIT_S:
            # The limiter waits that long.
            answer = await self._client.get(call.path, call.params, priority=asking.priority)
        title = self._exchange.title
        try:
            decoded = msgspec.json.decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if answer.status == 200:
                size = len(answer.body)
                raise UpstreamError(f"{title}'s answer is not whole JSON ({size} bytes: {error}).") from error
            decoded = None
        if (code := self._exchange.complaint(answer.status, decoded)) is not None:
            raise self._refusal(answer.status, code, coin)
        try:
            return list(read(decoded))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UpstreamError(f"{title}'s answer has another shape than documented ({error!r}).") from error

    def _refusal(self, status: int, code: str, coin: str) -> CryptocastError:
        title = self._exchange.title
        if status in BUSY or self._exchange.is_busy(code):
            return RateLimited(f"{title} takes no more calls for now ({code}). Try again in a few minutes.")
        if coin and self._exchange.is_unknown_market(code):
            return UnknownCoin(f"{title} has no candles of {coin} ({code}).")
        if status in RESTRICTED:
            return UpstreamError(
                f"{title} does not serve this address ({status}): a firewall or a country."
                " Choose another source with --source, or set HTTPS_PROXY."
            )
        return UpstreamError(f"{title} answered with the error {code}. Try again later.")


def address(exchange: HttpExchange, base_url: str) -> str:
    """Where its calls go: its own address, or the same path below its name at the base address that is set."""
    if not base_url:
        return exchange.address
    _, _, path = exchange.address.removeprefix("https://").partition("/")
    return "/".join([base_url.rstrip("/"), exchange.name, *([path] if path else [])])


def candles(rows: Sequence[Row], key: SeriesKey, market: str, *, title: str) -> History:
    """Rows as candles, by close; a row whose prices contradict each other is left out, with a note.

    Where the exchange states no volume in the quote currency it is that in coins times the close. Of two rows of one
    bar the later one in the answer counts. Raises UpstreamError for stamps that are no time of this era.
    """
    bar_s = BAR_US[key.granularity] // 1_000_000
    by_time = {row.open_s: row for row in rows}
    if any(not FIRST_S <= at < LAST_S for at in by_time):
        raise UpstreamError(f"{title}'s answer holds bars of no known time. Try again later.")
    good = [row for _, row in sorted(by_time.items()) if _is_consistent(row)]
    volumes = [row.base_volume * row.close if row.quote_volume is None else row.quote_volume for row in good]
    frame = pl.DataFrame(
        {
            "coin": [key.coin] * len(good),
            "close_time": [(row.open_s + bar_s) * 1_000_000 for row in good],
            "open": [row.open for row in good],
            "high": [row.high for row in good],
            "low": [row.low for row in good],
            "close": [row.close for row in good],
            "volume": volumes,
            "market_cap": [None] * len(good),
            "range_known": [True] * len(good),
        },
        schema={name: pl.Int64() if name == "close_time" else kind for name, kind in CANDLE_SCHEMA.items()},
    ).cast(CANDLE_SCHEMA)
    notes = [f"market {market} of {title}"]
    if (quote := market.rpartition("/")[2].lower()) != key.vs:
        notes.append(f"prices in {quote}, taken for {key.vs}")
    if any(row.quote_volume is None for row in good):
        notes.append("volume in coins, multiplied by the close")
    if len(good) < len(by_time):
        notes.append(f"{len(by_time) - len(good)} bars with prices that contradict each other left out")
    return History(frame, tuple(notes), market=market)


def _is_consistent(row: Row) -> bool:
    prices = (row.open, row.high, row.low, row.close)
    return (
        all(math.isfinite(price) and price > 0 for price in prices)
        and row.low <= min(row.open, row.close)
        and row.high >= max(row.open, row.close)
        and math.isfinite(row.base_volume)
        and row.base_volume >= 0
        and (row.quote_volume is None or (math.isfinite(row.quote_volume) and row.quote_volume >= 0))
    )
