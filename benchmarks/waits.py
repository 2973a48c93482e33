"""How long somebody waits for what is done once, beside the least that this machine takes for anything like it.

    python benchmarks/waits.py [--runs 5]

A server on an empty machine without a network until its first forecast, and its end at a signal, beside a bare Python
process; a thousand simulated coins, beside drawing as many random numbers. Medians; prints Markdown.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil

from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate

COINS, BARS = 1000, 2000
SETTINGS = '[coingecko]\nbase_url = "http://127.0.0.1:9/api/v3"\n[serve]\nport = 0\nlame_duck_s = 0.0\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    bare = median_s(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), runs)
    first, used, end = (statistics.median(took) for took in zip(*(served() for _ in range(runs)), strict=True))
    drawn = median_s(lambda: np.random.default_rng(7).standard_normal((COINS, BARS, 24)), runs)
    made = median_s(market, runs)
    print("| what | s | x the least | promised |\n| --- | --- | --- | --- |")
    print(f"| python -c pass | {bare:.2f} | 1 | |")
    print(f"| an empty machine, until the first forecast | {first:.2f} | {first / bare:.0f} | |")
    print(f"| the same, processor time | {used:.2f} | {used / bare:.0f} | 3 s |")
    print(f"| the end at a signal | {end:.2f} | {end / bare:.1f} | 5 s |")
    print(f"| {COINS * BARS * 24:,} random numbers | {drawn:.2f} | 1 | |")
    print(f"| {COINS:,} simulated coins of {BARS:,} bars | {made:.2f} | {made / drawn:.1f} | 20 s |")


def market() -> None:
    simulate(SimulatedMarket(), simulated_coins(COINS), BARS, "daily", datetime(2020, 1, 1, tzinfo=UTC))


def served() -> tuple[float, float, float]:
    """Seconds until the first forecast, processor seconds that it took, seconds from SIGTERM to the end."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.toml").write_text(SETTINGS)
        began = time.perf_counter()
        command = [sys.executable, "-m", "cryptocast", "serve", "--log-level", "error"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, env=dict(os.environ))
        assert process.stderr is not None
        line = next(text for text in process.stderr if "Serving http://" in text)
        port = int(line.split(":")[2].split("/")[0])
        with urlopen(f"http://127.0.0.1:{port}/forecasts?ids=bitcoin") as answer:
            assert answer.status == 200
        first = time.perf_counter() - began
        used = psutil.Process(process.pid).cpu_times()
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        return first, used.user + used.system, time.perf_counter() - began


def median_s(work: Callable[[], object], runs: int) -> float:
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


if __name__ == "__main__":
    main()
