"""How much lower one loss is than another as a share, how sure that is, and what could have been seen at all."""

import math
from dataclasses import dataclass

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.dates import lagged_weights, mean_by_date, overlapping_origins, weighted_covariance
from cryptocast.scoring.diebold_mariano import ORIGINS_PER_OVERLAP, degrees_of_freedom, diebold_mariano, hln_factor
from cryptocast.scoring.shapes import require_same_shape


@dataclass(frozen=True, slots=True)
class Skill:
    """1 - loss / loss of the reference, and the values that the data do not contradict."""

    value: float | None  # 0.03: 3 % lower; None where the reference lost nothing
    lower: float | None  # None: too few origins, or every value is possible
    upper: float | None
    n: int  # dates
    k: int  # origins whose labels overlap


def skill(
    loss: FloatArray, reference: FloatArray, dates: Int64Array, *, horizon: int, step: int, alpha: float = 0.05
) -> Skill:
    """The skill of a loss over a reference, with the interval of confidence 1 - alpha.

    loss, reference (n,), >= 0 and one unit, dates (n,) int64, horizon and step in bars, as in `diebold_mariano`:
    pairs with a NaN are dropped, the coins of a date are averaged, and then dates count equally. The interval is
    Fieller's: all s for which the mean of loss - (1 - s) reference is not significantly different from 0. So it holds
    0 exactly where the Diebold-Mariano test with the same kernel does not reject at alpha (two-sided). Raises
    ValueError if shapes disagree or alpha is outside (0, 1). Source: Fieller, JRSS B 16 (1954).
    """
    require_same_shape(loss=loss, reference=reference, dates=dates)
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}, expected a share inside (0, 1)")
    k = overlapping_origins(horizon, step)
    keep = ~(np.isnan(loss) | np.isnan(reference))
    a, b = (mean_by_date(values[keep], dates[keep])[1] for values in (loss, reference))
    n = a.size
    if n == 0 or b.mean() <= 0.0:
        return Skill(None, None, None, n, k)
    value = 1.0 - float(a.mean() / b.mean())
    if n < ORIGINS_PER_OVERLAP * k:
        return Skill(value, None, None, n, k)
    lower, upper = _fieller(a, b, k, alpha)
    return Skill(value, lower, upper, n, k)


def _fieller(a: FloatArray, b: FloatArray, k: int, alpha: float) -> tuple[float | None, float | None]:
    """The ends of the skills s with |mean(a - (1 - s) b)| <= c se(a - (1 - s) b): between the roots of a quadratic."""
    from scipy.special import stdtrit  # costs more time than all the rest of scoring

    n = a.size
    critical = float(stdtrit(degrees_of_freedom(n, k), 1.0 - alpha / 2.0)) / hln_factor(n, k)
    covariance = critical**2 / n * _long_run_covariance(np.column_stack((a, b)), k)
    square = float(b.mean() ** 2 - covariance[1, 1])
    middle = float(a.mean() * b.mean() - covariance[0, 1])
    rest = float(a.mean() ** 2 - covariance[0, 0])
    discriminant = middle**2 - square * rest
    if square <= 0.0 or discriminant < 0.0:
        return None, None
    root = math.sqrt(discriminant)
    return 1.0 - (middle + root) / square, 1.0 - (middle - root) / square


def _long_run_covariance(x: FloatArray, k: int) -> FloatArray:
    """(2, 2), with the rectangular kernel where that is positive semi-definite; else Bartlett's, which always is."""
    deviation = x - x.mean(axis=0)
    for kernel in ("rectangular", "bartlett"):
        matrix = weighted_covariance(deviation, lagged_weights(kernel, k))
        if np.linalg.eigvalsh(matrix)[0] >= 0.0:
            break
    return matrix


@dataclass(frozen=True, slots=True)
class SmallestEffect:
    """The smallest true advantage that would have been found with the wanted power. None: too few origins to test."""

    difference: float | None  # of the losses, in their unit, positive
    skill: float | None  # as a share of the reference's mean loss
    n: int  # dates
    k: int
    tests: int  # that the table is corrected for
    power: float


def smallest_effect(
    loss: FloatArray,
    reference: FloatArray,
    dates: Int64Array,
    *,
    horizon: int,
    step: int,
    tests: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> SmallestEffect:
    """How much better a model must truly be for this much data to say "better" with the given power.

    Arguments as in `skill`; tests >= 1: how many comparisons the table makes (each is then tested at alpha / tests,
    one-sided: what Holm asks of the smallest p). The standard error is that of the Diebold-Mariano test, the power
    that of the noncentral t. Raises ValueError if shapes disagree, for tests < 1, alpha or power outside (0, 1).
    """
    if tests < 1 or not 0.0 < alpha < 1.0 or not 0.0 < power < 1.0:
        raise ValueError(f"tests {tests}, alpha {alpha}, power {power}: expected 1 or more, and shares inside (0, 1)")
    result = diebold_mariano(loss, reference, dates, horizon=horizon, step=step)
    if result.statistic is None or result.degrees is None or result.statistic == 0.0:
        return SmallestEffect(None, None, result.n, result.k, tests, power)
    se = abs(result.mean_difference / result.statistic)
    difference = se * noncentrality(result.degrees, alpha / tests, power)
    keep = ~(np.isnan(loss) | np.isnan(reference))
    _, by_date, _ = mean_by_date(reference[keep], dates[keep])
    mean = float(by_date.mean())
    return SmallestEffect(difference, difference / mean if mean > 0.0 else None, result.n, result.k, tests, power)


def noncentrality(degrees: float, alpha: float, power: float) -> float:
    """The shift, in standard errors, at which a one-sided t test at alpha rejects with the given power."""
    from scipy.special import nctdtr, stdtrit  # costs more time than all the rest of scoring

    critical = float(stdtrit(degrees, 1.0 - alpha))
    low, high = 0.0, 1.0
    while nctdtr(degrees, high, critical) > 1.0 - power:
        low, high = high, 2.0 * high
    # Sixty halvings leave a relative error of 1e-18: the library's own inverse stops at a few digits.
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if nctdtr(degrees, middle, critical) > 1.0 - power else (low, middle)
    return high
