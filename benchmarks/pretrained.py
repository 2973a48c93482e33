"""What a model for every coin is worth on coins that it never saw, after its knowledge date: leave-coins-out.

    python benchmarks/pretrained.py [--data FOLDER] [--groups 4]

The coins are divided into groups. For each of three dates and each group a model is fitted as `cryptocast pretrain`
does, on the bars of all other coins up to the date, and forecasts every day of the year behind it for the coins of its
group. Beside it `baseline` and `lightgbm`, fitted once at the date, which know those coins too. CRPS below the
baseline's in percent, with standard errors by date (Newey-West); and how often the 80 % interval held. `bars known`
cuts the history at the forecast: every coin is divided into stretches of so many bars, which forecast by themselves
from half their length on.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import accuracy  # the reader of the same files
import numpy as np
import polars as pl

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import Config
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.catalogue import FEATURES, Feature
from cryptocast.features.market import BITCOIN
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecast, Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.pretrained import COLUMNS
from cryptocast.scoring.dates import mean_by_date
from cryptocast.scoring.quantiles import LEVELS, crps_relative, interval_columns
from cryptocast.times import as_microseconds
from cryptocast.workflows.training.pretrain import for_every_coin, learner_of, settings_of

DATES: Final = tuple(datetime(year, 7, 1, tzinfo=UTC) for year in (2018, 2019, 2020))
HISTORIES: Final = (0, 120, 365)
SETTING: Final = accuracy.DAILY
SHIPPED: Final = select_features(COLUMNS)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Forecasts of some rows: losses (n, H), whether the 80 % interval held (n, H), dates (n,)."""

    losses: FloatArray
    held: BoolArray
    dates: Int64Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--groups", type=int, default=4)
    options = parser.parse_args()
    candles = accuracy.load(options.data, SETTING, (), holdout=True)
    full = matrix_of(candles, FEATURES)
    tests = {bars: full if bars == 0 else labelled(pieces(candles, bars), full) for bars in HISTORIES}
    parts: dict[tuple[int, str], list[Part]] = {}
    for date in DATES:
        for bars, name, part in year_of(date, full, tests, options.groups):
            parts.setdefault((bars, name), []).append(part)
        print(f"{date:%Y-%m-%d} done", file=sys.stderr)
    for bars in HISTORIES:
        print_table(bars, {name: joined(found) for (known, name), found in parts.items() if known == bars})


def year_of(date: datetime, full: Matrix, tests: dict[int, Matrix], groups: int) -> Iterator[tuple[int, str, Part]]:
    """Bars known, model and its forecasts of the year behind a date."""
    at = as_microseconds(date)
    until, coins = at + 365 * full.bar_us, sorted(full.panel.coins)
    known = full.known_at(at)
    config, own_config = settings_of(Config()), Config()
    baseline = BaselineLearner().fit(known)
    own = fitted(accuracy.learner("lightgbm", own_config), known, own_config)
    few = columns_of(known)
    for group in (coins[first::groups] for first in range(groups)):
        others = few.rows(~np.isin(few.coin_names, group))
        shipped = for_every_coin(fitted(learner_of(config), others, config), at)
        for bars, test in tests.items():
            rows = test.rows(scored(test, group, at, until, bars))
            made = {"baseline": baseline.predict(rows), "lightgbm": own.predict(rows), "shipped": shipped.predict(rows)}
            yield from ((bars, name, part_of(forecast, rows)) for name, forecast in made.items())


def fitted(learner: Learner, rows: Matrix, config: Config) -> CalibratedForecaster:
    split, train = config.split, config.train
    return fit_in_time(
        learner,
        rows,
        fit=split.fit,
        stop=split.stop,
        block_count=train.blocks,
        least_blocks=0,
        seed=train.seed,
        run=FitRun(threads=2),
    ).final


