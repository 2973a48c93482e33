"""Scores: arrays in, numbers out.

In come actuals, forecasts, returns and issue dates as NumPy arrays; out go losses, shares, statistics and p-values.
Nothing here reads a file or a clock, draws a random number but from the generator it is handed, knows a model or a
frame, or decides what a score is good for.
"""
