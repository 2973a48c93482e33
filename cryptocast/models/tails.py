"""The whole distribution behind the quantiles of a forecast: between them, and beyond the outer ones.

On the scale of a Student t a quantile function is close to a straight line. So between two levels the quantiles are
linear in the quantiles of a Student t, and beyond the outer ones they are that t: through the median and the outermost
quantile. Its degrees of freedom are those at which the 95 % interval is as much wider than the 80 % one as here.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.quantiles import LEVELS, interval_columns, intervals_on_offer

# Of Student ts of so many degrees of freedom the quantiles at 0.9, 0.975, 0.99 and 0.995, from scipy.special.stdtrit:
# written down so that a server that shows intervals loads no SciPy. Widths tell no more of a tail than this.
STUDENT: Final = (
    (3, 1.6377443537, 3.18244630528, 4.54070285857, 5.84090930973),
    (4, 1.53320627406, 2.7764451052, 3.74694738798, 4.60409487135),
    (5, 1.47588404882, 2.57058183564, 3.36492999891, 4.03214298356),
    (6, 1.43975574727, 2.44691185114, 3.14266840329, 3.70742802132),
    (7, 1.41492392765, 2.36462425159, 2.99795156687, 3.49948329735),
    (8, 1.39681530974, 2.3060041352, 2.89645944771, 3.35538733133),
    (9, 1.3830287384, 2.2621571628, 2.82143792503, 3.24983554159),
    (10, 1.37218364111, 2.22813885199, 2.76376945811, 3.16927267262),
    (12, 1.35621733402, 2.17881282967, 2.68099799312, 3.05453958939),
    (15, 1.34060560785, 2.13144954556, 2.60248029501, 2.94671288348),
    (20, 1.32534070699, 2.08596344727, 2.52797700274, 2.84533970979),
    (30, 1.31041502539, 2.0422724563, 2.4572615424, 2.74999565357),
    (60, 1.29582109352, 2.00029782201, 2.39011947262, 2.66028302886),
)
# Intervals, in percent, whose ends lie beyond the outer levels; with them, all that a forecast can be asked for.
TAIL_INTERVALS: Final = (98, 99)
EVERY_INTERVAL: Final = (*intervals_on_offer(LEVELS), *TAIL_INTERVALS)


def quantile_function(values: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Quantiles (..., m) at probabilities (m,) inside (0, 1) of distributions whose quantiles at LEVELS are values
    (..., q), not decreasing along q. At a level it is the value there."""
    rows = values.reshape(-1, values.shape[-1])
    at, scale = _student(tuple(probabilities.tolist())), _student(tuple(LEVELS.tolist()))
    columns = _freedom(rows)
    quantiles = np.stack([_one(row, scale[c], at[c]) for row, c in zip(rows, columns, strict=True)])
    return quantiles.reshape(*values.shape[:-1], len(probabilities))


def interval_ends(values: FloatArray, percent: int) -> tuple[FloatArray, FloatArray]:
    """The lower and the upper end (n,) of a central interval of distributions whose quantiles at LEVELS are values
    (n, q), not decreasing along q. Raises ValueError that names those on offer for any but EVERY_INTERVAL."""
    if percent not in TAIL_INTERVALS:
        lower, upper = interval_columns(LEVELS, percent)
        return values[:, lower], values[:, upper]
    end = 3 + TAIL_INTERVALS.index(percent)
    beyond = np.array([row[end] / row[2] for row in STUDENT])[_freedom(values)]
    median = values[:, values.shape[1] // 2]
    return median + (values[:, 0] - median) * beyond, median + (values[:, -1] - median) * beyond


def _one(row: FloatArray, scale: FloatArray, at: FloatArray) -> FloatArray:
    """row, scale (q,): values and where they lie on the scale of the Student t; at (m,): where they are wanted."""
    median = row[len(row) // 2]
    low, high = (median + (row[end] - median) * (at / scale[end]) for end in (0, -1))
    inside = np.interp(at, scale, row)
    return np.where(at < scale[0], low, np.where(at > scale[-1], high, inside))


def _freedom(rows: FloatArray) -> Int64Array:
    """(n,) which row of STUDENT has the widths of the intervals of rows (n, q); that of the fattest tails where they
    have none."""
    wide, narrow = (_width(rows, level) for level in (95, 80))
    tables = np.array([row[2] / row[1] for row in STUDENT])  # falls as the freedom grows
    ratio = np.divide(wide, narrow, out=np.full(len(rows), tables[0]), where=narrow > 0.0)
    return np.asarray(np.abs(ratio[:, None] - tables[None, :]).argmin(axis=1), dtype=np.int64)


def _width(rows: FloatArray, level: int) -> FloatArray:
    lower, upper = interval_columns(LEVELS, level)
    return np.asarray(rows[:, upper] - rows[:, lower])


@lru_cache(maxsize=8)
def _student(probabilities: tuple[float, ...]) -> FloatArray:
    """(F, m): quantiles of the Student ts of STUDENT, read-only."""
    from scipy.special import stdtrit  # scipy costs more time than this module's other imports

    table = np.asarray(
        stdtrit(np.array([row[0] for row in STUDENT])[:, None], np.array(probabilities)[None, :]), dtype=np.float64
    )
    table.flags.writeable = False
    return table
