"""What a walk forward visits: its origins, the moments of its refits, and the blocks of time that one fit forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.folds import blocks
from cryptocast.models.fitting import FIRST_SHARE

# The rounds are found anew whenever the rows have grown by this factor: stopping early costs as much as a fit.
GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class WalkPlan:
    """What to walk over. Moments in microseconds, lengths in bars.

    Origins stand every `step` bars from `start` to `end`; models are refitted every `refit_every` bars on all labels
    that ended `embargo` bars before, and began at most `window` bars before that (0: all of them, an expanding window).
    A coin joins once it has `min_train_bars` bars. history: bars of the coin that a forecast knows (0: all of them).
    """

    start: int
    end: int
    step: int
    refit_every: int
    embargo: int
    min_train_bars: int
    window: int = 0
    history: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """Bars in [begin, end) that one fit forecasts, on labels that had ended at `known_at`. All in microseconds.

    index: the number of the fold; below 0 for the blocks before the first fold, which only serve to calibrate it.
    """

    index: int
    begin: int
    end: int
    known_at: int


def plan_folds(
    matrix: Matrix,
    *,
    step: int,
    refit_every: int,
    embargo: int,
    min_train_bars: int,
    start: int | None,
    end: int | None,
    window: int = 0,
    history: int = 0,
) -> WalkPlan:
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
    return WalkPlan(begin, finish, step, refit_every, embargo, min_train_bars, window, history)


def _day(moment: int) -> str:
    return str(np.datetime64(moment, "us").astype("datetime64[D]"))


def fold_starts(plan: WalkPlan, bar_us: int) -> Int64Array:
    """The moments of the refits; a multiple of `step` apart, so that every fold begins at an origin."""
    length = max(1, plan.refit_every // plan.step) * plan.step * bar_us
    return np.arange(plan.start, plan.end + 1, length, dtype=np.int64)


def plan_blocks(matrix: Matrix, plan: WalkPlan, *, early: int) -> tuple[Block, ...]:
    """`early` blocks before the first refit, the later part of what was known then, and one block for each refit.

    In the order of time.
    """
    embargo = plan.embargo * matrix.bar_us
    starts = fold_starts(plan, matrix.bar_us)
    first = int(matrix.issued_at.min())
    known_at = int(starts[0]) - embargo
    bounds = blocks(first + round((known_at - first) * FIRST_SHARE), known_at, early) if early else starts[:1]
    before = [Block(i - early, begin, end, begin - embargo) for i, (begin, end) in enumerate(pairwise(bounds.tolist()))]
    folds = pairwise([*starts.tolist(), plan.end + 1])
    return (*before, *(Block(i, begin, end, begin - embargo) for i, (begin, end) in enumerate(folds)))


def search_groups(matrix: Matrix, plan_of: Sequence[Block]) -> tuple[tuple[Block, tuple[Block, ...]], ...]:
    """The blocks in groups that share their rounds, each with the fold at whose refit the rounds are found.

    Early blocks take the rounds of the first fold: nothing is scored on them.
    """
    groups: list[tuple[Block, list[Block]]] = []
    early: list[Block] = []
    rows_at_search = 0
    for block in plan_of:
        if block.index < 0:
            early.append(block)
            continue
        rows = int((matrix.issued_at <= block.known_at).sum())
        if not groups or rows >= GROWTH * rows_at_search:
            groups.append((block, [*early] if not groups else []))
            rows_at_search = rows
        groups[-1][1].append(block)
    return tuple((at, tuple(members)) for at, members in groups)


def origins(matrix: Matrix, plan: WalkPlan) -> BoolArray:
    """(n,) which rows are scored: every `step` bars, of coins that have joined."""
    spacing = plan.step * matrix.bar_us
    on_step = ((matrix.issued_at - plan.start) % spacing == 0) & (matrix.issued_at >= plan.start)
    joined = matrix.position - matrix.begin + 1 >= plan.min_train_bars
    return np.asarray(on_step & joined & (matrix.issued_at <= plan.end))
