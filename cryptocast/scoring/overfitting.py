"""Does the best of many settings in one half of time stay good in the other?"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray

CELLS: Final = 4_000_000  # ratios held at once, 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """The probability of backtest overfitting, and what it rests on."""

    probability: float  # share of the splits in which the best of one half was below the median of the other
    loss: float  # share in which its Sharpe ratio in the other half was below 0
    logits: FloatArray  # (splits,) log odds of its rank in the other half; below 0: worse than the median
    choices: FloatArray  # (N,) share of the splits in which each trial was the best


def backtest_overfitting(returns: FloatArray, *, blocks: int = 16) -> Overfitting:
    """Combinatorially symmetric cross-validation over all ways to halve an even number of blocks of time.

    returns (T, N), bars by trials, N >= 2: every trial, not only the good ones. Blocks are as equal as T allows, in
    order of time. A trial is judged by its Sharpe ratio per bar, 0 where it does not vary. Equal ratios share their
    mean rank. Noise gives about one half, a trial that is truly better gives near 0. Raises ValueError for NaN, fewer
    than two trials, or blocks that are odd, below 2 or more than half the bars.
    Source: Bailey, Borwein, Lopez de Prado and Zhu, Journal of Computational Finance 20 (2017).
    """
    if returns.ndim != 2 or returns.shape[1] < 2 or not np.isfinite(returns).all():
        raise ValueError(f"returns is {returns.shape}, expected finite numbers (T, N) with N >= 2")
    if blocks < 2 or blocks % 2 or blocks * 2 > len(returns):
        raise ValueError(f"{blocks} blocks of {len(returns)} bars, expected an even number and 2 bars in each or more")
    parts = np.array_split(returns, blocks)
    counts = np.array([float(len(part)) for part in parts])
    # The variance of a pooled half comes from sums; around each trial's own mean, so that nothing cancels.
    centre = returns.mean(axis=0)
    sums = np.array([(part - centre).sum(axis=0) for part in parts])
    squares = np.array([((part - centre) ** 2).sum(axis=0) for part in parts])
    halves = np.array([np.isin(np.arange(blocks), half) for half in combinations(range(blocks), blocks // 2)])
    trials = returns.shape[1]
    size = max(1, CELLS // trials)
    judgements = [
        _judge(halves[begin : begin + size].astype(np.float64), counts, sums, squares, centre)
        for begin in range(0, len(halves), size)
    ]
    best, rank, ratio = (np.concatenate(column) for column in zip(*judgements, strict=True))
    odds = rank / (trials + 1.0 - rank)
    logits = np.log(odds)
    return Overfitting(
        probability=float((logits <= 0.0).mean()),
        loss=float((ratio < 0.0).mean()),
        logits=logits,
        choices=np.bincount(best.astype(np.int64), minlength=trials) / len(halves),
    )


def _judge(
    halves: FloatArray, counts: FloatArray, sums: FloatArray, squares: FloatArray, centre: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each half (m, blocks): the best trial in it, and that trial's rank (1 is the worst) and ratio outside it."""
    inside = _ratios(halves, counts, sums, squares, centre)
    outside = _ratios(1.0 - halves, counts, sums, squares, centre)
    best = inside.argmax(axis=1)
    ratio = outside[np.arange(len(best)), best]
    lower = (outside < ratio[:, None]).sum(axis=1)
    equal = (outside == ratio[:, None]).sum(axis=1)
    return best.astype(np.float64), lower + (equal + 1.0) / 2.0, ratio


def _ratios(
    halves: FloatArray, counts: FloatArray, sums: FloatArray, squares: FloatArray, centre: FloatArray
) -> FloatArray:
    n = (halves @ counts)[:, None]
    mean = halves @ sums / n
    variance = np.maximum((halves @ squares - n * mean**2) / (n - 1.0), 0.0)
    tiny = 1e-24 * np.maximum(centre**2, 1e-300)
    ratio: FloatArray = np.divide(mean + centre, np.sqrt(variance), out=np.zeros_like(mean), where=variance > tiny)
    return ratio
