"""The shape of a forecast without a view: quantiles that mirror each other around the last price."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.scoring.quantiles import LEVELS

# p_up of a forecast without a view.
LAST_PRICE: Final = 0.5
# Degrees of freedom of the prior shape: standardised daily crypto returns have the tails of a Student t near 5.
TAIL_FREEDOM: Final = 5.0
GAUSS_NODES: Final = 16
NEWTON_STEPS: Final = 7


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
    return np.asarray(student_shapes(levels, np.array([freedom]))[0])


def student_shapes(levels: FloatArray, freedom: FloatArray) -> FloatArray:
    """The same for each of several degrees of freedom above 2: (G, q), to 1e-10 for levels within 0.001 and 0.999.

    With t = sqrt(freedom) tan(angle) the density is a power of the cosine: Gauss integrates it, Newton inverts it.
    """
    nodes, weights = np.polynomial.legendre.leggauss(GAUSS_NODES)
    nodes, weights, freedom = 0.5 * (nodes + 1.0), 0.5 * weights, freedom[:, None]
    upper = np.maximum(levels, 1.0 - levels)
    normal = np.array([NormalDist().inv_cdf(level) for level in upper.tolist()])
    whole = [math.exp(math.lgamma(0.5 * one) - math.lgamma(0.5 * one + 0.5)) for one in freedom[:, 0].tolist()]
    mass = np.sqrt(np.pi) * np.array(whole)[:, None] * (upper - 0.5)
    # From below: the mass is concave in the angle, and Newton does not leave the interval.
    angle = np.arctan((normal + (normal**3 + normal) / (4.0 * freedom)) / np.sqrt(freedom))
    for _ in range(NEWTON_STEPS):
        below = angle * (np.cos(angle[:, :, None] * nodes) ** (freedom[:, :, None] - 1.0) @ weights)
        angle = angle + (mass - below) / np.cos(angle) ** (freedom - 1.0)
    quantiles = np.sign(np.round(levels - 0.5, 12)) * np.sqrt(freedom - 2.0) * np.tan(angle)
    return np.asarray(0.5 * (quantiles - quantiles[:, ::-1]), dtype=np.float64)


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
