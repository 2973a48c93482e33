"""Evaluates formulas over the bars of many coins: each distinct node once, blocks of coins at a time.

A plan turns formulas into steps on arrays (coins, bars), windows into joints of shared half windows. Blocks hold as
many coins as fit a processor's cache, so that a step reads what the one before it wrote. Figures across coins come
last, over whole columns. One thread: steps of microseconds spend more on handing Python's lock about than a second
thread gains (measured).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.features import kernels
from cryptocast.features.formula import Formula, ordered
from cryptocast.features.grid import starts

__all__ = ["Bars", "Plan", "compute", "evaluate", "plan"]

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Value: TypeAlias = FloatArray | float  # a number where the formula is a constant
Run: TypeAlias = Callable[..., FloatArray]

MUCH_LATER = 64
BLOCK_ROWS = 16_384  # arrays of 128 KiB: a formula's operands fit a core's cache
PADDING = 1.25  # coins share a block while the longest makes it no larger than this

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MONDAY = 3  # 1970-01-01 was a Thursday, three days after a Monday

FILL: Final[dict[str, float]] = {"rolling_sum": 0.0, "rolling_mean": 0.0, "rolling_max": -np.inf, "rolling_min": np.inf}
JOINT: Final[dict[str, np.ufunc]] = {"rolling_max": np.maximum, "rolling_min": np.minimum}

# Operations on each row by itself.
PLAIN: Final[dict[str, Callable[..., FloatArray]]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
    "absolute": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "larger": np.fmax,
    "at_least": np.maximum,
    "at_most": np.minimum,
    "greater": lambda left, right: np.asarray(left > right, dtype=np.float64),
    "greater_equal": lambda left, right: np.asarray(left >= right, dtype=np.float64),
    "known": lambda values: np.asarray(~np.isnan(values), dtype=np.float64),
    "coalesce": lambda first, second: _choose(np.isnan(first), second, first),
    "where": lambda condition, value, otherwise: _choose(condition != 0.0, value, otherwise),
}


def _choose(condition: BoolArray, value: Value, otherwise: Value) -> FloatArray:
    return np.asarray(np.where(condition, value, otherwise), dtype=np.float64)


# Those of them whose result is known exactly where all their arguments are, finite as they are.
SAME_KNOWN: Final = frozenset(
    {"add", "subtract", "multiply", "negative", "absolute", "sign", "square", "sin", "cos", "at_least", "at_most"}
)

# Operations along a coin's bars, with the names of their parameters.
ALONG: Final[dict[str, tuple[Callable[..., FloatArray], tuple[str, ...]]]] = {
    "shift": (kernels.shift, ("bars",)),
    "smooth": (kernels.smooth, ("alpha", "bars", "lead", "divisor")),
    "decayed_mean": (kernels.decayed_mean, ("decay", "least")),
    "running_sum": (kernels.running_sum, ()),
    "bars_since": (kernels.bars_since, ()),
    "rolling_std": (kernels.spread, ("window", "least")),
    "deviation_from": (kernels.deviation_from, ("window",)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """The rows of coins on their time grids, one coin behind the other.

    columns: name to (N,), NaN where not known; close_time (N,) microseconds; start (C + 1,): coin c has the rows from
    start[c] to start[c + 1]; bar_us: microseconds in a bar; missing: (N,) rows on which nothing is to be known.
    """

    columns: Mapping[str, FloatArray]
    close_time: Int64Array
    start: Int64Array
    bar_us: int
    missing: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.close_time)

    def tail(self, bars: int) -> "Bars":
        """The last bars of each coin, and of a coin that is ahead of another the more that the other's last bar needs.

        A coin that ended MUCH_LATER bars or more before the newest is waited for by nobody.
        """
        ends = self.close_time[self.start[1:] - 1]
        late = (ends.max() - ends) // self.bar_us
        ahead = late[late < MUCH_LATER].max() - late
        low = np.maximum(self.start[:-1], self.start[1:] - bars - np.maximum(ahead, 0))
        kept = np.concatenate([np.arange(first, last) for first, last in zip(low, self.start[1:], strict=True)])
        return Bars(
            columns={name: values[kept] for name, values in self.columns.items()},
            close_time=self.close_time[kept],
            start=np.concatenate([[0], np.cumsum(self.start[1:] - low)]).astype(np.int64),
            bar_us=self.bar_us,
            missing=None if self.missing is None else self.missing[kept],
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One call: values of the inputs go in, the output's value comes out, `spent` are read for the last time."""

    run: Run
    inputs: tuple[str, ...]
    output: str
    spent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps for formulas over one coin's bars, and over all coins at one close time.

    outputs: keys of what was asked for, in its order; own: keys that the first steps must hand on; columns: names of
    what is read.
    """

    outputs: tuple[str, ...]
    own: tuple[str, ...]
    steps: tuple[Step, ...]
    across: tuple[Step, ...]
    columns: Mapping[str, str]
    constants: Mapping[str, float]


def evaluate(frame: pl.DataFrame, **formulas: Formula) -> pl.DataFrame:
    """A column for each formula, in the order of the frame's rows: float64, null where not known.

    frame: bars on their complete time grid, sorted by (coin, close_time) where it has these columns; without `coin` it
    is one series. Null and NaN count as not known. Columns that the frame does not have are not known.
    """
    asked = plan(list(formulas.values()))
    unknown = np.full(frame.height, np.nan)
    columns = {
        name: frame[name].to_numpy().astype(np.float64, copy=False) if name in frame.columns else unknown
        for name in asked.columns
    }
    stamps = np.zeros(frame.height, dtype=np.int64)
    if "close_time" in frame.columns:
        stamps = frame["close_time"].to_physical().to_numpy()
    start = starts(frame["coin"]) if "coin" in frame.columns else np.array([0, frame.height], dtype=np.int64)
    values = compute(asked, Bars(columns, stamps, start, DAY_US))
    named = zip(formulas, values, strict=True)
    return pl.DataFrame([pl.Series(name, array, nan_to_null=True) for name, array in named])


def plan(formulas: Sequence[Formula]) -> Plan:
    """How to compute these formulas. Raises ValueError for a window or a shift over a figure across coins."""
    nodes = ordered(formulas)
    crossing: set[str] = set()
    own: dict[str, Formula] = {}
    for node in nodes:
        if node.op.startswith("across_"):
            crossing.add(node.key)
            own[node.args[0].key] = node.args[0]
        elif any(arg.key in crossing for arg in node.args):
            if node.op not in PLAIN:
                raise ValueError(f"{node.op} over a figure across coins cannot be computed")
            crossing.add(node.key)
    if crossing & own.keys():
        raise ValueError("a figure across coins of figures across coins cannot be computed")
    later = _later(formulas, crossing, own)
    now = {f.key: f for f in formulas if f.key not in crossing} | own
    builder = _Builder()
    for formula in now.values():
        builder.add(formula)
    ends = tuple(now)
    return Plan(
        outputs=tuple(f.key for f in formulas),
        own=ends,
        steps=_with_ends(builder.steps, frozenset(ends)),
        across=_with_ends(later, frozenset(f.key for f in formulas)),
        columns=builder.columns,
        constants={n.key: float(n.params[0]) for n in nodes if n.op == "constant"},
    )


def _later(formulas: Sequence[Formula], crossing: set[str], own: dict[str, Formula]) -> dict[str, Step]:
    """The steps across coins; what they read of single coins is added to `own`."""
    steps: dict[str, Step] = {}

    def add(node: Formula) -> None:
        if node.key in own or node.key in steps or node.op == "constant":
            return
        if node.key not in crossing and node.op not in PLAIN:  # a column or a window of single coins
            own[node.key] = node
            return
        for arg in node.args:
            add(arg)
        run = ACROSS[node.op] if node.op in ACROSS else partial(_beside, _called(node))
        steps[node.key] = Step(run, tuple(arg.key for arg in node.args), node.key, ())

    for formula in formulas:
        if formula.key in crossing:
            add(formula)
    return steps


def _with_ends(steps: Mapping[str, Step], kept: frozenset[str]) -> tuple[Step, ...]:
    """The steps, each told which of its inputs nobody reads behind it."""
    read: set[str] = set(kept)
    backwards = []
    for step in reversed(list(steps.values())):
        spent = tuple(key for key in dict.fromkeys(step.inputs) if key not in read)
        read.update(step.inputs)
        backwards.append(Step(step.run, step.inputs, step.output, spent))
    return tuple(reversed(backwards))


def _called(node: Formula) -> Run:
    """The function behind a formula, with its parameters."""
    if node.op in ALONG:
        function, names = ALONG[node.op]
        return partial(function, **dict(zip(names, node.params, strict=True)))
    if node.params:
        function, (bound,) = PLAIN[node.op], node.params
        return lambda values: function(values, bound)
    return PLAIN[node.op]


class _Builder:
    """Collects steps; windows become joints of half windows, shared by all windows over the same values."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.columns: dict[str, str] = {}  # name: key

    def add(self, formula: Formula) -> None:
        for node in ordered([formula]):
            if node.key in self.steps or node.op == "constant":
                continue
            if node.op == "column":
                self.columns[str(node.params[0])] = node.key
            elif node.op in FILL:
                self._window(node)
            else:
                self._step(node.key, _called(node), tuple(arg.key for arg in node.args))

    def _step(self, key: str, run: Run, inputs: tuple[str, ...]) -> str:
        if key not in self.steps:
            self.steps[key] = Step(run, inputs, key, ())
        return key

    def _window(self, node: Formula) -> None:
        values = node.args[0]
        window, least = int(node.params[0]), int(node.params[1])
        strict = least == window
        fill = FILL[node.op]
        kind = JOINT.get(node.op, np.add)
        source = values.key
        if not strict:
            source = self._step(f"{source} filled {fill}", partial(_filled, fill=fill), (source,))
        total = self._joined(source, kind, window, strict=strict)
        if strict:
            self._step(node.key, _finish(node.op, window), (total,))
            return
        count = self._joined(self._known(values), np.add, window, strict=False)
        self._step(node.key, partial(_enough, least=least, average=node.op == "rolling_mean"), (total, count))

    def _known(self, values: Formula) -> str:
        """The key of 1 and 0: where the values are known."""
        masks = [self._step(f"{key} known", PLAIN["known"], (key,)) for key in sorted(_known_sources(values))]
        all_known = masks[0]
        for mask in masks[1:]:
            all_known = self._step(f"{all_known} {mask}", np.multiply, (all_known, mask))
        return all_known

    def _joined(self, source: str, kind: np.ufunc, window: int, *, strict: bool) -> str:
        """The key of `kind` over windows, from windows of 1, 2, 4, ... bars."""

        def joint(late: str, early: str, bars: int, size: int) -> str:
            key = f"{source} {kind.__name__} {size} {strict}"
            return self._step(key, partial(kernels.join, kind, bars=bars, strict=strict), (late, early))

        powers = [source]
        for level in range(window.bit_length() - 1):
            powers.append(joint(powers[-1], powers[-1], 2**level, 2 ** (level + 1)))
        largest = 2 ** (window.bit_length() - 1)
        if kind is not np.add:  # windows may overlap
            return powers[-1] if largest == window else joint(powers[-1], powers[-1], window - largest, window)
        have, total = 0, ""
        for level, power in enumerate(powers):
            if window >> level & 1:
                total = joint(total, power, have, have + 2**level) if have else power
                have += 2**level
        return total


