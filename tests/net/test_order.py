"""The order of the layers, as `net.client` says it: what each of them sees of the others' work."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cryptocast.net import (
    Answer,
    ApiClient,
    Batcher,
    Breaker,
    BreakerSettings,
    BreakerState,
    CircuitOpen,
    Limiter,
    NetSettings,
    Overloaded,
    Place,
    Priority,
    Try,
    Unreachable,
)
from cryptocast.net.retry import RetryBudget

START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A client with everything on, on one clock that only sleeping moves. `plan` says what the upstream plays."""

    def __init__(self, plan: Callable[[int], Any] = lambda _: 200, *, per_minute: int = 1000, **settings: Any) -> None:
        self.now, self.requests, self.tries = 1000.0, 0, list[Try]()
        self.read_timeouts: list[float] = []
        self.plan = plan
        self.limiter = Limiter(per_minute, clock=lambda: self.now, sleep=self.sleep)
        chosen = BreakerSettings(consecutive=3, open_s=30.0, jitter=0.0, probes=1, successes=1, slow_call_s=5.0)
        self.breaker = Breaker("example", chosen, clock=lambda: self.now)
        self.client = ApiClient(
            "https://api.example",
            name="Example",
            limiter=self.limiter,
            settings=NetSettings(**{"max_retries": 2, **settings}),
            breaker=self.breaker,
            budget=RetryBudget(reserve=1000.0),
            on_try=self.tries.append,
            transport=httpx.MockTransport(self.answer),
            clock=lambda: self.now,
            sleep=self.sleep,
            rng=random.Random(1),
        )

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        self.read_timeouts.append(request.extensions["timeout"]["read"])
        await asyncio.sleep(0)
        played = self.plan(self.requests)
        if isinstance(played, Exception):
            raise played
        return played if isinstance(played, httpx.Response) else httpx.Response(played, content=b"{}")

    def run(self, work: Callable[["World"], Awaitable[None]]) -> None:
        async def main() -> None:
            async with self.client:
                await work(self)

        asyncio.run(main())

    @property
    def in_window(self) -> int:
        return len(self.limiter._calls)


def test_a_call_of_three_failed_tries_counts_once_in_the_breaker_and_three_times_in_the_limiter() -> None:
    async def work(world: World) -> None:
        assert (await world.client.get("/")).status == 503
        assert (world.requests, world.in_window, world.breaker.metrics().window_failures) == (3, 3, 1)
        assert [each.attempt for each in world.tries] == [1, 2, 3]

    World(lambda _: 503).run(work)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (httpx.ConnectError("refused"), 0),
        (httpx.ConnectTimeout(""), 0),
        (httpx.ReadTimeout(""), 3),
        (httpx.ReadError("lost"), 3),
    ],
)
def test_a_try_that_got_no_connection_takes_no_place_and_one_that_went_out_does(error: Exception, counted: int) -> None:
    async def work() -> None:
        world = World(lambda _: error, per_minute=3)
        with pytest.raises(Unreachable):
            await world.client.get("/x")
        spent = world.now
        for _ in range(3 - counted):
            await world.limiter.acquire(deadline_s=0.0)
        assert world.now == spent
        with pytest.raises(Overloaded):
            await world.limiter.acquire(deadline_s=0.0)

    asyncio.run(work())


def test_a_call_that_a_retry_saved_is_a_success() -> None:
    async def work(world: World) -> None:
        assert (await world.client.get("/")).status == 200
        metrics = world.breaker.metrics()
        assert (metrics.window_calls, metrics.window_failures) == (1, 0)

    World(lambda n: 200 if n == 3 else httpx.ReadError("gone")).run(work)


@pytest.mark.parametrize(
    ("played", "calls", "failures"),
    [
        (500, 1, 1),
        (520, 1, 1),
        (httpx.ReadTimeout(""), 1, 1),
        (httpx.ConnectError("no"), 1, 1),
        (400, 1, 0),
        (404, 1, 0),
        (401, 1, 0),
        (429, 0, 0),
        (408, 0, 0),
    ],
)
def test_what_counts_as_a_failure(played: Any, calls: int, failures: int) -> None:
    async def work(world: World) -> None:
        try:
            await world.client.get("/")
        except Unreachable:
            assert isinstance(played, Exception)
        metrics = world.breaker.metrics()
        assert (metrics.window_calls, metrics.window_failures) == (calls, failures)

    World(lambda _: played, max_retries=0).run(work)


def test_any_number_of_unknown_ids_never_opens_the_breaker() -> None:
    async def work(world: World) -> None:
        for _ in range(100):
            assert (await world.client.get("/")).status == 404
        assert world.breaker.state is BreakerState.CLOSED

    World(lambda _: 404).run(work)


def test_an_open_breaker_rejects_without_touching_limiter_or_pool_and_is_not_retried() -> None:
    async def work(world: World) -> None:
        for _ in range(3):
            await world.client.get("/")
        before = (world.requests, world.in_window, world.now)
        for _ in range(20):
            with pytest.raises(CircuitOpen, match="Next attempt in 30 s"):
                await world.client.get("/")
        assert (world.requests, world.in_window, world.now) == before

    World(lambda _: 500, max_retries=0, per_minute=3).run(work)


