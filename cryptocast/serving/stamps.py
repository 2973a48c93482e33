"""What changes under a running server: the registry and the candles, by whichever process. Looked at, never asked for."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Final, TypeAlias

from cryptocast.data.kept import KeptCandles
from cryptocast.data.schema import SeriesKey
from cryptocast.errors import CryptocastError
from cryptocast.registry import RegistryWatch

__all__ = ["Stamp", "StoreWatch"]

log = logging.getLogger(__name__)

# Asked with every request, on the event loop: it must cost nothing.
Stamp: TypeAlias = Callable[[], Hashable]
SOURCES: Final = ("file", "coingecko")  # those whose candles lie in the store


class StoreWatch:
    """Compares the files of a store with what they were; a look costs two microseconds a series, in a thread.

    series: coin, quote currency and granularity of what is served. on_change hears of a coin whose candles are others
    now, on the event loop, once the new ones have been read into `candles`; each change once, whoever wrote it.
    """

    def __init__(
        self,
        candles: KeptCandles,
        registry: RegistryWatch,
        *,
        series: Callable[[], Iterable[SeriesKey]],
        on_change: Callable[[str], None],
    ) -> None:
        self._candles, self._registry, self._series, self._on_change = candles, registry, series, on_change
        self._seen: dict[SeriesKey, Hashable] = {}
        self._looking = asyncio.Lock()

    async def look(self) -> tuple[str, ...]:
        """See what has changed, and tell of it. Returns the coins."""
        async with self._looking:
            changed = await asyncio.to_thread(self._changed, tuple(self._series()))
            for coin in changed:
                self._on_change(coin)
        return changed

    def _changed(self, series: tuple[SeriesKey, ...]) -> tuple[str, ...]:
        self._registry.look()
        changed = []
        for key in series:
            facts = self._candles.facts(key)
            before = self._seen.get(key, facts)
            self._seen[key] = facts
            if facts != before:
                self._read(key)
                changed.append(key.coin)
        if len(self._seen) > 8 * (len(series) + 64):  # clients ask for other coins in time
            self._seen = {key: self._seen[key] for key in series}
        return tuple(dict.fromkeys(changed))

    def _read(self, key: SeriesKey) -> None:
        """Into memory now, so that the first forecast of the bar does not wait for the disk."""
        try:
            self._candles.read(key)
        except CryptocastError as error:
            log.warning("the new candles of %s cannot be read: %s", key.coin, error)