def _known_sources(node: Formula) -> dict[str, Formula]:
    """The formulas that are all known exactly where this one is, so that counts of known values are shared."""
    if node.op == "constant":
        return {}
    if node.op in SAME_KNOWN:
        return {key: source for arg in node.args for key, source in _known_sources(arg).items()}
    return {node.key: node}


def _filled(values: FloatArray, *, fill: float) -> FloatArray:
    return np.where(np.isnan(values), fill, values)


def _finish(op: str, window: int) -> Run:
    if op == "rolling_mean":
        return lambda total: np.divide(total, window)
    return lambda total: total


def _enough(total: FloatArray, count: FloatArray, *, least: int, average: bool) -> FloatArray:
    return np.where(count >= least, total / count if average else total, np.nan)


def compute(asked: Plan, bars: Bars) -> list[FloatArray]:
    """(N,) for each formula of the plan: NaN where not known, never infinite; NaN on missing bars."""
    if len(bars.start) == 2:  # one coin: its values are the columns
        kept = _block_values(asked, bars, bars.start)
    else:
        kept = {key: np.empty(len(bars)) for key in asked.own}
        for first, last in _blocks(bars.start):
            start = bars.start[first : last + 1]
            for key, array in _block_values(asked, bars, start).items():
                _write(array, start, kept[key])
    if asked.across:
        kept |= _compute_across(asked, bars, kept)
    return [_column(kept, asked.constants, key, len(bars)) for key in asked.outputs]


