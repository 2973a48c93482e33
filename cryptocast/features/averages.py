"""Means over the bars of one coin as arrays, NaN where not known: for the volatility known at issue, and for labels.

A window is put together from windows of 1, 2, 4, ... bars, each the joint of two halves. Nothing is ever subtracted
from a running sum, so that a window of bars that do not move is 0 and not a trace of what moved before it.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array

# Half-lives whose sums of a few thousand bars stay in a processor's cache.
AT_ONCE: Final = 5


def shift(values: FloatArray, bars: int) -> FloatArray:
    """The values (bars,) of `bars` bars earlier; NaN where there is none."""
    earlier = np.full_like(values, np.nan)
    earlier[bars:] = values[: max(len(values) - bars, 0)]
    return earlier


def window_mean(values: FloatArray, window: int, least: int) -> FloatArray:
    """Mean (bars,) of the known among the last `window` values; NaN if fewer than `least` are."""
    half = np.where(np.isnan(values), 0.0, values)
    total = np.zeros_like(half)
    have, size = 0, 1
    while size <= window:
        if window & size:
            total = _joint(total, half, have)
            have += size
        half = _joint(half, half, size)
        size *= 2
    count = window_count(values, window)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def window_count(values: FloatArray, window: int) -> Int64Array:
    """How many (bars,) of the last `window` values are known."""
    count = np.cumsum(~np.isnan(values), dtype=np.int64)
    count[window:] -= count[:-window].copy()
    return count


def decayed_means(values: FloatArray, window: int, half_lives: Sequence[float]) -> FloatArray:
    """(K, bars): exponential means of the known among the last `window` values, for each half-life; NaN without any."""
    parts = [half_lives[first : first + AT_ONCE] for first in range(0, len(half_lives), AT_ONCE)]
    return np.concatenate([_decayed_means(values, window, part) for part in parts])


def _decayed_means(values: FloatArray, window: int, half_lives: Sequence[float]) -> FloatArray:
    is_known = ~np.isnan(values)
    half = np.stack([np.where(is_known, values, 0.0), is_known.astype(np.float64)])[:, None]  # sums and weights
    half = np.repeat(half, len(half_lives), axis=1)
    total = np.zeros_like(half)
    fading = np.log(0.5) / np.asarray(half_lives)[:, None]
    have, size = 0, 1
    while size <= window:
        if window & size:
            total = _joint(total, half, have, np.exp(have * fading))
            have += size
        half = _joint(half, half, size, np.exp(size * fading))
        size *= 2
    with np.errstate(invalid="ignore"):
        return np.asarray(total[0] / np.where(total[1] > 0.0, total[1], np.nan))


def decayed_means_at(values: FloatArray, places: Int64Array, window: int, half_lives: tuple[float, ...]) -> FloatArray:
    """(K, m): as `decayed_means` at these places, but for the last digits; a hundred times as fast for one of them."""
    half = np.stack([np.nan_to_num(values), ~np.isnan(values)])  # values and weights
    means = np.empty((len(half_lives), len(places)))
    for mean, end in zip(means.T, (places + 1).tolist(), strict=True):
        recent = half[:, max(0, end - window) : end]
        total, weight = recent @ _fading(half_lives, window)[-recent.shape[1] :]
        mean[:] = total / np.where(weight > 0.0, weight, np.nan)
    return means


@cache
def _fading(half_lives: tuple[float, ...], window: int) -> FloatArray:
    """(window, K): the weight of each value of a window, the newest last."""
    return np.asarray(0.5 ** (np.arange(window)[::-1, None] / np.asarray(half_lives)))


def _joint(late: FloatArray, early: FloatArray, bars: int, faded: float | FloatArray = 1.0) -> FloatArray:
    """Sums (..., bars) of a window from two: `late` ends at the bar, `early` ended `bars` bars before and has faded."""
    whole = late.copy()
    whole[..., bars:] += faded * early[..., : max(early.shape[-1] - bars, 0)]
    return whole
