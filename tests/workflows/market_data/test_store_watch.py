import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.data.cached_store import CachedCandles, PublishedCandles
from cryptocast.data.schema import SeriesKey
from cryptocast.errors import RegistryError
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION, Registry, RegistryWatch, registry_stamp
from cryptocast.workflows.market_data.store_watch import ServedState, StoreWatch
from tests.conftest import simulated_candles
from tests.registry.registry_fits import BITCOIN, NOW, register
from tests.serving.serving_app import until


def test_where_there_is_no_registry_the_stamp_says_so_and_makes_none(tmp_path: Path) -> None:
    stamp = registry_stamp(tmp_path)

    assert stamp() == stamp()
    assert list(tmp_path.iterdir()) == []


def test_every_commit_changes_the_stamp_and_no_look_does(tmp_path: Path) -> None:
    stamp = registry_stamp(tmp_path)
    seen = [stamp()]
    registry = Registry.open(tmp_path)
    for label in ("1", "2"):
        register(registry, label)
        seen.append(stamp())
    for number in (2, 1, 2):
        registry.promote(BITCOIN, number, now=NOW + timedelta(days=number), who="ada", why="better")
        seen.append(stamp())
    reader = Registry.open(tmp_path, create=False)
    version = reader.alias(BITCOIN, PRODUCTION)
    reader.history()

    assert version is not None
    assert version.number == 2
    assert len(set(seen)) == len(seen)
    assert stamp() == seen[-1]


def test_a_commit_is_seen_while_another_process_keeps_the_registry_open(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, "1")
    register(registry, "2")
    # An open connection keeps commits in the write-ahead log.
    other = sqlite3.connect(tmp_path / "registry" / "registry.db")
    other.execute("SELECT count(*) FROM fits").fetchone()
    try:
        before = registry_stamp(tmp_path)()
        registry.promote(BITCOIN, 2, now=NOW, who="ada", why="better")
        assert registry_stamp(tmp_path)() != before
    finally:
        other.close()


KEY = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
FRAME = simulated_candles(("bitcoin",), 60)


class Told(ServedState):
    """A state that keeps what it was told."""

    def __init__(self, registry: RegistryWatch) -> None:
        super().__init__(registry)
        self.coins: list[str] = []

    def candles_changed(self, coin: str) -> None:
        super().candles_changed(coin)
        self.coins.append(coin)


async def nothing_first(_: tuple[str, ...]) -> None:
    """Nobody has to do anything with new bars before they are shown."""


class Watched:
    """A store that is watched, and what was told of it."""

    def __init__(self, root: Path, first: Callable[[tuple[str, ...]], Awaitable[None]] = nothing_first) -> None:
        self.fresh = CachedCandles(root, lock_timeout_s=5)
        self.shown = PublishedCandles(root, self.fresh, lock_timeout_s=5)
        self.registry = RegistryWatch(root)
        self.state = Told(self.registry)
        self.told = self.state.coins
        self.first = first
        self.follow: Callable[[], None] = lambda: None
        self.watch = StoreWatch(
            self.fresh,
            self.shown,
            self.registry,
            self.state,
            before_change=self.before_change,
            on_registry=lambda: self.follow(),
        )

    async def before_change(self, coins: tuple[str, ...]) -> None:
        await self.first(coins)

    def bars(self) -> int:
        found = self.shown.read(KEY)
        return 0 if found is None else found.provenance.rows

    def write(self, count: int) -> None:
        self.fresh.write(KEY, FRAME.head(count), fetched_at=NOW)


def test_each_change_of_candles_is_told_once_whoever_wrote_it_and_none_else(tmp_path: Path) -> None:
    store = Watched(tmp_path)

    async def looks() -> list[int]:
        seen = []
        for count in (0, 40, 40, 41, 0):
            if count:
                store.write(count) if count != store.bars() else None
            elif store.bars():
                store.fresh.path(KEY).unlink()
            for _ in range(2):
                await store.watch.look()
            seen.append(len(store.told))
        return seen

    assert asyncio.run(looks()) == [0, 1, 1, 2, 3]
    assert set(store.told) == {"bitcoin"}
    assert store.bars() == 0


