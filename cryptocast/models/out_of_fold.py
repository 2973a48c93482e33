"""Forecasts of each block of time by a model that was fitted before it: what calibration and stacking learn from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecast, Learner, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.selective import fit_at


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Raw forecasts, each by a model that was fitted before it: row (n,) in the matrix, in time order by block."""

    row: Int64Array
    forecast: Forecast

    def between(self, matrix: Matrix, begin: int, end: int) -> "OutOfFold":
        """The part issued in [begin, end), microseconds."""
        issued = matrix.issued_at[self.row]
        inside = (issued >= begin) & (issued < end)
        return OutOfFold(self.row[inside], self.forecast.rows(inside))


def out_of_fold(
    learner: Learner, matrix: Matrix, bounds: Int64Array, *, rounds: Rounds, seed: int, run: FitRun
) -> OutOfFold:
    """Forecast each block between the bounds (microseconds) by a model fitted at its beginning.

    Each fit may go on from that of the block before. A block before which there are too few rows to fit on is left out.
    """
    parts: list[OutOfFold] = []
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        inside = np.flatnonzero((matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        if len(inside) == 0 or not matrix.teaches_at(begin).any():
            continue
        try:
            model = fit_at(learner, matrix, begin, rounds=rounds, seed=seed, run=run)
        except DataError:
            # Too short a past for this block: the calibration then rests on the later ones.
            continue
        run.done(learner.kind)
        run = replace(run, start=model)
        parts.append(OutOfFold(inside, model.predict(matrix.rows(inside))))
    return joined(matrix, parts)


def joined(matrix: Matrix, parts: Sequence[OutOfFold]) -> OutOfFold:
    """One part behind the other; without any, a forecast of no rows with the horizons of the matrix."""
    parts = [part for part in parts if len(part.row)]
    if not parts:
        empty = matrix.rows(np.empty(0, dtype=np.int64))
        parts = [OutOfFold(np.empty(0, dtype=np.int64), BaselineLearner().fit(empty).predict(empty))]
    if len(parts) == 1:
        return parts[0]
    return OutOfFold(np.concatenate([part.row for part in parts]), concatenate([part.forecast for part in parts]))


def concatenate(forecasts: Sequence[Forecast]) -> Forecast:
    """One forecast behind the other; horizons and levels must agree."""
    first = forecasts[0]
    for other in forecasts[1:]:
        if not (np.array_equal(first.horizons, other.horizons) and np.array_equal(first.levels, other.levels)):
            raise ValueError("forecasts of different horizons or levels cannot be put behind each other")
    joined = [f.name for f in fields(Forecast) if f.name not in ("horizons", "levels")]
    return replace(first, **{name: np.concatenate([getattr(f, name) for f in forecasts]) for name in joined})
