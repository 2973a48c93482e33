"""What a forecast costs inside the server when a bar has closed, and how much memory the models take.

    python benchmarks/serving_inside.py [--bars 2000] [--repeats 9] [--coins 20] [--only cold|memory]

Cold: one coin, a warm process, a history of 2,000 daily bars; each repeat appends one bar to the store, takes it over
as the refresher does, and asks `Answers` for one coin, thread and encoding included. Memory: a server that has answered
with the LightGBM models of 20 coins, each a fit of its own, in a process of its own. Candles are simulated, under the
name of CoinGecko. Prints Markdown.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from cryptocast.config import Config, DataConfig, EnsembleConfig, ServeConfig, StoreConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request

START: Final = datetime(2019, 1, 1, tzinfo=UTC)
AFTER: Final = timedelta(minutes=30)  # a close, when its bar is asked for
KINDS: Final = ("baseline", "lightgbm", "ml_ensemble")
POOL: Final = ("bitcoin", "ethereum", "litecoin")


@dataclass
class Clock:
    """The time that the server believes it is."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--coins", type=int, default=20)
    parser.add_argument("--only", choices=("cold", "memory"))
    parser.add_argument("--store", type=Path, help="kept between runs")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve is not None:
        print(json.dumps(loaded_memory(chosen.store, chosen.bars, chosen.serve)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = chosen.store or Path(folder)
        if not (store / "registry").exists():
            prepare(store, bars=chosen.bars, fits=chosen.coins)
        if chosen.only != "memory":
            print_cold(store, bars=chosen.bars, repeats=chosen.repeats)
        if chosen.only != "cold":
            print_memory(store, bars=chosen.bars, coins=chosen.coins)


def settings(store: Path, coins: Sequence[str] = POOL) -> Config:
    """Daily CoinGecko bars; an ensemble without the LSTM."""
    return Config(
        store=StoreConfig(path=store),
        data=DataConfig(coins=tuple(coins), source="coingecko"),
        train=TrainConfig(audit=False),
        ml_ensemble=EnsembleConfig(members=("baseline", "har", "lightgbm")),
        serve=ServeConfig(refresh=False, client_rate_per_s=1e6),
    )


def numbered(count: int) -> list[str]:
    return [f"sim-{number:04}" for number in range(1, count + 1)]


def frames(coins: Sequence[str], bars: int) -> dict[str, pl.DataFrame]:
    """Candles by coin."""
    table = simulate(SimulatedMarket(), coins, bars, "daily", START)
    return {coin: table.filter(pl.col("coin") == coin) for coin in coins}


def write(store: Path, coin: str, frame: pl.DataFrame) -> None:
    closed = frame["close_time"][-1]
    CandleStore(store, lock_timeout_s=10.0).write(
        SeriesKey(Market("coingecko", "usd", "daily"), coin), frame, fetched_at=closed + AFTER
    )


def prepare(store: Path, *, bars: int, fits: int) -> None:
    """Candles of the pool and of the numbered coins; fits of lightgbm and of the ensemble for the pool, and the same
    lightgbm as a fit of its own for each numbered coin, as `train COIN` leaves behind."""
    from cryptocast.registry import NewVersion, artefacts_of
    from cryptocast.workflows.training.train import Order, train

    closed = START + timedelta(days=bars) + AFTER
    for coin, frame in frames([*POOL, *numbered(fits)], bars).items():
        write(store, coin, frame)
    context = Context(settings(store), wall_clock=Clock(closed))
    for kind in KINDS[1:]:
        train(context, Order(selection=Selection(POOL), model=kind))
    registry = context.registry()
    for kind in KINDS[1:]:  # what is measured is their cost, whether the gate would let them serve or not
        for version in registry.versions(kind=kind):
            registry.promote(version.key, version.number, now=closed, who="benchmark", why="to be measured")
    (model,) = registry.versions(kind="lightgbm", coin="bitcoin")
    files = registry.load_files(model.fit_id)
    for place, coin in enumerate(numbered(fits)):
        pool = (msgspec.structs.replace(model.manifest.coins[0], coin=coin), *model.manifest.coins[1:])
        manifest = msgspec.structs.replace(model.manifest, coins=pool, artefacts=artefacts_of(files))
        new = NewVersion(coin, msgspec.structs.replace(model.calibration, coin=coin), model.hold_out)
        (version,) = registry.register(manifest, files, [new], now=closed + timedelta(seconds=place), who="benchmark")
        registry.promote(version.key, version.number, now=closed, who="benchmark", why="to be measured")


def question(coin: str, kind: str) -> Request:
    return Request(Selection((coin,), "coingecko", "usd", "daily"), kind, (1, 7, 14, 30), (80, 95))


def print_cold(store: Path, *, bars: int, repeats: int) -> None:
    """The table of cold answers."""
    print("| cold, one coin | median ms | least ms | processor ms |\n| --- | --- | --- | --- |")
    for kind, taken in cold(store, bars=bars, repeats=repeats).items():
        wall, cpu = ([one[place] for one in taken] for place in (0, 1))
        print(f"| {kind} | {statistics.median(wall):.2f} | {min(wall):.2f} | {statistics.median(cpu):.2f} |")


def cold(store: Path, *, bars: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds from a new bar to the finished forecast, and of processor time, by model.

    The first repeat only warms up. On a machine with other work the processor time says more.
    """
    from cryptocast.serving import create_app

    clock = Clock(START + timedelta(days=bars) + AFTER)
    app = create_app(Context(settings(store), wall_clock=clock), refresh=False)
    service = app.state.server
    asked = {kind: [question("bitcoin", kind)] for kind in KINDS}
    asked["all three"] = [one for requests in asked.values() for one in requests]
    coming = frames(POOL, bars + (repeats + 1) * len(asked))

    async def measured() -> dict[str, list[tuple[float, float]]]:
        found: dict[str, list[tuple[float, float]]] = {}
        async with service.forecasts.opened():
            at = bars
            for kind, requests in asked.items():
                for _ in range(repeats + 1):
                    at += 1
                    clock.now = START + timedelta(days=at) + AFTER
                    for coin in POOL:
                        write(store, coin, coming[coin][at - 1 : at])
                    await app.state.server.watch.look()
                    began, used = time.perf_counter(), time.process_time()
                    outcomes = await service.forecasts.of(requests, timeout_s=30.0)
                    took = (time.perf_counter() - began, time.process_time() - used)
                    found.setdefault(kind, []).append((took[0] * 1e3, took[1] * 1e3))
                    for one, outcome in zip(requests, outcomes, strict=True):
                        made = outcome.forecast
                        assert (made.model_used, made.as_of) == (one.model, clock.now - AFTER), made
        return {kind: taken[1:] for kind, taken in found.items()}

    return asyncio.run(measured())


def print_memory(store: Path, *, bars: int, coins: int) -> None:
    """The lines about memory, each of a process of its own."""
    for count in (0, coins):
        command = [sys.executable, __file__, "--store", str(store), "--bars", str(bars), "--serve", str(count)]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        heavy = ", ".join(said["imported"]) or "none"
        print(f"Memory with the LightGBM models of {count} coins: {said['rss_mb']:.0f} MB (imported: {heavy}).")


def loaded_memory(store: Path, bars: int, coins: int) -> dict[str, object]:
    """A served app that has answered for these coins: its resident memory and the heavy packages in it."""
    import psutil

    from cryptocast.serving import create_app

    clock = Clock(START + timedelta(days=bars) + AFTER)
    names = numbered(coins) or ["bitcoin"]
    app = create_app(Context(settings(store, names), wall_clock=clock), refresh=False)
    kind = "lightgbm" if coins else "baseline"
    requests = [question(coin, kind) for coin in names]

    async def answered() -> None:
        service = app.state.server
        async with service.forecasts.opened():
            for _ in range(3):
                outcomes = await service.forecasts.of(requests, timeout_s=60.0)
                assert {outcome.forecast.model_used for outcome in outcomes} == {kind}, outcomes[0].made
                for coin in names:
                    service.state.candles_changed(coin)

    asyncio.run(answered())
    heavy = [name for name in ("lightgbm", "pandas", "scipy", "sklearn", "torch", "pyarrow") if name in sys.modules]
    return {"rss_mb": psutil.Process(os.getpid()).memory_info().rss / 2**20, "imported": heavy}


if __name__ == "__main__":
    main()