def _column(kept: Mapping[str, FloatArray], constants: Mapping[str, float], key: str, rows: int) -> FloatArray:
    return np.full(rows, constants[key]) if key in constants else kept[key]


def _blocks(start: Int64Array) -> Iterator[tuple[int, int]]:
    """First and last (not included) coin of each block."""
    sizes = np.diff(start)
    first = 0
    while first < len(sizes):
        last, longest, rows = first + 1, int(sizes[first]), int(sizes[first])
        while last < len(sizes):
            longest, rows = max(longest, int(sizes[last])), rows + int(sizes[last])
            area = longest * (last + 1 - first)
            if area > BLOCK_ROWS or area > PADDING * rows:
                break
            last += 1
        yield first, last
        first = last


def _block_values(asked: Plan, bars: Bars, start: Int64Array) -> dict[str, FloatArray]:
    """What the first steps must hand on, for one block of coins: NaN on missing bars and for infinite values."""
    values: dict[str, Value] = dict(asked.constants)
    for name, key in asked.columns.items():
        values[key] = _leaf(bars, name, start)
    with np.errstate(all="ignore"):
        _run(asked.steps, values)
    missing = None if bars.missing is None else _grid(bars.missing, start, fill=True)
    return {key: _known_only(np.asarray(values[key]), missing) for key in asked.own}


