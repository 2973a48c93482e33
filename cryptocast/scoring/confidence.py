"""What the confidence of a forecast means, and whether it is earned.

The confidence of a forecast is the probability that it gives to the likelier direction: max(p, 1 - p), with p its
probability of a rise. Of many forecasts with confidence c, a share c should have moved that way. 0.5 is no view: such a
forecast names no direction, cannot come true or fail, and is not counted.
"""

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.reliability import Reliability, reliability
from cryptocast.scoring.shapes import require_numbers, require_same_shape

__all__ = ["NO_VIEW", "confidence", "confidence_reliability"]

NO_VIEW = 0.5


def confidence(p_up: FloatArray) -> FloatArray:
    """The probability of the likelier direction, 0.5 to 1, of probabilities of a rise.

    Raises ValueError for a probability outside [0, 1] or NaN.
    """
    require_numbers(p_up=p_up)
    if ((p_up < 0.0) | (p_up > 1.0)).any():
        raise ValueError("a probability of a rise lies outside [0, 1]")
    stated: FloatArray = np.maximum(p_up, 1.0 - p_up)
    return stated


def confidence_reliability(
    p_up: FloatArray, log_return: FloatArray, dates: Int64Array, *, k: int, bins: int = 10
) -> Reliability:
    """What share of the forecasts came true, by the confidence that they stated.

    p_up (n,), log_return (n,), dates (n,) issue times, k >= 1 origins of overlap. Counted are forecasts with a view
    whose outcome is known (not NaN) and whose price moved; see `reliability` for the rest and for errors.
    """
    require_same_shape(p_up=p_up, log_return=log_return, dates=dates)
    stated = confidence(p_up)
    counted = (p_up != NO_VIEW) & np.isfinite(log_return) & (log_return != 0.0)
    came_true = (p_up > NO_VIEW) == (log_return > 0.0)
    return reliability(stated[counted], came_true[counted], dates[counted], k=k, bins=bins)
