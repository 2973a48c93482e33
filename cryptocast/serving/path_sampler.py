"""Sample paths for clients, drawn in the thread that computes forecasts, and never more than it has time for."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from cryptocast.serving.encoding import encode
from cryptocast.serving.forecast_cache import FreshForecast
from cryptocast.serving.problems import OverloadError
from cryptocast.serving.worker import Worker
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import CoinForecast, Touch
from cryptocast.workflows.sample_paths import coin_paths, only_for, paths_of, with_touch

T = TypeVar("T")

MOST_PRICES: Final = 200_000  # of all paths, bars and coins: an answer of 2 MB, and some tenths of a second


class PathSampler:
    """Questions to sample paths. What they are asked about has every interval: see `with_every_bar`."""

    def __init__(self, context: Context, worker: Worker) -> None:
        self._context, self._worker = context, worker

    async def touched(self, fresh: FreshForecast, request: Request, touch: Touch, *, timeout_s: float) -> FreshForecast:
        """The forecast of the request with the probability that a price is touched."""
        return await self._in_time(partial(self._touched, fresh, request, touch), timeout_s)

    async def paths(self, forecasts: Sequence[CoinForecast], *, paths: int, seed: int, timeout_s: float) -> bytes:
        """The paths of each coin, as a JSON list of `CoinPaths`."""
        return await self._in_time(partial(self._paths, forecasts, paths, seed), timeout_s)

    def _touched(self, fresh: FreshForecast, request: Request, touch: Touch) -> FreshForecast:
        drawn = paths_of(self._context, [fresh.forecast], paths=touch.paths, seed=touch.seed)
        forecast = only_for(with_touch(fresh.forecast, drawn, touch), request, self._context.config)
        return FreshForecast(msgspec.Raw(encode(forecast)), fresh.term, forecast)

    def _paths(self, forecasts: Sequence[CoinForecast], paths: int, seed: int) -> bytes:
        drawn = paths_of(self._context, forecasts, paths=paths, seed=seed)
        return b"[%s]" % b",".join(encode(one) for one in coin_paths(forecasts, drawn))

    async def _in_time(self, call: Callable[[], T], timeout_s: float) -> T:
        try:
            return await asyncio.wait_for(self._worker.submit(call), timeout_s)
        except TimeoutError:
            raise OverloadError(f"The paths were not drawn within {timeout_s:g} s. Ask again later.") from None


def paths_within_reason(paths: int, prices: int) -> int:
    """So many paths, or fewer, at least one, where each has many prices, of all coins and bars."""
    return max(1, min(paths, MOST_PRICES // prices))
