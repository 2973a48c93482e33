"""What the twenty variances of a coin that are known at issue add to a model."""

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import numpy as np
from msgspec import Meta

from cryptocast.arrays import FloatArray
from cryptocast.features.matrix import Matrix
from cryptocast.features.variances import HALF_LIVES, VARIANCE_FLOOR, bar_variances

# As a saved model holds them.
HalfLives: TypeAlias = Annotated[tuple[Annotated[float, Meta(gt=0.0, le=1e6)], ...], Meta(max_length=100)]
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
    panel, out = rows.panel, np.full((len(rows), 2 * len(half_lives)), np.nan)
    series = np.searchsorted(panel.start, rows.position, side="right") - 1
    for one in np.unique(series).tolist():
        own = np.flatnonzero(series == one)
        begin, end = int(panel.start[one]), int(rows.position[own].max()) + 1
        several = bar_variances(panel.log_close[begin:end], panel.variance[begin:end], half_lives)
        out[own] = several[:, rows.position[own] - begin].T
    return out
