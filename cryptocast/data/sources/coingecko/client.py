"""CoinGecko: the calls that bring a coin's history, live prices and the list of coins, within what the plan allows.

What the answers mean stands in `market_chart`, `simple_price` and `coin_list`, what its errors mean in `refusals`, and
which calls are made at all in `backfill`.

Endpoints that are not called, and why: `/coins/{id}/ohlc` gives candles of four days to who asks for a year without
paying, and never a volume, so highs and lows come from the hours; `/coins/{id}/history` costs a call for each day;
`/coins/markets` and `/coins/{id}` tell of the current prices what `/simple/price` tells of more coins with a smaller
answer, and otherwise what no forecast uses (ranks, supplies, descriptions).
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl

from cryptocast.config import CoinGeckoConfig
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.data.sources.base import FIRST
from cryptocast.data.sources.coingecko.backfill import PAGE_DAYS, call_span
from cryptocast.data.sources.coingecko.coin_list import CoinList, parse_coin_list, read_coin_list, write_coin_list
from cryptocast.data.sources.coingecko.market_chart import market_chart
from cryptocast.data.sources.coingecko.quota import Credits, CreditState
from cryptocast.data.sources.coingecko.refusals import (
    FREE_DAYS,
    KEY_VARIABLE,
    Code,
    Plan,
    explain,
    unknown_coin,
    upstream_error,
)
from cryptocast.data.sources.coingecko.simple_price import MAX_IDS, MAX_QUERY_CHARS, Quote, parse_quotes
from cryptocast.data.sources.errors import QuotaSpent, RateLimited, UnknownCoin
from cryptocast.data.sources.upstream import History, Page, Upstream, decoded
from cryptocast.errors import ConfigError, CryptocastError, DataError, UpstreamError
from cryptocast.net import (
    Answer,
    ApiClient,
    Batcher,
    Breaker,
    Limiter,
    NetSettings,
    Overloaded,
    Place,
    Priority,
    Try,
)

if TYPE_CHECKING:
    from cryptocast.net.pool import PoolMetrics

log = logging.getLogger(__name__)

DAILY_FROM_DAYS: Final = 91  # shortest span that is answered in days
HOURLY_FROM_DAYS: Final = 2  # shortest that is answered in hours; one day comes in steps of five minutes
EDGE: Final = timedelta(hours=1)  # kept from the oldest moment that a plan may see: the window slides
CALLS_PER_MINUTE: Final[Mapping[Plan, int]] = {"keyless": 5, "demo": 25, "pro": 250}
KEY_HEADERS: Final[Mapping[Plan, str]] = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
COIN_LIST: Final = "coins.json"
REST_CHARS: Final = 400  # of a URL, for what is not ids
LONGEST_WAIT_S: Final = 600.0  # for a turn: a pause of an hour, if that is what a 429 asks for, is the user's to wait
LEAST_LEFT: Final = 0.5  # of the coins of the list before; fewer are a list that is cut short
OF_THE_POOL: Final = (
    "connect_timeout_s",
    "read_timeout_s",
    "deadline_s",
    "max_connections",
    "keepalive_s",
    "max_retries",
)
BEYOND_PLAN: Final = 401  # of 10012 that means history; 400 means too many items


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What `/key` says of a pro key."""

    plan: str = ""
    monthly_call_credit: int | None = None
    current_total_monthly_calls: int | None = None
    current_remaining_monthly_calls: int | None = None


@dataclass(frozen=True, slots=True)
class _Series:
    """What a call is about, for its errors."""

    coin: str
    vs: str
    priority: Priority
    patient: bool


