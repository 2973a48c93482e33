"""Candles from their sources into the store, and from the store to whoever asks: fetching, backfilling, listing."""
