"""A connection to a source that is asked over the network: pages of history, one or many at a time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self, TypeVar

import msgspec
import polars as pl

from cryptocast.data.schema import SeriesKey
from cryptocast.errors import CryptocastError, UpstreamError
from cryptocast.net import Priority
from cryptocast.net.loop import LoopThread

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    """One call for history: bars that close in (start, end]. ends_now: the newest there are. market: where the stored
    bars of the series were traded, e.g. BTC/USDT; None if nothing is stored, or the source has no markets."""

    key: SeriesKey
    start: datetime
    end: datetime
    ends_now: bool
    market: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Closed bars in CANDLE_SCHEMA (none is possible for a young coin), what was left out, in words, and the market in
    which they were traded, for a source with markets."""

    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    market: str | None = None


class Budget(Protocol):
    """The calls that a source allows in a month. left: None where there is no bound."""

    @property
    def used(self) -> int: ...
    @property
    def left(self) -> int | None: ...


def decoded(body: bytes, kind: type[R], what: str) -> R:
    """The JSON of an answer as a type. Raises UpstreamError that says that `what` is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise UpstreamError(f"{what} could not be parsed: {error}. Try again later.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"{what} is not whole JSON ({len(body)} bytes: {error}). Try again later.") from error


class Upstream(ABC):
    """Close it, or use it as a context manager. `page` and `aclose` belong to the loop of their caller; the other
    methods are for callers without a loop and share one thread's loop.

    calls: that went out, with retries. calls_per_minute: that the source allows.
    """

    calls: int = 0
    calls_per_minute: int = 60
    _loop: LoopThread | None = None

    @abstractmethod
    async def page(
        self, page: Page, now: datetime, *, priority: Priority = Priority.USER, patient: bool = False
    ) -> History:
        """The bars of one page that are closed at `now`.

        patient: wait once for a rate limit that asks for longer than a call may take. Raises UnknownCoin,
        UnknownCurrency, ConfigError (the key), RateLimited, QuotaSpent, UpstreamError, DataError.
        """

    def budget(self) -> Budget | None:
        """Where the month stands, if the source counts its calls."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - not every connection has something to close
        """Close what is open."""

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """The result of a coroutine of this connection."""
        self._loop = self._loop or LoopThread()
        return self._loop.run(work)

    def each(
        self, jobs: Iterable[tuple[T, Callable[[], Coroutine[Any, Any, R]]]], *, at_once: int
    ) -> Generator[tuple[T, R | CryptocastError], None, None]:
        """Results and errors of many pieces of work as they come, at most `at_once` begun and not yet taken from here.

        The next job is drawn when there is room for it, so a caller may change its mind about the rest. Whoever leaves
        the iteration leaves the work that is under way. Errors other than ours are raised.
        """
        waiting = iter(jobs)
        running: dict[asyncio.Task[R], T] = {}
        try:
            while True:
                while len(running) < at_once and (job := next(waiting, None)) is not None:
                    running[self.run(_start(job[1]))] = job[0]
                if not running:
                    return
                task = self.run(_first(running))
                about = running.pop(task)
                error = task.exception()
                if error is not None and not isinstance(error, CryptocastError):
                    raise error
                yield about, task.result() if error is None else error
        finally:
            if running:
                self.run(_drop(running))

    def close(self) -> None:
        """Close what is open, and the loop of the calls without one."""
        if self._loop is not None:
            self._loop.run(self.aclose())
            self._loop.close()
            self._loop = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _start(work: Callable[[], Coroutine[Any, Any, R]]) -> asyncio.Task[R]:
    return asyncio.create_task(work())


async def _first(running: Iterable[asyncio.Task[R]]) -> asyncio.Task[R]:
    """One that is done; others that are done too are done the next time as well."""
    return (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0].pop()


async def _drop(running: Iterable[asyncio.Task[Any]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
