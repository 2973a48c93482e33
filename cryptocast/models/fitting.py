"""How a model is fitted so that its scores are out of sample: stop early, forecast out of fold, calibrate, fit on all.

Nothing here looks at a label before it was known: every fit is made at a moment, on the labels that had ended by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import Int64Array, blocks, split_by_time
from cryptocast.models.base import FitRun, Forecast, Forecaster, Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import Calibrated
from cryptocast.models.calibration import fit_calibration

__all__ = ["Fitted", "OutOfFold", "calibrated", "concatenate", "find_rounds", "fit_in_time", "out_of_fold"]

# Out-of-fold forecasts begin after this share of the time, so that the first of them rest on something.
FIRST_SHARE: Final = 0.3
# Rows that a first fit needs, and bars before a coin has its first row.
LEAST_ROWS: Final = 200
WARMUP: Final = 21


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Raw forecasts, each by a model that was fitted before it: row (n,) in the matrix, in time order by block."""

    row: Int64Array
    forecast: Forecast


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a training gives.

    final: fitted on all bars. hold_out: calibrated forecasts of the last part by the model of the first part, with
    their rows (m,) in the matrix; test_start: when that part begins (microseconds). rounds: found by early stopping.
    """

    final: Calibrated
    hold_out: OutOfFold
    test_start: int
    rounds: tuple[int, ...]


def fit_in_time(
    learner: Learner,
    matrix: Matrix,
    *,
    fit: float,
    stop: float,
    block_count: int,
    least_blocks: int,
    seed: int,
    run: FitRun,
) -> Fitted:
    """Fit on the first part, stop on the second, score on the third; then calibrate and fit on everything.

    The rounds are found once, on the first two parts. Out-of-fold forecasts of `block_count` blocks before the test
    part calibrate the hold-out; together with the hold-out's own they calibrate the final model. Raises DataError if
    there are too few rows.
    """
    split = split_by_time(matrix.spans, fit=fit, stop=stop)
    if not (split.fit.any() and split.test.any()):
        needed = round(LEAST_ROWS / fit) + int(matrix.horizons.max()) + WARMUP
        raise DataError(
            f"{len(matrix)} bars with a stated volatility are too few to fit on a part and to score on another: one "
            f"coin needs about {needed}, several need fewer each. Fetch more bars or coins, or use --model baseline."
        )
    first = learner.fit(matrix.rows(split.fit), stop=_or_none(matrix.rows(split.stop)), rounds=None, seed=seed, run=run)
    begin = int(matrix.issued_at.min())
    start = begin + round((split.test_start - begin) * FIRST_SHARE)
    bounds = blocks(start, split.test_start, block_count)
    earlier = out_of_fold(learner, matrix, bounds, rounds=first.rounds, seed=seed, run=run)
    test_rows = np.flatnonzero(split.test).astype(np.int64)
    known = matrix.known_at(split.test_start)
    raw = OutOfFold(test_rows, first.predict(matrix.rows(test_rows)))
    tested = calibrated(
        first, matrix, [earlier], known_at=split.test_start, baseline_on=known, least_blocks=least_blocks
    )
    final = learner.fit(matrix, stop=None, rounds=first.rounds, seed=seed, run=run)
    end = int(matrix.issued_at.max())
    return Fitted(
        final=calibrated(final, matrix, [earlier, raw], known_at=end, baseline_on=matrix, least_blocks=least_blocks),
        hold_out=OutOfFold(test_rows, tested.predict(matrix.rows(test_rows))),
        test_start=split.test_start,
        rounds=first.rounds,
    )


def find_rounds(learner: Learner, known: Matrix, *, seed: int, run: FitRun, stop: float = 0.15) -> tuple[int, ...]:
    """The rounds of a fit on the first part of the rows that stops on the last `stop` share of their time."""
    issued = known.issued_at
    boundary = int(issued.max()) - round((int(issued.max()) - int(issued.min())) * stop)
    earlier, later = known.known_at(boundary), known.rows(issued > boundary)
    return learner.fit(earlier, stop=_or_none(later), rounds=None, seed=seed, run=run).rounds


def out_of_fold(
    learner: Learner, matrix: Matrix, bounds: Int64Array, *, rounds: tuple[int, ...], seed: int, run: FitRun
) -> OutOfFold:
    """Forecast each block between the bounds (microseconds) by a model fitted at its beginning.

    A block before which there are too few rows to fit on is left out.
    """
    parts: list[tuple[Int64Array, Forecast]] = []
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        inside = np.flatnonzero((matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        known = matrix.known_at(begin)
        if len(inside) == 0 or len(known) == 0:
            continue
        try:
            model = learner.fit(known, stop=None, rounds=rounds, seed=seed, run=run)
        except DataError:
            # Too short a past for this block: the calibration then rests on the later ones.
            continue
        parts.append((inside, model.predict(matrix.rows(inside))))
    if not parts:
        empty = np.empty(0, dtype=np.int64)
        return OutOfFold(empty, _nothing(matrix))
    return OutOfFold(np.concatenate([row for row, _ in parts]), concatenate([forecast for _, forecast in parts]))


def calibrated(
    model: Forecaster,
    matrix: Matrix,
    earlier: Sequence[OutOfFold],
    *,
    known_at: int,
    baseline_on: Matrix,
    least_blocks: int,
) -> Calibrated:
    """The model with a calibration from out-of-fold forecasts, as far as their outcomes were known at that moment."""
    parts = [part for part in earlier if len(part.row)]
    row = np.concatenate([part.row for part in parts]) if parts else np.empty(0, dtype=np.int64)
    forecast = concatenate([part.forecast for part in parts]) if parts else _nothing(matrix)
    returns = np.where(matrix.label_end[row] > known_at, np.nan, matrix.returns[row])
    calibration = fit_calibration(forecast, returns, bar_us=matrix.bar_us)
    baseline = BaselineLearner().fit(baseline_on)
    return Calibrated(inner=model, calibration=calibration, baseline=baseline, least_blocks=least_blocks)


def concatenate(forecasts: Sequence[Forecast]) -> Forecast:
    """One forecast behind the other; horizons and levels must agree."""
    first = forecasts[0]
    for other in forecasts[1:]:
        if not (np.array_equal(first.horizons, other.horizons) and np.array_equal(first.levels, other.levels)):
            raise ValueError("forecasts of different horizons or levels cannot be put behind each other")
    joined = [f.name for f in fields(Forecast) if f.name not in ("horizons", "levels")]
    return replace(first, **{name: np.concatenate([getattr(f, name) for f in forecasts]) for name in joined})


def _nothing(matrix: Matrix) -> Forecast:
    empty = matrix.rows(np.empty(0, dtype=np.int64))
    return BaselineLearner().fit(empty).predict(empty)


def _or_none(rows: Matrix) -> Matrix | None:
    return rows if len(rows) else None