class CoinGecko(Upstream):
    """The history of coins, from one pooled client in a loop of its own. Close it, or use it as a context manager.

    The key comes from the caller, who reads it from the environment. `credits`: the budget of the month; none without.
    `cache`: the folder in which the list of coins is kept for a day; without, it is kept in memory. `on_try` hears of
    each request that went out, and must not raise. `client` builds the HTTP client (for tests). Methods that are no
    coroutines are for callers without a loop and share one thread's loop; the coroutines belong to the loop of their
    caller.
    """

    def __init__(
        self,
        config: CoinGeckoConfig,
        *,
        api_key: str | None = None,
        client: Callable[..., ApiClient] = ApiClient,
        limiter: Limiter | None = None,
        credits: Credits | None = None,  # noqa: A002 - the upstream's own word
        cache: Path | None = None,
        breaker: Breaker | None = None,
        on_try: Callable[[Try], None] | None = None,
    ) -> None:
        self.plan: Plan = config.plan
        self._on_try = on_try
        self.calls_per_minute = calls_per_minute(config)
        self.credits = credits or Credits(None, per_month=0, now=lambda: datetime.now(UTC))
        self._list_path = None if cache is None else cache / COIN_LIST
        self._coins: CoinList | None = None
        self._client = client(
            config.pro_base_url if config.plan == "pro" else config.base_url,
            name="CoinGecko",
            remedy="Check the network, or use --source sample or --source file.",
            limiter=limiter or Limiter(self.calls_per_minute),
            headers=_key_header(config.plan, api_key),
            breaker=breaker,
            on_try=self._count,
            settings=NetSettings(**{name: getattr(config, name) for name in OF_THE_POOL}),
        )

    # --- history

    async def page(
        self, page: Page, now: datetime, *, priority: Priority = Priority.USER, patient: bool = False
    ) -> History:
        """The bars of one page that are closed at `now`: one call, and one new try where the upstream wants it shorter.

        patient: after a 429 that asks for a longer wait than a call may take, wait once. Raises DataError (unknown
        coin, an answer that makes no sense), UsageError (unknown vs), ConfigError (the key), QuotaSpent, UpstreamError.
        A coin that a list of today lacks is refused without a call.
        """
        check_coin(page.key.coin)
        check_vs(page.key.vs)
        about = _Series(page.key.coin, page.key.vs, priority, patient)
        listed = self.known_coins()
        if self.plan != "pro" and listed is not None and listed.is_fresh(now) and about.coin not in listed:
            # A coin that is taken off the list has no history on free plans.
            raise unknown_coin(about.coin, listed, is_certain=True)
        start = max(page.start, oldest(self.plan, now))
        if start >= page.end:
            return History(pl.DataFrame(schema=CANDLE_SCHEMA), ())
        return await (self._recent if page.ends_now else self._span)(page, start, now, about)

    async def _recent(self, page: Page, start: datetime, now: datetime, about: _Series) -> History:
        # The step of the answer follows the number of days, not a parameter that free plans may use.
        days = math.ceil((now - max(start - EDGE, page.start)) / timedelta(days=1))
        daily = page.key.granularity == "daily"
        days = max(days, DAILY_FROM_DAYS) if daily else min(max(days, HOURLY_FROM_DAYS), PAGE_DAYS)
        path = f"/coins/{about.coin}/market_chart"
        answer = await self._ask(path, {"vs_currency": about.vs, "days": str(days)}, about)
        if self._is_beyond_plan(answer):
            # Our clock and theirs may differ by the hour that decides.
            answer = await self._ask(path, {"vs_currency": about.vs, "days": str(min(days, FREE_DAYS) - 1)}, about)
        body = await self._read(answer, about, now)
        return market_chart(body, about.coin, page.key.granularity, now)

    async def _span(self, page: Page, start: datetime, now: datetime, about: _Series) -> History:
        end = min(call_span(page)[1], now)
        answer = await self._ask_span(start, end, about)
        if self._is_beyond_plan(answer):
            start = max(start, now - timedelta(days=FREE_DAYS - 1))
            if start >= end:
                return History(pl.DataFrame(schema=CANDLE_SCHEMA), ())
            answer = await self._ask_span(start, end, about)
        body = await self._read(answer, about, now)
        history = market_chart(body, about.coin, page.key.granularity, now, ends_now=end >= now - EDGE)
        inside = pl.col("close_time").is_between(page.start, page.end, closed="right")
        return History(history.frame.filter(inside), history.notes)

    async def _ask_span(self, start: datetime, end: datetime, about: _Series) -> Answer:
        # Seconds: the one form that all hosts take. Spans of up to 90 days come in hours.
        span = {"vs_currency": about.vs, "from": str(int(start.timestamp())), "to": str(int(end.timestamp()))}
        return await self._ask(f"/coins/{about.coin}/market_chart/range", span, about)

    def _is_beyond_plan(self, answer: Answer) -> bool:
        return self.plan != "pro" and answer.status == BEYOND_PLAN and upstream_error(answer.body)[0] == Code.TOO_MUCH

    async def _read(self, answer: Answer, about: _Series, now: datetime) -> bytes:
        if answer.status == 200:
            return answer.body
        error = explain(answer, about.coin, about.vs, self.plan)
        if isinstance(error, UnknownCoin):
            raise _unknown_or_passing(about.coin, await self._names(now, about.priority), now)
        raise error

    # --- many coins

    def live(self, *, priority: Priority = Priority.USER) -> Batcher[str, Quote]:
        """Quotes for many callers at once, by currency: what is asked while a call is under way goes with the next.

        Each caller gets its own coins and its own errors. It belongs to the loop of its callers.
        """

        async def fetch(vs: str, coins: Sequence[str], place: Place | None) -> Mapping[str, Quote]:
            return await self.quotes(coins, vs, priority=priority, place=place)

        async def admit(vs: str) -> Place:
            check_vs(vs)
            return await self._client.admit(priority=priority, deadline_s=LONGEST_WAIT_S)

        return Batcher(
            fetch,
            tasks=self._client.pool.tasks,
            admit=admit,
            unknown=lambda coin: _unknown_or_passing(coin, self.known_coins(), self.credits.now()),
            max_ids=MAX_IDS,
            max_chars=MAX_QUERY_CHARS + REST_CHARS,
            other_chars=REST_CHARS,
        )

    async def quotes(
        self,
        coins: Sequence[str],
        vs: str,
        *,
        priority: Priority = Priority.USER,
        place: Place | None = None,
        may_split: bool = True,
    ) -> dict[str, Quote]:
        """What the coins, at most MAX_IDS, cost now, in one call. Unknown and unpriced ones are left out.

        A call that is refused for its many items is made once more, in halves. place: of the call, if the caller has
        one. Raises as `page` does.
        """
        options = dict.fromkeys(
            ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at"), "true"
        )
        params = {"ids": ",".join(coins), "vs_currencies": vs, "precision": "full", **options}
        about = _Series(coins[0], vs, priority, patient=False)
        answer = await self._ask("/simple/price", params, about, place)
        too_many = answer.status == 414 or (answer.status == 400 and upstream_error(answer.body)[0] == Code.TOO_MUCH)
        if too_many and may_split and len(coins) > 1:
            half = len(coins) // 2
            parts = [await self.quotes(p, vs, priority=priority, may_split=False) for p in (coins[:half], coins[half:])]
            return parts[0] | parts[1]
        if answer.status != 200:
            raise explain(answer, about.coin, vs, self.plan)
        return parse_quotes(answer.body, vs, coins)

    async def coin_list(self, now: datetime, *, priority: Priority = Priority.USER) -> CoinList:
        """Every coin that the upstream lists: from memory or disk while younger than a day, else one call.

        Raises UpstreamError.
        """
        old = self.known_coins()
        if old is not None and old.is_fresh(now):
            return old
        listed = parse_coin_list(await self._body("/coins/list", priority), now)
        if old is not None and len(listed.coins) < LEAST_LEFT * len(old.coins):
            raise UpstreamError(
                f"CoinGecko's coin list has {len(listed.coins):,} coins, where it had {len(old.coins):,}: it is not"
                " whole. Try again later."
            )
        self._coins = listed.after(old)
        if self._list_path is not None:
            try:
                write_coin_list(self._list_path, self._coins)
            except DataError as error:
                log.warning("the list of coins is kept in memory only: %s", error)
        return self._coins

    def known_coins(self) -> CoinList | None:
        """The list of coins that is here already, of whatever age; no call."""
        if self._coins is None and self._list_path is not None:
            self._coins = read_coin_list(self._list_path)
        return self._coins

    async def _names(self, now: datetime, priority: Priority) -> CoinList | None:
        """The list, for the words of an error: what is here if no newer one can be had, or none is worth a call."""
        if priority is Priority.STRANGER:
            return self.known_coins()
        try:
            return await self.coin_list(now, priority=priority)
        except CryptocastError as error:
            log.info("the list of coins cannot be had: %s", error)
            return self.known_coins()

    async def account(self, *, priority: Priority = Priority.USER) -> Account:
        """What a pro key may do, and how many of its calls are used; the budget takes over the count.

        Only the pro host knows it. Raises ConfigError, UpstreamError.
        """
        account = decoded(await self._body("/key", priority), Account, "CoinGecko's account")
        if account.current_total_monthly_calls is not None:
            self.credits.synced(account.current_total_monthly_calls)
        return account

    async def ping(self) -> None:
        """One call like any other, to see that the upstream answers and takes the key.

        Raises ConfigError (the key), UpstreamError.
        """
        await self._body("/ping", Priority.USER)

    # --- one call

    async def _body(self, path: str, priority: Priority) -> bytes:
        """The body of a good answer about no coin."""
        answer = await self._ask(path, {}, _Series("", "", priority, patient=False))
        if answer.status != 200:
            raise explain(answer, "", "", self.plan)
        return answer.body

    async def _ask(self, path: str, params: Mapping[str, str], about: _Series, place: Place | None = None) -> Answer:
        """One call, paid for: a credit is taken when its turn has come. Raises QuotaSpent when none is left."""
        answer = await self._paid(path, params, about.priority, place)
        if answer.status == 429 and about.patient and not self._is_month_spent(answer) and _is_soon(answer):
            # The limiter lets nobody through until the time that the upstream named.
            answer = await self._paid(path, params, about.priority)
            if answer.status == 429:
                self.credits.refused()
                raise QuotaSpent(
                    "CoinGecko's rate limit is still used up after the wait it asked for: its credits of the month may"
                    " be gone, or others use your address.",
                    "Try again in an hour; stored candles stay in use.",
                )
        if answer.status == 429 and self._is_month_spent(answer):
            self.credits.refused()
        elif answer.status == 200:
            self.credits.answered()
        return answer

    async def _paid(
        self, path: str, params: Mapping[str, str], priority: Priority, place: Place | None = None
    ) -> Answer:
        try:
            place = place or await self._client.admit(priority=priority, deadline_s=LONGEST_WAIT_S)
        except Overloaded as full:
            raise RateLimited(
                "CoinGecko's rate limit is used up, or it asked for a long pause.",
                f"Try again in {full.retry_after_s:.0f} s; stored candles stay in use.",
            ) from full
        try:
            self.credits.take(priority)
        except QuotaSpent:
            place.give_back()
            raise
        return await self._client.get(path, params or None, priority=priority, place=place)

    def _is_month_spent(self, answer: Answer) -> bool:
        return isinstance(explain(answer, "", "", self.plan), QuotaSpent)

    def _count(self, request: Try) -> None:
        self.calls += 1
        if request.attempt > 1:  # a stranger's call has no second try
            self.credits.took(Priority.USER)
        if self._on_try is not None:
            self._on_try(request)

    def pool_metrics(self) -> "PoolMetrics":
        """What the connections do now."""
        return self._client.pool.metrics()

    def budget(self) -> CreditState:
        """Where the month stands."""
        return self.credits.state()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def _is_soon(answer: Answer) -> bool:
    """Whether the wait that a 429 asks for is one to sit through. One that names none means a minute or so."""
    return (answer.retry_after_s(datetime.now(UTC)) or 0.0) <= LONGEST_WAIT_S


