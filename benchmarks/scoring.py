"""What a scoring costs that finds one new bar, with a long ledger behind it: CPU seconds of this process.

    python benchmarks/scoring.py [--coins 20] [--bars 8760]

A version of `lightgbm` in production of each coin, on hourly bars in the store, and in the ledger a forecast of each
bar by it and by the baseline, with its outcome but for the last one. Each round scores a copy of the store; the first
warms and does not count. Prints Markdown: the whole, what it is made of, and the peak of memory.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cryptocast.config import Config, DataConfig, ForecastConfig, LightGBMConfig, SimulatedConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import load_simulated
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.registry import LedgerRow, VersionKey
from cryptocast.registry.ledger import LedgerOutcome
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.lifecycle import live_scoring
from cryptocast.workflows.online_calibration import learn
from cryptocast.workflows.training.train import Order, train

MARKET = Market("file", "usd", "hourly")
SINCE_TRAINING = 100  # bars, enough for drift
HOUR = timedelta(hours=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=20)
    parser.add_argument("--bars", type=int, default=8760)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder) / "made", simulated_coins(asked.coins))
        last = fill(config, asked.bars)
        shares, wholes = list[Counter[str]](), list[float]()
        for number in range(asked.rounds + 1):
            store = Path(folder) / f"round-{number}"
            shutil.copytree(config.store.path, store)
            whole, parts = scored(context_at(msgspec.structs.replace(config, store=StoreConfig(path=store)), last))
            shutil.rmtree(store)
            wholes.append(whole)
            shares.append(parts)
    print(
        f"{asked.coins} versions, {asked.bars:,} bars, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    print("\n| part | CPU s |\n| --- | --- |")
    print(f"| a scoring that finds one new bar | {statistics.median(wholes[1:]):.2f} |")
    for name in shares[0]:
        print(f"| {name} | {statistics.median(one[name] for one in shares[1:]):.2f} |")


def settings(store: Path, coins: Sequence[str]) -> Config:
    return Config(
        store=StoreConfig(path=store),
        data=DataConfig(coins=tuple(coins), source="file", granularity="hourly"),
        forecast=ForecastConfig(hourly_horizons=(1,)),
        lightgbm=LightGBMConfig(next_bar_rounds=20),
    )


def context_at(config: Config, now: datetime) -> Context:
    return Context(config=config, wall_clock=lambda: now)


def fill(config: Config, bars: int) -> datetime:
    """Bars, versions and the ledger; the close of the last bar."""
    store = CandleStore(config.store.path, lock_timeout_s=10.0)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    market = SimulatedConfig(bars=2000, start=start.date())
    last = start + 2000 * HOUR
    for coin in config.data.coins:
        frame = load_simulated(coin, market, vs="usd", granularity="hourly").frame
        store.write(SeriesKey(MARKET, coin), frame, fetched_at=last)
    context = context_at(config, last)
    train(context, Order(Selection(now=last - SINCE_TRAINING * HOUR, stored=True), model="lightgbm"))
    registry = context.registry()
    for coin in config.data.coins:
        for kind, number in (("lightgbm", 1), ("baseline", 0)):
            rows = [row(coin, kind, number, last - ahead * HOUR) for ahead in range(bars, 0, -1)]
            registry.write_ledger(rows)
            registry.write_outcomes(list(outcomes(rows[:-1])))
        registry.recount_states(VersionKey(coin, MARKET, "lightgbm"), 1, learn)
    return last


def row(coin: str, kind: str, number: int, issued_at: datetime) -> LedgerRow:
    return LedgerRow(
        coin=coin,
        **msgspec.structs.asdict(MARKET),
        kind=kind,
        number=number,
        issued_at=issued_at,
        horizon=1,
        target_at=issued_at + HOUR,
        price=100.0,
        volatility=0.006,
        p_up=0.5,
        quantiles=tuple(0.02 * (level - 0.5) for level in LEVELS.tolist()),
        written_at=issued_at,
    )


def outcomes(rows: Sequence[LedgerRow]) -> Iterator[LedgerOutcome]:
    returns = 0.006 * np.random.default_rng(7).standard_normal(len(rows))
    for one, value in zip(rows, returns.tolist(), strict=True):
        yield matured_outcome(one, value, now=one.target_at)


def scored(context: Context) -> tuple[float, Counter[str]]:
    """CPU seconds of the scoring, and of its parts."""
    parts: Counter[str] = Counter()
    with timed(parts, "gather", "_record", "live_of", "drift_of"):
        began = time.process_time()
        report = live_scoring.score(context, Selection(stored=True))
        whole = time.process_time() - began
    coins = len(context.config.data.coins)
    assert (report.matured, len(report.rows)) == (2 * coins, coins), report.errors[:3]
    return whole, parts


@contextmanager
def timed(parts: Counter[str], *names: str) -> Iterator[None]:
    """While this lasts, what these functions of a scoring take is counted."""
    before = {name: getattr(live_scoring, name) for name in names}
    for name, function in before.items():
        setattr(live_scoring, name, counted(parts, name, function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(live_scoring, name, function)


def counted(parts: Counter[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            parts[name] += time.process_time() - began  # type: ignore[assignment]

    return run


if __name__ == "__main__":
    main()
