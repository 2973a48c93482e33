"""Walk forward through history: refit, forecast the next block, never look ahead.

Every model is fitted once for each refit. What it forecasts for all bars of its block, before any calibration, is the
block's *raw* forecast; those of earlier blocks, with the outcomes that were known by then, calibrate the later ones.
Raw forecasts depend on nothing but their own fit: they can be made in any process and kept, and a walk that was
interrupted goes on behind the last one that was kept.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError
from cryptocast.evaluation.plan import Block, Plan, origins, plan_blocks, search_groups
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecast, Learner, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import too_short, with_fallback
from cryptocast.models.calibration import fit_calibration
from cryptocast.models.combination import Mix, average
from cryptocast.models.fitting import concatenate, find_rounds
from cryptocast.models.recent_window import recent
from cryptocast.models.stacking import Stacking, StackLearner

__all__ = ["Fold", "Job", "Keep", "Raw", "Spread", "WalkForward", "forecast_block", "in_turn", "walk_forward"]

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
class Raw:
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


Done: TypeAlias = Forecast | Rounds | None
# The parallel map: results in the order of the jobs.
Spread: TypeAlias = Callable[[Callable[[Matrix, Job], Done], Matrix, Sequence[Job]], Iterator[Done]]


class Keep(Protocol):
    """Where raw forecasts are kept while a walk goes on."""

    def load(self, block: Block, matrix: Matrix) -> Raw | None:
        """What was kept of a block; None if nothing was."""
        ...

    def save(self, block: Block, raw: Raw) -> None:
        """Keep it, whole or not at all."""
        ...


class _Nowhere:
    def load(self, block: Block, matrix: Matrix) -> Raw | None:  # noqa: ARG002
        return None

    def save(self, block: Block, raw: Raw) -> None:
        pass


def in_turn(work: Callable[[Matrix, Job], Done], matrix: Matrix, jobs: Sequence[Job]) -> Iterator[Done]:
    """The map that is none: one job after the other, in this process."""
    return (work(matrix, job) for job in jobs)


def forecast_block(matrix: Matrix, job: Job) -> Done:
    """The raw forecast of the block's bars, or the rounds if the job has none.

    None where there are too few rows to learn from before the first fold, or for a member that is not required; at a
    fold that raises DataError.
    """
    known = _learned_from(matrix, job.block.known_at, job.window)
    run = FitRun(threads=job.threads)
    if job.rounds is None:
        return _searched(known, job, run)
    rows = matrix.rows(_inside(matrix, job.block))
    try:
        if len(known) == 0:
            raise DataError("There is no bar to learn from yet.")
        return job.learner.fit(known, stop=None, rounds=job.rounds, seed=job.seed, run=run).predict(rows)
    except DataError as error:
        if job.block.index < 0:
            return None  # too short a past: the calibration then rests on the later blocks
        if job.required:
            raise
        log.warning("the ensemble goes on without %s: %s", job.learner.kind, error)
        return None


def _searched(known: Matrix, job: Job, run: FitRun) -> Rounds:
    """The rounds; none for a member of an ensemble that has too few rows, whose fits will say so."""
    try:
        return find_rounds(job.learner, known, seed=job.seed, run=run)
    except DataError:
        if job.required:
            raise
        return Rounds()


def walk_forward(
    matrix: Matrix,
    learners: Mapping[str, Learner],
    plan: Plan,
    *,
    block_count: int,
    least_blocks: int,
    seed: int,
    run: FitRun,
    mixes: Mapping[str, Mix] | None = None,
    spread: Spread = in_turn,
    keep: Keep | None = None,
    done: Callable[[Fold], None] = lambda _: None,
) -> WalkForward:
    """Forecast every origin by models that were fitted before it.

    The baseline walks along, named or not: it answers where a coin's history is too short for a model. mixes: of
    learners, by name. An ensemble among the learners is no fit of its own: its members walk along, named or not, and
    its weights follow from their raw forecasts of earlier blocks. block_count: blocks before the first refit whose
    forecasts calibrate it. Raises DataError if a model cannot be fitted at the first refit.
    """
    stacks = {name: learner for name, learner in learners.items() if isinstance(learner, StackLearner)}
    walkers = {name: learner for name, learner in learners.items() if name not in stacks}
    walkers[BASELINE] = walkers.get(BASELINE, BaselineLearner())
    required = frozenset(walkers)
    for stack in stacks.values():
        walkers |= {name: member for name, member in stack.members.items() if name not in walkers}
    walk = _Walk(matrix, walkers, mixes or {}, _stackings(matrix, stacks), plan, least_blocks)
    rows, numbers, folds = [], [], []
    parts: dict[str, list[Forecast]] = {name: [] for name in (*learners, *(mixes or {}))}
    made_by = _Making(walkers, required, seed, run.threads)
    for block, raw in _raws(matrix, made_by, plan, block_count, spread, keep or _Nowhere()):
        everything = walk.with_combined(block, raw)
        inside, made = walk.settled(block, raw, everything) if block.index >= 0 else (np.empty(0, np.int64), {})
        walk.learn(block, raw, everything)
        if block.index < 0:
            continue
        for name in parts if made else ():
            parts[name].append(made[name])
        rows.append(inside)
        numbers.append(np.full(len(inside), block.index, dtype=np.int64))
        folds.append(Fold(block.index, block.begin, walk.train_rows(block), len(inside)))
        done(folds[-1])
    row = np.concatenate(rows)
    if len(row) == 0:
        raise DataError(f"No coin has {plan.min_train_bars} bars before the end of the walk. Fetch more bars.")
    forecasts = {name: concatenate(found) for name, found in parts.items()}
    return WalkForward(row=row, fold=np.concatenate(numbers), folds=tuple(folds), forecasts=forecasts)


@dataclass(frozen=True, slots=True)
class _Making:
    """What is fitted: the learners by name; a fit of those that are not required may fail."""

    learners: Mapping[str, Learner]
    required: frozenset[str]
    seed: int
    threads: int

    def job(self, name: str, block: Block, window: int, rounds: Rounds | None) -> Job:
        """One fit."""
        return Job(self.learners[name], block, window, rounds, self.seed, self.threads, name in self.required)


def _stackings(matrix: Matrix, stacks: Mapping[str, StackLearner]) -> dict[str, Stacking]:
    return {name: Stacking(matrix, tuple(stack.members), stack.temperature) for name, stack in stacks.items()}


def _raws(
    matrix: Matrix, making: _Making, plan: Plan, early: int, spread: Spread, keep: Keep
) -> Iterator[tuple[Block, Raw]]:
    """The raw forecasts of one block after the other: those that were kept, and those that are made now."""
    window, learners = plan.window * matrix.bar_us, making.learners
    for searched_at, members in search_groups(matrix, plan_blocks(matrix, plan, early=early)):
        kept = {block: raw for block in members if (raw := keep.load(block, matrix)) is not None}
        rounds = next((dict(raw.rounds) for raw in kept.values() if raw.rounds), None)
        missing = [block for block in members if block not in kept and len(_inside(matrix, block))]
        if rounds is None and missing:
            calibrated = [name for name, learner in learners.items() if learner.calibrate]
            searches = [making.job(name, searched_at, window, None) for name in calibrated]
            found = spread(forecast_block, matrix, searches)
            rounds = {name: _rounds(result) for name, result in zip(calibrated, found, strict=True)}
        stopped = rounds or {}
        jobs = [making.job(name, block, window, stopped.get(name, Rounds())) for block in missing for name in learners]
        results = spread(forecast_block, matrix, jobs)
        for block in members:
            if block in kept:
                yield block, kept.pop(block)
                continue
            made = {name: next(results) for name in learners} if block in missing else {}
            forecasts = {name: forecast for name, forecast in made.items() if isinstance(forecast, Forecast)}
            raw = Raw(_inside(matrix, block), forecasts, stopped)
            keep.save(block, raw)
            yield block, raw


def _rounds(found: Done) -> Rounds:
    if not isinstance(found, Rounds):
        raise TypeError(f"a search for rounds gave {type(found).__name__}")
    return found


def _inside(matrix: Matrix, block: Block) -> Int64Array:
    return np.flatnonzero((matrix.issued_at >= block.begin) & (matrix.issued_at < block.end)).astype(np.int64)


def _learned_from(matrix: Matrix, known_at: int, window: int) -> Matrix:
    known = matrix.known_at(known_at)
    return known.rows(known.issued_at > known_at - window) if window else known


@dataclass(slots=True, eq=False)
class _Walk:
    """What the walk remembers: the recent raw forecasts of each model, so that later ones can be calibrated."""

    matrix: Matrix
    learners: Mapping[str, Learner]
    mixes: Mapping[str, Mix]
    stackings: Mapping[str, Stacking]
    plan: Plan
    least_blocks: int
    _earlier: dict[str, list[tuple[Int64Array, Forecast]]] = field(default_factory=dict)

    def settled(
        self, block: Block, raw: Raw, everything: Mapping[str, Forecast]
    ) -> tuple[Int64Array, dict[str, Forecast]]:
        """The rows of the fold's origins, and the calibrated forecasts for them."""
        scored = origins(self.matrix, self.plan)[raw.row]
        inside = raw.row[scored]
        if len(inside) == 0:
            return inside, {}
        rows = self.matrix.rows(inside)
        short = too_short(rows, self.least_blocks)
        forecasts = {name: forecast.rows(scored) for name, forecast in everything.items()}
        made = {}
        for name, forecast in forecasts.items():
            if not self._is_calibrated(name):
                made[name] = forecast
                continue
            moved = self._calibrated(name, forecast, block.known_at)
            made[name] = with_fallback(moved, forecasts[BASELINE], short) if short.any() else moved
        return inside, made

    def learn(self, block: Block, raw: Raw, everything: Mapping[str, Forecast]) -> None:
        """Remember what was forecast, and forget what is too old to calibrate by."""
        if len(raw.row) == 0:
            return
        for stacking in self.stackings.values():
            stacking.learn(raw.row, raw.forecasts)
        for name, forecast in everything.items():
            if self._is_calibrated(name):
                self._earlier.setdefault(name, []).append((raw.row, forecast))
        longest = int(self.matrix.horizons.max())
        for name, parts in self._earlier.items():
            ends = np.array([int(forecast.issued_at.max()) for _, forecast in parts] + [block.end])
            # Back from the last outcome that is known at the next refit.
            ends[:-1] += (longest + self.plan.embargo) * self.matrix.bar_us
            kept = recent(ends, horizon=longest, bar_us=self.matrix.bar_us)[:-1]
            self._earlier[name] = [part for part, keep in zip(parts, kept.tolist(), strict=True) if keep]

    def train_rows(self, block: Block) -> int:
        """How many rows with a known label the block's fit had at the first horizon."""
        known = _learned_from(self.matrix, block.known_at, self.plan.window * self.matrix.bar_us)
        return int(np.isfinite(known.returns[:, 0]).sum())

    def with_combined(self, block: Block, raw: Raw) -> dict[str, Forecast]:
        """The raw forecasts of the block, and what mixes and ensembles make of them."""
        forecasts = raw.forecasts
        mixed = {
            name: average([forecasts[member] for member in mix.members])
            for name, mix in self.mixes.items()
            if all(member in forecasts for member in mix.members)
        }
        stacked: dict[str, Forecast] = {}
        for name, stacking in self.stackings.items() if forecasts else ():
            weights = stacking.weights(block.known_at)
            if any(member in forecasts for member in stacking.members):
                stacked[name] = stacking.combined(raw.row, forecasts, weights)
        return {**forecasts, **mixed, **stacked}

    def _is_calibrated(self, name: str) -> bool:
        return name not in self.learners or self.learners[name].calibrate

    def _calibrated(self, name: str, forecast: Forecast, known_at: int) -> Forecast:
        parts = self._earlier.get(name, [])
        if not parts:
            return forecast
        row = np.concatenate([row for row, _ in parts])
        returns = np.where(self.matrix.label_end[row] > known_at, np.nan, self.matrix.returns[row])
        earlier = concatenate([part for _, part in parts])
        return fit_calibration(earlier, returns, bar_us=self.matrix.bar_us).apply(forecast)
