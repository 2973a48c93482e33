"""Walk forward through history: refit, forecast the next block, never look ahead.

Every model is fitted once for each refit. What it forecasts for all bars of its block, before any calibration, is the
block's *raw* forecast; those of earlier blocks, with the outcomes that were known by then, calibrate the later ones.
Raw forecasts depend on nothing but their own fit: they can be made in any process and kept, and a walk that was
interrupted goes on behind the last one that was kept.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import numpy as np

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.errors import DataError, NotInstalledError
from cryptocast.evaluation.plan import Block, WalkPlan, origins, plan_blocks, search_groups
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecast, Learner, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import too_short, with_fallback
from cryptocast.models.calibration import counting, fit_calibration
from cryptocast.models.combination import Mix, average
from cryptocast.models.fitting import concatenate, find_rounds
from cryptocast.models.stacking import Stacking, StackLearner
from cryptocast.spread import Spread, in_turn

log = logging.getLogger(__name__)

BASELINE = "baseline"


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


@dataclass(frozen=True, slots=True, eq=False)
class RawForecasts:
    """The raw forecasts of one block: row (m,) in the matrix, by model; rounds by model.

    A model that had too few rows to learn from is missing, which only happens before the first fold.
    """

    row: Int64Array
    forecasts: Mapping[str, Forecast]
    rounds: Mapping[str, Rounds]


@dataclass(frozen=True, slots=True)
class Job:
    """One fit, to be made anywhere: of a learner, for a block. rounds None: find them, on the rows known to the block.

    window: microseconds before `known_at` in which rows are learned from; 0: all.
    """

    learner: Learner
    block: Block
    window: int
    rounds: Rounds | None
    seed: int
    threads: int
    required: bool = True  # else a member of an ensemble only, which goes on without it


FitOutput: TypeAlias = Forecast | Rounds | None


@dataclass(frozen=True, slots=True, eq=False)
class ShortHistory:
    """What the origins of a walk look like to somebody who knows only the coin's last bars.

    matrix: of the walk, and behind its own rows a copy of each origin, seen from those bars. stands_for: of every row
    of the matrix, which row of the walk's own it is. scored: of every row, whether it is an origin as it is to be
    forecast. baseline: what the baseline says of the copies (m,), which needs no fit but on these bars.
    """

    matrix: Matrix
    stands_for: Int64Array
    scored: BoolArray
    baseline: Forecast

    def with_baseline(self, raw: RawForecasts) -> RawForecasts:
        """The raw forecasts, of the baseline those of the copies from their own bars."""
        first = len(self.matrix) - len(self.baseline)
        is_copy = raw.row >= first
        if BASELINE not in raw.forecasts or not is_copy.any():
            return raw
        usual, own = raw.forecasts[BASELINE].rows(~is_copy), self.baseline.rows(raw.row[is_copy] - first)
        return replace(raw, forecasts={**raw.forecasts, BASELINE: concatenate([usual, own])})


class RawStore(Protocol):
    """Where raw forecasts are stored while a walk goes on."""

    def load(self, block: Block, matrix: Matrix) -> RawForecasts | None:
        """What is stored of a block; None if nothing is."""

    def save(self, block: Block, raw: RawForecasts) -> None:
        """Store it, whole or not at all."""


def forecast_block(matrix: Matrix, job: Job) -> FitOutput:
    """The raw forecast of the block's bars, or the rounds if the job has none.

    None where there are too few rows to learn from before the first fold, or for a member that is not required; at a
    fold that raises DataError.
    """
    train = _train_rows(matrix, job.block, job.window)
    run = FitRun(threads=job.threads)
    try:
        if job.rounds is None:
            return find_rounds(job.learner, train, seed=job.seed, run=run)
        if len(train) == 0:
            raise DataError("There is no bar to learn from yet.")
        model = job.learner.fit(train, stop=None, rounds=job.rounds, seed=job.seed, run=run)
        return model.predict(matrix.rows(_inside(matrix, job.block)))
    except (DataError, NotInstalledError) as error:
        if job.rounds is not None and job.block.index < 0:
            return None  # too short a past: the calibration then rests on the later blocks
        if job.required:
            raise
        if job.rounds is None:
            return Rounds()  # the fits of this member will say that it has too few rows
        if not isinstance(error, NotInstalledError):  # known before the work: a note of the command says it
            log.warning("the ensemble goes on without %s: %s", job.learner.kind, error)
        return None


def walk_forward(
    matrix: Matrix,
    learners: Mapping[str, Learner],
    plan: WalkPlan,
    *,
    block_count: int,
    least_blocks: int,
    seed: int,
    run: FitRun,
    mixes: Mapping[str, Mix] | None = None,
    spread: Spread = in_turn,
    keep: RawStore | None = None,
    done: Callable[[Block], None] = lambda _: None,
    short: ShortHistory | None = None,
) -> WalkForward:
    """Forecast every origin by models that were fitted before it.

    The baseline walks along, named or not: it answers where a coin's history is too short for a model. mixes: of
    learners, by name. An ensemble among the learners is no fit of its own: its members walk along, named or not, and
    its weights follow from their raw forecasts of earlier blocks. block_count: blocks before the first refit whose
    forecasts calibrate it. short: the origins as they are to be forecast; what is learned, refits, calibration and
    weights, rests on the matrix all the same. done: hears of each block in turn. Raises DataError if a model cannot be
    fitted at the first refit.
    """
    usual = np.arange(len(matrix), dtype=np.int64)
    whole, stands_for = (matrix, usual) if short is None else (short.matrix, short.stands_for)
    scored = origins(matrix, plan) if short is None else short.scored
    stacks = {name: learner for name, learner in learners.items() if isinstance(learner, StackLearner)}
    walkers = {name: learner for name, learner in learners.items() if name not in stacks}
    walkers[BASELINE] = walkers.get(BASELINE, BaselineLearner())
    required = frozenset(walkers)
    for stack in stacks.values():
        walkers |= {name: member for name, member in stack.members.items() if name not in walkers}
    stackings = {name: Stacking(whole, tuple(stack.members)) for name, stack in stacks.items()}
    memory = _Memory(whole, walkers, mixes or {}, stackings, plan, least_blocks, scored, len(usual))
    rows, numbers, folds = [], [], []
    parts: dict[str, list[Forecast]] = {name: [] for name in (*learners, *(mixes or {}))}

    def job(name: str, block: Block, rounds: Rounds | None) -> Job:
        window = plan.window * matrix.bar_us
        return Job(walkers[name], block, window, rounds, seed, run.threads, name in required)

    groups = search_groups(matrix, plan_blocks(matrix, plan, early=block_count))
    for block, stored in _raws(whole, walkers, job, groups, spread, keep):
        raw = stored if short is None else short.with_baseline(stored)
        everything = memory.with_combined(block, raw)
        inside, forecasts = memory.calibrated(block, raw, everything) if block.index >= 0 else (raw.row[:0], {})
        memory.learn(block, raw, everything)
        done(block)
        if block.index < 0:
            continue
        for name in parts if forecasts else ():
            parts[name].append(forecasts[name])
        rows.append(stands_for[inside])
        numbers.append(np.full(len(inside), block.index, dtype=np.int64))
        folds.append(Fold(block.index, block.begin, memory.train_rows(block), len(inside)))
    row = np.concatenate(rows)
    if len(row) == 0:
        raise DataError(f"No coin has {plan.min_train_bars} bars before the end of the walk. Fetch more bars.")
    joined = {name: concatenate(forecasts) for name, forecasts in parts.items()}
    return WalkForward(row=row, fold=np.concatenate(numbers), folds=tuple(folds), forecasts=joined)


def _raws(
    matrix: Matrix,
    learners: Mapping[str, Learner],
    job: Callable[[str, Block, Rounds | None], Job],
    groups: Sequence[tuple[Block, tuple[Block, ...]]],
    spread: Spread,
    keep: RawStore | None,
) -> Iterator[tuple[Block, RawForecasts]]:
    """The raw forecasts of one block after the other: those that are stored, and new ones."""
    for search_block, members in groups:
        stored = {block: raw for block in members if keep and (raw := keep.load(block, matrix)) is not None}
        rounds = next((dict(raw.rounds) for raw in stored.values() if raw.rounds), None)
        missing = [block for block in members if block not in stored and len(_inside(matrix, block))]
        if rounds is None and missing:
            calibrated = [name for name, learner in learners.items() if learner.calibrate]
            searches = spread(forecast_block, matrix, [job(name, search_block, None) for name in calibrated])
            rounds = {name: _as_rounds(output) for name, output in zip(calibrated, searches, strict=True)}
        repeat = rounds or {}
        jobs = [job(name, block, repeat.get(name, Rounds())) for block in missing for name in learners]
        outputs = spread(forecast_block, matrix, jobs)
        for block in members:
            if block in stored:
                yield block, stored.pop(block)
                continue
            fresh = {name: next(outputs) for name in learners} if block in missing else {}
            forecasts = {name: forecast for name, forecast in fresh.items() if isinstance(forecast, Forecast)}
            raw = RawForecasts(_inside(matrix, block), forecasts, repeat)
            if keep is not None:
                keep.save(block, raw)
            yield block, raw


def _as_rounds(output: FitOutput) -> Rounds:
    if not isinstance(output, Rounds):
        raise TypeError(f"a search for rounds gave {type(output).__name__}")
    return output


def _inside(matrix: Matrix, block: Block) -> Int64Array:
    return np.flatnonzero((matrix.issued_at >= block.begin) & (matrix.issued_at < block.end)).astype(np.int64)


def _train_rows(matrix: Matrix, block: Block, window: int) -> Matrix:
    train = matrix.known_at(block.known_at)
    return train.rows(train.issued_at > block.known_at - window) if window else train


@dataclass(slots=True, eq=False)
class _Memory:
    """What the walk remembers: the raw forecasts of each model that still count, to calibrate later ones."""

    matrix: Matrix
    learners: Mapping[str, Learner]
    mixes: Mapping[str, Mix]
    stackings: Mapping[str, Stacking]
    plan: WalkPlan
    least_blocks: int
    scored: BoolArray  # of each row of the matrix
    usual: int  # rows of the matrix that teach; those behind them are copies
    _earlier: dict[str, list[tuple[Int64Array, Forecast]]] = field(default_factory=dict)

    def calibrated(
        self, block: Block, raw: RawForecasts, everything: Mapping[str, Forecast]
    ) -> tuple[Int64Array, dict[str, Forecast]]:
        """The rows of the fold's origins, and the calibrated forecasts for them."""
        scored = self.scored[raw.row]
        inside = raw.row[scored]
        if len(inside) == 0:
            return inside, {}
        short = too_short(self.matrix.rows(inside), self.least_blocks)
        forecasts = {name: forecast.rows(scored) for name, forecast in everything.items()}
        calibrated = {}
        for name, forecast in forecasts.items():
            if self._is_calibrated(name):
                own = self._calibration(name, forecast, block.known_at)
                calibrated[name] = with_fallback(own, forecasts[BASELINE], short)
            else:
                calibrated[name] = forecast
        return inside, calibrated

    def learn(self, block: Block, raw: RawForecasts, everything: Mapping[str, Forecast]) -> None:
        """Remember what was forecast, and forget what is too old to calibrate by."""
        teaches = raw.row < self.usual
        row = raw.row[teaches]
        if len(row) == 0:
            return
        for stacking in self.stackings.values():
            stacking.learn(row, {name: forecast.rows(teaches) for name, forecast in raw.forecasts.items()})
        for name, forecast in everything.items():
            if self._is_calibrated(name):
                self._earlier.setdefault(name, []).append((row, forecast.rows(teaches)))
        longest = int(self.matrix.horizons.max())
        for name, parts in self._earlier.items():
            ends = np.array([int(forecast.issued_at.max()) for _, forecast in parts] + [block.end])
            # Back from the last outcome that is known at the next refit.
            ends[:-1] += (longest + self.plan.embargo) * self.matrix.bar_us
            keep = counting(ends, horizon=longest, bar_us=self.matrix.bar_us)[:-1].tolist()
            self._earlier[name] = [part for part, recently in zip(parts, keep, strict=True) if recently]

    def train_rows(self, block: Block) -> int:
        """How many rows with a known label the block's fit had at the first horizon."""
        train = _train_rows(self.matrix, block, self.plan.window * self.matrix.bar_us)
        return int(np.isfinite(train.returns[:, 0]).sum())

    def with_combined(self, block: Block, raw: RawForecasts) -> dict[str, Forecast]:
        """The raw forecasts of the block, and those of mixes and ensembles of them."""
        forecasts = raw.forecasts
        combined = {
            name: average([forecasts[member] for member in mix.members])
            for name, mix in self.mixes.items()
            if all(member in forecasts for member in mix.members)
        }
        for name, stacking in self.stackings.items() if forecasts else ():
            weights = stacking.weights(block.known_at)
            if any(member in forecasts for member in stacking.members):
                combined[name] = stacking.combined(raw.row, forecasts, weights)
        return {**forecasts, **combined}

    def _is_calibrated(self, name: str) -> bool:
        return name not in self.learners or self.learners[name].calibrate

    def _calibration(self, name: str, forecast: Forecast, known_at: int) -> Forecast:
        """The forecast, calibrated by the earlier ones of that name."""
        parts = self._earlier.get(name, [])
        if not parts:
            return forecast
        row = np.concatenate([row for row, _ in parts])
        returns = np.where(self.matrix.label_end[row] > known_at, np.nan, self.matrix.returns[row])
        earlier = concatenate([part for _, part in parts])
        return fit_calibration(earlier, returns, bar_us=self.matrix.bar_us).apply(forecast)
