"""Live prices: fresh, or at once and renewed behind the answer, or old and marked while the upstream fails."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from cryptocast.data.parquet import write_atomically
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.simple_price import Quote, one_call
from cryptocast.data.sources.errors import UnknownCurrency
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Batcher, Parts, Priority
from cryptocast.times import Moment
from cryptocast.workflows.market_data.strangers import Strangers, Unknown
from cryptocast.workflows.reports import CoinError

if TYPE_CHECKING:
    from cryptocast.net.pool import PoolMetrics

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[str, Sequence[str], float], Awaitable[Parts[Quote]]]
Errors: TypeAlias = dict[str, CryptocastError]

MAX_ENTRIES: Final = 20_000
JITTER: Final = 0.1  # of the fresh time, so that fifty prices of one call do not grow old together
SLACK_S: Final = 1.0
SLOW_S: Final = 2.0  # a call that has been under way for longer says that the upstream hangs
IMPATIENT_S: Final = 0.3
CALL_S: Final = 30.0  # for a call, whether anybody waits for it or not
CLOSE_S: Final = 2.0
AGAIN_S: Final = 5.0  # after an answer that lacks a coin and proves nothing


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a coin costs, and how old that is. `stale`: the upstream could not be asked since."""

    coin: str
    vs: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    change_24h_pct: float | None
    updated_at: Moment | None  # by the upstream's word
    fetched_at: Moment
    stale: bool


class PriceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Live prices of several coins."""

    schema: Literal["cryptocast.prices/1"] = "cryptocast.prices/1"
    prices: tuple[PriceRow, ...]
    errors: tuple[CoinError, ...] = ()
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # by what a coin was asked for, if not by its id


class StoredPrice(msgspec.Struct, frozen=True, kw_only=True):
    """One price as a file keeps it."""

    vs: str
    coin: str
    quote: Quote
    fetched_at: Moment


@dataclass(frozen=True, slots=True)
class _Price:
    """failed: a renewal failed since. at, fresh_until: seconds of the monotonic clock."""

    stored: StoredPrice
    at: float
    fresh_until: float
    failed: bool = False


class PriceUpstream:
    """CoinGecko's live prices in batches, while it is open, in one event loop. connect: opens the connection."""

    def __init__(self, connect: Callable[[], CoinGecko]) -> None:
        self._connect = connect
        self._coingecko: CoinGecko | None = None
        self._batchers: dict[Priority, Batcher[str, Quote]] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this lasts, it can be asked."""
        self._coingecko = self._connect()
        self._batchers = {one: self._coingecko.live(priority=one) for one in (Priority.USER, Priority.STRANGER)}
        try:
            yield
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._coingecko.aclose(), CLOSE_S)

    async def ask(self, vs: str, coins: Sequence[str], timeout_s: float) -> Parts[Quote]:
        """Quotes and errors of coins that the server is set up for."""
        return await self._batchers[Priority.USER].get(vs, coins, deadline_s=timeout_s)

    async def ask_for_others(self, vs: str, coins: Sequence[str], timeout_s: float) -> Parts[Quote]:
        """Quotes and errors of other coins, which no call mixes with these."""
        return await self._batchers[Priority.STRANGER].get(vs, coins, deadline_s=timeout_s)

    def pool(self) -> "PoolMetrics | None":
        """What the connections do; None before the first opening."""
        return None if self._coingecko is None else self._coingecko.pool_metrics()

    def batches(self) -> tuple[int, int] | None:
        """Calls, and ids that were asked for; None before the first opening."""
        batchers = self._batchers.values()
        return (sum(one.calls for one in batchers), sum(one.asked for one in batchers)) if batchers else None


class LivePrices:
    """The cache before the upstream. One event loop. `ask` gives quotes and errors by coin.

    strangers: which coins the server is set up for; without, all of them. The others are asked for by `ask_for_others`,
    so that no call holds coins of both. count: hears of events and their kinds. call_s: for a call, whether anybody
    waits for it or not. slow_s: a call that is under way for longer says that the upstream hangs.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        strangers: Strangers | None = None,
        ask_for_others: Ask | None = None,
        fresh_s: float,
        keep_s: float,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        count: Callable[[str, str], object] = lambda _event, _kind: None,
        max_entries: int = MAX_ENTRIES,
        call_s: float = CALL_S,
        slow_s: float = SLOW_S,
    ) -> None:
        self._ask, self._fresh_s, self._keep_s = ask, fresh_s, keep_s
        self._strangers, self._ask_for_others = strangers, ask_for_others or ask
        self._wall_clock, self._clock, self._count = wall_clock, clock, count
        self._rng = rng or random.Random()  # noqa: S311 - spreads expiry, no secret depends on it
        self._max, self._call_s, self._slow_s = max_entries, call_s, slow_s
        self._prices: OrderedDict[tuple[str, str], _Price] = OrderedDict()
        # Apart from the prices, so that whoever makes up ids drives out no price.
        self._unknown = Unknown(clock=clock, most=max_entries)
        self._calls: dict[tuple[str, str], asyncio.Task[Errors]] = {}
        self._began: dict[asyncio.Task[Errors], float] = {}

    def __len__(self) -> int:
        return len(self._prices)

    async def get(
        self, coins: Sequence[str], vs: str, *, timeout_s: float, client: str = ""
    ) -> tuple[PriceDocument, list[tuple[str, CryptocastError]]]:
        """The prices that could be had, and the error of each coin that could not."""
        now = self._clock()
        prices = {coin: price for coin in coins if (price := self._lookup(coin, vs, now)) is not None}
        missing = [coin for coin in coins if coin not in prices and self._why_unknown(coin, vs) is None]
        old = [coin for coin, price in prices.items() if now >= price.fresh_until]
        self._count("price_cache", "miss" if missing else "hit")
        errors = self._refused(missing, old, vs, client)
        missing = [coin for coin in missing if coin not in errors]
        self._ask_for([*(coin for coin in old if coin not in errors), *missing], vs)
        if missing:
            errors |= await self._waited(missing, vs, timeout_s)
        rows, failures = [], []
        for coin in coins:
            price = self._lookup(coin, vs, self._clock())
            if price is not None:
                quote = msgspec.structs.asdict(price.stored.quote)
                rows.append(PriceRow(coin=coin, vs=vs, fetched_at=price.stored.fetched_at, stale=price.failed, **quote))
                continue
            why = self._why_unknown(coin, vs) or errors.get(coin)
            failures.append((coin, why or UpstreamError(f"There is no price of {coin} now.")))
        coin_errors = tuple(CoinError(coin=coin, error=str(error)) for coin, error in failures)
        return PriceDocument(prices=tuple(rows), errors=coin_errors), failures

    async def close(self) -> None:
        """Leave what is being asked for."""
        tasks = set(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stored(self) -> list[StoredPrice]:
        """The prices in memory, for the next process."""
        return [price.stored for price in self._prices.values()]

    def restore(self, prices: Sequence[StoredPrice]) -> None:
        """Take over what another process kept: old, marked, renewed with the first question."""
        now, wall = self._clock(), self._wall_clock()
        for one in prices:
            age_s = max(0.0, (wall - one.fetched_at).total_seconds())
            if age_s < self._keep_s and (one.vs, one.coin) not in self._prices:
                self._put(_Price(one, now - age_s, now, failed=True))

    def _lookup(self, coin: str, vs: str, now: float) -> _Price | None:
        price = self._prices.get((vs, coin))
        if price is not None and now - price.at >= self._keep_s:
            del self._prices[vs, coin]
            return None
        return price

    def _why_unknown(self, coin: str, vs: str) -> CryptocastError | None:
        return self._unknown.why(vs, (vs, coin))

    def _refused(self, missing: Sequence[str], old: Sequence[str], vs: str, client: str) -> Errors:
        """Why some of these are not asked for now: coins that the server is not set up for, as far as one call of this
        client does not bring them. Those that have a price keep it, marked."""
        others = [coin for coin in (*missing, *old) if self._is_other(coin, vs) and (vs, coin) not in self._calls]
        if self._strangers is None or not others:
            return {}
        why = self._strangers.refusal(client)
        batch: Sequence[str] = ()
        if why is None:
            batch = one_call(others)
            why = self._strangers.refusal(client) if len(others) > len(batch) else None
        errors = dict.fromkeys((coin for coin in others if coin not in batch), why) if why is not None else {}
        for coin in errors.keys() & set(old):
            self._prices[vs, coin] = replace(self._prices[vs, coin], failed=True)
        return errors

    def _is_other(self, coin: str, vs: str) -> bool:
        return self._strangers is not None and not self._strangers.is_ours(coin, vs)

    async def _waited(self, coins: Sequence[str], vs: str, timeout_s: float) -> Errors:
        """Wait so long. A call goes on when nobody waits: the next to ask finds its prices.

        While the upstream hangs, those who ask are sent away at once, and not one after the other at the end of their
        patience.
        """
        tasks = {self._calls[vs, coin] for coin in coins}
        is_slow = any(self._clock() - began > self._slow_s for began in self._began.values())
        await asyncio.wait(tasks, timeout=min(timeout_s, IMPATIENT_S) if is_slow else timeout_s)
        late = UpstreamError("There is no price yet. It is being asked for: ask again later.")
        errors: Errors = dict.fromkeys(coins, late)
        for task in tasks:
            if task.done() and not task.cancelled():
                errors |= task.result()
        return errors

    def _ask_for(self, coins: Sequence[str], vs: str) -> None:
        due = [coin for coin in coins if (vs, coin) not in self._calls]
        for is_other in (False, True):
            group = [coin for coin in due if self._is_other(coin, vs) is is_other]
            if group:
                task = asyncio.create_task(self._fetched(group, vs))
                self._began[task] = self._clock()
                self._calls |= dict.fromkeys(((vs, coin) for coin in group), task)
                task.add_done_callback(partial(self._ended, group, vs))

    def _ended(self, coins: Sequence[str], vs: str, task: "asyncio.Task[Errors]") -> None:
        del self._began[task]
        for coin in coins:
            self._calls.pop((vs, coin), None)

    async def _fetched(self, coins: Sequence[str], vs: str) -> Errors:
        """The errors of the coins that got no price. What they had stays, marked, and is not asked for again at once: a
        failure is no data."""
        try:
            errors = await self._fetch(coins, vs)
        except Exception:
            log.exception("asking for %d prices failed", len(coins))
            errors = dict.fromkeys(coins, CryptocastError("The prices could not be fetched. The cause is in the log."))
        for coin in errors:
            if (price := self._prices.get((vs, coin))) is not None:
                again = self._clock() + self._fresh_s * 0.5
                self._prices[vs, coin] = replace(price, fresh_until=again, failed=True)
        return errors

    async def _fetch(self, coins: Sequence[str], vs: str) -> Errors:
        ask = self._ask_for_others if self._is_other(coins[0], vs) else self._ask
        try:
            async with asyncio.timeout(self._call_s + SLACK_S):  # whatever `ask` does with its deadline
                parts = await ask(vs, coins, self._call_s)
        except (CryptocastError, TimeoutError) as error:
            self._count("upstream_error", "prices")
            late = UpstreamError(f"There was no price within {self._call_s:g} s. Ask again later.")
            return dict.fromkeys(coins, error if isinstance(error, CryptocastError) else late)
        now, wall = self._clock(), self._wall_clock()
        for coin, quote in parts.values.items():
            fresh = self._fresh_s * self._rng.uniform(1.0 - JITTER, 1.0)
            self._put(_Price(StoredPrice(vs=vs, coin=coin, quote=quote, fetched_at=wall), now, now + fresh))
        passing = {coin: why for coin, why in parts.errors.items() if not self._is_settled(coin, vs, why)}
        for _ in passing:
            self._count("upstream_error", "prices")
        return passing

    def _is_settled(self, coin: str, vs: str, why: CryptocastError) -> bool:
        """Whether the error says something of the coin or the currency that is believed for a time."""
        if isinstance(why, UnknownCurrency) and self._strangers is not None and not self._strangers.is_ours_in(vs):
            self._unknown.remember(vs, why)
            return True
        # A coin that had a price a moment ago is not unknown, whatever the upstream says now.
        if not isinstance(why, DataError) or (vs, coin) in self._prices:
            return False
        if self._strangers is not None and self._strangers.is_passing(coin, vs, why):
            late = UpstreamError(f"The upstream gave no price of {coin}. Ask again later, or check the id.")
            self._count("upstream_error", "prices")
            self._unknown.remember((vs, coin), late, for_s=AGAIN_S)
        else:
            self._unknown.remember((vs, coin), why)
        return True

    def _put(self, price: _Price) -> None:
        key = price.stored.vs, price.stored.coin
        self._unknown.forget(key)
        self._prices[key] = price
        self._prices.move_to_end(key)
        while len(self._prices) > self._max:
            self._prices.popitem(last=False)
            self._count("price_cache", "evicted")


def read_prices(path: Path) -> list[StoredPrice]:
    """What the last process wrote; nothing if there is none, and if it cannot be read, which is logged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[StoredPrice])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the prices of the last run cannot be read: %s", error)
        return []


def write_prices(path: Path, prices: Sequence[StoredPrice]) -> None:
    """Keep them for the next process. A disk that refuses is logged: prices can be had again."""
    try:
        write_atomically(path, msgspec.json.encode(prices))
    except DataError as error:
        log.warning("the prices are not kept for the next run: %s", error)
