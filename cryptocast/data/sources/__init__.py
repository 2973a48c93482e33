"""Where candles come from: one folder a source."""
