"""Where the server fetches candles: in a thread of its own, behind a breaker, each series once at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final

from cryptocast.data.sources.base import Source
from cryptocast.data.sources.errors import UnknownCoin, UnknownCurrency
from cryptocast.data.sources.table import AUTO, is_fetched
from cryptocast.data.sources.upstream import Upstream
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Breaker, Priority, Try
from cryptocast.serving.access import CLIENT
from cryptocast.serving.worker import Worker
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.bring import Fetched, bring
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.strangers import Strangers, Unknown

DEADLINE_S: Final = 20.0  # of a call with its retries: somebody may be waiting for the next one
MAX_WAITING: Final = 64
MAX_UNKNOWN: Final = 20_000


class CandleFetcher:
    """`on_change` is awaited when candles were brought, on the event loop; `on_try` hears of each request to the
    upstream, in another thread.

    breaker: of the calls to a source, by its name. refusal: why the store cannot be written; then nobody is asked for
    what could not be kept. strangers: which coins the server is set up for; without, all of them. The others come in a
    thread of their own, one call each, so that none of ours waits behind them.
    """

    def __init__(
        self,
        context: Context,
        *,
        breaker: Callable[[str], Breaker],
        on_change: Callable[[], Awaitable[object]],
        on_try: Callable[[Try], None] | None = None,
        refusal: Callable[[], str | None] = lambda: None,
        strangers: Strangers | None = None,
    ) -> None:
        self._context, self._breaker = context, breaker
        self._on_change, self._on_try, self._refusal = on_change, on_try, refusal
        self._strangers = strangers
        self._worker, self._worker_for_others = Worker(max_waiting=MAX_WAITING), Worker(max_waiting=MAX_WAITING)
        self._unknown = Unknown(clock=time.monotonic, most=MAX_UNKNOWN)
        self._flights: dict[Resolved, asyncio.Task[Fetched]] = {}

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()
        self._worker_for_others.start()

    async def close(self) -> None:
        """Leave what is under way to its own deadline."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(self._worker.close(), self._worker_for_others.close())

    async def for_request(self, request: Request, lacking: DataError) -> CryptocastError | None:
        """Bring the candles that a request lacks; None once they are here. For the CLIENT, if they are of a coin that
        the server is not set up for. `lacking`, what is said of it now, where nothing is fetched from its source: it
        can never be had."""
        wanted = request.selection.resolved(self._context.config)
        (coin,) = wanted.coins
        if wanted.source != AUTO and not is_fetched(wanted.source):
            return lacking
        flight = self._flights.get(wanted)
        if flight is None:
            priority = Priority.USER
            if self._strangers is not None and not self._strangers.is_ours(coin, wanted.vs):
                priority = Priority.STRANGER
                refusal = self._unknown.why(*_subjects(wanted)) or self._strangers.refusal(CLIENT.get())
                if refusal is not None:
                    return refusal
            flight = asyncio.create_task(self._settled(wanted, priority))
            self._flights[wanted] = flight
            flight.add_done_callback(lambda _: self._flights.pop(wanted, None))
        return (await asyncio.shield(flight))[coin]

    async def bring(self, request: Resolved, priority: Priority) -> Fetched:
        """Bring the coins of a request up to date: None for those that are, else why not. Raises nothing of its own."""
        coins = request.coins
        if (refusal := self._refusal()) is not None:
            return dict.fromkeys(coins, DataError(f"The store cannot be written ({refusal}): no candles are fetched."))
        try:
            worker = self._worker_for_others if priority is Priority.STRANGER else self._worker
            fetched, is_changed = await worker.submit(
                partial(bring, self._context, request, self._connect, priority=priority)
            )
        except CryptocastError as error:
            return dict.fromkeys(coins, error)
        if is_changed:
            await self._on_change()
        return fetched

    def _connect(self, source: Source) -> Upstream:
        breaker = self._breaker(source.name)
        return source.connect(access_of(self._context, breaker=breaker, on_try=self._on_try, deadline_s=DEADLINE_S))

    async def _settled(self, request: Resolved, priority: Priority) -> Fetched:
        """What came of one coin. What the upstream does not know is believed for a time, of a coin of ours never."""
        (coin,), vs = request.coins, request.vs
        fetched = await self.bring(request, priority)
        error = fetched[coin]
        if error is None or self._strangers is None:
            return fetched
        if priority is Priority.STRANGER and isinstance(error, UnknownCoin | UnknownCurrency):
            of_currency, of_coin = _subjects(request)
            self._unknown.remember(of_currency if isinstance(error, UnknownCurrency) else of_coin, error)
        if isinstance(error, UnknownCoin) and self._strangers.is_passing(coin, vs, error):
            return {
                coin: UpstreamError(f"{error} The server is set up for it, and no list of coins says so: ask again.")
            }
        return fetched


def _subjects(request: Resolved) -> tuple[Hashable, Hashable]:
    """What may be unknown upstream: the currency, and the coin in it."""
    return (request.source, request.vs), (request.source, request.vs, *request.coins)
