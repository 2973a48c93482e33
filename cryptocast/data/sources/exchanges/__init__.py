"""Spot markets of exchanges, one module each. `base` has what they share, `markets` the names of coins and markets."""
