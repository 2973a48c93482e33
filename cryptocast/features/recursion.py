"""Recursive smoothing as TA-Lib does it: seeded with a simple mean, on each segment of consecutive bars."""

import math

from cryptocast.features.formula import Formula

__all__ = ["DECAYED", "exponential", "settled", "wilder"]

DECAYED = 1e-8


def exponential(values: Formula, bars: int, *, lead: int = 0) -> Formula:
    """Exponential moving average, alpha 2 / (bars + 1), seeded with the mean of the first `bars` values. TA-Lib.

    Starts anew behind every value that is not known. lead: known values that the seed passes over.
    """
    return values.smooth(2.0 / (bars + 1), bars, lead=lead)


def wilder(values: Formula, bars: int) -> Formula:
    """Wilder's running average, alpha 1 / bars, seeded with the mean of the first `bars` values.

    Starts anew behind every value that is not known.
    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return values.smooth(1.0 / bars, bars)


def settled(alpha: float, *, gain: float = 1.0) -> int:
    """Bars until a first-order recursion has forgotten its start: gain (1 - alpha)^bars is 1e-8.

    `gain` is how large the start's error may be against what the feature shows: 1 for an average, 100 for a small
    difference of two large averages. RMA14 gives 249, EMA200 1,842.
    """
    return round(math.log(DECAYED / gain) / math.log(1.0 - alpha))
