"""How long one forecast takes: one coin, four horizons, each kind of model; and how long its training took.

    python benchmarks/models.py [--coins 3] [--bars 1500] [--rounds 300]

Markets are simulated. `x Booster.predict` is the time over that of LightGBM's own call for the same row, once for each
booster of our `lightgbm`.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import lightgbm as lgb
import numpy as np

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, simulate
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun
from cryptocast.models.boosting import LightGBMForecaster
from cryptocast.models.fitting import TrainingResult, fit_in_time
from cryptocast.models.kinds import learner

KINDS: Final = ("baseline", "har", "lightgbm", "lstm", "ml_ensemble")
HORIZONS: Final = (1, 7, 14, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=3)
    parser.add_argument("--bars", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=300, help="predictions that are timed, of each kind")
    options = parser.parse_args()
    matrix = simulated(options.coins, options.bars)
    trained, seconds = train(matrix)
    row = matrix.rows(np.array([len(matrix) - 1]))
    calls: dict[str, Callable[[], object]] = {
        name: partial(fitted.final.predict, row) for name, fitted in trained.items()
    }
    calls["Booster.predict"] = bare(trained["lightgbm"], row)
    spent = {name: timed(call, options.rounds) for name, call in calls.items()}
    least = float(np.median(spent["Booster.predict"]))
    print("| one row, four horizons | median ms | p95 ms | x Booster.predict | trained in, s |")
    print("| --- | --- | --- | --- | --- |")
    for name, times in spent.items():
        took = f"{seconds[name]:.1f}" if name in seconds else "-"
        median, late = 1e3 * float(np.median(times)), 1e3 * float(np.quantile(times, 0.95))
        print(f"| {name} | {median:.2f} | {late:.2f} | {median / least / 1e3:.2f} | {took} |")


def simulated(coins: int, bars: int) -> Matrix:
    """Daily bars of a GARCH market, with all features."""
    start = datetime(2015, 1, 1, tzinfo=UTC)
    candles = simulate(SimulatedMarket(), simulated_coins(coins), bars, "daily", start)
    table = add_features(candles.lazy(), FEATURES, bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, [f.name for f in FEATURES], horizons=HORIZONS, bar_us=BAR_US["daily"])


def train(matrix: Matrix) -> tuple[dict[str, TrainingResult], dict[str, float]]:
    """Every kind as `cryptocast train` does, and the seconds that it took."""
    config, trained, seconds = Config(), dict[str, TrainingResult](), dict[str, float]()
    for kind in KINDS:
        began = time.perf_counter()
        trained[kind] = fit_in_time(
            learner(kind, config),
            matrix,
            fit=config.split.fit,
            stop=config.split.stop,
            block_count=config.train.blocks,
            least_blocks=config.train.min_independent_blocks,
            seed=config.train.seed,
            run=FitRun(threads=2),
            members=dict(trained),
        )
        seconds[kind] = time.perf_counter() - began
    return trained, seconds


def bare(fitted: TrainingResult, row: Matrix) -> Callable[[], object]:
    """LightGBM's own call, once for each booster."""
    model = fitted.final.inner
    assert isinstance(model, LightGBMForecaster)
    boosters = [lgb.Booster(model_str=trees.text().decode()) for trees in model.boosters if trees is not None]
    place = {name: column for column, name in enumerate(row.feature_names)}
    features = np.ascontiguousarray(row.features[:, [place[name] for name in model.feature_names]])
    return lambda: [booster.predict(features, num_threads=1) for booster in boosters]


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each call, behind a first one that warms up."""
    call()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
