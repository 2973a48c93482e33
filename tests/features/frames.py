"""One series as a frame."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["series"]


def series(close: Sequence[float] | npt.NDArray[np.float64]) -> pl.DataFrame:
    """Closes of one coin; NaN where not known."""
    return pl.DataFrame({"close": np.asarray(close, dtype=np.float64)})
