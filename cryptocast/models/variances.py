"""Twenty variances of a coin that are known at issue, from the last two bars to the last years, and what they add.

Exponential means, of half-lives from two bars to five hundred, once of squared returns and once of the variance of each
bar's range (of squared returns again where bars only saw a close). No single half-life is right for long, and which one
is right is not known; their plain mean has nothing to learn and is hard to beat. It is the mean of their logarithms:
one wild day, or a coin's first weeks, must not rule those that remember for years. Each is cut off behind a window, and
is put together from halves: a row has the same bits however much history lies before its window.
"""

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import numpy as np
from msgspec import Meta

from cryptocast.arrays import FloatArray
from cryptocast.features.averages import decayed_means, shift
from cryptocast.features.matrix import Matrix
from cryptocast.models.labels import VARIANCE_FLOOR

# As a saved model holds them.
HalfLives: TypeAlias = Annotated[tuple[Annotated[float, Meta(gt=0.0, le=1e6)], ...], Meta(max_length=100)]
HALF_LIVES: Final = (2.0, 4.0, 7.0, 13.0, 24.0, 44.0, 81.0, 149.0, 273.0, 500.0)
WINDOW: Final = 1000
# Of the way to their mean. It is surer where the volatility does not break; the one known at issue follows a break
# sooner: at half of the way the 80 % interval held 67 % sixty bars after the volatility had doubled.
SHARE: Final = 0.25


def log_base(rows: Matrix, half_lives: Sequence[float] = HALF_LIVES) -> FloatArray:
    """(n, H) how far to go, in logs, from the volatility known at issue to that of the mean of the variances of these
    half-lives; without half-lives, or where no bar of the window says anything, 0."""
    if not half_lives:
        return np.zeros(rows.volatility.shape)
    mean = np.log(np.maximum(variances(rows, half_lives), VARIANCE_FLOOR)).mean(axis=1)[:, None]
    apart = 0.5 * (mean + np.log(rows.horizons)) - np.log(rows.volatility)
    return np.where(np.isfinite(apart), SHARE * apart, 0.0)


def variances(rows: Matrix, half_lives: Sequence[float] = HALF_LIVES) -> FloatArray:
    """(n, 2 K): of one bar, by squared returns and then by ranges, each from short to long; NaN where nothing is known.

    Close-only bars count by their squared return in both.
    """
    panel, count = rows.panel, len(half_lives)
    out = np.full((len(rows), 2 * count), np.nan)
    series = np.searchsorted(panel.start, rows.position, side="right") - 1
    for one in np.unique(series).tolist():
        own = np.flatnonzero(series == one)
        begin, end = int(panel.start[one]), int(rows.position[own].max()) + 1
        close, place = panel.log_close[begin:end], rows.position[own] - begin
        for part, values in enumerate(((close - shift(close, 1)) ** 2, panel.variance[begin:end])):
            out[own, part * count : (part + 1) * count] = decayed_means(values, WINDOW, half_lives)[:, place].T
    return out
