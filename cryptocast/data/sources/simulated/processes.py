"""How the returns of a simulated market come about, and what can be known of them ahead.

Returns are logarithmic, per bar, and without drift except for the planted signal. `deviation` is the unconditional
standard deviation of one bar's return. In arrays (bars, coins), row t belongs to bar t; what is said of the future in
row t rests on that bar's close and what came before it.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.config import MarketKind
from cryptocast.data.sources.simulated.draws import MARKET, Draws, Stream

BURN_IN: Final = 300  # bars before the first shown one, for processes that remember


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPath:
    """What happened, all (bars, coins).

    returns  log returns
    spread   standard deviation of the diffusion inside the bar, for its highs and lows
    jump     the part of the return that came at once, at the beginning of the bar
    mean     expected return of the next bar
    state    what the process needs to look further ahead: the next bar's variance (GarchT) or regime (Regimes), the
             return before the last (PlantedSignal)
    """

    returns: FloatArray
    spread: FloatArray
    jump: FloatArray
    mean: FloatArray
    state: FloatArray


class Process(Protocol):
    """A law of returns: frozen parameters."""

    @property
    def kind(self) -> MarketKind:
        """Its name in the settings."""

    @property
    def burn_in(self) -> int:
        """Bars to draw before the first that is shown."""

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        """All bars of the draws but the burn-in."""


@dataclass(frozen=True, slots=True)
class RandomWalk:
    """Independent normal returns of constant volatility: nothing can be forecast but the width."""

    kind: MarketKind = "random_walk"
    burn_in: int = 0

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        returns = deviation * draws.shocks()
        nothing = np.zeros_like(returns)
        return SimulatedPath(returns, np.full_like(returns, deviation), nothing, nothing, nothing)


@dataclass(frozen=True, slots=True)
class VolatilityBreak:
    """A random walk whose volatility changes by `factor` at once, in all coins, from shown bar number `bar` on."""

    bar: int = 1000
    factor: float = 2.0
    kind: MarketKind = "break"
    burn_in: int = 0

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        scale = np.where(np.arange(draws.bars) < self.bar, deviation, self.factor * deviation)[:, None]
        returns = scale * draws.shocks()
        nothing = np.zeros_like(returns)
        return SimulatedPath(returns, np.broadcast_to(scale, returns.shape), nothing, nothing, nothing)


@dataclass(frozen=True, slots=True)
class GarchT:
    """GARCH(1, 1) with Student-t shocks: variance = omega + alpha return^2 + beta variance, shocks of unit variance.

    Each coin has its own variance. The t is a normal over an independent chi root, so that the correlated normal parts
    correlate the coins by what is stated, and independent coins are really independent.
    Source: Bollerslev, Review of Economics and Statistics 69 (1987).
    """

    alpha: float = 0.07
    beta: float = 0.90
    degrees: float = 6.0
    kind: MarketKind = "garch"
    burn_in: int = BURN_IN

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        gamma = math.exp(math.lgamma((self.degrees - 1) / 2) - math.lgamma(self.degrees / 2))
        lost = (self.degrees - 2) / 2 * gamma**2  # how much the chi roots dilute the correlation of the normals
        chi = draws.each(Stream.MIXING, lambda rng, bars: rng.chisquare(self.degrees, bars))
        width = np.sqrt((self.degrees - 2) / chi)
        shocks = draws.shocks(1 / lost) * width
        longrun = deviation**2
        omega = longrun * (1 - self.alpha - self.beta)
        variance = np.empty((draws.bars + 1, len(draws.numbers)))
        variance[0] = longrun
        for bar in range(draws.bars):
            squared = variance[bar] * shocks[bar] ** 2
            variance[bar + 1] = omega + self.alpha * squared + self.beta * variance[bar]
        sigma = np.sqrt(variance[self.burn_in : -1])
        returns = sigma * shocks[self.burn_in :]
        nothing = np.zeros_like(returns)
        return SimulatedPath(returns, sigma * width[self.burn_in :], nothing, nothing, variance[self.burn_in + 1 :])


@dataclass(frozen=True, slots=True)
class Regimes:
    """A calm and a wild regime that all coins share, and rare normal jumps of each coin at the beginning of a bar.

    wild_ratio: volatility of the wild regime over the calm one; calm_bars, wild_bars: mean stay; jump_share: of the
    bars; jump_size: standard deviation of a jump in unconditional deviations. The regime of a bar is known at the close
    before it. Source: Hamilton, Econometrica 57 (1989); Merton, Journal of Financial Economics 3 (1976).
    """

    wild_ratio: float = 3.0
    calm_bars: float = 60.0
    wild_bars: float = 20.0
    jump_share: float = 0.01
    jump_size: float = 4.0
    kind: MarketKind = "regimes"
    burn_in: int = BURN_IN

    def diffusion(self, deviation: float) -> tuple[float, float]:
        """Standard deviations of the calm and the wild regime, without jumps; with them the total is `deviation`."""
        wild = self.wild_bars / (self.calm_bars + self.wild_bars)
        left = 1 - self.jump_share * self.jump_size**2
        calm = deviation * math.sqrt(left / (1 - wild + wild * self.wild_ratio**2))
        return calm, self.wild_ratio * calm

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        regime = self._chain(draws)
        calm, wild = self.diffusion(deviation)
        scale = np.where(regime[:-1] == 1, wild, calm)[:, None]
        happens = draws.each(Stream.JUMP, lambda rng, bars: rng.random(bars)) < self.jump_share
        size = deviation * self.jump_size * draws.each(Stream.JUMP_SIZE, np.random.Generator.standard_normal)
        jump = np.where(happens, size, 0.0)
        visible = slice(self.burn_in, None)
        returns = (scale * draws.shocks() + jump)[visible]
        return SimulatedPath(
            returns,
            np.broadcast_to(scale[visible], returns.shape),
            jump[visible],
            np.zeros_like(returns),
            np.broadcast_to(regime[1:][visible, None], returns.shape).astype(np.float64),
        )

    def _chain(self, draws: Draws) -> FloatArray:
        """The regime of each bar and of the one behind the last: 0 calm, 1 wild."""
        uniform = draws.generator(MARKET, Stream.REGIME).random(draws.bars)
        leave = (1 / self.calm_bars, 1 / self.wild_bars)
        regime = np.zeros(draws.bars + 1)
        now = 0
        for bar, u in enumerate(uniform.tolist(), start=1):
            now = 1 - now if u < leave[now] else now
            regime[bar] = now
        return regime


@dataclass(frozen=True, slots=True)
class PlantedSignal:
    """A signal that can be learned: the expected return of the next bar is linear in two features of the catalogue,

        mean = c (ret_3 - 3 ret_1), which is c (-2 r_t + r_(t-1) + r_(t-2)),

    the last bar is taken back and the two before it go on; `coefficient` is c (0.130 at the default r_squared of 0.1).
    Volatility is constant and everything normal, so that this is an AR(3) and all that follows is exact. The weights
    sum to 0: the variance over many bars grows as that of a random walk does.

    r_squared: share of the variance of one bar's return that its mean explains, below 0.9.
    """

    r_squared: float = 0.1
    kind: MarketKind = "signal"
    burn_in: int = BURN_IN

    @property
    def coefficient(self) -> float:
        """c of the mean."""
        return _coefficient(self.r_squared)

    @property
    def weights(self) -> tuple[float, float, float]:
        """Of the last, the second and the third last return, in the mean of the next."""
        c = self.coefficient
        return (-2 * c, c, c)

    def path(self, deviation: float, draws: Draws) -> SimulatedPath:
        one, two, three = self.weights
        noise = deviation * math.sqrt(1 - self.r_squared)
        returns = noise * draws.shocks()
        mean = np.zeros_like(returns)
        for bar in range(2, draws.bars):
            mean[bar] = one * returns[bar] + two * returns[bar - 1] + three * returns[bar - 2]
            if bar + 1 < draws.bars:
                returns[bar + 1] += mean[bar]
        first = self.burn_in
        before, returns = returns[first - 1 : -1], returns[first:]
        return SimulatedPath(returns, np.full_like(returns, noise), np.zeros_like(returns), mean[first:], before)


def _autocorrelation(c: float, lags: int) -> list[float]:
    """Of the AR(3) with the weights (-2c, c, c), lags 0 to at least 3: the equations of Yule and Walker."""
    one, two, three = -2 * c, c, c
    # rho_1 = one + two rho_1 + three rho_2 and rho_2 = one rho_1 + two + three rho_1
    first = (one + two * three) / (1 - two - three * (one + three))
    rho = [1.0, first, (one + three) * first + two]
    while len(rho) <= max(lags, 3):
        rho.append(one * rho[-1] + two * rho[-2] + three * rho[-3])
    return rho


def _coefficient(r_squared: float) -> float:
    """c, by bisection: the share explained, -2c rho_1 + c rho_2 + c rho_3, grows with it from 0 to 1 at c = 1/2."""
    low, high = 0.0, 0.5
    for _ in range(60):
        c = (low + high) / 2
        rho = _autocorrelation(c, 3)
        if c * (rho[2] + rho[3] - 2 * rho[1]) < r_squared:
            low = c
        else:
            high = c
    return low
