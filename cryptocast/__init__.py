"""Calibrated, honestly tested probabilistic forecasts of crypto prices."""

__version__ = "0.1.0"
