"""Where live prices come from: CoinGecko in batches, of the server's own coins and of others apart from them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.net import Batcher, Parts, PoolMetrics, Priority

__all__ = ["PriceUpstream"]

CLOSE_S = 2.0


class PriceUpstream:
    """Can be asked while it is open, in one event loop. connect: opens the connection to CoinGecko."""

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
        """Quotes and errors of other coins."""
        return await self._batchers[Priority.STRANGER].get(vs, coins, deadline_s=timeout_s)

    def pool(self) -> PoolMetrics | None:
        """What the connections do; None before the first opening."""
        return None if self._coingecko is None else self._coingecko.pool_metrics()

    def batches(self) -> tuple[int, int] | None:
        """Calls, and ids that were asked for; None before the first opening."""
        batchers = self._batchers.values()
        return (sum(one.calls for one in batchers), sum(one.asked for one in batchers)) if batchers else None
