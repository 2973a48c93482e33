"""What many coins cost: a training and all forecasts, in one process and on Dask workers of this machine.

    python benchmarks/scaling.py FOLDER --coins 1000 [--bars 2000] [--workers 1 3] [--memory 2GiB]

FOLDER gets a store of simulated daily coins, kept from run to run: they are imported as from a file. First one process
trains `lightgbm` on all of them and forecasts them all; then clusters of so many workers, each a process with one
thread and a limit of memory, as a user starts them. Prints wall and processor time, the peak memory of the client and
of its largest worker, and whether the model is the same to the last bit. `--no-local` leaves the first out.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from cryptocast.config import Config
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.market_data.resolve import CoinCandles, obtain

AT_ONCE = 50
MB = 2**20
BARS = ["--source", "file", "--all"]


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float  # of the client, and of the workers
    client: float  # MB at the peak
    worker: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--coins", type=int, default=1000)
    parser.add_argument("--bars", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--no-local", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    make_store(options.folder, options.coins, options.bars)
    print("| where | command | wall s | CPU s | client MB | largest worker MB |", flush=True)
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    artefacts: dict[str, str] = {}
    if not options.no_local:
        artefacts["one process"] = measure(options.folder, "one process", [], [])
    for count in options.workers:
        name = f"{count} worker{'s' if count > 1 else ''}"
        with cluster(count, options.memory, options.folder) as (address, processes):
            artefacts[name] = measure(options.folder, name, ["--engine", "dask", "--address", address], processes)
    print(f"the same model: {'yes' if len(set(artefacts.values())) == 1 else f'NO: {artefacts}'}")


def make_store(folder: Path, count: int, bars: int) -> None:
    """Those of the coins that are not there yet."""
    store = CandleStore(folder / "data", lock_timeout_s=10)
    missing = [coin for coin in simulated_coins(count) if store.read(_key(coin)) is None]
    context = Context(Config())
    for begin in range(0, len(missing), AT_ONCE):
        selection = Selection(tuple(missing[begin : begin + AT_ONCE]), source="simulated")
        for coin, one in obtain(context, selection.resolved(context.config)).items():
            if isinstance(one, CoinCandles):
                store.write(_key(coin), one.candles.frame.tail(bars), fetched_at=datetime.now(UTC))


def _key(coin: str) -> SeriesKey:
    return SeriesKey(Market("file", "usd", "daily"), coin)


def measure(folder: Path, where: str, words: Sequence[str], workers: Sequence[subprocess.Popen[bytes]]) -> str:
    """A training and all forecasts; the hash of the model that was trained."""
    commands = {
        "train": ["train", *BARS, "--model", "lightgbm", "--json", *words],
        "forecast": ["forecast", *BARS, "--out", str(folder / f"forecasts-{where.replace(' ', '-')}"), *words],
    }
    outputs: dict[str, bytes] = {}
    for name, command in commands.items():
        cost, outputs[name] = run(folder, command, workers)
        columns = f"{cost.wall:.0f} | {cost.cpu:.0f} | {cost.client:.0f} | {cost.worker:.0f}"
        print(f"| {where} | {name} | {columns} |", flush=True)
    fit = next(model["fit_id"] for model in json.loads(outputs["train"])["models"] if model["fit_id"])
    shown = [sys.executable, "-m", "cryptocast", "registry", "show", "bitcoin/lightgbm", "--source", "file", "--json"]
    document = json.loads(subprocess.run(shown, cwd=folder, capture_output=True, check=True).stdout)
    return json.dumps(document.get("artefacts", fit))


def run(folder: Path, command: Sequence[str], workers: Sequence[subprocess.Popen[bytes]]) -> tuple[Cost, bytes]:
    began, before = time.perf_counter(), sum(_cpu(one) for one in workers)
    peak, over = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(workers, peak, over))
    watch.start()
    environment = {**os.environ, "CRYPTOCAST_STORE__PATH": str((folder / "data").resolve())}
    with subprocess.Popen(
        [sys.executable, "-m", "cryptocast", *command], cwd=folder, env=environment, stdout=subprocess.PIPE
    ) as process:
        output = process.stdout.read() if process.stdout else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    over.set()
    watch.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:6])} failed")
    cpu = used.ru_utime + used.ru_stime + sum(_cpu(one) for one in workers) - before
    return Cost(time.perf_counter() - began, cpu, used.ru_maxrss / 1024, peak[0]), output


def _cpu(worker: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(worker.pid).cpu_times()
    return float(times.user + times.system)


def _watch(workers: Sequence[subprocess.Popen[bytes]], peak: list[float], over: threading.Event) -> None:
    while not over.wait(0.2):
        for worker in workers:
            peak[0] = max(peak[0], psutil.Process(worker.pid).memory_info().rss / MB)


@contextmanager
def cluster(count: int, memory: str, folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and so many workers without nannies, so that their processes are the ones that are measured."""
    dask = [sys.executable, "-m", "dask"]
    address = "tcp://127.0.0.1:8799"
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    scheduler = subprocess.Popen([*dask, "scheduler", "--port", "8799", "--no-dashboard"], env=environment, **quiet)  # type: ignore[call-overload]
    options = ["--nthreads", "1", "--nworkers", "1", "--no-nanny", "--memory-limit", memory, "--no-dashboard"]
    workers = [
        subprocess.Popen([*dask, "worker", address, *options], env=environment, **quiet)  # type: ignore[call-overload]
        for _ in range(count)
    ]
    try:
        time.sleep(8.0)  # they find the scheduler
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            process.wait(20)


if __name__ == "__main__":
    main()
