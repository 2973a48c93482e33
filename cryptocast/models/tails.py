"""The whole distribution behind the quantiles of a forecast: between them, and beyond the outer ones.

On the scale of a Student t a quantile function is close to a straight line. So between two levels the quantiles are
linear in the quantiles of a Student t, and beyond the outer ones they are that t: through the median and the outermost
quantile. Its degrees of freedom are those at which the 95 % interval is as much wider than the 80 % one as here.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.quantiles import LEVELS, interval_columns

# Rising; the widths of intervals tell no more of the tail than this, and beyond the last it is a normal one.
FREEDOMS: Final = tuple(np.round(np.geomspace(3.0, 60.0, 24), 3).tolist())


def quantile_function(values: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Quantiles (..., m) at probabilities (m,) inside (0, 1) of distributions whose quantiles at LEVELS are values
    (..., q), not decreasing along q. At a level it is the value there."""
    rows = values.reshape(-1, values.shape[-1])
    at, scale = _student(tuple(probabilities.tolist())), _student(tuple(LEVELS.tolist()))
    columns = _freedom(rows)
    quantiles = np.stack([_one(row, scale[c], at[c]) for row, c in zip(rows, columns, strict=True)])
    return quantiles.reshape(*values.shape[:-1], len(probabilities))


def _one(row: FloatArray, scale: FloatArray, at: FloatArray) -> FloatArray:
    """row, scale (q,): values and where they lie on the scale of the Student t; at (m,): where they are wanted."""
    median = row[len(row) // 2]
    low, high = (median + (row[end] - median) * (at / scale[end]) for end in (0, -1))
    inside = np.interp(at, scale, row)
    return np.where(at < scale[0], low, np.where(at > scale[-1], high, inside))


def _freedom(rows: FloatArray) -> Int64Array:
    """(n,) which of FREEDOMS has the widths of the intervals of rows (n, q)."""
    wide, narrow = (_width(rows, level) for level in (95, 80))
    widths = _student(tuple(LEVELS.tolist()))
    tables = _width(widths, 95) / _width(widths, 80)  # falls as the freedom grows
    ratio = np.divide(wide, narrow, out=np.full(len(rows), tables[0]), where=narrow > 0.0)
    return np.asarray(np.abs(ratio[:, None] - tables[None, :]).argmin(axis=1), dtype=np.int64)


def _width(rows: FloatArray, level: int) -> FloatArray:
    lower, upper = interval_columns(LEVELS, level)
    return np.asarray(rows[:, upper] - rows[:, lower])


@lru_cache(maxsize=8)
def _student(probabilities: tuple[float, ...]) -> FloatArray:
    """(F, m): quantiles of the Student ts of FREEDOMS, read-only."""
    from scipy.special import stdtrit  # scipy costs more time than this module's other imports

    table = np.asarray(stdtrit(np.array(FREEDOMS)[:, None], np.array(probabilities)[None, :]), dtype=np.float64)
    table.flags.writeable = False
    return table
