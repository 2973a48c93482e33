"""The arithmetic behind formulas: windows and recursions over arrays (bars,) or (coins, bars), along the last axis.

A window is put together from windows of 1, 2, 4, ... bars, each the joint of two halves. Nothing is ever subtracted
from a running sum, so a window knows its own bars and no others, to the last bit: no drift, no trace of a price that
was a million times higher, the same value from a short tail as from the whole history. And it is all whole-array NumPy.

NaN stands for what is not known. Strict windows want all of their bars; lenient ones count what they have.
"""

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "bars_since",
    "decayed_mean",
    "deviation_from",
    "join",
    "running_sum",
    "shift",
    "smooth",
    "spread",
    "window_mean",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# Sums and squared distances from the mean of windows; None for the distances of single values, which are 0.
_Sums: TypeAlias = tuple[FloatArray, FloatArray | None]

# exp(460) = 1e200: how far the weights inside a block of a recursion may spread, half of it to either side of 1.
BLOCK_EXPONENT = 460.0


def shift(values: FloatArray, bars: int) -> FloatArray:
    """The values `bars` bars earlier; NaN where there is none."""
    moved = np.empty_like(values)
    moved[..., :bars] = np.nan
    moved[..., bars:] = values[..., : max(values.shape[-1] - bars, 0)]
    return moved


def join(kind: np.ufunc, late: FloatArray, early: FloatArray, bars: int, *, strict: bool) -> FloatArray:
    """A window from two: `late` ends at the bar, `early` ended `bars` bars before. kind: how two values make one.

    At the start, where there is no earlier window: NaN if strict, else the late one alone.
    """
    joint = np.empty_like(late)
    joint[..., :bars] = np.nan if strict else late[..., :bars]
    if bars < late.shape[-1]:
        kind(late[..., bars:], early[..., :-bars], out=joint[..., bars:])
    return joint


