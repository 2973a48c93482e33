"""The shape of a forecast without a view: quantiles that mirror each other around the last price."""

from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.scoring.quantiles import LEVELS

# p_up of a forecast without a view.
LAST_PRICE: Final = 0.5
# Degrees of freedom of the prior shape: standardised daily crypto returns have the tails of a Student t near 5.
TAIL_FREEDOM: Final = 5.0


# Quantiles of Student's t with TAIL_FREEDOM at LEVELS above 1/2 (scipy.special.stdtrit), written down so that a server
# of small models loads no SciPy: 25 MB and a tenth of a second.
UPPER_T5: Final = (
    0.2671808657041451,
    0.5594296444693603,
    0.9195437802408271,
    1.4758840488244815,
    2.0150483733330233,
    2.5705818356363146,
)


def student_quantiles(levels: FloatArray = LEVELS, freedom: float = TAIL_FREEDOM) -> FloatArray:
    """Quantiles (q,) of a Student t of variance 1: the shape of standardised returns before any were seen."""
    if freedom == TAIL_FREEDOM and levels is LEVELS:
        return PRIOR
    return _student(levels, freedom)


def _student(levels: FloatArray, freedom: float) -> FloatArray:
    from scipy.special import stdtrit  # scipy costs more time than this module's other imports

    quantiles = stdtrit(freedom, levels) * np.sqrt((freedom - 2.0) / freedom)
    return np.asarray(0.5 * (quantiles - quantiles[::-1]), dtype=np.float64)


def _prior() -> FloatArray:
    upper = np.array(UPPER_T5) * np.sqrt((TAIL_FREEDOM - 2.0) / TAIL_FREEDOM)
    prior = np.concatenate([-upper[::-1], [0.0], upper])
    prior.flags.writeable = False
    return prior


PRIOR: Final = _prior()  # of LEVELS, read-only


def symmetric_quantiles(standardised: FloatArray, levels: FloatArray = LEVELS) -> FloatArray:
    """Quantiles (q,) of standardised returns (m,) and their mirror images: no drift, by construction.

    The quantile at level p > 1/2 is the (2p - 1) quantile of the absolute values, with the finite-sample rank of split
    conformal prediction, p (m + 1). Raises ValueError for an empty or non-finite sample. Source: Lei et al., JASA 113
    (2018), for the rank; Hyndman and Fan, American Statistician 50 (1996), definition 6.
    """
    if standardised.size == 0 or not np.isfinite(standardised).all():
        raise ValueError(f"{standardised.size} standardised returns, expected at least one and all finite")
    sign = np.sign(np.round(2.0 * levels - 1.0, 12))
    ordered = np.sort(np.abs(standardised))
    # As np.quantile(..., method="weibull") to the last bit, in a third of its time: every cold forecast waits for this.
    central, last = np.abs(2.0 * levels - 1.0), len(ordered) - 1
    place = np.clip(len(ordered) * central + central - 1.0, 0.0, last)
    below = np.floor(place).astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, last)]
    share, apart = place - below, high - low
    magnitude = np.where(share >= 0.5, high - apart * (1.0 - share), low + apart * share)
    return np.asarray(sign * magnitude, dtype=np.float64)
