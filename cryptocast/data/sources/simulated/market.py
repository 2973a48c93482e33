"""A simulated market as candles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Final

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray
from cryptocast.choices import Granularity
from cryptocast.config import SimulatedConfig
from cryptocast.data.candle_checks import candles_of
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, TIME, Candles, SeriesKey
from cryptocast.data.sources.simulated.draws import Draws, Stream, coin_number, simulated_coins
from cryptocast.data.sources.simulated.processes import (
    GarchT,
    PlantedSignal,
    Process,
    RandomWalk,
    Regimes,
    SimulatedPath,
    VolatilityBreak,
)
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.times import as_microseconds

PIECES: Final = 4  # of a bar, for its high and low
TURNOVER: Final = 0.02  # of the market cap in a day, in the middle
TURNOVER_MEMORY: Final = 0.9
TURNOVER_NOISE: Final = 0.25  # of the log of a bar's turnover
TURNOVER_PER_MOVE: Final = 0.4  # that log for each deviation that the price moves
LARGEST_MOVE: Final = 4.0  # deviations beyond which a move draws no more volume


@dataclass(frozen=True, slots=True)
class SimulatedMarket:
    """Settings of a market; equal settings give equal bars.

    process: the law of the returns, a class of `processes`. volatility: standard deviation of a day's log return; of an
    hour's, 1 / sqrt(24) of it. correlation: between the shocks of any two coins.
    """

    process: Process = field(default_factory=GarchT)
    seed: int = 7
    volatility: float = 0.03
    correlation: float = 0.5

    def deviation(self, granularity: Granularity) -> float:
        """Unconditional standard deviation of one bar's log return."""
        return self.volatility * math.sqrt(BAR_US[granularity] / BAR_US["daily"])


