"""ccxt, in an environment of its own and pointed at the stand-in, reads the same bars as we do."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.exchanges.base import HttpExchange, address
from cryptocast.data.sources.table import SOURCES
from cryptocast.rehearsal import FakeUpstream

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SYMBOLS = {
    "bitstamp": "btcusd",
    "coinbase": "BTC-USD",
    "binance": "BTCUSDT",
    "kraken": "XBTUSD",
    "okx": "BTC-USDT",
    "bybit": "BTCUSDT",
}
BARS = 60


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[Granularity, list[list[float]]]]:
    """The rows of ccxt, by exchange and length of bars; the last of each is open."""
    home = tmp_path_factory.mktemp("ccxt")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = home / "bin" / "python"
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "ccxt"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"ccxt cannot be installed here: {installed.stderr[-200:]}")
    rows: dict[str, Any] = {}
    with FakeUpstream(now=NOW) as fake:
        for granularity, bar_us in BAR_US.items():
            since = NOW - (BARS - 1) * timedelta(microseconds=bar_us)
            script = Path(__file__).with_name("ccxt_rows.py")
            command = [str(python), str(script), fake.origin, str(int(since.timestamp() * 1000)), str(BARS)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            for name, grains in json.loads(done.stdout)["rows"].items():
                rows.setdefault(name, {})[granularity] = grains[granularity]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["daily", "hourly"])
@pytest.mark.parametrize("name", SYMBOLS)
def test_ccxt_reads_the_same_bars(
    name: str, granularity: Granularity, theirs: dict[str, dict[Granularity, list[list[float]]]]
) -> None:
    exchange = SOURCES[name]
    assert isinstance(exchange, HttpExchange)
    bar_s = BAR_US[granularity] // 1_000_000
    now_s = int(NOW.timestamp())
    last = now_s // bar_s * bar_s - bar_s
    call = exchange.call(SYMBOLS[name], granularity, last - (BARS - 2) * bar_s, last)
    with FakeUpstream(now=NOW) as fake:
        answer = httpx.get(address(exchange, fake.origin) + call.path, params=call.params).json()
    ours = {row.open_s: tuple(row)[1:6] for row in exchange.rows(answer) if row.open_s + bar_s <= now_s}
    rows = {int(row[0]) // 1000: tuple(row[1:]) for row in theirs[name][granularity]}
    closed = {at: row for at, row in rows.items() if at + bar_s <= now_s}
    both = ours.keys() & closed.keys()
    assert len(both) >= BARS - 3
    assert {at: ours[at] for at in both} == {at: pytest.approx(closed[at], rel=1e-12) for at in both}
    assert max(ours) == max(closed)
