"""What an oracle knows of a simulated market: the true distribution ahead of each close, and what a signal is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri, stdtrit

from cryptocast.arrays import FloatArray
from cryptocast.config import Granularity
from cryptocast.data.schema import TIME
from cryptocast.data.sources.simulated.market import SimulatedMarket, close_times, draw
from cryptocast.data.sources.simulated.processes import GarchT, Path, Planted, Regimes

__all__ = ["Truth", "attainable_crps_gain", "r_squared_ahead", "truth_of"]

BISECTIONS: Final = 80


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The conditional distribution of log returns, known at the close of each bar of `simulate` with the same settings.

    coins, in the given order; close_time (bars,) microseconds since the epoch. Answers are (bars, coins, ...).
    """

    market: SimulatedMarket
    coins: tuple[str, ...]
    close_time: np.ndarray[tuple[int], np.dtype[np.int64]]
    deviation: float
    path: Path

    def mean(self, horizon: int = 1) -> FloatArray:
        """Expected log return over the next `horizon` bars."""
        return self.market.process.mean_ahead(self.path, _positive(horizon))

    def volatility(self, horizon: int = 1) -> FloatArray:
        """Standard deviation of that log return around its mean."""
        return np.sqrt(self.market.process.variance_ahead(self.path, self.deviation, _positive(horizon)))

    def quantiles(self, levels: FloatArray, horizon: int = 1) -> FloatArray:
        """The oracle's forecast: exact quantiles (bars, coins, q) of the log return over the next `horizon` bars.

        At any horizon for normal returns (random walk, break, signal); for GARCH-t and regimes with jumps at one bar
        only, where the shape is known: ValueError beyond.
        """
        process = self.market.process
        mean, volatility = self.mean(horizon)[:, :, None], self.volatility(horizon)[:, :, None]
        if isinstance(process, GarchT | Regimes) and horizon > 1:
            raise ValueError(f"{process.kind}: exact quantiles are known one bar ahead only, not {horizon}")
        if isinstance(process, GarchT):
            unit = math.sqrt((process.degrees - 2) / process.degrees)
            shape: FloatArray = unit * stdtrit(process.degrees, levels)
        elif isinstance(process, Regimes):
            calm, wild = (_mixture(process, s, self.deviation, levels) for s in process.diffusion(self.deviation))
            return np.where(self.path.state[:, :, None] == 1, wild, calm)
        else:
            shape = ndtri(levels)
        quantiles: FloatArray = mean + volatility * shape
        return quantiles

    def frame(self, horizons: Sequence[int] = (1,)) -> pl.DataFrame:
        """`coin`, `close_time`, and `mean_<h>` and `volatility_<h>` for each horizon; in the order of the candles."""
        order = sorted(range(len(self.coins)), key=self.coins.__getitem__)
        bars = len(self.close_time)
        names = pl.Series("coin", self.coins, dtype=pl.String()).gather(np.repeat(order, bars))
        columns: dict[str, FloatArray] = {}
        for horizon in horizons:
            columns[f"mean_{horizon}"] = self.mean(horizon)[:, order].ravel(order="F")
            columns[f"volatility_{horizon}"] = self.volatility(horizon)[:, order].ravel(order="F")
        stamps = pl.Series(np.tile(self.close_time, len(order))).cast(TIME)
        return pl.DataFrame({"coin": names, "close_time": stamps, **columns})


def truth_of(
    market: SimulatedMarket, coins: Sequence[str], bars: int, granularity: Granularity, start: datetime
) -> Truth:
    """The truth behind `simulate` with the same arguments; ValueError as there."""
    times = close_times(bars, granularity, start)
    _, path = draw(market, coins, bars, granularity)
    return Truth(market, tuple(coins), times, market.deviation(granularity), path)


def r_squared_ahead(market: SimulatedMarket, horizon: int = 1) -> float:
    """Share of the variance of the log return over `horizon` bars that its mean explains; 0 for all but Planted."""
    process = market.process
    return process.r_squared_ahead(_positive(horizon)) if isinstance(process, Planted) else 0.0


def attainable_crps_gain(market: SimulatedMarket, horizon: int = 1) -> float:
    """By what share the CRPS of the oracle is below that of the best forecast without the signal.

    Both are normal, of mean 0 with the whole variance and of the true mean with the rest of it, and the CRPS of a
    correct normal forecast is its standard deviation over sqrt(pi): 1 - sqrt(1 - R2). At R2 = 0.1: 0.0513. The same for
    the CRPS from quantiles, which scales likewise. Source: Gneiting and Raftery, JASA 102 (2007), eq. 21.
    """
    return 1 - math.sqrt(1 - r_squared_ahead(market, horizon))


def _mixture(process: Regimes, spread: float, deviation: float, levels: FloatArray) -> FloatArray:
    """Quantiles (q,) of a normal of that spread to which a jump may be added, by bisection."""
    jumped = math.hypot(spread, process.jump_size * deviation)
    low, high = np.full(levels.shape, -20 * jumped), np.full(levels.shape, 20 * jumped)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        share = (1 - process.jump_share) * ndtr(middle / spread) + process.jump_share * ndtr(middle / jumped)
        low, high = np.where(share < levels, middle, low), np.where(share < levels, high, middle)
    quantiles: FloatArray = (low + high) / 2
    return quantiles


def _positive(horizon: int) -> int:
    if horizon < 1:
        raise ValueError(f"the horizon is {horizon} bars, expected 1 or more")
    return horizon