def _unknown_or_passing(coin: str, names: CoinList | None, now: datetime) -> CryptocastError:
    """Why an answer holds nothing of a coin. One that is listed is not unknown because one answer says so."""
    if names is not None and coin in names:
        return UpstreamError(f"CoinGecko lists {coin} and gave nothing for it. Try again later.")
    return unknown_coin(coin, names, is_certain=names is not None and names.is_fresh(now))


def oldest(plan: Plan, now: datetime) -> datetime:
    """The first moment that a plan may see."""
    return now - timedelta(days=FREE_DAYS) + EDGE if plan != "pro" else FIRST


def calls_per_minute(config: CoinGeckoConfig) -> int:
    """The setting, or what is safe for the plan."""
    return config.calls_per_minute or CALLS_PER_MINUTE[config.plan]


def _key_header(plan: Plan, api_key: str | None) -> dict[str, str]:
    if plan == "keyless":
        if api_key:
            log.warning("an API key is set but [coingecko] plan is keyless: the key is not used")
        return {}
    if not api_key:
        raise ConfigError(f"[coingecko] plan = {plan!r} needs a key in the environment variable {KEY_VARIABLE}.")
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ConfigError(f"{KEY_VARIABLE} holds blanks or characters that no key has. Copy it again.")
    return {KEY_HEADERS[plan]: api_key}
