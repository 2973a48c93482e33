import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.errors import CryptocastError, UpstreamError
from cryptocast.workflows.lifecycle.bar_duties import BarDuties, Leader
from cryptocast.workflows.lifecycle.refresher import Refresher
from cryptocast.workflows.market_data.store_watch import ServedState
from tests.serving.serving_app import FOREVER_S, MIDNIGHT, NOON, Clock
from tests.workflows.lifecycle.test_bar_duties import COINS, noting

T = TypeVar("T")
Fetched = dict[str, CryptocastError | None]


@dataclass
class Computing:
    """Counts how often the forecasts are computed; they hold until the next midnight, and a minute after that."""

    clock: Clock
    times: int = 0

    async def __call__(self) -> float:
        self.times += 1
        left_s = (MIDNIGHT + timedelta(days=1) - self.clock.now).total_seconds()
        return left_s if left_s > 0 else 60.0


@dataclass
class Refreshed:
    """A refresher on a clock of its own."""

    store: Path
    bring: Callable[[], Awaitable[Fetched]] | None = None
    notes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.computing, self.state = Computing(self.clock), ServedState(lambda: 0)
        self.one = Refresher(
            config=Config(store=StoreConfig(path=self.store), data=DataConfig(coins=COINS, exchanges=())),
            state=self.state,
            prepare=self.computing,
            bring=self.bring,
            leader=Leader(self.store),
            duties=BarDuties(COINS, [noting(self.notes, "duty")]),
            wall_clock=self.clock,
            clock=self.clock.seconds,
            rng=random.Random(1),
        )

    async def rounds(self, times: int, **passed: float) -> None:
        """So many rounds, each with its refresh, and the time that passes after each."""
        for _ in range(times):
            await self.one.round()
            await self.one.settled()
            self.clock.forward(**passed)


def test_forecasts_are_there_before_anybody_asks_and_again_when_they_are_over(tmp_path: Path) -> None:
    server, seen = Refreshed(tmp_path), list[int]()

    async def conversation() -> None:
        for hours in (0, 0.2, 11.7, 0.1):
            server.clock.forward(hours=hours)
            await server.one.round()
            seen.append(server.computing.times)

    asyncio.run(conversation())
    assert seen == [1, 1, 2, 3]


def test_after_a_change_the_next_round_computes_before_anybody_asks(tmp_path: Path) -> None:
    server, seen = Refreshed(tmp_path), list[int]()

    async def conversation() -> None:
        for changes in (False, False, True, False):
            if changes:
                server.state.candles_changed("bitcoin")
            await server.one.round()
            seen.append(server.computing.times)

    asyncio.run(conversation())
    assert seen == [1, 1, 2, 2]


def test_new_bars_are_asked_for_once_after_each_close_and_again_where_they_did_not_come(tmp_path: Path) -> None:
    clock, calls = Clock(), list[datetime]()
    failing: dict[str, CryptocastError | None] = {"bitcoin": None, "ethereum": None}

    async def bring() -> Fetched:
        calls.append(clock.now)
        return dict(failing)

    server = Refreshed(tmp_path, bring, clock=clock)

    async def conversation() -> None:
        await server.rounds(14 * 12, minutes=5)
        failing["ethereum"] = UpstreamError("Down.")
        await server.rounds(24 * 12, minutes=5)

    asyncio.run(conversation())
    first_close = MIDNIGHT + timedelta(days=1)
    assert len([at for at in calls if at < first_close]) == 1
    assert calls[1] - first_close in (timedelta(minutes=15), timedelta(minutes=20))
    later = [at for at in calls if at > first_close + timedelta(hours=20)]
    gaps = [(after - before).total_seconds() / 60 for before, after in pairwise(later)]
    assert gaps[:3] == sorted(gaps[:3])
    assert max(gaps) <= 35
    assert server.one.last_error == "Down."


def test_a_hanging_refresh_holds_nothing_else_up(tmp_path: Path) -> None:
    async def bring() -> Fetched:
        await asyncio.Event().wait()
        return {}

    server = Refreshed(tmp_path, bring)

    async def conversation() -> None:
        for _ in range(3):
            await server.one.round()
            await asyncio.sleep(0.01)
            server.clock.forward(hours=12)

    asyncio.run(conversation())
    assert server.computing.times == 3
    server.one.leader.leave()


def test_whatever_goes_wrong_the_next_round_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rounds = []

    async def bring() -> Fetched:
        rounds.append(1)
        raise ZeroDivisionError("of the upstream")

    server = Refreshed(tmp_path, bring)

    async def conversation() -> None:
        task = asyncio.create_task(server.one.run())
        ends = time.monotonic() + FOREVER_S
        while len(rounds) < 2 and time.monotonic() < ends:
            await asyncio.sleep(0.05)
            server.clock.forward(seconds=1)
        assert len(rounds) >= 2
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(conversation())
    assert server.one.failures >= 1
    assert "of the upstream" in caplog.text


def test_the_leader_alone_has_duties_and_another_one_follows_it(tmp_path: Path) -> None:
    notes, clock = list[str](), Clock()
    first, second = (Refreshed(tmp_path, notes=notes, clock=clock) for _ in range(2))

    async def conversation() -> None:
        await first.rounds(2)
        await second.rounds(2)
        assert notes == ["duty bitcoin,ethereum"]
        first.one.leader.leave()
        clock.forward(seconds=5)
        await second.rounds(2)

    asyncio.run(conversation())
    assert notes == ["duty bitcoin,ethereum"] * 2
    second.one.leader.leave()


def test_a_clock_that_ran_ahead_and_came_back_leaves_nothing_undue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, calls = Clock(), list[datetime]()

    async def bring() -> Fetched:
        calls.append(clock.now)
        return dict.fromkeys(COINS)

    server = Refreshed(tmp_path, bring, clock=clock)

    async def conversation() -> None:
        for day in (0, 40, -40):
            clock.now += timedelta(days=day)
            clock.forward(seconds=1)
            await server.rounds(2, seconds=1)

    asyncio.run(conversation())
    right = [at for at in calls if at < NOON + timedelta(days=1)]
    assert len(right) == 2  # once at the start, once more when the clock was right again
    assert caplog.text.count("the wall clock moved by") == 2
