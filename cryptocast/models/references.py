"""The two random walks that every model is held against, beside `baseline`. They are recomputed at every origin."""

from dataclasses import dataclass, replace

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import no_view_forecast
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.times import DAY_US

WINDOW_DAYS = 365
LEAST_RETURNS = 200
CELLS = 2_000_000  # returns sorted at once, 16 MB
OUTER_SIGMAS = 1.96  # half the 95 % interval of a Gaussian, in standard deviations
REFERENCES = ("rw_empirical", "rw_gaussian", "baseline")


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A forecast for every row, and where it is one: known (n, H). Elsewhere its values are zeros, not to be scored."""

    forecast: Forecast
    usable: BoolArray


def rw_empirical(rows: Matrix) -> Reference:
    """The last price times the empirical quantiles of the coin's own h-bar returns known within the last 365 days.

    At least 200 valid returns are needed. It has the drift of its window: that is part of what it is.
    """
    values = np.zeros((len(rows), len(rows.horizons), len(LEVELS)))
    usable = np.zeros((len(rows), len(rows.horizons)), dtype=np.bool_)
    window = _window(rows.bar_us)
    size, first = max(1, CELLS // window), rows.begin
    for column, horizon in enumerate(rows.horizons.tolist()):
        returns = _returns(rows, horizon)
        padded = np.concatenate([np.full(window - 1, np.nan), returns])
        windows = np.lib.stride_tricks.sliding_window_view(padded, window)  # (N, window), ending at each bar
        for begin in range(0, len(rows), size):
            part = slice(begin, begin + size)
            position = rows.position[part]
            past = windows[position]
            age = position - first[part] - horizon
            past[np.arange(window) < (window - 1 - age)[:, None]] = np.nan
            values[part, column], usable[part, column] = _quantiles(past)
    # Its spread stands for a volatility; it claims no probability of a rise, whatever the drift of its window.
    spread = (values[:, :, -1] - values[:, :, 0]) / (2 * OUTER_SIGMAS)
    return Reference(replace(no_view_forecast(rows, spread, np.zeros_like(values)), values=values), usable)


def rw_gaussian(rows: Matrix) -> Reference:
    """A Gaussian random walk without drift: volatility from the last 365 days of one-bar returns, times root h.

    At least 200 valid returns are needed.
    """
    from scipy.special import ndtri  # scipy costs more time than this module's other imports

    window = _window(rows.bar_us)
    squared = _returns(rows, 1) ** 2
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(squared))])
    counts = np.concatenate([[0], np.cumsum(np.isfinite(squared))])
    end = rows.position + 1
    begin = np.maximum(rows.begin + 1, end - window)
    count = counts[end] - counts[begin]
    variance = (sums[end] - sums[begin]) / np.maximum(count, 1)
    usable = (count >= LEAST_RETURNS) & (variance > 0)
    volatility = np.sqrt(np.where(usable, variance, 0.0))[:, None] * np.sqrt(rows.horizons)[None, :]
    shape = np.asarray(ndtri(LEVELS))
    shape[len(LEVELS) // 2] = 0.0
    enough = np.broadcast_to(usable[:, None], volatility.shape).copy()
    return Reference(no_view_forecast(rows, volatility, shape), enough)


def _quantiles(past: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The quantiles (rows, q) of the numbers in each row (rows, window), and whether they are enough; past is sorted.

    To the last bit those of `numpy.quantile` on each row without its NaN, which takes one row at a time.
    """
    past.sort(axis=1)  # NaN go last
    count = np.isfinite(past).sum(axis=1)
    usable = count >= LEAST_RETURNS
    place = LEVELS * (np.maximum(count, 1) - 1)[:, None]
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count, 1)[:, None] - 1)
    low, high = np.take_along_axis(past, below, axis=1), np.take_along_axis(past, above, axis=1)
    share, step = place - below, high - low
    values = np.where(share < 0.5, low + step * share, high - step * (1.0 - share))
    return np.where(usable[:, None], values, 0.0), usable


def _window(bar_us: int) -> int:
    return WINDOW_DAYS * DAY_US // bar_us


def _returns(rows: Matrix, horizon: int) -> FloatArray:
    """(N,) log return over the `horizon` bars that end at each row of the panel; NaN across gaps and coins."""
    panel = rows.panel
    returns = np.full(len(panel.log_close), np.nan)
    returns[horizon:] = panel.log_close[horizon:] - panel.log_close[:-horizon]
    same = np.zeros(len(returns), dtype=np.bool_)
    same[horizon:] = panel.coin[horizon:] == panel.coin[:-horizon]
    returns[~same] = np.nan
    return returns