def test_bars_that_came_before_the_first_look_and_after_the_first_forecast_are_told_of(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    assert store.bars() == 0  # a forecast that found nothing
    store.write(40)
    asyncio.run(store.watch.look())
    assert store.told == ["bitcoin"]


def test_nothing_is_shown_or_told_until_those_who_come_first_are_done(tmp_path: Path) -> None:
    store, seen = Watched(tmp_path), list[tuple[int, int]]()
    store.write(40)
    assert store.bars() == 40

    async def first(coins: tuple[str, ...]) -> None:
        assert coins == ("bitcoin",)
        await asyncio.sleep(0.05)
        found = store.fresh.read(KEY)
        assert found is not None
        seen.append((found.provenance.rows, store.bars()))
        assert store.told == []

    store.first = first

    async def looks() -> None:
        await store.watch.look()
        store.write(41)
        await store.watch.look()

    asyncio.run(looks())
    assert seen == [(41, 40)]
    assert (store.bars(), store.told) == (41, ["bitcoin"])


def test_a_damaged_file_leaves_the_bars_that_were_there(tmp_path: Path) -> None:
    store = Watched(tmp_path)
    store.write(40)
    assert store.bars() == 40

    async def looks() -> None:
        await store.watch.look()
        store.fresh.path(KEY).write_bytes(b"no candles")
        await store.watch.look()

    asyncio.run(looks())
    assert store.bars() == 40


def test_a_promotion_is_seen_while_bars_are_being_recorded(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, "1")
    register(registry, "2")
    store = Watched(tmp_path)
    store.write(40)
    assert store.bars() == 40

    recording = list[int]()

    async def slow(_: tuple[str, ...]) -> None:
        recording.append(1)
        await asyncio.Event().wait()

    store.first = slow

    async def watched() -> None:
        await store.watch.look()
        store.write(41)
        running = asyncio.create_task(store.watch.run())
        await until(lambda: recording)
        before = store.registry()
        registry.promote(BITCOIN, 2, now=NOW, who="ada", why="better")
        await until(lambda: store.registry() != before)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(watched())
    assert store.told == []  # the bars are still being recorded


def test_what_fails_before_a_change_holds_none_up(tmp_path: Path) -> None:
    store, failed = Watched(tmp_path), list[int]()
    store.write(40)
    assert store.bars() == 40

    async def failing(_: tuple[str, ...]) -> None:
        failed.append(1)
        raise ZeroDivisionError

    async def watched() -> None:
        await store.watch.look()
        store.first = failing
        store.write(41)
        running = asyncio.create_task(store.watch.run())
        await until(lambda: failed)
        store.first = nothing_first
        store.write(42)
        await until(lambda: store.bars() == 42)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(watched())
    assert failed
    assert store.bars() == 42


def test_the_state_differs_where_forecasts_may_of_one_coin_and_of_all() -> None:
    registry = {"stamp": 0}
    state = ServedState(lambda: registry["stamp"])
    of_all, of_one, of_other = state(), state.of("bitcoin"), state.of("ethereum")
    state.candles_changed("bitcoin")

    assert state() != of_all
    assert state.of("bitcoin") != of_one
    assert state.of("ethereum") == of_other
    registry["stamp"] = 1
    assert state.of("ethereum") != of_other


def test_a_change_of_the_registry_that_could_not_be_followed_is_followed_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, tries = Watched(tmp_path), list[int]()

    def follow() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RegistryError("The disk does not answer.")

    async def looks() -> None:
        await store.watch.look()
        store.follow = follow
        register(Registry.open(tmp_path), "1")
        for _ in range(6):
            await store.watch.look()

    asyncio.run(looks())
    assert len(tries) == 3
    assert caplog.text.count("it is tried again: The disk does not answer.") == 1
