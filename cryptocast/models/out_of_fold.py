"""Forecasts of each block of time by a model that was fitted before it: what calibration and stacking learn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecast, Forecaster, Learner, Rounds
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


@dataclass(frozen=True, slots=True, eq=False)
class FitJob:
    """One fit of a training, which can be made anywhere, and the rows (m,) that it is asked to forecast.

    at: it learns from what was known then (microseconds); None: from everything. parts: instead, masks (n,) of the rows
    to learn from and of those that it stops on.
    """

    learner: Learner
    seed: int
    rounds: Rounds | None
    asked: Int64Array
    at: int | None = None
    parts: tuple[BoolArray, BoolArray] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FitAnswer:
    """The model, and what it forecasts for the rows that it was asked for."""

    model: Forecaster
    asked: OutOfFold


# Kinds whose fits do not go on from each other, and so can be made side by side.
SIDE_BY_SIDE: Final = ("har", "lightgbm")
ALONE: Final = FitRun()


def are_side_by_side(jobs: Sequence[FitJob], run: FitRun) -> bool:
    """Whether these fits are made somewhere else, each by itself."""
    return run.spread is not None and all(job.learner.kind in SIDE_BY_SIDE for job in jobs)


def make_fits(matrix: Matrix, jobs: Sequence[FitJob], run: FitRun) -> Iterator[FitAnswer | None]:
    """Each fit, in order, wherever `run` says; None where the past of a block is too short to learn from.

    Here each may go on from the one before.
    """
    if run.spread is not None and are_side_by_side(jobs, run):
        answers = list[FitAnswer | None]()
        # The longest first, which is the last: it learns from all the time.
        for job, answer in zip(jobs[::-1], run.spread(make_fit, matrix, jobs[::-1]), strict=True):
            run.done(job.learner.kind)
            answers.append(answer)
        yield from reversed(answers)
        return
    for job in jobs:
        answer = make_fit(matrix, job, run)
        if answer is not None:
            run.done(job.learner.kind)
            run = replace(run, start=answer.model)
        yield answer


def make_fit(matrix: Matrix, job: FitJob, run: FitRun = ALONE) -> FitAnswer | None:
    """A fit and what it forecasts. None for a block before which there are too few rows."""
    how: dict[str, Any] = {"rounds": job.rounds, "seed": job.seed, "run": run}
    if job.parts is not None:
        fit, stop = (matrix.rows(part).lessons() for part in job.parts)
        model = job.learner.fit(fit, stop=stop if len(stop) else None, **how)
    elif job.at is None:
        model = job.learner.fit(matrix.lessons(), stop=None, **how)
    else:
        try:
            model = fit_at(job.learner, matrix, job.at, **how)
        except DataError:
            return None
    rows = matrix.rows(job.asked)
    return FitAnswer(model, OutOfFold(job.asked, model.predict(rows)) if len(rows) else joined(matrix, []))


def block_jobs(learner: Learner, matrix: Matrix, bounds: Int64Array, *, rounds: Rounds, seed: int) -> Iterator[FitJob]:
    """A fit at the beginning of each block between the bounds (microseconds), asked for that block."""
    for begin, end in pairwise(bounds.tolist()):
        inside = np.flatnonzero((matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        if len(inside) and matrix.teaches_at(begin).any():
            yield FitJob(learner, seed, rounds, inside, at=begin)


def out_of_fold(
    learner: Learner, matrix: Matrix, bounds: Int64Array, *, rounds: Rounds, seed: int, run: FitRun
) -> OutOfFold:
    """Forecast each block between the bounds (microseconds) by a model fitted at its beginning.

    A block before which there are too few rows to fit on is left out: the calibration then rests on the later ones.
    """
    jobs = tuple(block_jobs(learner, matrix, bounds, rounds=rounds, seed=seed))
    return joined(matrix, [answer.asked for answer in make_fits(matrix, jobs, run) if answer is not None])


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
