"""The confidence of a forecast: the probability that it gives to the likelier direction.

That is max(p, 1 - p), with p its probability of a rise. Of many forecasts with confidence c, a share c should have
moved that way. 0.5 is no view: such a forecast names no direction, and cannot come true or fail.
"""

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.scoring.shapes import require_numbers

NO_VIEW = 0.5


def confidence(p_up: FloatArray) -> FloatArray:
    """The probability of the likelier direction, 0.5 to 1, of probabilities of a rise.

    Raises ValueError for a probability outside [0, 1] or NaN.
    """
    require_numbers(p_up=p_up)
    if ((p_up < 0.0) | (p_up > 1.0)).any():
        raise ValueError("a probability of a rise lies outside [0, 1]")
    likelier: FloatArray = np.maximum(p_up, 1.0 - p_up)
    return likelier
