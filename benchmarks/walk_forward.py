"""What a walk forward costs beyond its models, and whether its memory grows with the number of its refits.

    python benchmarks/walk_forward.py [--folds 6,60]

Walks over the sample with its features. Overhead: the time outside of the models' own fit and predict, as a share of
theirs. Memory: the highest resident size, each walk in a process of its own, with few and with many refits of the same
time. Prints Markdown.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from cryptocast.config import Config, LightGBMConfig, StoreConfig
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.sample import SAMPLE_COINS, load_sample
from cryptocast.evaluation.plan import plan_folds
from cryptocast.evaluation.scores import judge
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import Artefacts, FitRun, Forecast, Forecaster, Learner, Rounds
from cryptocast.models.combination import Mix
from cryptocast.models.kinds import learner
from cryptocast.workflows.backtesting.run_folder import RunFolder

HORIZONS = (1, 7, 14, 30)
BAR = BAR_US["daily"]


@dataclass
class Clock:
    """Seconds that the models took."""

    spent_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s += time.perf_counter() - began


@dataclass(frozen=True)
class Timed:
    """A learner whose fits and forecasts are timed."""

    inner: Learner
    clock: Clock

    @property
    def kind(self) -> str:
        """As inside."""
        return self.inner.kind

    @property
    def calibrate(self) -> bool:
        """As inside."""
        return self.inner.calibrate

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        """The inner fit."""
        with self.clock.running():
            made = self.inner.fit(train, stop=stop, rounds=rounds, seed=seed, run=run)
        return TimedForecaster(made, self.clock)


@dataclass(frozen=True)
class TimedForecaster:
    """What a timed learner fitted."""

    inner: Forecaster
    clock: Clock
    kind: ClassVar[str] = "timed"

    @property
    def rounds(self) -> Rounds:
        """As inside."""
        return self.inner.rounds

    def predict(self, rows: Matrix) -> Forecast:
        """The inner forecast."""
        with self.clock.running():
            return self.inner.predict(rows)

    def save(self) -> Artefacts:
        """As inside."""
        return self.inner.save()

    @classmethod
    def load(cls, files: Artefacts) -> "TimedForecaster":
        """Not needed here."""
        raise NotImplementedError(f"a benchmark loads nothing, and was given {len(files)} files")


def sample() -> Matrix:
    """The three coins of the sample with all features."""
    candles = pl.concat([load_sample(coin).frame for coin in SAMPLE_COINS])
    table = add_features(candles.lazy(), FEATURES, bar_us=BAR).collect()
    return build_matrix(table, [feature.name for feature in FEATURES], horizons=HORIZONS, bar_us=BAR)


def walk(folds: int) -> dict[str, float]:
    """One walk with about so many refits."""
    matrix = sample()
    config = Config(lightgbm=LightGBMConfig(rounds=60, next_bar_rounds=60), store=StoreConfig(path=Path("data")))
    plan = plan_folds(matrix, step=7, refit_every=91, embargo=0, min_train_bars=250, start=None, end=None)
    bars = (plan.end - plan.start) // BAR
    plan = plan_folds(
        matrix, step=7, refit_every=max(7, bars // folds), embargo=0, min_train_bars=250, start=None, end=None
    )
    clock = Clock()
    names = ("baseline", "har", "lightgbm")
    learners: dict[str, Learner] = {name: Timed(learner(name, config), clock) for name in names}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        found = walk_forward(
            matrix,
            learners,
            plan,
            block_count=config.train.blocks,
            least_blocks=config.train.min_independent_blocks,
            seed=config.train.seed,
            run=FitRun(threads=2),
            mixes={"mix": Mix(("baseline", "lightgbm"))},
            keep=RunFolder(Path(place)),
        )
        walked_s = time.perf_counter() - began
        judge(matrix.rows(found.row), found.forecasts, step=plan.step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "refits": len(found.folds),
        "walked_s": walked_s,
        "models_s": clock.spent_s,
        "overhead": (walked_s - clock.spent_s) / clock.spent_s,
        "before_mb": before / 1024,
        "peak_mb": peak / 1024,
    }


def main() -> None:
    """Each walk in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", default="6,60")
    parser.add_argument("--one", type=int)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(walk(options.one)))
        return
    print("| refits | walk, s | of it fit and predict, s | overhead | peak memory, MB |")
    print("| --- | --- | --- | --- | --- |")
    peaks = []
    for folds in options.folds.split(","):
        ended = subprocess.run([sys.executable, __file__, "--one", folds], capture_output=True, text=True, check=True)
        row = json.loads(ended.stdout)
        print(
            f"| {row['refits']} | {row['walked_s']:.1f} | {row['models_s']:.1f} | {100 * row['overhead']:.1f} % |"
            f" {row['peak_mb']:.0f} |"
        )
        peaks.append(row["peak_mb"])
    print(f"\nThe most memory of any walk is {max(peaks) / min(peaks):.2f} times the least.")


if __name__ == "__main__":
    main()