def window_mean(values: FloatArray, window: int, least: int) -> FloatArray:
    """Mean of the known among the last `window` values; NaN if fewer than `least` are."""
    known = ~np.isnan(values)
    half = np.where(known, values, 0.0)
    total: FloatArray | None = None
    have, size = 0, 1
    while size <= window:
        if window & size:
            total = half if total is None else join(np.add, total, half, have, strict=False)
            have += size
        size *= 2
        if size <= window:
            half = join(np.add, half, half, size // 2, strict=False)
    assert total is not None  # noqa: S101 (window >= 1 has a bit)
    count = np.cumsum(known, axis=-1, dtype=np.int64)
    count[..., window:] -= count[..., :-window].copy()
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def spread(values: FloatArray, window: int, least: int) -> FloatArray:
    """Standard deviation (population) of the known among the last `window` values; NaN if fewer than `least` are.

    Halves are joined by their counts, sums and squared distances, so no digits cancel however large the mean is.
    Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), equation 1.5b.
    """
    if least == window:
        return _strict_spread(values, window)
    known = ~np.isnan(values)
    half = (known.astype(np.float64), np.where(known, values, 0.0), np.zeros_like(values))
    whole: tuple[FloatArray, FloatArray, FloatArray] | None = None
    have, size = 0, 1
    while size <= window:
        if window & size:
            whole = half if whole is None else _join_moments(whole, half, have)
            have += size
        size *= 2
        if size <= window:
            half = _join_moments(half, half, size // 2)
    assert whole is not None  # noqa: S101 (window >= 1 has a bit)
    count, _, distance = whole
    return np.where(count >= least, np.sqrt(distance / np.maximum(count, 1.0)), np.nan)


def _join_moments(
    late: tuple[FloatArray, FloatArray, FloatArray], early: tuple[FloatArray, FloatArray, FloatArray], bars: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    if bars >= late[0].shape[-1]:
        return late
    n, m = late[0][..., bars:], early[0][..., :-bars]
    both = n + m
    # Where a side is empty its factor is 0.
    apart = late[1][..., bars:] / np.maximum(n, 1.0) - early[1][..., :-bars] / np.maximum(m, 1.0)
    distance = late[2].copy()
    distance[..., bars:] += early[2][..., :-bars] + apart * apart * (n * m / np.maximum(both, 1.0))
    count, total = late[0].copy(), late[1].copy()
    count[..., bars:] = both
    total[..., bars:] += early[1][..., :-bars]
    return count, total, distance


def _strict_spread(values: FloatArray, window: int) -> FloatArray:
    """The sums and squared distances of a full window; NaN where one of its values is."""
    if window == 1:
        return values * 0.0
    half: _Sums = (values, None)
    whole: _Sums | None = None
    have, size = 0, 1
    while size <= window:
        if window & size:
            whole = half if whole is None else _join_full(whole, have, half, size)
            have += size
        size *= 2
        if size <= window:
            half = _join_full(half, size // 2, half, size // 2)
    assert whole is not None  # noqa: S101
    distance = whole[1]
    assert distance is not None  # noqa: S101 (a window of two bars or more is a joint)
    distance /= window
    return np.sqrt(distance, out=distance)


def _join_full(late: _Sums, n: int, early: _Sums, m: int) -> _Sums:
    """Windows of n and m values into one of n + m."""
    total = join(np.add, late[0], early[0], n, strict=True)
    distance = np.empty_like(total)
    distance[..., :n] = np.nan
    if n < total.shape[-1]:
        part = distance[..., n:]
        if n == m:
            np.subtract(late[0][..., n:], early[0][..., :-n], out=part)
        else:
            np.multiply(late[0][..., n:], m / n, out=part)
            part -= early[0][..., :-n]
        np.square(part, out=part)
        part *= n / (m * (n + m))
        if late[1] is not None:
            part += late[1][..., n:]
        if early[1] is not None:
            part += early[1][..., :-n]
    return total, distance


def deviation_from(values: FloatArray, middle: FloatArray, window: int) -> FloatArray:
    """Mean absolute distance of the last `window` values from the current `middle`; NaN if one is not known."""
    total = np.abs(values - middle)
    apart = np.empty_like(values)
    for bars in range(1, window):
        if bars >= values.shape[-1]:
            return np.full_like(values, np.nan)
        np.subtract(values[..., :-bars], middle[..., bars:], out=apart[..., bars:])
        np.abs(apart[..., bars:], out=apart[..., bars:])
        total[..., bars:] += apart[..., bars:]
    total[..., : window - 1] = np.nan
    total /= window
    return total


def smooth(values: FloatArray, alpha: float, bars: int, lead: int, divisor: int) -> FloatArray:
    """y + alpha (x - y) along each run of known values, started by the sum of `bars` values over `divisor`.

    lead: values of the run that the start passes over. NaN until the start and where the value is not known.
    """
    table = np.atleast_2d(values)
    result = np.empty_like(table)
    begin = lead + bars - 1
    for rows, first, last in _runs(table, result):
        run, into = table[rows, first:last], result[rows, first:last]
        into[:, :begin] = np.nan
        if begin < last - first:
            into[:, begin] = run[:, lead : begin + 1].sum(axis=-1) / divisor
            _recursion(run[:, begin + 1 :], alpha, into[:, begin], into[:, begin + 1 :])
    return result.reshape(values.shape)


def decayed_mean(values: FloatArray, decay: float, least: int) -> FloatArray:
    """Mean along each run of known values with weights decay^k that sum to one, from the run's value `least` on."""
    table = np.atleast_2d(values)
    result = np.empty_like(table)
    for rows, first, last in _runs(table, result):
        into = result[rows, first:last]
        _recursion(table[rows, first:last], 1.0 - decay, np.zeros(into.shape[0]), into)
        into /= _decayed(decay, into.shape[-1])
        into[:, : least - 1] = np.nan
    return result.reshape(values.shape)


def running_sum(values: FloatArray) -> FloatArray:
    """Sum along each run of known values."""
    table = np.atleast_2d(values)
    result = np.empty_like(table)
    for rows, first, last in _runs(table, result):
        np.cumsum(table[rows, first:last], axis=-1, out=result[rows, first:last])
    return result.reshape(values.shape)


def bars_since(condition: FloatArray) -> FloatArray:
    """Bars since the condition was last 1, from 0; infinite before the first time."""
    bar = np.arange(condition.shape[-1], dtype=np.float64)
    latest = np.where(condition == 1.0, bar, -np.inf)
    np.maximum.accumulate(latest, axis=-1, out=latest)
    return np.subtract(bar, latest, out=latest)


def _runs(values: FloatArray, result: FloatArray) -> list[tuple[slice, int, int]]:
    """Stretches of known values: which rows, from which bar to which (not included). What is between is NaN in result.

    All rows in one piece where they begin at the same bar and have no holes, as coins mostly do; what is not known at
    the end of a row is then part of it, because NaN never spreads backwards. Else run by run.
    """
    columns = values.shape[-1]
    unknown = np.isnan(values)
    first = int(np.argmin(unknown[0])) if columns else 0
    result[:, :first] = np.nan
    rest = unknown[:, first:]
    if not rest.any() and unknown[:, :first].all():
        return [(slice(None), first, columns)]
    holes = rest[:, :-1] & ~rest[:, 1:]
    if unknown[:, :first].all() and not rest[:, 0].any() and not holes.any():
        return [(slice(None), first, columns)]
    result[:] = np.nan
    runs = []
    for row in range(values.shape[0]):
        edges = np.flatnonzero(np.diff(unknown[row], prepend=True, append=True))
        runs += [(slice(row, row + 1), int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return runs


def _recursion(values: FloatArray, alpha: float, before: FloatArray, out: FloatArray) -> None:
    """y = (1 - alpha) y + alpha x along each row, from y = `before` (rows,) ahead of the first value, into `out`.

    In blocks: y_j = alpha q^j (y q / alpha + sum of x_i q^-i) with q = 1 - alpha. Inside a block the sums only grow, so
    nothing cancels; blocks are as long as q^-i stays within a range of 1e200, and a block's last value starts the next.
    """
    length = _block_length(alpha)
    rising, falling = _weights(alpha, length)
    for first in range(0, values.shape[-1], length):
        x, y = values[:, first : first + length], out[:, first : first + length]
        np.multiply(x, rising[: x.shape[-1]], out=y)
        y[:, 0] += before * ((1.0 - alpha) / alpha * rising[0])
        np.cumsum(y, axis=-1, out=y)
        y *= falling[: x.shape[-1]]
        before = y[:, -1]


@lru_cache(maxsize=64)
def _decayed(decay: float, length: int) -> FloatArray:
    """(length,) what weights decay^k of 1, 2, ... bars sum to, times 1 - decay; read-only."""
    sums: FloatArray = 1.0 - np.power(decay, np.arange(1.0, length + 1.0))
    sums.flags.writeable = False
    return sums


def _block_length(alpha: float) -> int:
    return max(1, int(BLOCK_EXPONENT / -math.log1p(-alpha))) if alpha < 1.0 else 1


@lru_cache(maxsize=64)
def _weights(alpha: float, length: int) -> tuple[FloatArray, FloatArray]:
    """q^(m - i) and alpha q^(i - m) of a block with the middle m; read-only."""
    powers = np.power(1.0 - alpha, np.arange(float(length)) - length // 2)
    rising, falling = 1.0 / powers, alpha * powers
    rising.flags.writeable = falling.flags.writeable = False
    return rising, falling
