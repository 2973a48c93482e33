"""Forecasts of other libraries for `accuracy.py`, made in whatever Python has them; files in, files out.

    python benchmarks/peers.py closes.parquet FOLDER --last BAR --windows 78 --step 7 --refit 91 --horizons 1 7 14 30

closes.parquet: coin, bar (int64, consecutive for each coin), y (log of the close). FOLDER gets one Parquet file for
each peer: coin, bar (of the origin), horizon, and a column of log returns for each quantile level. Origins: `windows`
of them, `step` bars apart, the last one at `last`; what a peer has fitted is refitted every `refit` bars and carried on
with the bars since, as our own models are; but mlforecast is refitted at every origin. `bars` (0: all): how many of the
latest bars a peer sees.

It imports nothing of cryptocast: the pins of these libraries and ours need not agree.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.arrays import FloatArray

LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
INTERVALS = (95, 90, 80, 60, 40, 20)  # the central intervals whose ends these levels are
PATHS = 4_000  # of a simulated GARCH
SEED = 7
PERCENT = 100.0  # arch converges on returns in percent
DAILY_LAGS, HOURLY_LAGS = (1, 2, 3, 7, 14, 30), (1, 2, 3, 24, 48, 168)
CALIBRATION_WINDOWS = 10
# Bars that the automatic models of statsforecast see. Their error variance is one number for the whole past: with all
# of it they are 10 to 12 % worse than with the last year (measured), and an hourly fit takes minutes.
DAYS_SEEN, HOURS_SEEN = 365, 2_000


@dataclass(frozen=True, slots=True)
class Task:
    """What to forecast; bars are numbered, one after the other."""

    closes: pl.DataFrame
    last: int
    windows: int
    step: int
    refit: int
    horizons: tuple[int, ...]
    bars: int
    hourly: bool
    jobs: int

    @property
    def origins(self) -> range:
        return range(self.last - (self.windows - 1) * self.step, self.last + 1, self.step)

    @property
    def longest(self) -> int:
        return max(self.horizons)


def main() -> None:
    options = parse()
    task = Task(
        closes=pl.read_parquet(options.closes),
        last=options.last,
        windows=options.windows,
        step=options.step,
        refit=options.refit,
        horizons=tuple(options.horizons),
        bars=options.bars,
        hourly=options.hourly,
        jobs=options.jobs,
    )
    for name in options.peers:
        began = time.perf_counter()
        forecasts = PEERS[name](task)
        path = options.folder / f"{name}.parquet"
        half = path.with_suffix(".half")
        forecasts.write_parquet(half)
        half.rename(path)
        print(f"{name}: {forecasts.height} forecasts in {time.perf_counter() - began:.0f} s", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("closes", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    parser.add_argument("--refit", type=int, required=True)
    parser.add_argument("--horizons", type=int, nargs="+", required=True)
    parser.add_argument("--bars", type=int, default=0)
    parser.add_argument("--hourly", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    return parser.parse_args()


def statistical(model: str) -> Callable[[Task], pl.DataFrame]:
    """One automatic model of statsforecast on the log of the price, with its own intervals."""

    def forecast(task: Task) -> pl.DataFrame:
        from statsforecast import StatsForecast, models

        engine = StatsForecast(models=[getattr(models, model)()], freq=1, n_jobs=task.jobs)
        table = engine.cross_validation(
            h=task.longest,
            df=_until_last_label(task),
            n_windows=task.windows,
            step_size=task.step,
            input_size=task.bars or (HOURS_SEEN if task.hourly else DAYS_SEEN),
            level=list(INTERVALS),
            refit=max(1, task.refit // task.step),
        )
        return _quantiles(task, table, model)

    return forecast


def gradient_boosted(task: Task) -> pl.DataFrame:
    """mlforecast: LightGBM on lags and rolling statistics of returns, pooled, recursive, with conformal intervals.

    It is the one contender that is refitted at every origin.
    """
    import lightgbm
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean, RollingStd
    from mlforecast.target_transforms import Differences
    from mlforecast.utils import PredictionIntervals

    lags = HOURLY_LAGS if task.hourly else DAILY_LAGS
    windows = [RollingMean(lags[3]), RollingStd(lags[3]), RollingMean(lags[5]), RollingStd(lags[5])]
    booster = lightgbm.LGBMRegressor(
        n_estimators=100, learning_rate=0.05, num_leaves=15, min_child_samples=100, verbosity=-1, random_state=SEED,
        n_jobs=task.jobs, deterministic=True,
    )  # fmt: skip
    engine = MLForecast({"boosted": booster}, freq=1, lags=lags, lag_transforms={1: windows},
                        target_transforms=[Differences([1])])  # fmt: skip
    # With few bars there is room for few windows to learn the intervals from.
    room = (task.bars - 2 * max(lags)) // task.longest if task.bars else CALIBRATION_WINDOWS
    table = engine.cross_validation(
        df=_until_last_label(task),
        n_windows=task.windows,
        h=task.longest,
        step_size=task.step,
        # At every origin: between two fits its intervals are learned anew from each coin's last windows alone, and come
        # to lie beside the forecast (at 14 days the 80 % interval covered 46 %, measured with 1.1).
        refit=True,
        prediction_intervals=PredictionIntervals(n_windows=max(2, min(CALIBRATION_WINDOWS, room)), h=task.longest),
        level=list(INTERVALS),
        input_size=task.bars or None,
    )
    return _quantiles(task, table, "boosted")


def garch(task: Task) -> pl.DataFrame:
    """arch: GARCH(1, 1) with Student t innovations and no mean; quantiles of simulated paths."""
    parts = []
    for (coin,), own in task.closes.group_by("coin", maintain_order=True):
        bars, y = own["bar"].to_numpy(), own["y"].to_numpy()
        for origin, values in _garch_of(task, bars, y):
            columns = {f"q{i}": values[:, i] for i in range(len(LEVELS))}
            keys = {"coin": [coin] * len(task.horizons), "bar": [origin] * len(task.horizons)}
            parts.append(pl.DataFrame({**keys, "horizon": list(task.horizons), **columns}))
    return pl.concat(parts)


def _garch_of(task: Task, bars: npt.NDArray[np.int64], y: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Each origin of a coin with its quantiles (H, q)."""
    from arch.univariate import GARCH, StudentsT, ZeroMean

    fitted: Any = None
    for number, origin in enumerate(task.origins):
        until = int(np.searchsorted(bars, origin, side="right"))
        returns = PERCENT * np.diff(y[max(0, until - task.bars if task.bars else 0) : until])
        model = ZeroMean(returns, volatility=GARCH(1, 1), distribution=StudentsT(seed=SEED + number), rescale=False)
        if number % max(1, task.refit // task.step) == 0:
            fitted = model.fit(disp="off", show_warning=False).params
        ahead = model.forecast(fitted, horizon=task.longest, method="simulation", simulations=PATHS, reindex=False)
        simulated: Any = ahead.simulations.values
        paths = simulated[-1].cumsum(axis=1) / PERCENT  # (paths, bars ahead)
        at = paths[:, np.asarray(task.horizons) - 1]
        yield origin, np.quantile(at, LEVELS, axis=0).T


def _until_last_label(task: Task) -> pl.DataFrame:
    """Long form, up to the longest label of the last origin: cross-validation counts its windows back from there."""
    cut = task.closes.filter(pl.col("bar") <= task.last + task.longest)
    return cut.select(unique_id="coin", ds="bar", y="y")


def _quantiles(task: Task, table: pl.DataFrame, model: str) -> pl.DataFrame:
    """Cross-validation's columns as log returns from the close of the origin."""
    rows = table.with_columns(horizon=pl.col("ds") - pl.col("cutoff")).filter(pl.col("horizon").is_in(task.horizons))
    start = task.closes.select(unique_id="coin", cutoff="bar", start="y")
    rows = rows.with_columns(pl.col("cutoff").cast(pl.Int64)).join(start, on=["unique_id", "cutoff"], how="left")
    columns = [f"{model}-lo-{i}" for i in INTERVALS] + [model] + [f"{model}-hi-{i}" for i in reversed(INTERVALS)]
    values = [(pl.col(name) - pl.col("start")).cast(pl.Float64).alias(f"q{i}") for i, name in enumerate(columns)]
    return rows.select(pl.col("unique_id").alias("coin"), pl.col("cutoff").alias("bar"), "horizon", *values)


PEERS: dict[str, Callable[[Task], pl.DataFrame]] = {
    "AutoARIMA": statistical("AutoARIMA"),
    "AutoETS": statistical("AutoETS"),
    "AutoTheta": statistical("AutoTheta"),
    "GARCH-t": garch,
    "mlforecast": gradient_boosted,
}
__all__: Sequence[str] = ("PEERS", "Task")

if __name__ == "__main__":
    main()