def _known_only(array: FloatArray, missing: BoolArray | None) -> FloatArray:
    unknown = np.isinf(array)
    if missing is not None:
        unknown |= missing
    return np.where(unknown, np.nan, array) if unknown.any() else array


def _write(array: FloatArray, start: Int64Array, column: FloatArray) -> None:
    """A block's values into their rows."""
    rows = column[start[0] : start[-1]]
    if array.size == len(rows):
        rows.reshape(array.shape)[...] = array
        return
    for row, (low, high) in zip(array, pairwise(start), strict=True):
        column[low:high] = row[: high - low]


def _run(steps: Sequence[Step], values: dict[str, Value], *first: Int64Array) -> None:
    """Carry out the steps; `values` gains their outputs and loses what is spent. first: what each step gets ahead."""
    for step in steps:
        values[step.output] = step.run(*first, *[values[key] for key in step.inputs])
        for key in step.spent:
            values.pop(key, None)


def _leaf(bars: Bars, name: str, start: Int64Array) -> FloatArray:
    """A column as the formulas see it, NaN behind a coin's last bar."""
    if name not in CLOCK:
        return _grid(bars.columns[name], start, fill=np.nan)
    within = _grid(bars.close_time, start, fill=0) - 1
    return CLOCK[name](within).astype(np.float64)


