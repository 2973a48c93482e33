"""How much wider a forecast must be when the bars that it rests on are late, on real candles.

    python -m benchmarks.late [--data FOLDER] [--models lightgbm] [--refit 182]

Weekly origins over the 18 months that end six months before the end of the series, as `accuracy.py` has them; the last
six months stay unopened. A forecast that was issued k bars ago for h bars ahead is held against the close h bars from
now, h + k bars from its last price: as it is; wider by the root of (h + k) / h; and wider as the coin's own baseline
for h + k bars is than that for h, which is what serving does. Prints the coverage of the 80 and 95 % intervals, with
standard errors clustered by date.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from benchmarks.accuracy import BASELINE, DAILY, load, window_of
from cryptocast.arrays import FloatArray
from cryptocast.config import Config
from cryptocast.evaluation.plan import WalkPlan
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import build_matrix
from cryptocast.models.base import FitRun, Forecast, Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.kinds import learner
from cryptocast.scoring.coverage import coverage
from cryptocast.scoring.quantiles import interval_columns

LATE: Final = (3, 5, 7, 10, 14, 21)
INTERVALS: Final = (80, 95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--models", nargs="*", default=["lightgbm"])
    parser.add_argument("--refit", type=int, default=182, help="bars between the fits of a model")
    options = parser.parse_args()
    candles = load(options.data, DAILY, (), holdout=False)
    window = window_of(candles, DAILY, holdout=False)
    plan = WalkPlan(window.first, window.last, DAILY.step, options.refit, 0, Config().train.min_train_bars)
    closes = by_bar(candles)
    far = tuple(sorted({h + k for h in DAILY.horizons for k in (0, *LATE) if k <= h}))
    wide = walked(candles, plan, {BASELINE: BaselineLearner()}, far, names=())[BASELINE]
    print("| model | bars ahead | bars late | as it is: 80 %, 95 % | root of (h + k) / h | as the baseline widens |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in (BASELINE, *options.models):
        made = (
            wide
            if name == BASELINE
            else walked(candles, plan, {name: learner(name, Config())}, DAILY.horizons, names=FEATURES)[name]
        )
        for horizon in DAILY.horizons:
            for late in (0, *(k for k in LATE if k <= horizon)):
                print_row(name, made, wide, horizon, late, closes)


def walked(
    candles: pl.DataFrame, plan: WalkPlan, learners: Mapping[str, Learner], horizons: tuple[int, ...], *, names: object
) -> Mapping[str, Forecast]:
    """Forecasts of every origin by models that were fitted before it."""
    features = FEATURES if names else ()
    table = add_features(candles.lazy(), features, bar_us=DAILY.bar_us).collect()
    matrix = build_matrix(table, [one.name for one in features], horizons=horizons, bar_us=DAILY.bar_us)
    settings = Config().train
    return walk_forward(
        matrix,
        learners,
        plan,
        block_count=settings.blocks,
        least_blocks=settings.min_independent_blocks,
        seed=settings.seed,
        run=FitRun(threads=2),
    ).forecasts


def by_bar(candles: pl.DataFrame) -> dict[tuple[str, int], float]:
    stamps = candles["close_time"].to_numpy().view(np.int64).tolist()
    return dict(zip(zip(candles["coin"].to_list(), stamps, strict=True), candles["close"].to_list(), strict=True))


def print_row(
    name: str, made: Forecast, wide: Forecast, horizon: int, late: int, closes: Mapping[tuple[str, int], float]
) -> None:
    column = int(np.flatnonzero(made.horizons == horizon)[0])
    ahead = (horizon + late) * DAILY.bar_us
    pairs = zip(made.coin.tolist(), made.issued_at.tolist(), strict=True)
    then = np.array([closes.get((coin, at + ahead), math.nan) for coin, at in pairs])
    known = np.isfinite(then)
    outcome = np.log(then[known] / made.price[known])
    values, dates = made.values[known, column], made.issued_at[known]
    baseline = own_rows(wide, made)[known]
    near, far = (baseline[:, int(np.flatnonzero(wide.horizons == bars)[0])] for bars in (horizon, horizon + late))
    rules = (values, values * math.sqrt((horizon + late) / horizon), values * ratio(far, near))
    overlap = math.ceil((horizon + late) / DAILY.step)
    told = []
    for rule in rules:
        shares = []
        for percent in INTERVALS:
            low, high = interval_columns(made.levels, percent)
            hits = (rule[:, low] <= outcome) & (outcome <= rule[:, high])
            found = coverage(hits, dates, nominal=percent / 100, k=overlap)
            shares.append(f"{100 * found.share:.1f} ± {100 * found.se:.1f}")
        told.append(", ".join(shares))
    print(f"| {name} | {horizon} | {late} | {' | '.join(told)} |", flush=True)


def own_rows(wide: Forecast, made: Forecast) -> FloatArray:
    """The baseline's quantiles (n, H, q) of the same coins and times."""
    place = {key: row for row, key in enumerate(zip(wide.coin.tolist(), wide.issued_at.tolist(), strict=True))}
    rows = [place[key] for key in zip(made.coin.tolist(), made.issued_at.tolist(), strict=True)]
    return np.asarray(wide.values[rows])


def ratio(far: FloatArray, near: FloatArray) -> FloatArray:
    """(n, q): how much wider one is, 1 at the median."""
    return np.asarray(np.where(near == 0.0, 1.0, far / np.where(near == 0.0, 1.0, near)))


if __name__ == "__main__":
    main()
