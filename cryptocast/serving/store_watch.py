"""What changes under a running server: the registry and the candles, by whichever process."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from typing import Final, TypeAlias

from cryptocast.data.cached_store import CachedCandles, PublishedCandles
from cryptocast.data.schema import SeriesKey
from cryptocast.errors import CryptocastError
from cryptocast.registry import RegistryWatch, registry_stamp

__all__ = ["Stamp", "StoreWatch", "registry_stamp"]

log = logging.getLogger(__name__)

# Asked with every request, on the event loop: it must cost nothing.
Stamp: TypeAlias = Callable[[], Hashable]
LOOK_S: Final = 0.25  # how late a promotion, or a bar that another process brought, may be noticed


class StoreWatch:
    """Compares the files of a store with what they were; a look costs two microseconds a series, in a thread.

    series: those that are served from. on_change hears of a coin whose candles are others now, on the event loop, once
    the new ones have been read into `fresh` and shown in `shown`; each change once, whoever wrote it. before_change
    hears of these coins first and is waited for. on_registry hears of changes to the registry, in a thread.
    """

    def __init__(
        self,
        fresh: CachedCandles,
        shown: PublishedCandles,
        registry: RegistryWatch,
        *,
        series: Callable[[], Iterable[SeriesKey]],
        on_change: Callable[[str], None],
    ) -> None:
        self._fresh, self._shown, self._registry = fresh, shown, registry
        self._series, self._on_change = series, on_change
        self.on_registry: Callable[[], None] = lambda: None
        self.before_change: Callable[[tuple[str, ...]], Awaitable[None]] | None = None
        self._seen: dict[SeriesKey, Hashable] = {}
        self._unreadable: dict[SeriesKey, Hashable] = {}  # the state in which a series was told to be so
        self._refused: Hashable = ()  # the state of the registry of which it was told that it cannot be read
        self._followed: Hashable = ()  # what `on_registry` has taken over
        self._looking, self._guard = asyncio.Lock(), threading.Lock()

    async def run(self) -> None:
        """Look again and again, until it is cancelled. Whatever goes wrong is logged.

        At the registry for itself: a promotion does not wait until the bars of many coins are recorded.
        """
        await asyncio.gather(_again(self.look), _again(partial(asyncio.to_thread, self._look_at_registry)))

    async def look(self) -> tuple[SeriesKey, ...]:
        """See what has changed, and tell of it. Returns the series."""
        async with self._looking:
            changed = await asyncio.to_thread(self._changed, tuple(self._series()))
            if changed and self.before_change is not None:
                try:
                    await self.before_change(tuple(dict.fromkeys(key.coin for key in changed)))
                except Exception:  # the new bars are shown all the same: this change is told of once
                    log.exception("what comes before new bars failed for %d series", len(changed))
                # The calibration may have learned from the new bars.
                await asyncio.to_thread(self._look_at_registry)
            for key, facts in changed.items():
                if self._fresh.facts(key) != facts:
                    continue  # it has changed again meanwhile: the next look shows it, once that was told of too
                if not self._show(key, facts):
                    continue
                self._seen[key] = facts  # what has not been shown is a change to the next look too
                self._on_change(key.coin)
        return tuple(changed)

    def _changed(self, series: tuple[SeriesKey, ...]) -> dict[SeriesKey, Hashable]:
        self._look_at_registry()
        changed: dict[SeriesKey, Hashable] = {}
        for key in series:
            facts = self._fresh.facts(key)
            before = self._seen[key] if key in self._seen else self._fresh.facts_at_first(key)
            if facts == before:
                self._seen[key] = facts
            elif self._read(key, facts):
                changed[key] = facts
        if len(self._seen) > 8 * (len(series) + 64):  # clients ask for other coins in time
            self._seen = {key: self._seen[key] for key in series if key in self._seen}
        return changed

    def _show(self, key: SeriesKey, facts: Hashable) -> bool:
        try:
            self._shown.announce(key)
        except CryptocastError as error:
            self._tell(key, facts, error)
            return False
        return True

    def _look_at_registry(self) -> None:
        with self._guard:
            now = self._registry.look()
            if now == self._followed:
                return
            try:
                self.on_registry()
            except CryptocastError as error:
                if now != self._refused:
                    log.warning("the registry has changed and cannot be read, it is tried again: %s", error)
                self._refused = now
                return
            self._followed = now

    def _read(self, key: SeriesKey, facts: Hashable) -> bool:
        """Into memory now, so that the first forecast of the bar does not wait for the disk. What cannot be read is
        tried again with the next look."""
        try:
            self._fresh.read(key)
        except CryptocastError as error:
            self._tell(key, facts, error)
            return False
        self._unreadable.pop(key, None)
        return True

    def _tell(self, key: SeriesKey, facts: Hashable, error: CryptocastError) -> None:
        if self._unreadable.get(key, ()) != facts:
            log.warning("the new candles of %s cannot be read, they are tried again: %s", key.coin, error)
        self._unreadable[key] = facts


async def _again(look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await look()
        except Exception:
            log.exception("the store could not be looked at; it is looked at again")
        await asyncio.sleep(LOOK_S)
