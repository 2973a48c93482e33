"""Markets whose truth is known: seeded candles of any number of coins, made by a stated process.

In: `SimulatedMarket`, frozen settings. Out: candles (`simulate`, `load_simulated`), and in the module `truth` what an
oracle would have forecast. It never reads a clock or a file, and the same settings give the same bars.
"""

from cryptocast.data.sources.simulated.draws import coin_number, simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket, load_simulated, market_of, simulate
from cryptocast.data.sources.simulated.processes import GarchT, Planted, RandomWalk, Regimes, VolatilityBreak

__all__ = [
    "GarchT",
    "Planted",
    "RandomWalk",
    "Regimes",
    "SimulatedMarket",
    "VolatilityBreak",
    "coin_number",
    "load_simulated",
    "market_of",
    "simulate",
    "simulated_coins",
]
