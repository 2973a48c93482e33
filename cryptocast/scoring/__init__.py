"""Scores: arrays in, numbers out.

In come actuals, forecasts, returns and issue dates as NumPy arrays; out go losses, shares, statistics and p-values.
Nothing here reads a file or a clock, draws a random number but from the generator it is handed, knows a model or a
frame, or decides what a score is good for.
"""

from cryptocast.scoring.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_sharpe,
    bootstrap_sharpe_difference,
    circular_indices,
    optimal_block_length,
    shuffled_blocks,
    stationary_indices,
    stationary_indices_from,
)
from cryptocast.scoring.confidence import confidence, confidence_reliability
from cryptocast.scoring.confidence_set import ConfidenceSet, model_confidence_set
from cryptocast.scoring.coverage import Coverage, after_shocks, coverage, coverage_by, terciles, wilson
from cryptocast.scoring.dates import long_run_variance, mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import DieboldMariano, diebold_mariano
from cryptocast.scoring.moments import MomentTest, zero_means
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.overfitting import Overfitting, backtest_overfitting
from cryptocast.scoring.pit import PitTest, pit, pit_cells, pit_histogram, pit_uniformity
from cryptocast.scoring.points import DirectionalAccuracy, directional_accuracy, mae, mape, mase, r2, rmse, smape
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
from cryptocast.scoring.reliability import Bin, Reliability, interval_reliability, level_reliability, reliability
from cryptocast.scoring.returns import (
    annual_return,
    annual_volatility,
    by_day,
    calmar,
    drawdown,
    longest_drawdown,
    max_drawdown,
    periods_per_year,
    sharpe,
    sortino,
    total_return,
)
from cryptocast.scoring.sequential import Bets, bet_on_difference, independent_blocks
from cryptocast.scoring.sharpe_tests import (
    BarStatistics,
    bar_statistics,
    best_by_luck,
    deflated_sharpe,
    least_bars,
    probabilistic_sharpe,
)
from cryptocast.scoring.skill import Skill, SmallestEffect, skill, smallest_effect
from cryptocast.scoring.volatility import log_variance_error, qlike

__all__ = [
    "LEVELS",
    "BarStatistics",
    "Bets",
    "Bin",
    "ConfidenceSet",
    "Coverage",
    "DieboldMariano",
    "DirectionalAccuracy",
    "Interval",
    "MomentTest",
    "Overfitting",
    "PitTest",
    "Reliability",
    "Skill",
    "SmallestEffect",
    "after_shocks",
    "annual_return",
    "annual_volatility",
    "backtest_overfitting",
    "bar_statistics",
    "best_by_luck",
    "bet_on_difference",
    "bootstrap_mean",
    "bootstrap_sharpe",
    "bootstrap_sharpe_difference",
    "by_day",
    "calmar",
    "circular_indices",
    "confidence",
    "confidence_reliability",
    "coverage",
    "coverage_by",
    "covered",
    "crps",
    "crps_relative",
    "crps_weights",
    "deflated_sharpe",
    "diebold_mariano",
    "directional_accuracy",
    "drawdown",
    "holm",
    "independent_blocks",
    "interval_columns",
    "interval_reliability",
    "interval_score",
    "intervals_on_offer",
    "least_bars",
    "level_reliability",
    "log_variance_error",
    "long_run_variance",
    "longest_drawdown",
    "mae",
    "mape",
    "mase",
    "max_drawdown",
    "mean_by_date",
    "mean_of_quantiles",
    "model_confidence_set",
    "optimal_block_length",
    "overlapping_origins",
    "periods_per_year",
    "pinball",
    "pit",
    "pit_cells",
    "pit_histogram",
    "pit_uniformity",
    "probabilistic_sharpe",
    "qlike",
    "r2",
    "reliability",
    "rmse",
    "sharpe",
    "shuffled_blocks",
    "skill",
    "smallest_effect",
    "smape",
    "sortino",
    "stationary_indices",
    "stationary_indices_from",
    "terciles",
    "total_return",
    "wilson",
    "zero_means",
]
