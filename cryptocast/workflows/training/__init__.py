"""Fitting models on stored candles and publishing them as versions of the registry."""
