"""Forecasts -> weights: what share of equity a strategy holds in the coin, decided at each close.

All take and return (T,): one value for each bar of one coin, without NaN. The default strategy is a long position of
constant risk; those that follow a sign use the unshrunk probability of a rise, and are to be labelled so.
"""

import math

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array


def volatility_target(
    volatility: FloatArray, *, horizon: int, periods: float, target: float, most: float = 1.0
) -> FloatArray:
    """Long so much that the expected volatility of the position is the target; never more than `most`.

    volatility: forecast for the log return over `horizon` bars, >= 0; periods: bars in a year; target: annual, 0.4
    for 40 %. No volatility expected means `most`. Raises ValueError for NaN or negative volatility, or other numbers
    that are not above 0. Source: Moreira and Muir, Journal of Finance 72 (2017).
    """
    if not (volatility >= 0.0).all() or horizon < 1 or not min(periods, target, most) > 0.0:
        raise ValueError("volatility must not be negative or NaN; horizon, periods, target and most are above 0")
    annual = volatility * math.sqrt(periods / horizon)
    ratio = np.divide(target, annual, out=np.full(annual.shape, most), where=annual > 0.0)
    weights: FloatArray = np.minimum(ratio, most)
    return weights


def long_short(p_up: FloatArray) -> FloatArray:
    """1 where a rise is likelier than a fall, -1 where it is less likely; "no view" (0.5) is flat.

    Raises ValueError for NaN or a probability outside [0, 1].
    """
    if not ((p_up >= 0.0) & (p_up <= 1.0)).all():
        raise ValueError("p_up must lie in [0, 1] without NaN")
    return np.sign(p_up - 0.5)


def between_decisions(weights: FloatArray, decided: BoolArray) -> FloatArray:
    """The weight in force at each bar when only some bars decide: that of the last decision, 0 before the first.

    weights (T,), of any value where nothing was decided; decided (T,) bool. Raises ValueError if shapes disagree.
    """
    if weights.shape != decided.shape or weights.ndim != 1 or decided.dtype != np.bool_:
        raise ValueError(
            f"weights {weights.shape} and decided {decided.dtype} {decided.shape}: expected (T,), bool (T,)"
        )
    last = np.maximum.accumulate(np.where(decided, np.arange(weights.size), -1)) if weights.size else np.arange(0)
    return np.where(last >= 0, weights[last], 0.0)


def random_entries(weights: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Weights (draws, T) that go in and out as often and as long as the given ones, at moments chosen by chance.

    Spells long, flat and short keep their pattern; which of the long ones comes first is shuffled, and so are the flat
    and the short ones, each with its weights inside. Fewer than three spells are rotated instead, by any number of
    bars. So exposure is kept exactly, and turnover up to what differs at the ends of the spells.
    """
    if weights.ndim != 1 or draws < 1:
        raise ValueError(f"weights is {weights.shape} and draws {draws}, expected (T,) and 1 or more")
    side = np.sign(weights)
    edges = np.flatnonzero(np.diff(side)) + 1
    spells = np.split(np.arange(weights.size), edges)
    if len(spells) < 3:
        offsets = rng.integers(0, max(1, weights.size), draws)
        return np.stack([np.roll(weights, int(offset)) for offset in offsets])
    sides = np.array([side[spell[0]] for spell in spells])
    return np.stack([weights[np.concatenate([spells[i] for i in _shuffled(sides, rng)])] for _ in range(draws)])


def _shuffled(sides: FloatArray, rng: np.random.Generator) -> Int64Array:
    """A permutation of the spells in which each takes the place of one on the same side."""
    order = np.arange(len(sides))
    for side in np.unique(sides):
        places = np.flatnonzero(sides == side)
        order[places] = rng.permutation(places)
    return order
