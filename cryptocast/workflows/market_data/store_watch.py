"""What changes under a running server: the registry and the candles, by whichever process.

A server keeps five things in memory, and this is what ends each of them; nothing else does:

- candles (`data.cached_store.CachedCandles`): the file of the series has another number, size or time;
- candles as forecasts see them (`data.cached_store.PublishedCandles`): the watch publishes newer ones, once the leader
  has done its duties with these;
- answers of the registry (`registry.KeptRegistry`): the watch sees the registry in another state;
- forecasts (`serving.forecast_cache`): their term is over, or the `ServedState` of their coin is another one;
- answers to whole requests (`serving.response_cache`): a term of their forecasts, or the state, is over.

So whoever changes a file is noticed by the watch, the watch changes the state, and what was made in another state is
given out no more. A term is the time until the next bar closes, or some seconds where the cause of a failure may pass.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final, TypeAlias

from cryptocast.data.cached_store import CachedCandles, Facts, PublishedCandles
from cryptocast.data.schema import SeriesKey
from cryptocast.errors import CryptocastError
from cryptocast.registry import RegistryWatch

log = logging.getLogger(__name__)

# Asked with every request, on the event loop: it must cost nothing.
Stamp: TypeAlias = Callable[[], Hashable]
LOOK_S: Final = 0.25  # how late a promotion, or a bar that another process brought, may be noticed


class ServedState:
    """Values that differ where forecasts may: see above. registry: the state of the registry as it was seen last."""

    def __init__(self, registry: Stamp) -> None:
        self.registry = registry
        self._changes: Counter[str] = Counter()
        self._total = 0

    def __call__(self) -> Hashable:
        """That of all coins."""
        return self.registry(), self._total

    def of(self, coin: str) -> Hashable:
        """That of one coin."""
        return self.registry(), self._changes[coin]

    def candles_changed(self, coin: str) -> None:
        """Others are shown from now on."""
        self._changes[coin] += 1
        self._total += 1


class StoreWatch:
    """Compares the files of a store with what they were; a look costs two microseconds a series, in a thread.

    Each change of candles is shown and told to `state` once, whoever wrote it, on the event loop. before_change hears
    of the coins first and is waited for. on_registry hears of changes to the registry, in a thread.
    """

    def __init__(
        self,
        fresh: CachedCandles,
        published: PublishedCandles,
        registry: RegistryWatch,
        state: ServedState,
        before_change: Callable[[tuple[str, ...]], Awaitable[None]],
        on_registry: Callable[[], None] = lambda: None,
    ) -> None:
        self._fresh, self._published, self._registry, self._state = fresh, published, registry, state
        self._before_change, self._on_registry = before_change, on_registry
        self._unreadable: dict[SeriesKey, Hashable] = {}  # the state in which a series was logged to be so
        self._refused: Hashable = ()  # the state of the registry of which it was logged that it cannot be read
        self._followed: Hashable = ()  # what `on_registry` has taken over
        self._looking, self._guard = asyncio.Lock(), threading.Lock()

    async def run(self) -> None:
        """Look again and again, until it is cancelled. Whatever goes wrong is logged.

        At the registry for itself: a promotion does not wait until the bars of many coins are recorded.
        """
        await asyncio.gather(_again(self.look), _again(partial(asyncio.to_thread, self._look_at_registry)))

    async def look(self) -> None:
        """See what has changed, and tell of it."""
        async with self._looking:
            changed = await asyncio.to_thread(self._changed)
            if not changed:
                return
            try:
                await self._before_change(tuple(dict.fromkeys(key.coin for key in changed)))
            except Exception:  # the new bars are shown all the same: this change is told of once
                log.exception("what comes before new bars failed for %d series", len(changed))
            # The calibration may have learned from the new bars.
            await asyncio.to_thread(self._look_at_registry)
            for key, facts in changed.items():
                # What has changed again meanwhile is shown by the next look, once that was told of too.
                if self._fresh.facts(key) == facts and self._readable(key, facts, self._published.publish, facts):
                    self._state.candles_changed(key.coin)

    def _changed(self) -> dict[SeriesKey, Facts | None]:
        """Read into memory now, so that the first forecast of the bar does not wait for the disk. What cannot be read
        is tried again with the next look."""
        self._look_at_registry()
        changed = self._published.changed()
        return {key: facts for key, facts in changed.items() if self._readable(key, facts, self._fresh.read)}

    def _readable(self, key: SeriesKey, facts: Hashable, read: Callable[..., object], *options: object) -> bool:
        try:
            read(key, *options)
        except CryptocastError as error:
            if self._unreadable.get(key, ()) != facts:
                log.warning("the new candles of %s cannot be read, they are tried again: %s", key.coin, error)
            self._unreadable[key] = facts
            return False
        self._unreadable.pop(key, None)
        return True

    def _look_at_registry(self) -> None:
        with self._guard:
            now = self._registry.look()
            if now == self._followed:
                return
            try:
                self._on_registry()
            except CryptocastError as error:
                if now != self._refused:
                    log.warning("the registry has changed and cannot be read, it is tried again: %s", error)
                self._refused = now
                return
            self._followed = now


async def _again(look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await look()
        except Exception:
            log.exception("the store could not be looked at; it is looked at again")
        await asyncio.sleep(LOOK_S)
