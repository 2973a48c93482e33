"""An app on a forecast made up by the test, and requests to it in process."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from starlette.applications import Starlette

from cryptocast.config import Config, ServeConfig, StoreConfig
from cryptocast.serving import create_app
from cryptocast.serving.forecast_cache import ForecastCache
from cryptocast.serving.worker import Worker
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.ladder import MakeForecast
from cryptocast.workflows.market_data.store_watch import ServedState
from cryptocast.workflows.reports import (
    CoinForecast,
    ForecastDocument,
    HorizonForecast,
    Interval,
    Unanswered,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)

T = TypeVar("T")

FOREVER_S = 120.0  # for what comes at once on a machine that does nothing else


def going() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


async def until(comes: Callable[[], object]) -> None:
    """Wait for it, however busy the machine is."""
    async with asyncio.timeout(FOREVER_S):
        while not comes():
            await asyncio.sleep(0.005)


@dataclass
class Clock:
    """A wall clock, which a test may also set, and the monotonic one beside it."""

    now: datetime = NOON
    passed_s: float = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """The monotonic one."""
        return self.passed_s

    def forward(self, **units: float) -> None:
        """Time passes."""
        self.now += timedelta(**units)
        self.passed_s += timedelta(**units).total_seconds()


@dataclass
class FakeForecast:
    """Answers for any coin but those that fail; counts its calls, takes as long as it is told to, and goes on when it
    may `go`."""

    source: str = "coingecko"
    as_of: datetime = MIDNIGHT
    takes_s: float = 0.0
    failing: dict[str, Exception] = field(default_factory=dict)
    version: int | None = 1
    price: float = 65_123.456789012345
    calls: Counter[str] = field(default_factory=Counter)
    requests: list[Request] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    go: threading.Event = field(default_factory=going)
    running: int = 0
    most_running: int = 0

    def __call__(self, request: Request) -> ForecastDocument:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.threads.add(threading.get_ident())
        (coin,) = request.selection.coins
        self.calls[coin] += 1
        self.requests.append(request)
        time.sleep(self.takes_s)
        self.go.wait(FOREVER_S)
        self.running -= 1
        if coin in self.failing:
            raise self.failing[coin]
        return ForecastDocument(forecasts=(self.made(coin, request),))

    def made(self, coin: str, request: Request) -> CoinForecast:
        return CoinForecast(
            coin=coin,
            vs=request.selection.vs or "",
            granularity=request.selection.granularity or "",
            source=self.source,
            model_requested=request.model or "",
            model_used="lightgbm",
            version=self.version,
            fallback_reason=None,
            as_of=self.as_of,
            stale_after=self.as_of + timedelta(days=3),
            stale=False,
            price=self.price,
            notices=(),
            horizons=tuple(self.horizon(bars, request.intervals) for bars in request.horizons),
        )

    def horizon(self, bars: int, levels: Sequence[int]) -> HorizonForecast:
        return HorizonForecast(
            horizon=bars,
            target_time=self.as_of + timedelta(days=bars),
            median=self.price,
            mean=self.price * 1.001,
            intervals=tuple(Interval(level=level, lower=self.price * 0.9, upper=self.price * 1.1) for level in levels),
            volatility=0.1 / 3,
            p_up=0.5,
            confidence=0.5,
            pooled=None,
            answers=(),
            unanswered=Unanswered.NOT_BACKTESTED,
            evidence=None,
            fallback_reason=None,
            interpolated=None,
            live_outcomes=0,
        )


def config(*, max_ids: int = 50, request_timeout_s: float = 60.0, store: Path = Path("nowhere")) -> Config:
    return Config(
        store=StoreConfig(path=store), serve=ServeConfig(max_ids=max_ids, request_timeout_s=request_timeout_s)
    )


def serving(**changes: object) -> Config:
    settings = config()
    return msgspec.structs.replace(settings, serve=msgspec.structs.replace(settings.serve, **changes))


def context(settings: Config | None = None, clock: Callable[[], datetime] | None = None) -> Context:
    wall = clock or Clock()
    monotonic = wall.seconds if isinstance(wall, Clock) else time.monotonic
    return Context(settings or config(), wall_clock=wall, clock=monotonic)


def app_on(
    forecast: FakeForecast,
    *,
    settings: Config | None = None,
    clock: Callable[[], datetime] | None = None,
    token: str | None = None,
    stamp: Callable[[], Hashable] | None = None,
) -> Starlette:
    """The app on a made-up forecast and, by default, a registry that never changes."""
    return create_app(context(settings, clock), forecast=forecast, token=token, stamp=stamp or (lambda: 0))


def forecasts_of(
    forecast: MakeForecast, clock: Clock | None = None, *, max_waiting: int = 10, **options: Any
) -> ForecastCache:
    """A cache on a made-up forecast and a state that nothing changes."""
    clock = clock or Clock()
    state, worker = ServedState(lambda: 0), Worker(max_waiting=max_waiting)
    return ForecastCache(forecast, clock, clock.seconds, state=state, worker=worker, **options)


def request_of(model: str = "auto", coin: str = "bitcoin", horizon: int = 1) -> Request:
    """What a client asks with nothing left open."""
    return Request(Selection((coin,), "auto", "usd", "daily"), model, (horizon,), (80,))


def talk(app: Starlette, conversation: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    """What the conversation gives, held with the app while its lifespan lasts."""

    async def held() -> T:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://server") as client,
        ):
            return await conversation(client)

    return asyncio.run(held())


def get(app: Starlette, url: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> httpx.Response:
    """One request to the app."""
    return talk(app, lambda client: client.request(method, url, headers=headers))
