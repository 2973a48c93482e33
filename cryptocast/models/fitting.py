"""How a model is fitted so that its scores are out of sample: judge, forecast out of fold, calibrate, fit on all.

Every fit is made at a moment, on the labels that had ended by then; nothing that is scored has seen its own outcome.
One thing is used earlier than it is found: the epochs, and whether there is a view of the direction. They come from the
fit and the stop part together, and out-of-fold forecasts of blocks within these parts repeat them. Those calibrate and
stack what is scored behind them, and are not scored themselves.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import Split, blocks, split_by_time
from cryptocast.models.base import FitRun, Forecaster, Learner, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.calibration import Calibration, fit_calibration
from cryptocast.models.labels import LEAST_ROWS
from cryptocast.models.out_of_fold import (
    FitAnswer,
    FitJob,
    OutOfFold,
    are_side_by_side,
    block_jobs,
    concatenate,
    joined,
    make_fits,
    out_of_fold,
)
from cryptocast.models.stacking import StackForecaster, Stacking, StackLearner, Weights, fit_members, stacked

__all__ = ["OutOfFold", "TrainingResult", "calibrated", "concatenate", "find_rounds", "fit_in_time", "out_of_fold"]

log = logging.getLogger(__name__)

# Out-of-fold forecasts begin after this share of the time, so that the first of them rest on something.
FIRST_SHARE: Final = 0.3
# Bars before a coin has its first row.
WARMUP: Final = 21


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """What a training gives.

    final: fitted on all bars; first: on the first part of them. hold_out: calibrated forecasts of the last part by
    that one, with their rows (m,) in the matrix; test_start: when that part begins (microseconds). rounds: what the
    stop part decided.
    earlier and tested: raw forecasts, out of fold before that part and of that part; what an ensemble stacks.
    weights: of an ensemble.
    """

    first: CalibratedForecaster
    final: CalibratedForecaster
    hold_out: OutOfFold
    test_start: int
    rounds: Rounds
    earlier: OutOfFold
    tested: OutOfFold
    weights: Weights | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """How a training goes: the parts of the time, the blocks before the test part, and the rest of the settings."""

    split: Split
    bounds: Int64Array
    least_blocks: int
    seed: int
    run: FitRun


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
    members: Mapping[str, TrainingResult] | None = None,
) -> TrainingResult:
    """Fit on the first part, stop on the second, score on the third; then calibrate and fit on everything.

    The rounds are found once, on the first two parts. Out-of-fold forecasts of `block_count` blocks before the test
    part calibrate the hold-out; together with the hold-out's own they calibrate the final model. members: trainings of
    an ensemble's members on the same rows and settings, which then are not made again. Raises DataError if there are
    too few rows.
    """
    split = split_by_time(matrix.spans, fit=fit, stop=stop)
    if not (split.fit.any() and split.test.any()):
        least = round(LEAST_ROWS / fit) + int(matrix.horizons.max()) + WARMUP
        raise DataError(
            f"{len(matrix)} bars with a stated volatility are too few to fit on a part and to score on another: one "
            f"coin needs about {least}, several need fewer each. Fetch more bars or coins, or use --model baseline."
        )
    begin = int(matrix.issued_at.min())
    start = begin + round((split.test_start - begin) * FIRST_SHARE)
    course = _Course(split, blocks(start, split.test_start, block_count), least_blocks, seed, run)
    if isinstance(learner, StackLearner):
        return _fit_stack(learner, matrix, course, members or {})
    return _fit_one(learner, matrix, course)


def fit_count(learner: Learner, block_count: int, members: Collection[str] = ()) -> int:
    """How many fits `fit_in_time` makes at most. members: names of an ensemble's members that are trained already."""
    if isinstance(learner, StackLearner):
        return sum(fit_count(one, block_count) for name, one in learner.members.items() if name not in members)
    return block_count + 2


def _fit_one(learner: Learner, matrix: Matrix, course: _Course) -> TrainingResult:
    split, seed, run = course.split, course.seed, course.run
    nothing, test_rows = np.empty(0, dtype=np.int64), np.flatnonzero(split.test).astype(np.int64)
    first = _fit(matrix, FitJob(learner, seed, None, test_rows, parts=(split.fit, split.stop)), run)
    rounds = first.model.rounds
    jobs = tuple(block_jobs(learner, matrix, course.bounds, rounds=rounds, seed=seed))
    last = FitJob(learner, seed, rounds, nothing)
    if are_side_by_side([*jobs, last], run):
        *answers, final = make_fits(matrix, [*jobs, last], run)
    else:
        answers, final = list(make_fits(matrix, jobs, run)), _fit(matrix, last, replace(run, start=first.model))
    if final is None:
        raise ValueError("a fit on everything gave nothing")
    earlier = joined(matrix, [answer.asked for answer in answers if answer is not None])
    return _settled(_Pair(first.model, final.model, rounds), matrix, course, [earlier], first.asked)


