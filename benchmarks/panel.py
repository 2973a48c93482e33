"""How much memory the training of one pooled `lightgbm` takes on a large panel, step by step.

    python benchmarks/panel.py [--coins 1000] [--bars 2000]

A simulated market, all features, what `cryptocast train --model lightgbm` does with it. The peak is the process's
largest resident size so far; the last column is that over the size of the features alone (8 bytes each), which no
training that holds them in memory can go below. The bound is 8 GiB for a thousand coins of 2,000 bars.
"""

import argparse
import resource
import sys
import time
from datetime import UTC, datetime

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.kinds import learner

GIB = 2**30
KILO = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1000)
    parser.add_argument("--bars", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    least = options.coins * options.bars * len(FEATURES) * 8
    print("| step | seconds | peak GiB | x features |\n| --- | --- | --- | --- |", flush=True)
    began = time.perf_counter()
    matrix = features_of(options.coins, options.bars)
    told("features", began, least)
    began = time.perf_counter()
    config = Config()
    fit_in_time(
        learner("lightgbm", config),
        matrix,
        fit=config.split.fit,
        stop=config.split.stop,
        block_count=config.train.blocks,
        least_blocks=config.train.min_independent_blocks,
        seed=config.train.seed,
        run=FitRun(threads=options.threads),
    )
    told("training", began, least)


def features_of(coins: int, bars: int) -> Matrix:
    start = datetime(2015, 1, 1, tzinfo=UTC)
    candles = simulate(SimulatedMarket(), simulated_coins(coins), bars, "daily", start)
    table = add_features(candles.lazy(), FEATURES, bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, [f.name for f in FEATURES], horizons=(1, 7, 14, 30), bar_us=BAR_US["daily"])


def told(step: str, began: float, least: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILO
    print(f"| {step} | {time.perf_counter() - began:.0f} | {peak / GIB:.2f} | {peak / least:.1f} |", flush=True)


if __name__ == "__main__":
    main()
