"""Correction for looking at many p-values at once."""

import numpy as np

from cryptocast.arrays import FloatArray


def holm(p: FloatArray) -> FloatArray:
    """The p-values, adjusted by Holm's step-down rule for how many they are.

    Reject where the adjusted one is below alpha, and the chance of even one false rejection among them all stays
    below alpha, whatever their dependence. p (m,) in [0, 1]. Returns (m,), in the order given, never below p. NaN
    stays NaN and is not counted: a test that was not made cannot be wrong. Raises ValueError for p outside [0, 1] or
    another shape. Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    if p.ndim != 1 or (p < 0.0).any() or (p > 1.0).any():
        raise ValueError(f"p is {p.shape}, expected (m,) with values in [0, 1]")
    adjusted = np.full(p.size, np.nan)
    places = np.flatnonzero(~np.isnan(p))
    order = places[np.argsort(p[places], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
