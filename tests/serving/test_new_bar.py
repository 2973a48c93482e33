"""One new bar, many clients, one and two real processes on a store."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import msgspec
import polars as pl
import pytest

from cryptocast.config import ServeConfig
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from tests.conftest import simulated_candles
from tests.serving.running import Running, Start

BITCOIN = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
BASELINE = VersionKey("bitcoin", Market("coingecko", "usd", "daily"), "baseline")
HORIZONS = (1, 7, 14, 30)
MANY = msgspec.json.encode(ServeConfig(client_rate_per_s=0, max_concurrency=4000)).decode()


def bars_until_now(count: int = 400) -> pl.DataFrame:
    """Days of bitcoin; the last one closed at the last midnight."""
    frame = simulated_candles(("bitcoin",), count)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    late = midnight - frame["close_time"][-1]
    return frame.with_columns(close_time=pl.col("close_time") + late)


def write(store: Path, frame: pl.DataFrame) -> None:
    CandleStore(store, lock_timeout_s=10).write(BITCOIN, frame, fetched_at=datetime.now(UTC))


def as_of(server: Running) -> datetime:
    made = server.get("/forecasts?ids=bitcoin").json()["forecasts"][0]
    return datetime.fromisoformat(made["as_of"])


def seen(server: Running, close: datetime) -> bool:
    return as_of(server) == close


def computed(server: Running) -> int:
    """How many forecasts the process has made."""
    found: int = server.get("/health/components/cache").json()["values"]["computed"]
    return found


def until(comes: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for it."""
    ends = time.monotonic() + seconds
    while not comes():
        assert time.monotonic() < ends
        time.sleep(0.05)


async def at_once(addresses: Sequence[str], path: str, clients: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        return await asyncio.gather(*(client.get(address + path) for address in addresses for _ in range(clients)))


@pytest.mark.parametrize(
    ("processes", "clients"),
    [(2, 100), pytest.param(1, 1000, marks=pytest.mark.slow), pytest.param(2, 1000, marks=pytest.mark.slow)],
)
def test_many_first_requests_for_a_new_bar_cause_one_computation_in_each_process(
    tmp_path: Path, start: Start, processes: int, clients: int
) -> None:
    frame = bars_until_now()
    write(tmp_path, frame.head(len(frame) - 1))
    servers = [start("bitcoin", str(tmp_path), MANY) for _ in range(processes)]
    registry = Registry.open(tmp_path)
    for server in servers:
        assert as_of(server) == frame["close_time"][-2]
    until(lambda: len(registry.ledger(BASELINE, 0)) == len(HORIZONS))
    before = [computed(server) for server in servers]

    write(tmp_path, frame.tail(1))
    for server in servers:
        until(partial(seen, server, frame["close_time"][-1]))
    # The bar that was seen was made once, by whoever was first; now for a forecast that nobody has asked for yet.
    answers = asyncio.run(at_once([server.address for server in servers], "/forecasts?ids=bitcoin&horizons=3", clients))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert [computed(server) - made for server, made in zip(servers, before, strict=True)] == [2] * processes
    until(lambda: len(registry.ledger(BASELINE, 0)) == 2 * len(HORIZONS))
    rows = registry.ledger(BASELINE, 0)
    assert len({(row.issued_at, row.horizon) for row in rows}) == len(rows) == 2 * len(HORIZONS)
    assert {row.target_at - row.issued_at for row in rows} == {
        timedelta(microseconds=BAR_US["daily"] * horizon) for horizon in HORIZONS
    }
    # What the first bar forecast for the second has been scored.
    assert [outcome.horizon for _, outcome in registry.matured(BASELINE, 0)] == [1]
