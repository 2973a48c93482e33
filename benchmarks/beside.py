"""What a training and a forecast cost beside another release: whole processes, their CPU and their peak of memory.

    python benchmarks/beside.py FOLDER [--coins 300] [--runs 3]

FOLDER is a checkout of the other release, whose dependencies this environment has, too. First all models of bitcoin are
trained on the sample; then bitcoin is forecast by the ensemble; then `lightgbm` is trained on simulated coins of 2,000
bars (`--coins 0` leaves that out). Ratios are to the other release, medians of runs that take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptocast.data.sources.simulated.draws import simulated_coins

OWN = Path(__file__).resolve().parents[1]
MB = 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--coins", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3, help="of the forecast")
    options = parser.parse_args()
    works = {
        "train bitcoin": (["train", "bitcoin", "--source", "sample"], 1),
        "forecast bitcoin": (["forecast", "bitcoin", "--source", "sample", "--model", "ml_ensemble"], options.runs),
    }
    if options.coins:
        coins = simulated_coins(options.coins)
        many = ["train", *coins, "--source", "simulated", "--model", "lightgbm", "--json"]
        works[f"train {options.coins} simulated coins"] = (many, 1)
    print("| command | CPU s | the other | ratio | peak MB | the other |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory() as other:
        for name, (words, runs) in works.items():
            rounds = [(cost(words, OWN, Path(own)), cost(words, options.other, Path(other))) for _ in range(runs)]
            (cpu, peak), (cpu_then, peak_then) = (
                (statistics.median(one[side][0] for one in rounds), max(one[side][1] for one in rounds))
                for side in (0, 1)
            )
            ratio = cpu / cpu_then
            print(f"| {name} | {cpu:.2f} | {cpu_then:.2f} | {ratio:.2f} | {peak:.0f} | {peak_then:.0f} |", flush=True)


def cost(words: list[str], release: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds, user and system, and the peak of memory in MB (2^20) of a command in a folder of its own."""
    return process_cost(["-m", "cryptocast", *words], release, folder)


def process_cost(words: list[str], release: Path, folder: Path) -> tuple[float, float]:
    """As `cost`, of Python with these arguments."""
    environment = {**os.environ, "PYTHONPATH": str(release.resolve())}
    command = [sys.executable, *words]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:6])} of {release} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / MB


if __name__ == "__main__":
    main()