def test_a_breaker_that_opens_while_a_call_waits_for_the_limiter_rejects_it_and_the_place_is_free_again() -> None:
    async def work(world: World) -> None:
        for _ in range(2):
            await world.client.get("/")
        waiting = asyncio.ensure_future(world.client.get("/"))
        await asyncio.sleep(0)
        assert world.limiter.waiting == 1
        world.breaker.force_open()
        with pytest.raises(CircuitOpen, match="switched off by hand"):
            await waiting
        assert (world.requests, world.in_window) == (2, 0)

    World(per_minute=2).run(work)


def test_of_fifty_calls_at_the_end_of_the_wait_the_upstream_sees_one_and_that_one_is_tried_once() -> None:
    async def work(world: World) -> None:
        for _ in range(3):
            await world.client.get("/")
        world.now += 31.0
        seen = world.requests
        outcomes = await asyncio.gather(*(world.client.get("/") for _ in range(50)), return_exceptions=True)
        assert world.requests == seen + 1
        assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, CircuitOpen) for outcome in outcomes) == 49
        assert world.breaker.metrics().retry_after_s == 60.0

    World(lambda _: 503).run(work)


def test_a_probe_whose_caller_left_still_decides() -> None:
    async def work(world: World) -> None:
        for _ in range(3):
            await world.client.get("/")
        world.now += 31.0
        seen = world.requests
        probe = asyncio.ensure_future(world.client.get("/"))
        while world.requests == seen:
            await asyncio.sleep(0)
        probe.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert world.breaker.state is BreakerState.CLOSED

    World(lambda n: 503 if n <= 9 else 200).run(work)


def test_a_call_is_not_tried_again_once_the_breaker_has_opened() -> None:
    async def work(world: World) -> None:
        def others_fail(_: int) -> int:
            for _ in range(3):
                world.breaker.admit().failed()
            return 503

        world.plan = others_fail
        assert (await world.client.get("/")).status == 503
        assert (world.requests, world.breaker.state) == (1, BreakerState.OPEN)

    World().run(work)


def test_a_429_pauses_everybody_and_leaves_the_breaker_closed() -> None:
    async def work(world: World) -> None:
        assert (await world.client.get("/")).status == 429
        assert world.limiter.wait_s() == 20.0
        assert world.breaker.state is BreakerState.CLOSED
        with pytest.raises(Overloaded, match="the next call in 20 s"):
            await world.client.get("/", deadline_s=5.0)
        assert world.requests == 1

    World(lambda _: 429, max_retries=0).run(work)


def test_the_callers_deadline_holds_for_queue_and_tries_and_nothing_goes_out_after_it() -> None:
    async def work(world: World) -> None:
        ends = world.now + 50.0

        def slow(_: int) -> int:
            world.now += 12.0
            assert world.now <= ends + 12.0
            return 503

        world.plan = slow
        assert (await world.client.get("/", deadline_s=50.0)).status == 503
        assert world.now < ends + 12.0
        assert 3 <= world.requests <= 5

    World(max_retries=50).run(work)


def test_the_time_in_the_queue_before_a_further_try_is_taken_from_the_callers_deadline() -> None:
    async def work(world: World) -> None:
        await world.client.get("/", deadline_s=100.0)
        first, second = world.read_timeouts
        assert first == 100.0
        assert 0 < second <= 40.0  # a minute went by in the limiter's queue

    World(lambda n: 503 if n == 1 else 200, per_minute=1, read_timeout_s=1000.0, deadline_s=200.0).run(work)


def test_pauses_between_tries_do_not_make_a_call_slow() -> None:
    async def work(world: World) -> None:
        assert (await world.client.get("/")).status == 200
        assert world.now > 1020.0
        assert world.breaker.metrics().window_slow == 0

    World(lambda n: httpx.Response(503, headers={"retry-after": "20"}) if n == 1 else 200).run(work)


def test_a_slow_success_counts_as_slow_by_the_time_of_the_exchange_not_of_the_queue() -> None:
    async def work(world: World) -> None:
        await world.client.get("/")
        await world.client.get("/")  # waits a minute for the limiter
        assert world.breaker.metrics().window_slow == 0

        def slow(_: int) -> int:
            world.now += 6.0
            return 200

        world.plan = slow
        world.now += 60.0
        await world.client.get("/")
        assert world.breaker.metrics().window_slow == 1

    World(per_minute=1).run(work)


def test_a_user_goes_before_the_backfill() -> None:
    order: list[str] = []

    async def work(world: World) -> None:
        async def call(name: str, priority: Priority) -> None:
            await world.client.get("/", priority=priority)
            order.append(name)

        await world.client.get("/")
        await asyncio.gather(call("backfill", Priority.BACKFILL), call("user", Priority.USER))

    World(per_minute=1).run(work)
    assert order == ["user", "backfill"]


def test_a_batch_stands_before_limiter_and_breaker() -> None:
    async def work(world: World) -> None:
        async def fetch(_: str, ids: Sequence[str], place: Place | None) -> Mapping[str, int]:
            answer = await world.client.get("/price", {"ids": ",".join(ids)}, place=place)
            return dict.fromkeys(ids, answer.status)

        batcher = Batcher(fetch, tasks=world.client.pool.tasks, admit=lambda _: world.client.admit())
        prices = [batcher.get("usd", [f"coin-{n % 30}"]) for n in range(100)]
        assert [parts.only() for parts in await asyncio.gather(*prices)] == [200] * 100
        assert (world.requests, world.in_window, world.breaker.metrics().window_calls) == (1, 1, 1)

        world.breaker.force_open()
        with pytest.raises(CircuitOpen):
            (await batcher.get("usd", ["a"])).only()
        assert (world.requests, world.in_window) == (1, 1)

    World().run(work)
