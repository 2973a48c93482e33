import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.net import Limiter


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def limiter(calls_per_minute: int, time: FakeTime) -> Limiter:
    return Limiter(calls_per_minute, clock=time.clock, sleep=time.sleep)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.lists(st.floats(0, 40), max_size=25))
def test_no_minute_ever_holds_more_calls_than_allowed(limit: int, idle: list[float]) -> None:
    time = FakeTime()
    calls: list[float] = []

    async def work() -> None:
        gate = limiter(limit, time)
        for seconds in idle:
            time.now += seconds
            await gate.acquire()
            calls.append(time.now)

    asyncio.run(work())
    for number, at in enumerate(calls[limit:], start=limit):
        assert at - calls[number - limit] >= 60.0 - 1e-6


def test_the_first_calls_of_a_minute_do_not_wait() -> None:
    time = FakeTime()

    async def work() -> None:
        gate = limiter(5, time)
        for _ in range(5):
            await gate.acquire()

    asyncio.run(work())
    assert time.slept == []


def test_a_pause_holds_for_everybody_and_the_longest_counts() -> None:
    time = FakeTime()
    passed: list[float] = []

    async def work() -> None:
        gate = limiter(50, time)
        gate.pause(30.0)
        gate.pause(10.0)

        async def caller() -> None:
            await gate.acquire()
            passed.append(time.now)

        await asyncio.gather(*(caller() for _ in range(4)))

    asyncio.run(work())
    assert passed == [1030.0] * 4


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="calls_per_minute is 0"):
        Limiter(0)
