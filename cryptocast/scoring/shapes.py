"""The arrays that scoring takes, and the checks of what it is given."""

import numpy as np
import numpy.typing as npt

from cryptocast.arrays import FloatArray


def require_same_shape(**arrays: npt.NDArray[np.generic]) -> None:
    """Raise ValueError, naming each array and its shape, unless all of them are one-dimensional and equally long."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        shapes_text = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"expected arrays of one shape (n,), found {shapes_text}")


def require_numbers(**arrays: npt.NDArray[np.generic]) -> None:
    """Raise ValueError if an array holds NaN: the caller decides what a missing number means, not the score."""
    for name, array in arrays.items():
        missing = int(np.isnan(array).sum())
        if missing:
            raise ValueError(f"{name} has {missing} NaN of {array.size}: drop or fill them first")


def require_levels(levels: FloatArray) -> None:
    """Raise ValueError unless the quantile levels are one-dimensional, not empty, increasing and inside (0, 1)."""
    if levels.ndim != 1 or levels.size == 0:
        raise ValueError(f"levels has shape {levels.shape}, expected (q,) with q >= 1")
    inside = levels[0] > 0.0 and levels[-1] < 1.0
    if not (inside and (np.diff(levels) > 0.0).all()):
        raise ValueError(f"levels must increase inside (0, 1), found {levels.tolist()}")
