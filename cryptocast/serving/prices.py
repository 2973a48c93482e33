"""Live prices: fresh, or at once and renewed behind the answer, or old and marked while the upstream fails."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cryptocast.data.parquet import write_atomically
from cryptocast.data.sources.coingecko.simple_price import Quote, one_call
from cryptocast.data.sources.errors import UnknownCurrency
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Parts
from cryptocast.serving.problems import INTERNAL, RETRY_AFTER_S
from cryptocast.serving.strangers import Strangers, Unknown
from cryptocast.workflows.reports import CoinError

__all__ = ["KeptPrice", "LivePrices", "PriceDocument", "PriceRow", "read_prices", "write_prices"]

log = logging.getLogger(__name__)

Fetch: TypeAlias = Callable[[Sequence[str], str], Coroutine[Any, Any, dict[str, CryptocastError]]]
Ask: TypeAlias = Callable[[str, Sequence[str], float], Awaitable[Parts[Quote]]]

MAX_ENTRIES: Final = 20_000
JITTER: Final = 0.1  # of the fresh time, so that fifty prices of one call do not grow old together
SLACK_S: Final = 1.0
SLOW_S: Final = 2.0  # a call that has been under way for longer says that the upstream hangs
IMPATIENT_S: Final = 0.3
BEHIND_S: Final = 30.0  # for a call, whether anybody waits for it or not


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a coin costs, and how old that is. `stale`: the upstream could not be asked since."""

    coin: str
    vs: str
    price: float
    market_cap: float | None
    volume_24h: float | None
    change_24h_pct: float | None
    updated_at: datetime | None  # by the upstream's word
    fetched_at: datetime
    stale: bool


class PriceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Live prices of several coins."""

    schema: Literal["cryptocast.prices/1"] = "cryptocast.prices/1"
    prices: tuple[PriceRow, ...]
    errors: tuple[CoinError, ...] = ()


class KeptPrice(msgspec.Struct, frozen=True, kw_only=True):
    """One price as a file keeps it."""

    vs: str
    coin: str
    quote: Quote
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class _Kept:
    said: Quote
    at: float
    fetched_at: datetime
    fresh_until: float
    failed: bool = False  # a renewal failed since


class LivePrices:
    """The cache before the batcher. One event loop. `ask` gives quotes and errors by coin.

    strangers: which coins the server is set up for; without, all of them. The others are asked for by `ask_for_others`,
    so that no call holds coins of both.
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
        count: Callable[[str], None] = lambda _: None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._ask, self._fresh_s, self._keep_s = ask, fresh_s, keep_s
        self._strangers, self._ask_for_others = strangers, ask_for_others or ask
        self._wall_clock, self._clock, self._count = wall_clock, clock, count
        self._rng = rng or random.Random()  # noqa: S311 - spreads expiry, no secret depends on it
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._max = max_entries
        # Apart from the prices, so that whoever makes up ids drives out no price.
        self._unknown = Unknown(clock=clock, most=max_entries)
        self._asked: dict[tuple[str, str], asyncio.Task[dict[str, CryptocastError]]] = {}
        self._began: dict[asyncio.Task[dict[str, CryptocastError]], float] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(
        self, coins: Sequence[str], vs: str, *, timeout_s: float, client: str = ""
    ) -> tuple[PriceDocument, list[tuple[str, CryptocastError]]]:
        """The prices that could be had, and the error of each coin that could not."""
        now = self._clock()
        known = {coin: kept for coin in coins if (kept := self._lookup(coin, vs, now)) is not None}
        missing = [coin for coin in coins if coin not in known and self._why_unknown(coin, vs) is None]
        old = [coin for coin, kept in known.items() if now >= kept.fresh_until]
        self._count("hit" if not missing else "miss")
        errors = self._refused(missing, old, vs, client)
        old, missing = ([coin for coin in some if coin not in errors] for some in (old, missing))
        if old:
            self._renew(old, vs)
        if missing:
            errors |= await self._waited(missing, vs, timeout_s)
        rows, failures = [], []
        for coin in coins:
            kept = self._lookup(coin, vs, self._clock())
            if kept is not None:
                rows.append(_row(coin, vs, kept))
                continue
            why = self._why_unknown(coin, vs) or errors.get(coin)
            failures.append((coin, why or UpstreamError(f"There is no price of {coin} now.")))
        told = tuple(CoinError(coin=coin, error=str(error)) for coin, error in failures)
        return PriceDocument(prices=tuple(rows), errors=told), failures

    async def close(self) -> None:
        """Leave what is being asked for."""
        tasks = set(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def kept(self) -> list[KeptPrice]:
        """The prices in memory, for the next process."""
        return [
            KeptPrice(vs=vs, coin=coin, quote=kept.said, fetched_at=kept.fetched_at)
            for (vs, coin), kept in self._kept.items()
        ]

    def restore(self, prices: Sequence[KeptPrice]) -> None:
        """Take over what another process kept: old, marked, renewed with the first question."""
        now, wall = self._clock(), self._wall_clock()
        for one in prices:
            age_s = max(0.0, (wall - one.fetched_at).total_seconds())
            if age_s < self._keep_s and (one.vs, one.coin) not in self._kept:
                self._keep((one.vs, one.coin), _Kept(one.quote, now - age_s, one.fetched_at, now, failed=True))

    def _lookup(self, coin: str, vs: str, now: float) -> _Kept | None:
        kept = self._kept.get((vs, coin))
        if kept is not None and now - kept.at >= self._keep_s:
            del self._kept[vs, coin]
            return None
        return kept

    def _why_unknown(self, coin: str, vs: str) -> CryptocastError | None:
        return self._unknown.why(vs, (vs, coin))

    def _refused(self, missing: Sequence[str], old: Sequence[str], vs: str, client: str) -> dict[str, CryptocastError]:
        """Why some of these are not asked for now: coins that the server is not set up for, as far as one call of this
        client does not bring them. Those that have a price keep it, marked."""
        others = [coin for coin in (*missing, *old) if self._is_other(coin, vs) and (vs, coin) not in self._asked]
        if self._strangers is None or not others:
            return {}
        why = self._strangers.refusal(client)
        asked: tuple[str, ...] = ()
        if why is None:
            asked = one_call(others)
            rest = len(others) > len(asked)
            why = self._strangers.refusal(client) if rest else None
        errors = dict.fromkeys((coin for coin in others if coin not in asked), why) if why is not None else {}
        for coin in errors.keys() & set(old):
            kept = self._kept[vs, coin]
            self._kept[vs, coin] = _Kept(kept.said, kept.at, kept.fetched_at, kept.fresh_until, failed=True)
        return errors

    def _is_other(self, coin: str, vs: str) -> bool:
        return self._strangers is not None and not self._strangers.is_ours(coin, vs)

    def _renew(self, coins: Sequence[str], vs: str) -> None:
        self._ask_for(coins, vs, self._renewed)

    async def _waited(self, coins: Sequence[str], vs: str, timeout_s: float) -> dict[str, CryptocastError]:
        """Ask for these, and wait so long. A call goes on when nobody waits: the next to ask finds its prices."""
        self._ask_for(coins, vs, self._first)
        tasks = {self._asked[vs, coin] for coin in coins}
        await asyncio.wait(tasks, timeout=min(timeout_s, IMPATIENT_S) if self._is_slow() else timeout_s)
        late = UpstreamError("There is no price yet. It is being asked for: ask again later.")
        errors: dict[str, CryptocastError] = dict.fromkeys(coins, late)
        for task in tasks:
            if task.done() and not task.cancelled():
                errors |= task.result()
        return errors

    def _is_slow(self) -> bool:
        """Whether the upstream hangs: then those who ask are sent away at once, and not one after the other at the end
        of their patience."""
        return any(self._clock() - began > SLOW_S for began in self._began.values())

    def _ask_for(self, coins: Sequence[str], vs: str, how: Fetch) -> None:
        due = [coin for coin in coins if (vs, coin) not in self._asked]
        for is_other in (False, True):
            self._start([coin for coin in due if self._is_other(coin, vs) is is_other], vs, how)

    def _start(self, due: Sequence[str], vs: str, how: Fetch) -> None:
        if due:
            task = asyncio.create_task(how(due, vs))
            self._asked |= dict.fromkeys(((vs, coin) for coin in due), task)
            self._began[task] = self._clock()
            task.add_done_callback(partial(self._ended, due, vs))

    def _ended(self, coins: Sequence[str], vs: str, task: "asyncio.Task[dict[str, CryptocastError]]") -> None:
        del self._began[task]
        for coin in coins:
            self._asked.pop((vs, coin), None)

    async def _first(self, coins: Sequence[str], vs: str) -> dict[str, CryptocastError]:
        try:
            return await self._fetch(coins, vs, BEHIND_S)
        except Exception:
            log.exception("asking for %d prices failed", len(coins))
            return dict.fromkeys(coins, CryptocastError(INTERNAL))

    async def _renewed(self, coins: Sequence[str], vs: str) -> dict[str, CryptocastError]:
        errors = await self._first(coins, vs)
        for coin in errors:
            kept = self._kept.get((vs, coin))
            if kept is not None:
                # The failure is no data: the price stays, marked, and is not asked for again at once.
                again = self._clock() + self._fresh_s * 0.5
                self._kept[vs, coin] = _Kept(kept.said, kept.at, kept.fetched_at, again, failed=True)
        return errors

    async def _fetch(self, coins: Sequence[str], vs: str, timeout_s: float) -> dict[str, CryptocastError]:
        try:
            async with asyncio.timeout(timeout_s + SLACK_S):  # whatever `ask` does with its deadline
                ask = self._ask_for_others if self._is_other(coins[0], vs) else self._ask
                parts = await ask(vs, coins, timeout_s)
        except (CryptocastError, TimeoutError) as error:
            self._count("upstream_error")
            late = UpstreamError(f"There was no price within {timeout_s:g} s. Ask again later.")
            return dict.fromkeys(coins, error if isinstance(error, CryptocastError) else late)
        now, wall = self._clock(), self._wall_clock()
        for coin, quote in parts.values.items():
            fresh = self._fresh_s * self._rng.uniform(1.0 - JITTER, 1.0)
            self._keep((vs, coin), _Kept(quote, now, wall, now + fresh))
        passing: dict[str, CryptocastError] = {}
        for coin, why in parts.errors.items():
            if not self._is_settled(coin, vs, why):
                self._count("upstream_error")
                passing[coin] = why
        return passing

    def _is_settled(self, coin: str, vs: str, why: CryptocastError) -> bool:
        """Whether the error says something of the coin or the currency that is believed for a time."""
        if isinstance(why, UnknownCurrency) and self._strangers is not None and not self._strangers.is_ours_in(vs):
            self._unknown.remember(vs, why)
            return True
        # A coin that had a price a moment ago is not unknown, whatever the upstream says now.
        if not isinstance(why, DataError) or (vs, coin) in self._kept:
            return False
        if self._strangers is not None and self._strangers.is_passing(coin, vs, why):
            late = UpstreamError(f"The upstream gave no price of {coin}. Ask again later, or check the id.")
            self._count("upstream_error")
            self._unknown.remember((vs, coin), late, for_s=RETRY_AFTER_S)
        else:
            self._unknown.remember((vs, coin), why)
        return True

    def _keep(self, key: tuple[str, str], kept: _Kept) -> None:
        self._unknown.forget(key)
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)
            self._count("evicted")


def _row(coin: str, vs: str, kept: _Kept) -> PriceRow:
    quote = kept.said
    return PriceRow(
        coin=coin,
        vs=vs,
        price=quote.price,
        market_cap=quote.market_cap,
        volume_24h=quote.volume_24h,
        change_24h_pct=quote.change_24h_pct,
        updated_at=quote.updated_at,
        fetched_at=kept.fetched_at,
        stale=kept.failed,
    )


def read_prices(path: Path) -> list[KeptPrice]:
    """What the last process wrote; nothing if there is none, and if it cannot be read, which is logged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[KeptPrice])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the prices of the last run cannot be read: %s", error)
        return []


def write_prices(path: Path, prices: Sequence[KeptPrice]) -> None:
    """Keep them for the next process. A disk that refuses is logged: prices can be had again."""
    try:
        write_atomically(path, msgspec.json.encode(prices))
    except DataError as error:
        log.warning("the prices are not kept for the next run: %s", error)
