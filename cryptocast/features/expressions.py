"""What formulas are made of: a coin's columns, windows with a stated tolerance for gaps, columns that formulas share.

A formula is a function that returns a Polars expression for the rows of one coin on its complete time grid; the builder
decides over which rows it is evaluated, so that no formula says `over`. It sees prices and volumes that are positive,
finite or null. An ingredient that several formulas name is a function marked `shared`: its values are a column that the
builder makes once, ahead of them. TA-Lib's functions, which know no nulls, are called on each run of consecutive known
bars (`by_run`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from itertools import pairwise
from types import ModuleType
from typing import Final, ParamSpec

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray

P = ParamSpec("P")

OPEN: Final = pl.col("open")
HIGH: Final = pl.col("high")
LOW: Final = pl.col("low")
CLOSE: Final = pl.col("close")
VOLUME: Final = pl.col("volume")
MARKET_CAP: Final = pl.col("market_cap")
# Columns of the builder: the number of the coin, and that of the row in the whole table.
SERIES: Final = "__series"
ROW_NUMBER: Final = "__row"
ROW: Final = pl.col(ROW_NUMBER)

# A variance per bar below this counts as this: moves under 0.01 % a bar are quoting noise, log 0 is not a number, and a
# ratio to the spread of a flat series would be a ratio of rounding errors. Over it, a flat series has z-scores of 0.
VARIANCE_FLOOR: Final = 1e-8
DEVIATION_FLOOR: Final = 1e-4  # its root

LENIENT_FROM: Final = 90


def _without_pandas() -> ModuleType:
    """TA-Lib. Its package loads pandas where there is one, for wrappers that nobody here uses: 60 MB, half a second."""
    hidden = "pandas" not in sys.modules
    if hidden:
        sys.modules["pandas"] = None  # type: ignore[assignment]  # an import of it now raises ModuleNotFoundError
    try:
        import talib as library
    finally:
        if hidden:
            del sys.modules["pandas"]
    return library


talib: Final = _without_pandas()
TALIB_RELEASE: Final = str(talib.__version__)


@dataclass(frozen=True, slots=True, eq=False)
class Ingredient:
    """A column that formulas share. by_coin: whether it is evaluated over each coin's rows, or over all at once."""

    expr: pl.Expr
    by_coin: bool


INGREDIENTS: Final[dict[str, Ingredient]] = {}  # by the name of the column; filled as formulas are written


def shared(formula: Callable[P, pl.Expr], *, by_coin: bool = True) -> Callable[P, pl.Expr]:
    """The formula as a column of its own, for each choice of its arguments: numbers, and expressions that are columns.

    Calling it raises ValueError for another expression: two of them may have the same name.
    """

    @wraps(formula)
    def column(*args: P.args, **kwargs: P.kwargs) -> pl.Expr:
        words = [_name(argument) for argument in (*args, *kwargs.values())]
        name = " ".join(["__", formula.__module__.rpartition(".")[2], formula.__name__, *words])
        if name not in INGREDIENTS:
            INGREDIENTS[name] = Ingredient(formula(*args, **kwargs), by_coin)
        return pl.col(name)

    return column


def _name(argument: object) -> str:
    if not isinstance(argument, pl.Expr):
        return str(argument)
    if not argument.meta.is_column():
        raise ValueError(f"{argument} is no column, and what is made of it cannot be shared")
    return argument.meta.output_name()


def shared_by_run(formula: Callable[P, pl.Expr]) -> Callable[P, pl.Expr]:
    """As `shared`, for a formula of `by_run`, which finds where coins end by itself."""
    return shared(formula, by_coin=False)


def columns_read(expr: pl.Expr) -> frozenset[str]:
    """The columns behind an expression: ingredients, what they are made of in turn, and columns of the candles."""
    names: set[str] = set()
    new = set(expr.meta.root_names())
    while new:
        names |= new
        new = {root for name in new & INGREDIENTS.keys() for root in INGREDIENTS[name].expr.meta.root_names()} - names
    return frozenset(names)


def by_run(
    function: Callable[..., FloatArray | Sequence[FloatArray]], *inputs: pl.Expr, fields: Sequence[str] = ()
) -> pl.Expr:
    """A function of arrays (bars,) on each stretch of consecutive bars of a coin on which all inputs are known.

    Null elsewhere. fields: names of what the function returns, if that is several arrays: the column is then a struct.
    """
    kind = pl.Struct(dict.fromkeys(fields, pl.Float64())) if fields else pl.Float64()
    return pl.map_batches([*inputs, pl.col(SERIES)], partial(_by_run, function, tuple(fields)), return_dtype=kind)