def _fit(matrix: Matrix, job: FitJob, run: FitRun) -> FitAnswer:
    (answer,) = make_fits(matrix, [job], run)
    if answer is None:
        raise ValueError("a fit that is not of a block gave nothing")
    return answer


def _fit_stack(
    learner: StackLearner, matrix: Matrix, course: _Course, trainings: Mapping[str, TrainingResult]
) -> TrainingResult:
    """The members as they are trained alone; then their weights and the calibration of what they make together."""
    trained, dropped = fit_members(
        learner.members, lambda name, member: trainings.get(name) or _fit_one(member, matrix, course)
    )
    names = tuple(trained)
    stacking = Stacking(matrix, names)
    earlier_parts = {name: training.earlier for name, training in trained.items()}
    weights, earlier = stacked(stacking, earlier_parts, course.bounds)
    tested = {name: training.tested.forecast for name, training in trained.items()}
    row = next(iter(trained.values())).tested.row
    raw = OutOfFold(row, stacking.combined(row, tested, weights))
    stacking.learn(row, tested)
    last = msgspec.structs.replace(stacking.weights(int(matrix.issued_at.max())), dropped=dropped)
    pair = _Pair(
        StackForecaster({name: training.first.inner for name, training in trained.items()}, weights),
        StackForecaster({name: training.final.inner for name, training in trained.items()}, last),
        Rounds(members={name: training.rounds for name, training in trained.items()}),
    )
    return replace(_settled(pair, matrix, course, list(earlier), raw), weights=last)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The model of the first part of the time, and that of all of it, with the same rounds."""

    first: Forecaster
    final: Forecaster
    rounds: Rounds


def _settled(
    pair: _Pair, matrix: Matrix, course: _Course, earlier: Sequence[OutOfFold], raw: OutOfFold
) -> TrainingResult:
    """The training, with the hold-out calibrated by what was known before it, and the final model by all there is."""
    test_start, least, last = course.split.test_start, course.least_blocks, int(matrix.issued_at.max())
    first = calibrated(
        pair.first,
        matrix,
        earlier,
        known_at=test_start,
        baseline_on=matrix.bare().known_at(test_start),
        least_blocks=least,
    )
    return TrainingResult(
        first=first,
        final=calibrated(pair.final, matrix, [*earlier, raw], known_at=last, baseline_on=matrix, least_blocks=least),
        hold_out=OutOfFold(raw.row, first.settled(raw.forecast, matrix.bare().rows(raw.row))),
        test_start=test_start,
        rounds=pair.rounds,
        earlier=joined(matrix, earlier),
        tested=raw,
    )


def find_rounds(learner: Learner, rows: Matrix, *, seed: int, run: FitRun, stop: float = 0.15) -> Rounds:
    """The rounds of a fit on the first part of the rows that stops on the last `stop` share of their time."""
    issued = rows.issued_at
    boundary = int(issued.max()) - round((int(issued.max()) - int(issued.min())) * stop)
    earlier, later = rows.known_at(boundary), rows.rows(issued > boundary)
    return learner.fit(earlier, stop=_or_none(later), rounds=None, seed=seed, run=run).rounds


def calibrated(
    model: Forecaster,
    matrix: Matrix,
    earlier: Sequence[OutOfFold],
    *,
    known_at: int,
    baseline_on: Matrix,
    least_blocks: int,
) -> CalibratedForecaster:
    """The model with a calibration from out-of-fold forecasts, as far as their outcomes were known at that moment."""
    baseline = BaselineLearner().fit(baseline_on.bare().lessons())
    calibration = _calibration(matrix, earlier, known_at)
    return CalibratedForecaster(inner=model, calibration=calibration, baseline=baseline, least_blocks=least_blocks)


def _calibration(matrix: Matrix, earlier: Sequence[OutOfFold], known_at: int) -> Calibration:
    whole = joined(matrix, earlier)
    returns = np.where(matrix.label_end[whole.row] > known_at, np.nan, matrix.returns[whole.row])
    return fit_calibration(whole.forecast, returns, bar_us=matrix.bar_us)


def _or_none(rows: Matrix) -> Matrix | None:
    return rows if len(rows) else None
