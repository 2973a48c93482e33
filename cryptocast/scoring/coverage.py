"""How often the intervals held, and how sure that share is."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cryptocast.scoring.dates import long_run_variance
from cryptocast.scoring.shapes import BoolArray, Int64Array, require_same_shape

__all__ = ["Coverage", "coverage", "wilson"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of actuals inside their intervals, and its standard error clustered by date."""

    share: float
    se: float  # of the share; always positive
    n: int  # forecasts
    dates: int  # origins: different dates
    k: int  # origins whose labels overlap, this one included
    z: float  # (share - nominal) / se


def coverage(hits: BoolArray, dates: Int64Array, *, nominal: float, k: int) -> Coverage:
    """The coverage of intervals, against the nominal share, with a standard error that knows what overlaps.

    hits (n,) bool, dates (n,) int64: issue times; nominal in (0, 1); k >= 1 origins of overlap
    (`overlapping_origins`). The coins of one date are one cluster, however many they are, and the clusters' sums have
    the long-run variance of `long_run_variance`. It is divided by (1 - k/T)(1 - (k-1)/T) for T dates, because it is
    taken around the sample's own mean, the correction that Harvey, Leybourne and Newbold make for the same estimate.
    Where hits do not vary at all, or T is not above k, the standard error is that of max(1, T / k) independent dates
    at the nominal share. Raises ValueError if shapes or types disagree, there are no hits, or nominal or k is out of
    range. Source: Cameron and Miller, Journal of Human Resources 50 (2015), for clusters; for the lags as
    `long_run_variance`.
    """
    require_same_shape(hits=hits, dates=dates)
    if hits.dtype != np.bool_ or hits.size == 0:
        raise ValueError(f"hits is {hits.dtype} {hits.shape}, expected bool (n,) with n >= 1")
    if not 0.0 < nominal < 1.0 or k < 1:
        raise ValueError(f"nominal {nominal} must lie inside (0, 1) and k {k} must be 1 or more")
    n, share = hits.size, float(hits.mean())
    unique, position = np.unique(dates, return_inverse=True)
    clusters = np.bincount(position, weights=hits - share).astype(np.float64, copy=False)
    count = unique.size
    se = math.sqrt(nominal * (1.0 - nominal) / max(1.0, count / k))
    if count > k:
        variance, _ = long_run_variance(clusters, k)
        # Clusters that cancel to rounding carry no information on how much the share can vary.
        if variance > 1e-18:
            se = math.sqrt(variance * count / ((1.0 - k / count) * (1.0 - (k - 1) / count))) / n
    return Coverage(share=share, se=se, n=n, dates=count, k=k, z=(share - nominal) / se)


def wilson(successes: float, n: float, alpha: float = 0.05) -> tuple[float, float]:
    """The interval for a share with confidence 1 - alpha: inside [0, 1], and sensible at 0 and at all successes.

    successes out of n independent trials; both may be fractions, for an effective number. n = 0 gives (0, 1): nothing
    is known. Raises ValueError for successes outside [0, n] or alpha outside (0, 1). Source: Wilson, JASA 22 (1927).
    """
    if not 0.0 <= successes <= n or not 0.0 < alpha < 1.0:
        raise ValueError(
            f"successes {successes} of {n} with alpha {alpha}: expected 0 <= successes <= n, 0 < alpha < 1"
        )
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(1.0 - alpha / 2.0)
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2.0) / (1.0 + spread)
    half = math.sqrt(share * (1.0 - share) * spread + spread * spread / 4.0) / (1.0 + spread)
    # At 0 and n successes the bound is exactly the share; rounding must not push it to the wrong side.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
