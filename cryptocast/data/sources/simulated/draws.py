"""The random numbers of a simulated market, and the names of its coins.

Each coin has a number, and each use of randomness a stream of its own: (seed, granularity, number, stream) seeds one
generator, which is read bar after bar. So a coin is the same whatever other coins are asked for, and a longer history
begins with the shorter one, bit for bit. Daily and hourly markets of one seed are different markets.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.choices import Granularity

# Places in this list are the coins' numbers: append only, or every coin behind a change becomes another one.
KNOWN: Final = (
    "bitcoin",
    "ethereum",
    "litecoin",
    "ripple",
    "dogecoin",
    "monero",
    "stellar",
    "cardano",
    "binancecoin",
    "chainlink",
    "tron",
    "eos",
    "solana",
    "polkadot",
    "bitcoin-cash",
    "avalanche-2",
    "uniswap",
    "cosmos",
    "near",
    "zcash",
)
NUMBERED: Final = re.compile(r"sim-(\d{4,6})")
MARKET: Final = 0  # the number of what all coins share; coins count from 1
GRANULARITIES: Final[tuple[Granularity, ...]] = ("daily", "hourly")


class Stream(IntEnum):
    """What a generator is for. Values enter the seed: never renumber."""

    SHOCK = 0
    MIXING = 1
    REGIME = 2
    JUMP = 3
    JUMP_SIZE = 4
    BRIDGE = 5
    REACH = 6
    TURNOVER = 7
    LEVEL = 8


def simulated_coins(count: int) -> tuple[str, ...]:
    """The ids of the first `count` coins: twenty well-known ones, then sim-0001, sim-0002, ... ValueError below 1."""
    if count < 1:
        raise ValueError(f"{count} simulated coins were asked for, at least 1 is needed")
    return (*KNOWN[:count], *(f"sim-{number:04d}" for number in range(1, count - len(KNOWN) + 1)))


def coin_number(coin: str) -> int | None:
    """The number of a coin, from 1, or None for an id that no simulated coin has."""
    if coin in KNOWN:
        return KNOWN.index(coin) + 1
    match = NUMBERED.fullmatch(coin)
    if match is None or int(match[1]) < 1 or coin != f"sim-{int(match[1]):04d}":
        return None
    return len(KNOWN) + int(match[1])


@dataclass(frozen=True, slots=True)
class Draws:
    """The numbers of some coins over `bars` bars. Arrays are (bars, coins), in the order of `numbers`.

    correlation: between the normal shocks of any two coins, through one factor that all share.
    """

    seed: int
    granularity: Granularity
    numbers: tuple[int, ...]
    bars: int
    correlation: float

    def generator(self, number: int, stream: Stream) -> "np.random.Generator":
        """A fresh generator for one use of one coin."""
        key = (GRANULARITIES.index(self.granularity), number, int(stream))
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))

    def shocks(self, inflation: float = 1.0) -> FloatArray:
        """Standard normal, correlated between coins by `correlation` times `inflation`."""
        share = self.correlation * inflation
        factor = self.generator(MARKET, Stream.SHOCK).standard_normal(self.bars)
        own = self.each(Stream.SHOCK, np.random.Generator.standard_normal)
        own *= np.sqrt(1 - share)
        own += np.sqrt(share) * factor[:, None]
        return own

    def each(self, stream: Stream, draw: "Callable[[np.random.Generator, int], FloatArray]") -> FloatArray:
        """One draw for each bar and coin, independent between coins."""
        values = np.empty((self.bars, len(self.numbers)))
        for column, number in enumerate(self.numbers):
            values[:, column] = draw(self.generator(number, stream), self.bars)
        return values