def _by_run(
    function: Callable[..., FloatArray | Sequence[FloatArray]], fields: tuple[str, ...], columns: Sequence[pl.Series]
) -> pl.Series:
    *inputs, series = columns
    arrays = [column.to_numpy() for column in inputs]
    values = np.full((max(1, len(fields)), len(series)), np.nan)
    for first, end in _runs(inputs, series):
        values[:, first:end] = function(*(array[first:end] for array in arrays))
    if not fields:
        return pl.Series(values[0], nan_to_null=True)
    return pl.DataFrame(
        [pl.Series(name, row, nan_to_null=True) for name, row in zip(fields, values, strict=True)]
    ).to_struct()


def _runs(inputs: Sequence[pl.Series], series: pl.Series) -> Iterator[tuple[int, int]]:
    """First bar and end (not included) of each stretch of one coin on which all inputs are known."""
    number = series.to_numpy()
    change = np.diff(number) != 0
    is_known = np.ones(len(number), dtype=np.bool_)
    for column in inputs:
        if column.null_count():
            is_known &= column.is_not_null().to_numpy()
    change |= is_known[1:] != is_known[:-1]
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(number)]
    return ((first, end) for first, end in pairwise(edges) if first < end and is_known[first])


def enough(window: int) -> int:
    """Known bars that a window needs: all of them below 90 bars, half of them (rounded up) from 90 on.

    Short windows are strict: one missing bar makes them null until it has left. A long window would lose a year to one
    missing day, and a coin with one year of history would never see its 365-bar features; half a year says enough.
    """
    return window if window < LENIENT_FROM else (window + 1) // 2


def mean(values: pl.Expr, window: int) -> pl.Expr:
    """Mean of the known values among the last `window` bars; null if fewer than `enough(window)` are known.

    The mean of a column is a column that formulas share.
    """
    return _mean(values, window) if values.meta.is_column() else _rolling_mean(values, window)


@shared
def _mean(values: pl.Expr, window: int) -> pl.Expr:
    return _rolling_mean(values, window)


def _rolling_mean(values: pl.Expr, window: int) -> pl.Expr:
    return values.rolling_mean(window, min_samples=enough(window))


def spread(values: pl.Expr, window: int) -> pl.Expr:
    """Standard deviation (of the population, ddof 0) of the last `window` bars, with the tolerance of `enough`."""
    return values.rolling_std(window, min_samples=enough(window), ddof=0)


def log_variance(variance: pl.Expr) -> pl.Expr:
    """Log of a variance per bar, not below that of a flat series, log 1e-8."""
    return variance.clip(lower_bound=VARIANCE_FLOOR).log()


@shared
def known_with(values: pl.Expr, other: pl.Expr) -> pl.Expr:
    """The values of a column where another column is known too, else null. Both finite."""
    return values + other * 0.0


@shared
def covariance(left: pl.Expr, right: pl.Expr, window: int) -> pl.Expr:
    """Covariance (ddof 0) of two columns that are known on the same bars, see `known_with`.

    By the formula E[xy] - E[x] E[y]: meant for returns and the like, whose mean is small against their spread.
    """
    return mean(left * right, window) - mean(left, window) * mean(right, window)


@shared
def variation(values: pl.Expr, window: int) -> pl.Expr:
    """Standard deviation (ddof 0) of a column by E[x^2] - E[x]^2: for returns, where `spread` is for levels."""
    return (mean(values**2, window) - mean(values, window) ** 2).clip(lower_bound=0.0).sqrt()


def correlation(left: pl.Expr, right: pl.Expr, window: int) -> pl.Expr:
    """Pearson correlation of two columns over the bars of the window on which both are known; flat series 0.

    Between -1 and 1. Deviations below 1e-4 count as that, so that a series which hardly moves correlates with nothing.
    For returns and the like, see `covariance`.
    """
    one, other = known_with(left, right), known_with(right, left)
    sides = [variation(values, window).clip(lower_bound=DEVIATION_FLOOR) for values in (one, other)]
    return (covariance(one, other, window) / (sides[0] * sides[1])).clip(-1.0, 1.0)


@shared
def log_return(bars: int) -> pl.Expr:
    """Log of the close over the close `bars` bars earlier. Both must be known; what lies between need not be."""
    return (CLOSE / CLOSE.shift(bars)).log()


@shared
def squared_return() -> pl.Expr:
    """Square of the one-bar log return."""
    return log_return(1) ** 2
