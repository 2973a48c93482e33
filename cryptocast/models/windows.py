"""The closed look-back window of each row: the bars up to its issue, in units of the window's own spread.

Nothing behind the issue and nothing before a gap comes in. A window that reaches over a gap, or back beyond the coin's
first bar, holds only the bars since then: the others are marked as unknown, and are zero.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import BoolArray, Float32Array, FloatArray, Int64Array
from cryptocast.features.matrix import Matrix
from cryptocast.times import DAY_US

# What a bar is told as: its return, the log of its size, and the log of its variance, from the range where known.
CHANNELS: Final = 3
# What is known at issue beside the window: two volatilities, each against two yardsticks, and the clock.
CONTEXT: Final = 8
# Fewer consecutive returns than this have no spread to be measured in, and the row has no window.
LEAST_BARS: Final = 20
# The median of the size of a normal return is this part of its standard deviation.
NORMAL_MEDIAN: Final = 0.6745
# A bar that hardly moved: its log size would say how many digits the price has.
STILL: Final = 0.1
# The spread of a window in which more than half of the bars did not move, as a part of the volatility known at issue.
LEAST_SPREAD: Final = 0.05
# The volatility of a day that is typical for a coin, and how far the context may be from typical.
TYPICAL_DAY: Final = 0.04
CONTEXT_BOUND: Final = 3.0
ROWS_AT_ONCE: Final = 8192
WEEK_US: Final = 7 * DAY_US


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """bars (n, L, CHANNELS), the latest last, zero where not known (n, L); context (n, CONTEXT);
    usable (n,): has a window."""

    bars: Float32Array
    present: BoolArray
    context: Float32Array
    usable: BoolArray


def look_back(rows: Matrix, lookback: int) -> Windows:
    """The windows of `lookback` bars before and with each row's issue.

    Each is divided by its own spread, the median size of its returns over that of a normal one: neither the price nor
    the level of the volatility is seen, and one bad print moves the spread little. Source: arXiv 2510.04667, on medians
    instead of means for instance normalisation.
    """
    returns, variance = _series(rows)
    bars = np.zeros((len(rows), lookback, CHANNELS), dtype=np.float32)
    present = np.zeros((len(rows), lookback), dtype=np.bool_)
    spread = np.empty(len(rows))
    first = rows.begin
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        floor = LEAST_SPREAD * rows.panel.volatility[rows.position[part], 0]
        place = rows.position[part, None] + np.arange(1 - lookback, 1)
        # A place before the coin's first bar belongs to another coin, or to none.
        own = place >= first[part, None]
        place = np.maximum(place, 0)
        present[part] = _since_gap(own & np.isfinite(returns[place]))
        bars[part], spread[part] = _told(returns[place], variance[place], present[part], floor)
    usable = present.sum(axis=1) >= LEAST_BARS
    return Windows(bars, present, _context(rows, spread), usable)


def _series(rows: Matrix) -> tuple[FloatArray, FloatArray]:
    """(N,) each: log return and variance of every bar of the panel; NaN where the bar or the one before is missing."""
    close = rows.panel.log_close
    returns = np.full(len(close), np.nan)
    returns[1:] = np.diff(close)
    returns[rows.panel.start[:-1]] = np.nan  # the first bar of a coin
    return returns, np.where(np.isfinite(rows.panel.variance), rows.panel.variance, returns**2)


def _since_gap(there: BoolArray) -> BoolArray:
    """(n, L): the unbroken run of bars at the end of each window."""
    return np.asarray(np.logical_and.accumulate(there[:, ::-1], axis=1)[:, ::-1])


def _told(
    returns: FloatArray, variance: FloatArray, present: BoolArray, floor: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The channels (n, L, CHANNELS) and the spread (n,) in units of which they are."""
    size = np.where(present, np.abs(returns), np.nan)
    spread = np.where(present.any(axis=1), _median(size), 0.0) / NORMAL_MEDIAN
    spread = np.maximum(spread, floor)
    scaled = np.where(present, returns, 0.0) / spread[:, None]
    level = np.where(present, variance, 0.0) / spread[:, None] ** 2
    channels = np.stack(
        [np.arcsinh(scaled), 0.5 * np.log(scaled**2 + STILL**2) + 0.5, 0.5 * np.log(level + STILL**2) + 0.5], axis=-1
    )
    return np.where(present[:, :, None], channels, 0.0), spread


def _median(size: FloatArray) -> FloatArray:
    """(n,) of the values that are not NaN, 0 where there are none; nanmedian without its loop over rows."""
    order = np.sort(size, axis=1)  # NaN come last
    count = np.isfinite(size).sum(axis=1)
    row = np.arange(len(size))
    low, high = np.maximum((count - 1) // 2, 0), np.maximum(count // 2, 0)
    middle = 0.5 * (order[row, low] + order[row, np.minimum(high, size.shape[1] - 1)])
    return np.where(count > 0, middle, 0.0)


def _context(rows: Matrix, spread: FloatArray) -> Float32Array:
    """(n, CONTEXT): volatility over the next bar and in the long run, against the window's and a typical day's; clock.

    The volatility known at issue is, at every horizon, a mean of these two.
    """
    volatility = np.log(rows.panel.volatility[rows.position])
    against_window = volatility - np.log(spread)[:, None]
    against_typical = volatility - np.log(TYPICAL_DAY * np.sqrt(rows.bar_us / DAY_US))
    levels = np.clip(np.concatenate([against_window, against_typical], axis=1), -CONTEXT_BOUND, CONTEXT_BOUND)
    return np.concatenate([levels, _clock(rows.issued_at)], axis=1).astype(np.float32)


def _clock(issued_at: Int64Array) -> FloatArray:
    """(n, 4): the time of the week and of the day on their circles."""
    week = 2 * np.pi * (issued_at % WEEK_US) / WEEK_US
    day = 2 * np.pi * (issued_at % DAY_US) / DAY_US
    return np.column_stack([np.sin(week), np.cos(week), np.sin(day), np.cos(day)])
