"""Candles: their schema, their sources, their checks, and every read and write of a Parquet file.

In: what the sources of `sources/table.py` have: CoinGecko's answers, the user's files, the sample inside the package,
simulated markets. Out: `Candles`, one series of closed bars in CANDLE_SCHEMA with its provenance, and reports on their
quality. It never computes a feature, never fills or drops a bar without saying so, and never joins two sources into one
series.
"""

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, Candles, Provenance, SeriesKey

__all__ = ["BAR_US", "CANDLE_SCHEMA", "Candles", "Provenance", "SeriesKey"]