def market_of(config: SimulatedConfig) -> SimulatedMarket:
    """The market that the settings name; a break comes in the middle of its bars."""
    processes: dict[str, Process] = {
        "random_walk": RandomWalk(),
        "garch": GarchT(),
        "regimes": Regimes(),
        "signal": PlantedSignal(config.r_squared),
        "break": VolatilityBreak(config.bars // 2),
    }
    return SimulatedMarket(processes[config.market], config.seed, config.volatility, config.correlation)


def load_simulated(
    coin: str, config: SimulatedConfig, *, vs: str = "usd", granularity: Granularity = "daily"
) -> Candles:
    """The simulated candles of one coin. Its clock stands at the last close, which is also when it was "fetched".

    The quote currency is a label only. UsageError for a malformed name, DataError for a coin that no simulated market
    has: the ids are those of `simulated_coins`.
    """
    check_coin(coin)
    check_vs(vs)
    if coin_number(coin) is None:
        raise DataError(what_it_lacks(coin))
    market = market_of(config)
    start = datetime.combine(config.start, time(), tzinfo=UTC)
    frame = simulate(market, [coin], config.bars, granularity, start)
    key = SeriesKey(Market("simulated", vs, granularity), coin)
    return candles_of(frame, key, fetched_at=frame["close_time"][-1], notes=(_note(market),))


def what_it_lacks(coin: str) -> str:
    """What to say of a coin that no simulated market has."""
    first = ", ".join(simulated_coins(3))
    return f"The simulated market has no {coin}. It has {first} and others, then sim-0001, sim-0002, ..."


def _note(market: SimulatedMarket) -> str:
    process = market.process
    strength = f" that explains {process.r_squared:.3g} of a bar" if isinstance(process, PlantedSignal) else ""
    return (
        f"simulated, no real prices: {process.kind}{strength}, seed {market.seed}, daily volatility"
        f" {market.volatility:g}, correlation {market.correlation:g}"
    )


def simulate(
    market: SimulatedMarket, coins: Sequence[str], bars: int, granularity: Granularity, start: datetime
) -> pl.DataFrame:
    """Candles of the coins in CANDLE_SCHEMA, sorted by (coin, close_time), without gaps.

    start: when the first bar opens, on the grid of the bar. Every bar opens at the close before it; highs and lows are
    those of a Brownian path through open and close; volume, in quote currency, is a turnover of the market cap that
    persists and grows with the move; the supply of a coin is constant. A coin's bars depend on the settings, its id
    and the granularity only: not on the other coins, and the first n bars not on how many follow.
    Raises ValueError for coins that are unknown or repeat, for no bars, and for a start off the grid.
    """
    coins = tuple(sorted(coins))
    times = close_times(bars, granularity, start)
    draws, path = draw(market, coins, bars, granularity)
    deviation = market.deviation(granularity)
    columns: dict[str, list[FloatArray]] = {
        name: [] for name in ("open", "high", "low", "close", "volume", "market_cap")
    }
    for index, number in enumerate(draws.numbers):
        level = draws.generator(number, Stream.LEVEL)
        price, supply = 10 ** level.uniform(-2, 4), 10 ** level.uniform(7, 10)
        returns, spread, jump = (
            np.ascontiguousarray(part[:, index]) for part in (path.returns, path.spread, path.jump)
        )
        traded = np.concatenate([[0.0], np.cumsum(returns)]) + np.log(price)
        below, above = _reach(draws, number, returns, spread, jump)
        close = np.exp(traded[1:])
        opened = np.concatenate([[price], close[:-1]])
        columns["open"].append(opened)
        columns["close"].append(close)
        # Of the rounded prices, so that a bar's range holds its open and close to the last bit.
        columns["high"].append(np.maximum(np.exp(traded[:-1] + above), np.maximum(opened, close)))
        columns["low"].append(np.minimum(np.exp(traded[:-1] - below), np.minimum(opened, close)))
        columns["market_cap"].append(supply * close)
        share = TURNOVER * BAR_US[granularity] / BAR_US["daily"]
        columns["volume"].append(supply * close * share * _turnover(draws, number, np.abs(returns) / deviation))
    ids = pl.Series("coin", coins, dtype=pl.String()).gather(np.repeat(np.arange(len(coins)), bars))
    return pl.DataFrame(
        {
            "coin": ids,
            "close_time": pl.Series(np.tile(times, len(coins))).cast(TIME),
            **{name: np.concatenate(parts) for name, parts in columns.items()},
            "range_known": np.ones(len(ids), dtype=np.bool_),
        }
    ).select(CANDLE_SCHEMA.names())


def draw(
    market: SimulatedMarket, coins: Sequence[str], bars: int, granularity: Granularity
) -> tuple[Draws, SimulatedPath]:
    """The random numbers behind the shown bars, and the returns made of them, coin by coin in the given order."""
    numbers = [coin_number(coin) for coin in coins]
    if None in numbers or len(set(coins)) < len(coins) or not coins:
        wrong = [coin for coin, number in zip(coins, numbers, strict=True) if number is None]
        raise ValueError(f"no simulated coins, or the same twice, in {list(coins)[:5]}; unknown: {wrong[:5]}")
    if bars < 1:
        raise ValueError(f"{bars} bars were asked for, at least 1 is needed")
    valid = tuple(number for number in numbers if number is not None)
    whole = Draws(market.seed, granularity, valid, bars + market.process.burn_in, market.correlation)
    path = market.process.path(market.deviation(granularity), whole)
    return Draws(market.seed, granularity, valid, bars, market.correlation), path


def close_times(bars: int, granularity: Granularity, start: datetime) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Close times (bars,) in microseconds since the epoch. ValueError if the start is off the grid or has no zone."""
    if start.tzinfo is None:
        raise ValueError(f"the start {start} has no time zone")
    first = as_microseconds(start)
    if first % BAR_US[granularity] != 0:
        raise ValueError(f"the start {start} is off the {granularity} grid of UTC")
    return first + BAR_US[granularity] * np.arange(1, bars + 1, dtype=np.int64)


def _reach(
    draws: Draws, number: int, returns: FloatArray, spread: FloatArray, jump: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """How far (log) each bar goes below and above its open, (bars,) each, both >= 0.

    The bar is a Brownian bridge from behind its jump to its close, drawn at PIECES - 1 moments; the extremes of each
    piece are drawn exactly, given its ends. Below and above of one piece are drawn apart, which a single piece would
    feel (Parkinson's variance 2.6 % too high) and four do not (0.03 %).
    Source: Glasserman, Monte Carlo Methods in Financial Engineering (2003), 6.4.
    """
    bars = len(returns)
    steps = draws.generator(number, Stream.BRIDGE).standard_normal((bars, PIECES)) * (spread / PIECES**0.5)[:, None]
    steps += ((returns - jump - steps.sum(axis=1)) / PIECES)[:, None]
    ends = np.cumsum(steps, axis=1) + jump[:, None]
    begins = ends - steps
    variance = (spread**2 / PIECES)[:, None]
    chance = draws.generator(number, Stream.REACH).standard_exponential((bars, PIECES, 2))
    up = begins + (steps + np.sqrt(steps**2 + 2 * variance * chance[:, :, 0])) / 2
    down = begins + (steps - np.sqrt(steps**2 + 2 * variance * chance[:, :, 1])) / 2
    return np.maximum(-down.min(axis=1), 0.0), np.maximum(up.max(axis=1), 0.0)


def _turnover(draws: Draws, number: int, moves: FloatArray) -> FloatArray:
    """Turnover of each bar (bars,) over its middle: a stationary AR(1) of its log, more of it when the price moves."""
    noise = TURNOVER_NOISE * draws.generator(number, Stream.TURNOVER).standard_normal(len(moves))
    level = noise[0] / (1 - TURNOVER_MEMORY**2) ** 0.5
    levels = [level]
    for shock in noise[1:].tolist():
        level = TURNOVER_MEMORY * level + shock
        levels.append(level)
    turnover: FloatArray = np.exp(np.array(levels) + TURNOVER_PER_MOVE * (np.minimum(moves, LARGEST_MOVE) - 0.8))
    return turnover
