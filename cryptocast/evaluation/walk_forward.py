"""Walk forward through history: refit, forecast the next block, never look ahead."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import BoolArray, Int64Array, blocks
from cryptocast.models.base import FitRun, Forecast, Forecaster, Learner
from cryptocast.models.fitting import FIRST_SHARE, OutOfFold, calibrated, concatenate, find_rounds, out_of_fold

__all__ = ["Fold", "Plan", "WalkForward", "fold_starts", "plan_folds", "walk_forward"]

# The rounds are found anew whenever the rows have grown by this factor: stopping early costs as much as a fit.
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What to walk over. Moments in microseconds, lengths in bars.

    Origins stand every `step` bars from `start` to `end`; models are refitted every `refit_every` bars on all labels
    that ended `embargo` bars before. A coin joins once it has `min_train_bars` bars.
    """

    start: int
    end: int
    step: int
    refit_every: int
    embargo: int
    min_train_bars: int


@dataclass(frozen=True, slots=True)
class Fold:
    """One refit: its moment, how many labelled rows it learned from, and how many origins it answered."""

    index: int
    refit_at: int
    train_rows: int
    origins: int


@dataclass(frozen=True, slots=True, eq=False)
class WalkForward:
    """Calibrated forecasts by model for the same rows (m,) of the matrix, in time order; fold (m,) of each row."""

    row: Int64Array
    fold: Int64Array
    folds: tuple[Fold, ...]
    forecasts: Mapping[str, Forecast]


def plan_folds(
    matrix: Matrix,
    *,
    step: int,
    refit_every: int,
    embargo: int,
    min_train_bars: int,
    start: int | None,
    end: int | None,
) -> Plan:
    """The default walk: from where 40 % of the time or `min_train_bars` have passed to the last bar with all labels."""
    if len(matrix) == 0:
        raise DataError("There are no bars to walk over. Fetch more: cryptocast fetch.")
    first, bar = int(matrix.issued_at.min()), matrix.bar_us
    last = int(matrix.issued_at.max()) - int(matrix.horizons.max()) * bar
    least = first + (min_train_bars + embargo) * bar
    earliest = max(least, first + round((last - first) * 0.4 / bar) * bar)
    # Onto the grid of the bars, upwards: an origin is the close of a bar.
    begin = earliest if start is None else max(least, first - (first - start) // bar * bar)
    finish = last if end is None else min(end, last)
    if start is not None and end is not None and start >= end:
        raise DataError("The walk ends before it starts: --from must lie before --to.")
    if start is not None and begin > finish >= least:
        raise DataError(f"The walk would start after {_day(finish)}, the last bar whose longest label has ended.")
    if begin > finish:
        days = (int(matrix.issued_at.max()) - first) // bar
        raise DataError(
            f"{days} bars are too few to walk over: {min_train_bars} to train on and {int(matrix.horizons.max())} for "
            "the longest label leave no origin. Fetch more bars, or lower [train] min_train_bars."
        )
    return Plan(begin, finish, step, refit_every, embargo, min_train_bars)


def _day(moment: int) -> str:
    return str(np.datetime64(moment, "us").astype("datetime64[D]"))


def fold_starts(plan: Plan, bar_us: int) -> Int64Array:
    """The moments of the refits; a multiple of `step` apart, so that every fold begins at an origin."""
    length = max(1, plan.refit_every // plan.step) * plan.step * bar_us
    return np.arange(plan.start, plan.end + 1, length, dtype=np.int64)


def walk_forward(
    matrix: Matrix,
    learners: Mapping[str, Learner],
    plan: Plan,
    *,
    block_count: int,
    least_blocks: int,
    seed: int,
    run: FitRun,
    done: Callable[[Fold], None] = lambda _: None,
) -> WalkForward:
    """Forecast every origin by models that were fitted before it.

    Prequential: one fit for each model and refit; the forecasts of earlier folds, on all their bars, are the
    out-of-fold set that calibrates the later ones. Raises DataError if a model cannot be fitted at the first refit.
    """
    starts = fold_starts(plan, matrix.bar_us)
    ends = np.append(starts[1:], plan.end + 1)
    origins = _origins(matrix, plan)
    walkers = {
        name: _walk(learner, matrix, starts, ends, block_count, plan, seed, run) for name, learner in learners.items()
    }
    parts: dict[str, list[Forecast]] = {name: [] for name in learners}
    rows, numbers, folds = [], [], []
    for index, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        inside = np.flatnonzero(origins & (matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        for name, walker in walkers.items():
            model = next(walker)
            if len(inside):
                parts[name].append(_answer(model, matrix, inside, least_blocks))
        rows.append(inside)
        numbers.append(np.full(len(inside), index, dtype=np.int64))
        known = matrix.known_at(begin - plan.embargo * matrix.bar_us)
        fold = Fold(index, begin, int(np.isfinite(known.returns[:, 0]).sum()), len(inside))
        folds.append(fold)
        done(fold)
    row = np.concatenate(rows)
    if len(row) == 0:
        raise DataError(f"No coin has {plan.min_train_bars} bars before the end of the walk. Fetch more bars.")
    return WalkForward(
        row=row,
        fold=np.concatenate(numbers),
        folds=tuple(folds),
        forecasts={name: concatenate(forecasts) for name, forecasts in parts.items()},
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Refit:
    raw: Forecaster
    earlier: list[OutOfFold]
    known: Matrix
    known_at: int
    calibrate: bool


def _answer(model: _Refit, matrix: Matrix, inside: Int64Array, least_blocks: int) -> Forecast:
    if not model.calibrate:
        return model.raw.predict(matrix.rows(inside))
    whole = calibrated(
        model.raw,
        matrix,
        model.earlier,
        known_at=model.known_at,
        baseline_on=model.known,
        least_blocks=least_blocks,
    )
    return whole.predict(matrix.rows(inside))


def _walk(
    learner: Learner,
    matrix: Matrix,
    starts: Int64Array,
    ends: Int64Array,
    block_count: int,
    plan: Plan,
    seed: int,
    run: FitRun,
) -> Iterator[_Refit]:
    """One refit after the other, each with the out-of-fold forecasts that were known when it was made."""
    earlier: list[OutOfFold] = []
    rounds: tuple[int, ...] = ()
    rows_at_search = 0
    first = int(matrix.issued_at.min())
    for begin, end in zip(starts.tolist(), ends.tolist(), strict=True):
        known_at = begin - plan.embargo * matrix.bar_us
        known = matrix.known_at(known_at)
        if learner.calibrate and len(known) >= GROWTH * rows_at_search:
            rounds = find_rounds(learner, known, seed=seed, run=run)
            rows_at_search = len(known)
        if learner.calibrate and not earlier:
            bounds = blocks(first + round((known_at - first) * FIRST_SHARE), known_at, block_count)
            earlier.append(out_of_fold(learner, matrix, bounds, rounds=rounds, seed=seed, run=run))
        model = learner.fit(known, stop=None, rounds=rounds, seed=seed, run=run)
        yield _Refit(model, list(earlier), known, known_at, learner.calibrate)
        inside = np.flatnonzero((matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        if learner.calibrate and len(inside):
            earlier.append(OutOfFold(inside, model.predict(matrix.rows(inside))))


def _origins(matrix: Matrix, plan: Plan) -> BoolArray:
    spacing = plan.step * matrix.bar_us
    on_step = ((matrix.issued_at - plan.start) % spacing == 0) & (matrix.issued_at >= plan.start)
    joined = matrix.position - matrix.panel.start[matrix.coin] + 1 >= plan.min_train_bars
    return np.asarray(on_step & joined & (matrix.issued_at <= plan.end))
