"""A comparison of losses that may be looked at after every new outcome, and stopped whenever one likes.

A test with a p-value, looked at every week, says "better" of two equal models sooner or later. Here one bets on the
difference instead: nobody can expect to win against a fair coin, so a fortune of 1 / alpha is seen with probability
alpha at most, however often and whenever one looks (Ville's inequality).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray

# Shares of the fortune that are staked side by side, each with its part of it: no stake need be known in advance.
STAKES: Final = tuple(0.01 * 2.0 ** (step / 2.0) for step in range(14))  # 0.01 to 0.905


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """The fortune after each bet, from 1 before the first. `p` and `decided_at` hold at any moment one stops."""

    log_fortune: FloatArray  # (bets,) natural logarithm
    p: float  # 1 / the largest fortune so far, at most 1: valid at whatever moment it is read
    decided_at: int | None  # the number of bets after which alpha was reached; None: not yet

    @property
    def e_value(self) -> float:
        """The fortune now: the evidence, that may be multiplied with that of later, fresh data."""
        return math.exp(min(700.0, float(self.log_fortune[-1]))) if self.log_fortune.size else 1.0


def bet_on_difference(difference: FloatArray, *, scale: float, k: int = 1, alpha: float = 0.05) -> Bets:
    """Bet that the first loss is lower than the second.

    difference (n,): loss a minus loss b by date in order of issue, no NaN; k >= 1 origins of overlap. Overlapping
    labels would let a bet be decided partly before it is made, so bets are on the means of `independent_blocks`. scale
    > 0: where these means are cut off on both sides, in their unit, set *before* the first look (four of their
    standard deviations on earlier data are sensible: larger is slower, smaller cuts more). The null is that, whatever
    was known at issue, the expected (cut) mean is 0 or more. Raises ValueError for NaN, another shape, scale <= 0 or
    alpha outside (0, 1).
    Sources: Shafer, JRSS A 184 (2021); Waudby-Smith and Ramdas, JRSS B 86 (2024); Henzi and Ziegel, Biometrika 109
    (2022), for forecasts.
    """
    if not (math.isfinite(scale) and scale > 0.0) or not 0.0 < alpha < 1.0:
        raise ValueError(f"scale {scale} and alpha {alpha}: expected above 0, and a share inside (0, 1)")
    gain = -np.clip(independent_blocks(difference, k), -scale, scale) / scale
    if gain.size == 0:
        return Bets(np.empty(0), 1.0, None)
    logs = np.cumsum(np.log1p(gain[:, None] * np.array(STAKES)), axis=0)
    highest = logs.max(axis=1)
    log_fortune: FloatArray = highest + np.log(np.exp(logs - highest[:, None]).mean(axis=1))
    reached = np.flatnonzero(log_fortune >= -math.log(alpha))
    p = min(1.0, math.exp(-float(log_fortune.max())))
    return Bets(log_fortune, p, int(reached[0]) + 1 if reached.size else None)


def independent_blocks(x: FloatArray, k: int) -> FloatArray:
    """Means of k values in a row, k - 1 left out in between: each block's labels end before the next block is issued.

    x (n,) in order of issue, no NaN. Returns (m,); an unfinished last block is left out, for its outcome is not known.
    With k = 1 it is x. Little is lost: k overlapping labels in a row cover all 2 k - 1 bars. Raises ValueError for
    NaN, another shape, or k < 1.
    """
    if x.ndim != 1 or not np.isfinite(x).all() or k < 1:
        raise ValueError(f"x is {x.shape} and k {k}, expected finite numbers (n,) and 1 or more")
    period = 2 * k - 1
    count = (x.size + k - 1) // period
    starts = np.arange(count)[:, None] * period + np.arange(k)
    means: FloatArray = x[starts].mean(axis=1) if count else np.empty(0)
    return means
