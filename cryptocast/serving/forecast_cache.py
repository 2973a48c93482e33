"""Forecasts as finished bytes: each computed once, however many ask, and kept until it could be another."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

import msgspec

from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.table import ages_by_clock, is_fetched
from cryptocast.errors import CryptocastError, DataError, UsageError
from cryptocast.serving.encoding import encode
from cryptocast.serving.problems import INTERNAL, RETRY_AFTER_S, OverloadError, without_folders
from cryptocast.serving.terms import Term
from cryptocast.serving.worker import Worker
from cryptocast.workflows.fallbacks import PASSING, Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.ladder import MakeForecast
from cryptocast.workflows.market_data.store_watch import ServedState
from cryptocast.workflows.reports import CoinForecast

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Brings the candles that a request lacks, as the error says: None if they came, else why they did not.
Bring: TypeAlias = Callable[[Request, DataError], Awaitable[CryptocastError | None]]

MAX_ENTRIES: Final = 2048  # of about 2 kB each
# Bars that are late, or that nobody fetches, may be replaced at any time.
LOOK_AGAIN: Final = timedelta(seconds=60)
# Who could have the last good forecast at once does not wait longer than this for the next one.
PATIENCE_S: Final = 0.3
# A fallback whose cause may be over in a moment is believed for as long as a failure is.
PASSING_S: Final = float(RETRY_AFTER_S)
MOST_LATE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FreshForecast:
    """A coin's CoinForecast as JSON, and how long it holds."""

    body: msgspec.Raw
    term: Term
    forecast: CoinForecast


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is none, and how long that is believed."""

    error: CryptocastError
    term: Term


Outcome: TypeAlias = FreshForecast | Failure
Key: TypeAlias = tuple[Request, Hashable]  # a request, and the state of its coin that it met


class ForecastCache:
    """Outcomes by coin. `forecast` is called in the worker's thread only; everything else happens on the event loop."""

    def __init__(
        self,
        forecast: MakeForecast,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        *,
        state: ServedState,
        worker: Worker,
        max_entries: int = MAX_ENTRIES,
        bring: Bring | None = None,
        on_fallback: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._forecast, self._state, self._worker = forecast, state, worker
        self._wall_clock, self._clock = wall_clock, clock
        self._bring, self._on_fallback = bring, on_fallback
        self._max_entries = max_entries
        self._outcomes: OrderedDict[Key, Outcome] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[Outcome]] = {}
        self._last_good: OrderedDict[Request, FreshForecast] = OrderedDict()
        self._newest: list[CoinForecast] | None = None
        self.computed = 0
        self.ahead: dict[str, CoinForecast] = {}  # the forecasts computed ahead, by coin

    def __len__(self) -> int:
        return len(self._outcomes)

    @property
    def has_answered(self) -> bool:
        """Whether one forecast at least could be made."""
        return bool(self._last_good)

    def newest(self) -> list[CoinForecast]:
        """The forecasts that were made last, one for each request."""
        if self._newest is None:  # asked for with every scrape; to go through the dictionary hashes every request
            self._newest = [good.forecast for good in self._last_good.values()]
        return self._newest

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this lasts, forecasts are computed."""
        self._worker.start()
        try:
            yield
        finally:
            for flight in self._flights.values():
                flight.cancel()
            await self._worker.close()

    async def of(self, requests: Sequence[Request], *, timeout_s: float) -> list[Outcome]:
        """The outcome of each request, which names one coin. What is not there in time is answered by the last good
        forecast, marked, or has failed, for this time.

        A computation goes on when those who asked have gone: the next to ask finds it done.
        """
        keys = [self._key(request) for request in requests]
        ready = [self._known(key) or self._flight(key) for key in keys]
        flights = {flight for flight in ready if isinstance(flight, asyncio.Task)}
        if flights:
            could_wait_less = all(key[0] in self._last_good for key in keys)
            patience = min(timeout_s, PATIENCE_S) if could_wait_less else timeout_s
            await asyncio.wait(flights, timeout=patience)  # unlike wait_for and gather, cancels nothing
        return [
            self._landed(key[0], one, timeout_s) if isinstance(one, asyncio.Task) else one
            for key, one in zip(keys, ready, strict=True)
        ]

    async def prepare(self, requests: Sequence[Request], *, timeout_s: float) -> float:
        """Compute these one after the other, so that whoever asks for another coin meanwhile waits for one at most.
        The seconds until the first of them is over."""
        left_s = math.inf
        for request in requests:
            (outcome,) = await self.of([request], timeout_s=timeout_s)
            coin = request.selection.coins[0]
            self.ahead.pop(coin, None)
            if isinstance(outcome, FreshForecast):
                self.ahead[coin] = outcome.forecast
            left_s = min(left_s, outcome.term.left_s(self._wall_clock(), self._clock()))
        return left_s

    def holds(self, outcome: Outcome) -> bool:
        """Whether the outcome may still be given. One that was computed while the wall clock ran ahead may not."""
        now = self._wall_clock()
        if outcome.term.is_ahead(now):
            log.warning(
                "an answer computed at %s is from the future, the clock shows %s: it is computed again",
                outcome.term.since,
                now,
            )
        return outcome.term.holds(now, self._clock())

    def _key(self, request: Request) -> Key:
        return request, self._state.of(request.selection.coins[0])

    def _known(self, key: Key) -> Outcome | None:
        outcome = self._outcomes.get(key)
        if outcome is None or not self.holds(outcome):
            return None
        self._outcomes.move_to_end(key)
        return outcome

    def _flight(self, key: Key) -> asyncio.Task[Outcome]:
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._computed(key))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    def _landed(self, request: Request, flight: asyncio.Task[Outcome], timeout_s: float) -> Outcome:
        if flight.done():
            return flight.result()
        error = OverloadError(f"The forecast was not ready within {timeout_s:g} s. It is being made: ask again.")
        return self._or_last_good(request, self._failed(error, for_s=0.0), FallbackCode.TIMEOUT)

    async def _computed(self, key: Key) -> Outcome:
        request = key[0]
        try:
            outcome = await self._worker.submit(partial(self._compute, request))
            if isinstance(outcome, Failure) and isinstance(outcome.error, DataError) and self._bring is not None:
                error = await self._bring(request, outcome.error)
                if error is None:  # once more, with the candles that were not there
                    key = self._key(request)
                    outcome = await self._worker.submit(partial(self._compute, request))
                elif isinstance(error, CreditsKept):
                    # What is refused to one client for its own sake is not what the next one is told.
                    outcome = self._failed(error, for_s=0.0)
                else:
                    outcome = Failure(error, outcome.term)
        except OverloadError as error:
            return self._or_last_good(request, self._failed(error, for_s=0.0), FallbackCode.OVERLOAD)
        self.computed += 1
        if isinstance(outcome, FreshForecast):
            _put(self._last_good, request, outcome, self._max_entries)
            self._newest = None
        else:
            outcome = self._or_last_good(request, outcome, FallbackCode.CANDLES)
        _put(self._outcomes, key, outcome, self._max_entries)
        return outcome

    def _or_last_good(self, request: Request, failure: Failure, code: FallbackCode) -> Outcome:
        """The last good forecast, marked, in place of a failure that is not the client's."""
        good = self._last_good.get(request)
        if good is None or isinstance(failure.error, UsageError) or good.term.is_ahead(self._wall_clock()):
            return failure
        self._on_fallback("last_good")
        forecast = msgspec.structs.replace(good.forecast, stale=True, fallback_reason=Fallback(code=code))
        return FreshForecast(msgspec.Raw(encode(forecast)), failure.term, forecast)

    def _failed(self, error: CryptocastError, *, for_s: float) -> Failure:
        """for_s: how long it is believed, by the monotonic clock: 0 for this time only."""
        return Failure(error, Term(self._wall_clock(), MOST_LATE, self._clock() + for_s))

    def _compute(self, request: Request) -> Outcome:
        """In the worker's thread."""
        try:
            began = self._wall_clock()
            forecast = _for_clients(*self._forecast(request).forecasts)
            return FreshForecast(msgspec.Raw(encode(forecast)), self._term(forecast, request, began), forecast)
        except CryptocastError as error:
            return self._failed(error, for_s=PASSING_S)
        except Exception:
            log.exception("forecast of %s failed", ", ".join(request.selection.coins))
            return self._failed(CryptocastError(INTERNAL), for_s=PASSING_S)

    def _term(self, forecast: CoinForecast, request: Request, began: datetime) -> Term:
        """Until the next bar closes, it is stale, or it is time to look for a late one; seconds where something was
        broken."""
        now = self._wall_clock()
        next_close = forecast.as_of + timedelta(microseconds=BAR_US[request.selection.granularity or "daily"])
        until = next_close if is_fetched(forecast.source) and next_close > now else now + LOOK_AGAIN
        if ages_by_clock(forecast.source) and not forecast.stale:
            until = min(until, forecast.stale_after)
        reason = forecast.fallback_reason
        # The clock may be set while a forecast is computed.
        term = Term(max(began, now), until)
        is_passing = reason is not None and reason.code in PASSING
        return replace(term, expires=self._clock() + PASSING_S) if is_passing else term


def _for_clients(forecast: CoinForecast) -> CoinForecast:
    """Without the folders of this machine."""
    reason = forecast.fallback_reason
    if reason is not None and reason.detail is not None:
        reason = msgspec.structs.replace(reason, detail=without_folders(reason.detail))
    notices = tuple(without_folders(notice) for notice in forecast.notices)
    return msgspec.structs.replace(forecast, notices=notices, fallback_reason=reason)


def _put(entries: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    entries[key] = value
    entries.move_to_end(key)
    while len(entries) > most:
        entries.popitem(last=False)
