"""Spot markets of exchanges, one module each. `base` has what they share, `markets` the choice of a market, `coins.csv`
the tickers that `data/coin_names.py` reads."""
