"""Where the outcomes fell in their forecast distributions, and whether they fell there evenly and independently."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.moments import MomentTest, means_by_date, zero_means
from cryptocast.scoring.shapes import require_levels, require_numbers, require_same_shape

# Independent labels from which on the skewness of the levels is tested too.
LABELS_FOR_SKEWNESS: Final = 60


def pit(
    actual: FloatArray, values: FloatArray, levels: FloatArray, rng: np.random.Generator | None = None
) -> FloatArray:
    """The probability integral transform: the level at which each outcome lies. Uniform if the forecast is calibrated.

    actual (n,) and values (n, q), one unit, quantiles not decreasing along q; levels (q,). Returns (n,) in [0, 1].
    With `rng` it is drawn evenly from the cell between the levels that enclose the outcome, and is then exactly
    uniform for calibrated quantiles, whatever lies between them. Without, it is interpolated between the quantiles, and
    the middle of the outer cell beyond them. An outcome that equals quantiles stands for all cells that it touches (as
    a gap in a discrete distribution). Raises ValueError for NaN or if shapes disagree.
    Source: Dawid, JRSS A 147 (1984); Czado, Gneiting and Held, Biometrics 65 (2009).
    """
    low, high = pit_cells(actual, values, levels)
    if rng is not None:
        return low + (high - low) * rng.random(actual.size)
    below = (values < actual[:, None]).sum(axis=1)
    strictly = (below > 0) & (below < levels.size) & ~(values == actual[:, None]).any(axis=1)
    middle = (low + high) / 2.0
    rows = np.flatnonzero(strictly)
    left, right = values[rows, below[rows] - 1], values[rows, below[rows]]
    middle[rows] = low[rows] + (high - low)[rows] * (actual[rows] - left) / (right - left)
    return middle


def pit_cells(actual: FloatArray, values: FloatArray, levels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The levels (n,) below and above each outcome: the ends of the cell, or of the cells that it touches.

    Arguments and errors as in `pit`; 0 and 1 bound the outer cells.
    """
    require_levels(levels)
    if actual.ndim != 1 or values.shape != (actual.size, levels.size):
        raise ValueError(
            f"actual {actual.shape}, values {values.shape}, levels {levels.shape}: expected (n,), (n, q), (q,)"
        )
    require_numbers(actual=actual, values=values)
    edges = np.concatenate(([0.0], levels, [1.0]))
    below = (values < actual[:, None]).sum(axis=1)
    upto = (values <= actual[:, None]).sum(axis=1)
    return edges[below], edges[upto + 1]


def pit_histogram(low: FloatArray, high: FloatArray, bins: int) -> FloatArray:
    """The share of outcomes in each of `bins` equal bins of the level, each cell spread evenly over its width.

    low, high (n,) from `pit_cells`. Returns (bins,), summing to 1; 1 / bins everywhere is perfect. Raises ValueError
    for no outcomes, fewer than 1 bin or shapes that disagree.
    """
    require_same_shape(low=low, high=high)
    if low.size == 0 or bins < 1:
        raise ValueError(f"{low.size} outcomes in {bins} bins, expected 1 or more of each")
    edges = np.linspace(0.0, 1.0, bins + 1)
    inside = np.clip((edges[None, :] - low[:, None]) / (high - low)[:, None], 0.0, 1.0)
    shares: FloatArray = np.diff(inside, axis=1).mean(axis=0)
    return shares


@dataclass(frozen=True, slots=True)
class PitTest:
    """Whether the levels of the outcomes are uniform, and independent once their labels no longer overlap.

    A p of None: too few dates to say. `bias` and `spread` say in which way: bias above 0 means outcomes above the
    forecast; spread above 0 means too many in the tails (intervals too narrow), both between about -1 and 1.
    """

    uniform: MomentTest  # jointly: location and spread, and skewness where there are dates enough for three
    bias: float  # mean of the first Legendre polynomial of the level over its greatest value, sqrt(3)
    spread: float  # mean of the second over its greatest value, sqrt(5)
    level_memory: MomentTest  # of location k origins apart: is the direction of the error foreseeable?
    spread_memory: MomentTest  # of spread k origins apart: is the volatility missed in runs?


def pit_uniformity(low: FloatArray, high: FloatArray, dates: Int64Array, *, k: int) -> PitTest:
    """Test the calibration of a whole distribution on outcomes that are correlated in time and between coins.

    low, high (n,) from `pit_cells`, dates (n,) issue times, k >= 1 origins of overlap. Uniform levels have
    Legendre polynomials of mean 0; each outcome counts with their mean over its cell, so nothing is drawn and nothing
    assumed between quantiles. They are averaged by date over the coins and tested jointly with a variance that allows
    for correlation (`zero_means`): Neyman's smooth test made robust, after Knueppel, JBES 33 (2015). Memory is the
    mean product of a polynomial with itself k dates before, which is 0 for a forecast that uses all it could know.
    Raises ValueError if shapes disagree, there are no outcomes, or k < 1.
    """
    require_same_shape(low=low, high=high, dates=dates)
    if low.size == 0 or k < 1:
        raise ValueError(f"{low.size} outcomes with k = {k}, expected 1 or more of each")
    polynomials = np.column_stack([_mean_legendre(degree, low, high) for degree in (1, 2, 3)])
    _, by_date = means_by_date(polynomials, dates)
    # Two moments and half the cosines of the usual rule, or few dates reject too often: of calibrated forecasts, 15 %
    # at a nominal 5 % with 20 k dates, and 7 to 8 % with these.
    moments = by_date if len(by_date) >= LABELS_FOR_SKEWNESS * k else by_date[:, :2]
    uniform = zero_means(moments, 2 * k)
    return PitTest(
        uniform=uniform,
        bias=uniform.means[0] / 3.0**0.5,
        spread=uniform.means[1] / 5.0**0.5,
        level_memory=_memory(by_date[:, 0], k),
        spread_memory=_memory(by_date[:, 1], k),
    )


def _memory(series: FloatArray, k: int) -> MomentTest:
    if series.size <= k + 1:
        return MomentTest((float("nan"),), None, None, max(0, series.size - k), 0)
    # Around its own mean: a constant bias is not memory.
    deviation = series - series.mean()
    return zero_means((deviation[k:] * deviation[:-k])[:, None], 2 * k)


def _mean_legendre(degree: int, low: FloatArray, high: FloatArray) -> FloatArray:
    """The mean over [low, high] of the Legendre polynomial of that degree on [0, 1], normed to a mean square of 1."""
    series = np.polynomial.Legendre.basis(degree, domain=[0.0, 1.0])
    integral = series.integ()
    mean: FloatArray = (integral(high) - integral(low)) / (high - low) * (2.0 * degree + 1.0) ** 0.5
    return mean
