"""`ccxt:EXCHANGE`: a worker that answers lines of JSON, here a stand-in and, as a slow proof, ccxt itself."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cryptocast.config import Config, ExchangesConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.ccxt.source import CcxtClient, CcxtSource
from cryptocast.data.sources.errors import RateLimited, UnknownCoin
from cryptocast.data.sources.exchanges.kraken import KRAKEN
from cryptocast.data.sources.table import SOURCES
from cryptocast.data.sources.upstream import History
from cryptocast.errors import ConfigError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Unreachable
from cryptocast.rehearsal import FakeUpstream

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

# Answers like the worker, from a table instead of an exchange: bars of 100 on every day but those of January 2026.
WORKER = """
import json, sys

DAY = 86_400_000
for line in sys.stdin:
    question = json.loads(line)
    if question["ask"] == "markets":
        answer = {"answer": [[f"{base}/USD", base, "USD", True] for base in ("BTC", "ETH", "XRP")]}
    elif question["symbol"] == "ETH/USD":
        answer = {"error": "RateLimitExceeded", "message": "slow down"}
    elif question["symbol"] == "XRP/USD":
        sys.exit(1)
    else:
        times = [question["since"] + i * DAY for i in range(question["limit"])]
        quiet = range(1767225600000, 1769904000000)
        answer = {"answer": [[at, 100, 120, 90, 110, 5] for at in times if at not in quiet]}
    print(json.dumps(answer), flush=True)
"""


def client(tmp_path: Path, text: str = WORKER) -> CcxtClient:
    worker = tmp_path / "worker.py"
    worker.write_text(text)
    config = Config(
        store=StoreConfig(path=tmp_path),
        exchanges=ExchangesConfig(ccxt_python=sys.executable, deadline_s=30.0),
    )
    return CcxtClient(CcxtSource("anything"), Access(config, lambda: NOW), worker=worker)


def bars_of(connected: CcxtClient, coin: str, days: int) -> History:
    key = SeriesKey(Market("ccxt-anything", "usd", "daily"), coin)
    (page,) = CcxtSource("anything").pages(key, [(NOW - timedelta(days=days), NOW)], NOW)
    return connected.run(connected.page(page, NOW))


def test_bars_come_in_several_questions_and_a_quiet_month_ends_nothing(tmp_path: Path) -> None:
    with client(tmp_path) as connected:
        history = bars_of(connected, "bitcoin", 500)
        assert connected.calls == 4  # the markets, and 200 bars a question
    assert len(history.frame) == 500 - 31
    assert history.frame["close_time"].max() == datetime(2026, 3, 1, tzinfo=UTC)
    assert history.frame["volume"].unique().to_list() == [550.0]
    assert history.market == "BTC/USD"


def test_errors_of_ccxt_become_ours(tmp_path: Path) -> None:
    with client(tmp_path) as connected:
        with pytest.raises(RateLimited, match="takes no more calls"):
            bars_of(connected, "ethereum", 5)
        with pytest.raises(UnknownCoin, match="does not trade"):
            bars_of(connected, "dogecoin", 5)
        with pytest.raises(UpstreamError, match="process of ccxt ended"):
            bars_of(connected, "ripple", 5)
        assert len(bars_of(connected, "bitcoin", 5).frame) == 5  # in a process of its own again


def test_a_worker_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with client(tmp_path, "import time\ntime.sleep(60)\n") as connected:
        connected._deadline_s = 0.5
        with pytest.raises(Unreachable, match=r"no answer in 0.5 s"):
            bars_of(connected, "bitcoin", 5)


def test_without_ccxt_it_says_how_to_get_it(tmp_path: Path) -> None:
    config = Config(store=StoreConfig(path=tmp_path))
    with pytest.raises(ConfigError, match=r"pip install 'cryptocast\[ccxt\]'.*ccxt_python"):
        SOURCES["ccxt-kraken"].connect(Access(config, lambda: NOW))


def test_the_table_knows_every_exchange_of_ccxt_by_its_name() -> None:
    assert "ccxt-kraken" in SOURCES
    assert "kucoin" not in SOURCES
    assert (SOURCES["ccxt-kraken"].name, SOURCES["ccxt-kraken"].is_fetched) == ("ccxt-kraken", True)


@pytest.mark.slow
def test_kraken_through_ccxt_has_the_bars_of_kraken(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "ccxt")], check=True)
    python = tmp_path / "ccxt" / "bin" / "python"
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "ccxt"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"ccxt cannot be installed here: {installed.stderr[-200:]}")
    with FakeUpstream(now=NOW) as fake:
        exchanges = ExchangesConfig(base_url=fake.origin, ccxt_python=str(python))
        access = Access(Config(store=StoreConfig(path=tmp_path / "store"), exchanges=exchanges), lambda: NOW)
        frames = []
        for source in (KRAKEN, CcxtSource("kraken")):
            key = SeriesKey(Market(source.name, "usd", "daily"), "bitcoin")
            (page,) = source.pages(key, [(NOW - timedelta(days=300), NOW)], NOW)
            with source.connect(access) as connected:
                frames.append(connected.run(connected.page(page, NOW)).frame)
    ours, theirs = frames
    assert len(ours) == 300
    assert theirs.drop("volume").equals(ours.drop("volume"))
    with CcxtSource("nowhere").connect(access) as connected, pytest.raises(UpstreamError, match="knows no nowhere"):
        connected.run(connected.page(page, NOW))
