"""Live prices: fresh, or at once and renewed behind the answer, or old and marked while the upstream fails."""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from cryptocast.data.quotes import Quote
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Parts
from cryptocast.workflows.documents import CoinError

__all__ = ["LivePrices", "PriceDocument", "PriceRow"]

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[str, Sequence[str], float], Awaitable[Parts[Quote]]]

UNKNOWN_S: Final = 60.0  # how long an id that the upstream does not know is not asked for again
MAX_ENTRIES: Final = 20_000
JITTER: Final = 0.1  # of the fresh time, so that fifty prices of one call do not grow old together
BEHIND_S: Final = 30.0  # for a renewal that nobody waits for


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


@dataclass(frozen=True, slots=True)
class _Kept:
    said: Quote | DataError
    at: float
    fetched_at: datetime
    fresh_until: float
    failed: bool = False  # a renewal failed since


class LivePrices:
    """The cache before the batcher. One event loop. `ask` gives quotes and errors by coin."""

    def __init__(
        self,
        ask: Ask,
        *,
        fresh_s: float,
        keep_s: float,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        count: Callable[[str], None] = lambda _: None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._ask, self._fresh_s, self._keep_s = ask, fresh_s, keep_s
        self._wall_clock, self._clock, self._count = wall_clock, clock, count
        self._rng = rng or random.Random()  # noqa: S311 - spreads expiry, no secret depends on it
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._max = max_entries
        self._renewing: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(
        self, coins: Sequence[str], vs: str, *, timeout_s: float
    ) -> tuple[PriceDocument, list[tuple[str, CryptocastError]]]:
        """The prices that could be had, and the error of each coin that could not."""
        now = self._clock()
        missing = [coin for coin in coins if self._lookup(coin, vs, now) is None]
        old = [coin for coin in coins if coin not in missing and now >= self._kept[vs, coin].fresh_until]
        if old:
            self._renew(old, vs)
        self._count("hit" if not missing else "miss")
        errors = await self._fetch(missing, vs, timeout_s) if missing else {}
        rows, failures = [], []
        for coin in coins:
            kept = self._lookup(coin, vs, self._clock())
            if kept is None:
                failures.append((coin, errors.get(coin) or UpstreamError(f"There is no price of {coin} now.")))
            elif isinstance(kept.said, DataError):
                failures.append((coin, kept.said))
            else:
                rows.append(_row(coin, vs, kept, kept.said))
        told = tuple(CoinError(coin=coin, error=str(error)) for coin, error in failures)
        return PriceDocument(prices=tuple(rows), errors=told), failures

    async def close(self) -> None:
        """Leave what is renewed behind the answers."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _lookup(self, coin: str, vs: str, now: float) -> _Kept | None:
        kept = self._kept.get((vs, coin))
        if kept is None:
            return None
        life = UNKNOWN_S if isinstance(kept.said, DataError) else self._keep_s
        if now - kept.at >= life:
            del self._kept[vs, coin]
            return None
        return kept

    def _renew(self, coins: Sequence[str], vs: str) -> None:
        due = [coin for coin in coins if (vs, coin) not in self._renewing]
        if due:
            self._renewing.update((vs, coin) for coin in due)
            task = asyncio.create_task(self._renewed(due, vs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _renewed(self, coins: Sequence[str], vs: str) -> None:
        try:
            errors = await self._fetch(coins, vs, BEHIND_S)
        except Exception:
            log.exception("renewing %d prices failed", len(coins))
            return
        finally:
            self._renewing.difference_update((vs, coin) for coin in coins)
        for coin in errors:
            kept = self._kept.get((vs, coin))
            if kept is not None and not isinstance(kept.said, DataError):
                # The failure is no data: the price stays, marked, and is not asked for again at once.
                again = self._clock() + self._fresh_s * 0.5
                self._kept[vs, coin] = _Kept(kept.said, kept.at, kept.fetched_at, again, failed=True)

    async def _fetch(self, coins: Sequence[str], vs: str, timeout_s: float) -> dict[str, CryptocastError]:
        try:
            parts = await self._ask(vs, coins, timeout_s)
        except CryptocastError as error:
            self._count("upstream_error")
            return dict.fromkeys(coins, error)
        now, wall = self._clock(), self._wall_clock()
        for coin, quote in parts.found.items():
            fresh = self._fresh_s * self._rng.uniform(1.0 - JITTER, 1.0)
            self._keep((vs, coin), _Kept(quote, now, wall, now + fresh))
        passing: dict[str, CryptocastError] = {}
        for coin, why in parts.errors.items():
            if isinstance(why, DataError):
                self._keep((vs, coin), _Kept(why, now, wall, now + UNKNOWN_S))
            else:
                self._count("upstream_error")
                passing[coin] = why
        return passing

    def _keep(self, key: tuple[str, str], kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)


def _row(coin: str, vs: str, kept: _Kept, quote: Quote) -> PriceRow:
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
