"""Scores: arrays in, numbers out.

In come actuals, forecasts and issue dates as NumPy arrays; out go losses, shares, statistics and p-values. Nothing
here reads a file or a clock, draws a random number, knows a model or a frame, or decides what a score is good for.
"""

from cryptocast.scoring.coverage import Coverage, coverage, wilson
from cryptocast.scoring.dates import long_run_variance, mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import DieboldMariano, diebold_mariano
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.points import (
    DirectionalAccuracy,
    directional_accuracy,
    mae,
    mape,
    mase,
    r2,
    rmse,
    smape,
)
from cryptocast.scoring.quantiles import (
    LEVELS,
    covered,
    crps,
    crps_relative,
    crps_weights,
    interval_columns,
    interval_score,
    intervals_on_offer,
    mean_of_quantiles,
    pinball,
)

__all__ = [
    "LEVELS",
    "Coverage",
    "DieboldMariano",
    "DirectionalAccuracy",
    "coverage",
    "covered",
    "crps",
    "crps_relative",
    "crps_weights",
    "diebold_mariano",
    "directional_accuracy",
    "holm",
    "interval_columns",
    "interval_score",
    "intervals_on_offer",
    "long_run_variance",
    "mae",
    "mape",
    "mase",
    "mean_by_date",
    "mean_of_quantiles",
    "overlapping_origins",
    "pinball",
    "r2",
    "rmse",
    "smape",
    "wilson",
]
