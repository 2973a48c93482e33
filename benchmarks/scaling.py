"""What many coins cost on one machine and on a local Dask cluster: time, processor time and the peak of memory.

    python benchmarks/scaling.py --make FOLDER --coins 1000 --bars 2000
    python benchmarks/scaling.py FOLDER [--beside CHECKOUT] [--workers 1 3]

The first makes a folder with settings and a store of simulated daily bars, as `cryptocast fetch --source file` would
leave them. The second works on links to it, and leaves it as it is: `train --model lightgbm` on one machine, beside
another checkout whose dependencies this environment has; then features, training and forecasts of all coins on clusters
of so many worker processes, of one thread and 2 GiB each. The peaks of the workers are those of their whole lives.
A fit that differs between clusters makes the exit code 1.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.data.store import CandleStore
from cryptocast.market import Market

OWN = Path(__file__).resolve().parents[1]
MB = 1024.0**2
PART = 100  # coins that are simulated at once
START = datetime(2018, 1, 1, tzinfo=UTC)
SETTINGS = '[store]\npath = "data"\n[data]\nsource = "file"\n'
EVERY_S = 0.2  # how often the processes of a cluster are looked at
START_S = 120.0  # until all workers are there
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
PHASES = {
    "features": ["features", "--out", "features.parquet"],  # of the coins that are named behind it
    "train": ["train", "--all", "--model", "lightgbm", "--json"],
    "forecast": ["forecast", "--all", "--out", "forecasts"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--make", type=Path, metavar="FOLDER")
    parser.add_argument("--coins", type=int, default=1_000)
    parser.add_argument("--bars", type=int, default=2_000)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 3], help="of the clusters, one after the other")
    parser.add_argument("--phases", nargs="*", choices=PHASES, default=[*PHASES], help="on the clusters")
    parser.add_argument("--clusters-only", action="store_true")
    options = parser.parse_args()
    if options.make:
        make(options.make, options.coins, options.bars)
    elif options.folder:
        if not options.clusters_only:
            one_machine(options.folder, options.beside)
        raise SystemExit(clusters(options.folder, options.workers, options.phases) if options.workers else 0)
    else:
        parser.error("name a folder, or --make FOLDER")


def make(folder: Path, coins: int, bars: int) -> None:
    """Settings, and a store of simulated coins as those of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(SETTINGS)
    store, names = CandleStore(folder / "data", lock_timeout_s=60.0), simulated_coins(coins)
    for first in range(0, coins, PART):
        frame = simulate(SimulatedMarket(), names[first : first + PART], bars, "daily", START)
        for (coin,), own in frame.group_by("coin", maintain_order=True):
            store.write(SeriesKey(Market("file", "usd", "daily"), str(coin)), own, fetched_at=own["close_time"][-1])
        print(f"\r{min(first + PART, coins):,} of {coins:,} coins", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def one_machine(folder: Path, other: Path | None) -> None:
    """Print what a training of all coins costs, and its ratios to the other checkout."""
    words = ["train", *coins_of(folder), "--model", "lightgbm", "--json"]
    print("| train on one machine | wall s | CPU s | peak MB |\n| --- | --- | --- | --- |")
    costs = []
    for name, release in (("this", OWN), ("the other", other)):
        if release is not None:
            with linked(folder) as place:
                costs.append(run(words, place, release))
            print(f"| {name} | {costs[-1].wall:.1f} | {costs[-1].cpu:.1f} | {costs[-1].peak:.0f} |", flush=True)
    if len(costs) == 2:
        print(f"| ratio | | {costs[0].cpu / costs[1].cpu:.2f} | {costs[0].peak / costs[1].peak:.2f} |")


def clusters(folder: Path, sizes: list[int], phases: list[str]) -> int:
    """Print what each phase costs on each cluster. Returns 1 if the fits differ."""
    print("\n| phase | workers | wall s | CPU s, client | and workers | peak MB, client | and each worker |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    walls: dict[str, list[float]] = {name: [] for name in phases}
    fits = []
    for size in sizes:
        with linked(folder) as place, Cluster(place, size) as cluster:
            for name in phases:
                words = PHASES[name]
                before = cluster.cpu()
                named = [] if "--all" in words else coins_of(place)
                cost = run([*words, *named, "--engine", "dask", "--address", cluster.address], place, OWN)
                walls[name].append(cost.wall)
                busy, peaks = cluster.cpu() - before, " ".join(f"{peak:.0f}" for peak in cluster.peaks())
                line = f"{cost.wall:.1f} | {cost.cpu:.1f} | {busy:.1f} | {cost.peak:.0f} | {peaks}"
                print(f"| {name} | {size} | {line} |", flush=True)
            if "train" in phases:
                fits.append(artefacts(place))
    for name, found in walls.items():
        ratios = ", ".join(f"{size} workers {found[0] / wall:.2f}" for size, wall in zip(sizes, found, strict=True))
        print(f"{name}, times the speed of the first cluster: {ratios}")
    same = all(fit == fits[0] for fit in fits)
    print(f"the fits of all clusters are {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process: seconds, and MB (2^20)."""

    wall: float
    cpu: float
    peak: float


def run(words: list[str], folder: Path, release: Path) -> Cost:
    """A command in the folder; what it prints goes to out.json there."""
    command = [sys.executable, "-m", "cryptocast", *words]
    began = time.perf_counter()
    with (
        (folder / "out.json").open("wb") as out,
        subprocess.Popen(command, cwd=folder, env=environment(release), stdout=out) as process,
    ):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[2:6])} ... of {release} ended with {process.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / MB)


def environment(release: Path) -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": str(release.resolve())}


def coins_of(folder: Path) -> list[str]:
    return sorted(key.coin for key in CandleStore(folder / "data", lock_timeout_s=60.0).series_keys())


def artefacts(folder: Path) -> Any:
    """Names and hashes of the files of the fit of the first coin."""
    run(["registry", "show", f"{coins_of(folder)[0]}/lightgbm:1", "--json"], folder, OWN)
    return json.loads((folder / "out.json").read_bytes())["manifest"]["artefacts"]


@contextmanager
def linked(folder: Path) -> Iterator[Path]:
    """A copy that is thrown away; the store replaces whole files, so links will do."""
    with tempfile.TemporaryDirectory(dir=folder.resolve().parent) as name:
        yield Path(shutil.copytree(folder, Path(name) / "work", copy_function=os.link))


class Cluster:
    """A scheduler and worker processes, started as a user does, with an eye on their memory and processor time."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, self._workers = folder, workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()
        self._seen: list[dict[int, tuple[float, float]]] = [{} for _ in range(workers)]  # by pid: CPU s, peak MB

    def __enter__(self) -> Self:
        file = self._folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        worker = ["--memory-limit", "2GiB", "--nthreads", "1", "--nworkers", "1", "--no-dashboard"]
        for _ in range(self._workers):
            self._start("worker", "--scheduler-file", str(file), *worker)
        from distributed import Client

        connect: Any = Client  # has no types
        with connect(scheduler_file=str(file), timeout=START_S) as client:
            client.wait_for_workers(self._workers, timeout=START_S)
            self.address: str = client.scheduler.address
        self._watch = threading.Thread(target=self._look_on)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()

    def cpu(self) -> float:
        """Seconds of all workers so far."""
        self._look()
        return sum(cpu for seen in self._seen for cpu, _ in seen.values())

    def peaks(self) -> list[float]:
        """The highest memory of each worker so far, MB."""
        return [max((peak for _, peak in seen.values()), default=0.0) for seen in self._seen]

    def _start(self, *words: str) -> None:
        command = [sys.executable, "-m", "dask", *words]
        log = (self._folder / "cluster.log").open("ab")
        self._processes.append(
            subprocess.Popen(command, cwd=self._folder, env=environment(OWN), stdout=log, stderr=log)
        )
        log.close()

    def _look_on(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        """At each worker's own processes: the one that works is a child of the one that was started."""
        for process, seen in zip(self._processes[1:], self._seen, strict=True):
            with suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.Error, OSError):
                        times = child.cpu_times()
                        seen[child.pid] = times.user + times.system, high_water(child.pid)


def high_water(pid: int) -> float:
    """The highest resident memory of a process so far, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