def _grid(values: npt.NDArray[Any], start: Int64Array, *, fill: float | bool) -> npt.NDArray[Any]:
    """A column as (coins, bars), or as (bars,) of a single coin, which NumPy steps through faster."""
    if len(start) == 2:
        return values[start[0] : start[1]]
    sizes = np.diff(start)
    longest = int(sizes.max())
    if (sizes == longest).all():
        return values[start[0] : start[-1]].reshape(len(sizes), longest)
    padded = np.full((len(sizes), longest), fill, dtype=values.dtype)
    for row, (low, high) in enumerate(pairwise(start)):
        padded[row, : high - low] = values[low:high]
    return padded


def _compute_across(asked: Plan, bars: Bars, kept: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The formulas over all coins at one close time: columns (1, N), one step after another."""
    values: dict[str, Value] = {**asked.constants, **{key: array[None, :] for key, array in kept.items()}}
    with np.errstate(all="ignore"):
        _run(asked.across, values, _moments(bars))
    unknown = np.zeros(len(bars), dtype=np.bool_) if bars.missing is None else bars.missing
    found = {}
    for key in dict.fromkeys(step.output for step in asked.across if step.output in asked.outputs):
        array = np.asarray(values[key])[0]
        found[key] = np.where(unknown | ~np.isfinite(array), np.nan, array)
    return found


def _moments(bars: Bars) -> Int64Array:
    """(N,) the number of each row's close time."""
    since = bars.close_time - bars.close_time.min(initial=np.iinfo(np.int64).max)
    if (since % bars.bar_us == 0).all():
        return np.asarray(since // bars.bar_us, dtype=np.int64)
    return np.unique(bars.close_time, return_inverse=True)[1].astype(np.int64)


def _beside(run: Run, _: Int64Array, *values: Value) -> FloatArray:
    """A step among those across coins that looks at each row by itself."""
    return run(*values)


def _across_count(moments: Int64Array, values: FloatArray) -> FloatArray:
    counts = np.bincount(moments, weights=~np.isnan(values[0]))
    return np.asarray(counts[moments][None, :], dtype=np.float64)


def _across_mean(moments: Int64Array, values: FloatArray) -> FloatArray:
    total = np.bincount(moments, weights=np.nan_to_num(values[0]))
    return total[moments][None, :] / _across_count(moments, values)


def _across_std(moments: Int64Array, values: FloatArray) -> FloatArray:
    return np.sqrt(_across_mean(moments, np.square(values - _across_mean(moments, values))))


def _across_rank(moments: Int64Array, values: FloatArray) -> FloatArray:
    """Mean rank of equal values, from 1."""
    known = ~np.isnan(values[0])
    if np.bincount(moments, weights=known).max(initial=0.0) <= 1.0:
        return np.where(known, 1.0, np.nan)[None, :]
    order = np.argsort(values[0])[: np.count_nonzero(known)]  # NaN comes last
    # A stable sort of 16-bit numbers is one pass; so many moments are 179 years of days.
    small = np.uint16 if moments.max(initial=0) < 2**16 else np.int64
    order = order[np.argsort(moments[order].astype(small), kind="stable")]
    moment, value = moments[order], values[0, order]
    place = np.arange(len(order), dtype=np.int64)
    fresh = np.diff(moment, prepend=-1) != 0
    ties = fresh | (np.diff(value, prepend=np.nan) != 0.0)
    begun = np.maximum.accumulate(np.where(fresh, place, 0))
    tie = np.cumsum(ties) - 1
    first = np.flatnonzero(ties)
    shared = first + (np.diff(first, append=len(order)) - 1) / 2.0
    ranks = np.full_like(values, np.nan)
    ranks[0, order] = shared[tie] - begun + 1.0
    return ranks


ACROSS: Final[dict[str, Run]] = {
    "across_count": _across_count,
    "across_mean": _across_mean,
    "across_std": _across_std,
    "across_rank": _across_rank,
}

CLOCK: Final[dict[str, Callable[[Int64Array], Int64Array]]] = {
    "hour": lambda within: within // HOUR_US % 24,
    "weekday": lambda within: (within // DAY_US + MONDAY) % 7,
    "month": lambda within: within.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12,
}