def matrix_of(candles: pl.DataFrame, features: Sequence[Feature]) -> Matrix:
    table = add_features(candles.lazy(), features, bar_us=SETTING.bar_us).collect()
    names = [feature.name for feature in features]
    return build_matrix(table, names, horizons=SETTING.horizons, bar_us=SETTING.bar_us)


def columns_of(rows: Matrix) -> Matrix:
    places = [rows.feature_names.index(name) for name in COLUMNS]
    return replace(rows, features=rows.features[:, places], feature_names=COLUMNS)


def pieces(candles: pl.DataFrame, bars: int) -> Matrix:
    """Every coin in stretches of so many bars, each a coin of its own, with bitcoin whole beside them."""
    number = pl.int_range(pl.len()).over("coin") // bars
    cut = candles.with_columns(coin=pl.col("coin") + "~" + number.cast(pl.String))
    whole = pl.concat([candles.filter(pl.col("coin") == BITCOIN), cut]).sort("coin", "close_time")
    rows = matrix_of(whole, FEATURES)
    return rows.rows(rows.coin_names != BITCOIN)


def labelled(rows: Matrix, full: Matrix) -> Matrix:
    """The rows of stretches with the outcomes of the whole coins."""
    place = {key: i for i, key in enumerate(zip(full.coin_names.tolist(), full.issued_at.tolist(), strict=True))}
    at = np.array([place[key] for key in zip(whole_names(rows).tolist(), rows.issued_at.tolist(), strict=True)])
    return replace(rows, returns=full.returns[at])


def whole_names(rows: Matrix) -> np.ndarray:
    return np.array([name.partition("~")[0] for name in rows.panel.coins])[rows.coin]


def scored(rows: Matrix, coins: Sequence[str], at: int, until: int, bars: int) -> BoolArray:
    age = rows.position - rows.begin + 1
    behind = (rows.issued_at > at) & (rows.issued_at <= until) & np.isfinite(rows.returns).all(axis=1)
    return np.asarray(behind & np.isin(whole_names(rows), coins) & (age >= bars // 2))


def part_of(forecast: Forecast, rows: Matrix) -> Part:
    losses = [crps_relative(rows.returns[:, h], forecast.values[:, h], LEVELS) for h in range(len(rows.horizons))]
    low, high = interval_columns(LEVELS, 80)
    held = (forecast.values[:, :, low] <= rows.returns) & (rows.returns <= forecast.values[:, :, high])
    return Part(np.stack(losses, axis=1), held, rows.issued_at)


def joined(parts: Sequence[Part]) -> Part:
    return Part(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("losses", "held", "dates")))


def print_table(bars: int, parts: dict[str, Part]) -> None:
    base = parts["baseline"]
    known = f"{bars // 2} to {bars} bars known" if bars else "all bars known"
    print(f"\n{known}, {len(base.dates)} forecasts a horizon\n")
    heads = [f"{horizon} d" for horizon in SETTING.horizons]
    print("| | " + " | ".join([*heads, *(f"80 % at {head}" for head in heads)]) + " |")
    print("| --- " * (2 * len(heads) + 1) + "|")
    for name, part in parts.items():
        gains = [gain(base, part, column) for column in range(len(heads))]
        held = [f"{100 * share:.1f}" for share in part.held.mean(axis=0)]
        print(f"| `{name}` | " + " | ".join([*gains, *held]) + " |")


def gain(base: Part, part: Part, column: int) -> str:
    """CRPS below the baseline's in percent, and its standard error."""
    difference = 100.0 * (base.losses[:, column] - part.losses[:, column]) / base.losses[:, column].mean()
    _, by_date, _ = mean_by_date(difference, base.dates)
    lags, centred = 2 * SETTING.horizons[column], by_date - by_date.mean()
    total = float(centred @ centred)
    for lag in range(1, min(lags, len(centred) - 1)):
        total += 2.0 * (1.0 - lag / lags) * float(centred[lag:] @ centred[:-lag])
    return f"{difference.mean():.2f} ± {np.sqrt(max(total, 0.0)) / len(centred):.2f}"


if __name__ == "__main__":
    main()
