"""Learners, forecasters and the forecasts that they give; calibration; how a fit is made so that its scores are honest.

In: a `Matrix` of features and labels. Out: a `Forecast`, quantiles of the log return for each horizon, never crossing
and finite. It never reads candles or files (saved models come and go as bytes), and never forecasts a price level.
LightGBM's package and torch are for training: they load when a kind that needs them learns, and not to forecast.
"""

from cryptocast.models.base import Forecast, Forecaster, Learner

__all__ = ["Forecast", "Forecaster", "Learner"]
