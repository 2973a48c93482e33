"""Forecasts as finished bytes: each computed once, however many ask, and kept until it could be another."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cryptocast.data.schema import BAR_US
from cryptocast.errors import CryptocastError
from cryptocast.serving.encoding import encode
from cryptocast.serving.problems import INTERNAL, RETRY_AFTER_S, OverloadError
from cryptocast.serving.stamps import Stamp
from cryptocast.serving.worker import Worker
from cryptocast.workflows.documents import CoinForecast, ForecastDocument
from cryptocast.workflows.forecast import Request

__all__ = ["Answered", "Answers", "Failed", "MakeForecast", "Outcome"]

log = logging.getLogger(__name__)

MakeForecast: TypeAlias = Callable[[Request], ForecastDocument]

MAX_ENTRIES: Final = 2048  # of about 2 kB each
# Bars that are late, or whose source does not age by the wall clock, may be replaced at any time.
LOOK_AGAIN: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Answered:
    """A coin's CoinForecast as JSON, and when to make it anew."""

    body: msgspec.Raw
    until: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """Why there is none, and until when that is believed."""

    error: CryptocastError
    until: datetime


Outcome: TypeAlias = Answered | Failed
# A request and the state of the registry that it met.
Key: TypeAlias = tuple[Request, Hashable]


class Answers:
    """Outcomes by coin. `forecast` is called in one thread only; everything else happens on the event loop."""

    def __init__(
        self,
        forecast: MakeForecast,
        *,
        stamp: Stamp,
        wall_clock: Callable[[], datetime],
        max_waiting: int,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._forecast, self._stamp, self._wall_clock = forecast, stamp, wall_clock
        self._worker = Worker(max_waiting=max_waiting)
        self._max_entries = max_entries
        self._kept: OrderedDict[Key, Outcome] = OrderedDict()
        self._flights: dict[Key, asyncio.Task[Outcome]] = {}

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
        """The outcome of each request, which names one coin. What is not there in time has failed, for this time.

        A computation goes on when those who asked have gone: the next to ask finds it done.
        """
        stamp = self._stamp()
        found = [self._known((request, stamp)) or self._flight((request, stamp)) for request in requests]
        flights = {flight for flight in found if isinstance(flight, asyncio.Task)}
        if flights:
            await asyncio.wait(flights, timeout=timeout_s)  # unlike wait_for and gather, cancels nothing
        return [self._landed(one, timeout_s) if isinstance(one, asyncio.Task) else one for one in found]

    def _known(self, key: Key) -> Outcome | None:
        outcome = self._kept.get(key)
        if outcome is None or self._wall_clock() >= outcome.until:
            return None
        self._kept.move_to_end(key)
        return outcome

    def _flight(self, key: Key) -> asyncio.Task[Outcome]:
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._computed(key))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return flight

    def _landed(self, flight: asyncio.Task[Outcome], timeout_s: float) -> Outcome:
        if flight.done():
            return flight.result()
        error = OverloadError(f"The forecast was not ready within {timeout_s:g} s. It is being made: ask again.")
        return Failed(error, self._wall_clock())

    async def _computed(self, key: Key) -> Outcome:
        try:
            outcome = await self._worker.submit(partial(self._made, key[0]))
        except OverloadError as error:
            return Failed(error, self._wall_clock())
        self._kept[key] = outcome
        self._kept.move_to_end(key)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)
        return outcome

    def _made(self, request: Request) -> Outcome:
        """In the worker's thread."""
        try:
            (made,) = self._forecast(request).forecasts
            return Answered(msgspec.Raw(encode(made)), self._valid_until(made, request))
        except CryptocastError as error:
            failure = error
        except Exception:
            log.exception("forecast of %s failed", ", ".join(request.selection.coins))
            failure = CryptocastError(INTERNAL)
        return Failed(failure, self._wall_clock() + timedelta(seconds=RETRY_AFTER_S))

    def _valid_until(self, made: CoinForecast, request: Request) -> datetime:
        now = self._wall_clock()
        next_close = made.as_of + timedelta(microseconds=BAR_US[request.selection.granularity or "daily"])
        if made.source == "coingecko" and next_close > now:
            return next_close
        return now + LOOK_AGAIN
