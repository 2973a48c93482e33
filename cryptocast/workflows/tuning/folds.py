"""One fold of a tuning: fit before it, stop early, calibrate, forecast it, and what that lost beside the baseline.

Any process can do it: it needs the rows of the training part and a job, and no study.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import SplitConfig
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import blocks, split_by_time
from cryptocast.models.base import FitRun, Forecast, Learner
from cryptocast.models.fitting import OutOfFold, calibrated
from cryptocast.scoring.dates import mean_by_date
from cryptocast.scoring.quantiles import crps_relative

# The first fold begins after this share of the training part's time, so that its fit rests on something.
FIRST_SHARE: Final = 0.4
# The last share of the time before a fold decides when its fit stops, and calibrates it.
STOP_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True)
class FoldJob:
    """Forecast the bars in [begin, end), microseconds, by a fit on the labels that had ended at `begin`."""

    learner: Learner
    begin: int
    end: int
    least_blocks: int
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class FoldLoss:
    """CRPS of a fold's forecasts over that of the baseline on the same origins, averaged by date.

    score: mean over the horizons; horizons (H,): each of them; dates (d,) microseconds and loss (d,): the mean over the
    horizons date by date, whose mean is the score. failed: why there is none of it, else empty.
    """

    score: float
    horizons: tuple[float, ...]
    dates: tuple[int, ...]
    loss: tuple[float, ...]
    failed: str = ""


def training_part(matrix: Matrix, split: SplitConfig) -> tuple[Matrix, int]:
    """The rows before the hold-out, every label that ends in it hidden; and where the hold-out begins (microseconds).

    Nothing that a tuning does can see the hold-out. Raises DataError if there is none.
    """
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    if not (parts.fit.any() and parts.test.any()):
        raise DataError(
            f"{len(matrix)} bars with a stated volatility are too few to tune on a part and to leave another alone. "
            "Fetch more bars or more coins."
        )
    return matrix.known_at(parts.test_start), parts.test_start


def fold_bounds(part: Matrix, end: int, count: int) -> Int64Array:
    """The `count + 1` boundaries of the folds, in microseconds."""
    begin = int(part.issued_at.min())
    return blocks(begin + round((end - begin) * FIRST_SHARE), end, count)


def fewest_labels(part: Matrix, bounds: Int64Array, least: int) -> int:
    """Labels of the horizon that has fewest in the fit of the first fold, of those that have at least so many; or 0."""
    cut = _cut(part, int(bounds[0]))
    labels = np.isfinite(part.known_at(cut).returns).sum(axis=0)
    return int(labels[labels >= least].min(initial=len(part))) if (labels >= least).any() else 0


def _cut(part: Matrix, begin: int) -> int:
    """Where the rows end that are fitted on, and those begin that stop the fit."""
    return begin - round((begin - int(part.issued_at.min())) * STOP_SHARE)


def evaluate_fold(part: Matrix, job: FoldJob) -> FoldLoss:
    """Fit, calibrate and score one fold. A fit that the rows are too few for says so in `failed`."""
    past = part.known_at(job.begin)
    inside = np.flatnonzero((part.issued_at >= job.begin) & (part.issued_at < job.end))
    inside = inside[np.isfinite(part.returns[inside]).all(axis=1)].astype(np.int64)
    if len(past) == 0 or len(inside) == 0:
        return _failed("a fold has no bars whose longest label had ended: fetch more bars")
    cut = _cut(part, job.begin)
    late = np.flatnonzero((part.issued_at > cut) & (part.issued_at <= job.begin)).astype(np.int64)
    stop = past.rows(past.issued_at > cut)
    try:
        raw = job.learner.fit(
            past.known_at(cut),
            stop=stop if len(stop) else None,
            rounds=None,
            seed=job.seed,
            run=FitRun(threads=job.threads),
        )
    except DataError as error:
        return _failed(str(error))
    earlier = OutOfFold(late, raw.predict(part.rows(late)))
    model = calibrated(raw, part, [earlier], known_at=job.begin, baseline_on=past, least_blocks=job.least_blocks)
    rows = part.rows(inside)
    return _loss(rows, model.predict(rows), model.baseline.predict(rows))


def _failed(why: str) -> FoldLoss:
    return FoldLoss(float("nan"), (), (), (), why)


def _loss(rows: Matrix, forecast: Forecast, baseline: Forecast) -> FoldLoss:
    dates, own = _by_date(rows, forecast)
    _, reference = _by_date(rows, baseline)
    relative = own / reference.mean(axis=0)
    return FoldLoss(
        score=float(relative.mean()),
        horizons=tuple(relative.mean(axis=0).tolist()),
        dates=tuple(dates.tolist()),
        loss=tuple(relative.mean(axis=1).tolist()),
    )


def _by_date(rows: Matrix, forecast: Forecast) -> tuple[Int64Array, FloatArray]:
    """(d,) dates and (d, H) CRPS, averaged over the coins of each date."""
    columns, dates = [], rows.issued_at
    for column in range(len(rows.horizons)):
        lost = crps_relative(rows.returns[:, column], forecast.values[:, column], forecast.levels)
        dates, mean, _ = mean_by_date(lost, rows.issued_at)
        columns.append(mean)
    return dates, np.column_stack(columns)
