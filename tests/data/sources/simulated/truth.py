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
from cryptocast.choices import Granularity
from cryptocast.data.schema import TIME
from cryptocast.data.sources.simulated.market import SimulatedMarket, close_times, draw
from cryptocast.data.sources.simulated.processes import (
    GarchT,
    PlantedSignal,
    Process,
    Regimes,
    SimulatedPath,
    VolatilityBreak,
    _autocorrelation,
)

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
    path: SimulatedPath

    def mean(self, horizon: int = 1) -> FloatArray:
        """Expected log return over the next `horizon` bars."""
        return mean_ahead(self.market.process, self.path, _positive(horizon))

    def volatility(self, horizon: int = 1) -> FloatArray:
        """Standard deviation of that log return around its mean."""
        return np.sqrt(variance_ahead(self.market.process, self.path, self.deviation, _positive(horizon)))

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


def mean_ahead(process: Process, path: SimulatedPath, horizon: int) -> FloatArray:
    """Expected log return over the next `horizon` bars, (bars, coins)."""
    if not isinstance(process, PlantedSignal):
        return horizon * path.mean
    # Step by step: what is expected of one bar stands in for its return. `state` is the last return but one.
    one, two, three = process.weights
    returns = [path.state, path.returns, path.mean]
    for _ in range(horizon - 1):
        returns.append(one * returns[-1] + two * returns[-2] + three * returns[-3])
    total: FloatArray = np.sum(returns[2:], axis=0)
    return total


def variance_ahead(process: Process, path: SimulatedPath, deviation: float, horizon: int) -> FloatArray:
    """Its variance around that mean, (bars, coins)."""
    match process:
        case VolatilityBreak():  # of an oracle that knows of the break before it comes
            bar = np.arange(len(path.returns))
            behind = np.clip(bar + horizon - process.bar + 1, 0, horizon)
            variance = deviation**2 * (horizon + (process.factor**2 - 1) * behind)
            return np.broadcast_to(variance[:, None], path.returns.shape).astype(np.float64)
        case GarchT():  # mean-reverting: Tsay, Analysis of Financial Time Series, 3.5
            persistence = process.alpha + process.beta
            fading = (1 - persistence**horizon) / (1 - persistence)
            return horizon * deviation**2 + fading * (path.state - deviation**2)
        case Regimes():
            calm, wild = process.diffusion(deviation)
            eigenvalue = 1 - 1 / process.calm_bars - 1 / process.wild_bars  # the second of the chain
            longrun = process.wild_bars / (process.calm_bars + process.wild_bars)
            fading = (1 - eigenvalue**horizon) / (1 - eigenvalue)
            wild_bars = horizon * longrun + (path.state - longrun) * fading
            jumps = horizon * process.jump_share * (process.jump_size * deviation) ** 2
            return horizon * calm**2 + wild_bars * (wild**2 - calm**2) + jumps
        case PlantedSignal():
            return np.full_like(path.returns, deviation**2 * variance_ratio(process, horizon))
    return np.full_like(path.returns, horizon * deviation**2)


def variance_ratio(process: PlantedSignal, horizon: int) -> float:
    """Variance of the return over `horizon` bars around its mean, over that of one bar's return unconditionally."""
    one, two, three = process.weights
    response = [0.0, 0.0, 1.0]
    for _ in range(horizon - 1):
        response.append(one * response[-1] + two * response[-2] + three * response[-3])
    reach = np.cumsum(response[2:])
    return (1 - process.r_squared) * float(reach @ reach)


def kurtosis(process: GarchT) -> float:
    """Of the unconditional return (normal: 3); infinite where its fourth moment does not exist.

    Source: He and Terasvirta, Journal of Econometrics 92 (1999).
    """
    fourth = 3 * (process.degrees - 2) / (process.degrees - 4)
    rest = 1 - process.beta**2 - 2 * process.alpha * process.beta - process.alpha**2 * fourth
    return fourth * (1 - (process.alpha + process.beta) ** 2) / rest if rest > 0 else math.inf


def truth_of(
    market: SimulatedMarket, coins: Sequence[str], bars: int, granularity: Granularity, start: datetime
) -> Truth:
    """The truth behind `simulate` with the same arguments; ValueError as there."""
    times = close_times(bars, granularity, start)
    _, path = draw(market, coins, bars, granularity)
    return Truth(market, tuple(coins), times, market.deviation(granularity), path)


def r_squared_ahead(market: SimulatedMarket, horizon: int = 1) -> float:
    """Share of the variance of the log return over `horizon` bars that its mean explains; 0 without a signal."""
    process = market.process
    if not isinstance(process, PlantedSignal):
        return 0.0
    rho = _autocorrelation(process.coefficient, horizon)
    whole = _positive(horizon) + 2 * sum((horizon - lag) * rho[lag] for lag in range(1, horizon))
    return 1 - variance_ratio(process, horizon) / whole


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
