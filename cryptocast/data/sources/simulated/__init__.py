"""Markets whose law is known: seeded candles of any number of coins, made by a stated process.

In: `SimulatedMarket`, frozen settings. Out: candles (`simulate`, `load_simulated`). It never reads a clock or a file,
and the same settings give the same bars.
"""
