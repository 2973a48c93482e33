"""Time that only waiting moves, over a real socket: it stands still while a call is under way."""

import asyncio
import heapq
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace

from cryptocast.config import CoinGeckoConfig, Config, ExchangesConfig, StoreConfig
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.exchanges.base import ExchangeClient, HttpExchange, address
from cryptocast.data.sources.upstream import Upstream
from cryptocast.net import ApiClient, Limiter
from cryptocast.rehearsal import FakeUpstream
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.market_data.fetch import FetchOrder, FetchReport, fetch
from cryptocast.workflows.market_data.resolve import open_store

__all__ = ["ExchangeStall", "Stall", "VirtualTime"]


class VirtualTime:
    """A clock, and a sleep that puts it forward once no call is under way."""

    def __init__(self, start: datetime) -> None:
        self.start, self.passed_s, self.under_way = start, 0.0, 0
        self.calls_at = list[float]()  # when each call went out
        self._sleepers: list[float] = []

    def clock(self) -> float:
        return self.passed_s

    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.passed_s)

    async def sleep(self, seconds: float) -> None:
        until = self.passed_s + seconds
        heapq.heappush(self._sleepers, until)
        try:
            while self.passed_s < until:
                await asyncio.sleep(0.0002)
                if self.under_way == 0 and self._sleepers[0] == until:
                    self.passed_s = until
        finally:
            self._sleepers.remove(until)
            heapq.heapify(self._sleepers)


class Counting(httpx.AsyncBaseTransport):
    """The network, with a count of the calls that are under way."""

    def __init__(self, time: VirtualTime) -> None:
        self._time, self._inner = time, httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._time.under_way += 1
        self._time.calls_at.append(self._time.passed_s)
        try:
            response = await self._inner.handle_async_request(request)
            await response.aread()
        finally:
            self._time.under_way -= 1
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class Stall:
    """A stand-in, a store, and fetches from one into the other, all by one clock."""

    def __init__(
        self,
        folder: Path,
        fake: FakeUpstream,
        time: VirtualTime | None = None,
        *,
        api_key: str | None = None,
        **coingecko: Any,
    ) -> None:
        self.fake = fake
        self.time = time or VirtualTime(fake.clock.now())
        settings = {"max_retries": 0, **coingecko}
        self.config = Config(
            store=StoreConfig(path=folder / "data", lock_timeout_s=5.0),
            coingecko=CoinGeckoConfig(base_url=fake.url, pro_base_url=fake.url, **settings),
        )
        self.store = open_store(self.config)
        self.api_key = api_key

    def opened(self) -> Upstream:
        return self.upstream()

    def upstream(self) -> CoinGecko:
        per_minute = self.config.coingecko.calls_per_minute or 5
        return CoinGecko(
            self.config.coingecko,
            api_key=self.api_key,
            client=partial(ApiClient, transport=Counting(self.time)),
            limiter=Limiter(per_minute, clock=self.time.clock, sleep=self.time.sleep),
            credits=Credits(
                self.config.store.path / "run/credits.json",
                per_month=self.config.coingecko.monthly_credits,
                now=self.time.wall,
            ),
            cache=self.config.store.path / "cache/coingecko",
        )

    def fetch(self, *coins: str, **options: Any) -> FetchReport:
        arguments: dict[str, Any] = {"source": "coingecko", "vs": "usd", "granularity": "daily", **options}
        bars = {name: arguments.pop(name) for name in ("source", "vs", "granularity")}
        progress = arguments.pop("progress", NoProgress())
        context = Context(self.config, wall_clock=self.time.wall, candles=self.store, progress=progress)
        return fetch(context, FetchOrder(Selection(coins, **bars), **arguments), upstream=self.opened)


class ExchangeStall(Stall):
    """The same with one exchange."""

    def __init__(self, folder: Path, fake: FakeUpstream, exchange: HttpExchange, time: VirtualTime) -> None:
        super().__init__(folder, fake, time)
        self.exchange = exchange
        self.config = replace(self.config, exchanges=ExchangesConfig(base_url=fake.origin))

    def opened(self) -> Upstream:
        client, limits = ExchangeClient(self.exchange, Access(self.config, self.time.wall)), self.exchange.limits
        client._client = ApiClient(
            address(self.exchange, self.fake.origin),
            name=self.exchange.title,
            remedy="None.",
            limiter=Limiter(limits.calls, window_s=limits.window_s, clock=self.time.clock, sleep=self.time.sleep),
            on_try=client._count,
            transport=Counting(self.time),
        )
        return client

    def fetch(self, *coins: str, **options: Any) -> FetchReport:
        return super().fetch(*coins, **{"source": self.exchange.name, **options})
