"""A market whose next bar can be guessed: how much of what there is to gain the models find, and how sure they are."""

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from cryptocast.arrays import FloatArray
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket
from cryptocast.data.sources.simulated.processes import PlantedSignal
from cryptocast.features.matrix import Matrix
from cryptocast.models.fitting import TrainingResult
from cryptocast.scoring.quantiles import LEVELS, crps
from tests.data.sources.simulated.truth import attainable_crps_gain, truth_of
from tests.workflows.simulated_models import START, matrix_of, trained

COINS = simulated_coins(20)
BARS = 2_000
R_SQUARED = 0.1
LEAST_FOUND = 0.8


def oracle_mean(market: SimulatedMarket, matrix: Matrix) -> FloatArray:
    """(n,) of the next bar, for each row of the matrix."""
    told = truth_of(market, matrix.panel.coins, BARS, "daily", START).frame((1,))
    keys = pl.DataFrame({"coin": matrix.coin_names.tolist(), "time": matrix.issued_at})
    times = told.select("coin", "mean_1", time=pl.col("close_time").to_physical())
    return keys.join(times, on=["coin", "time"], how="left", maintain_order="left")["mean_1"].to_numpy()


def share_found(market: SimulatedMarket, matrix: Matrix, fitted: TrainingResult) -> float:
    """How much of the oracle's lead over the best forecast that knows no signal the hold-out has, one bar ahead."""
    row, made = fitted.hold_out.row, fitted.hold_out.forecast
    known = np.isfinite(matrix.returns[row, 0])
    outcome, deviation = matrix.returns[row, 0][known], market.deviation("daily")
    mean = oracle_mean(market, matrix)[row][known]
    without = np.tile(deviation * ndtri(LEVELS), (len(outcome), 1))
    oracle = mean[:, None] + deviation * np.sqrt(1.0 - R_SQUARED) * ndtri(LEVELS)
    ours, blind, best = (float(crps(outcome, q, LEVELS).mean()) for q in (made.values[known, 0], without, oracle))
    return (blind - ours) / (blind - best)


def assert_confidence_is_true(matrix: Matrix, fitted: TrainingResult) -> None:
    """Of the forecasts with a confidence near c a share near c came true, in each quarter of them.

    Coins of one date move together: three standard errors, clustered by date, are allowed, and 8 points at most.
    """
    row, p_up = fitted.hold_out.row, fitted.hold_out.forecast.p_up[:, 0]
    known = np.isfinite(matrix.returns[row, 0]) & (p_up != 0.5)
    confidence = np.maximum(p_up, 1.0 - p_up)[known]
    came_true = ((matrix.returns[row, 0] > 0) == (p_up > 0.5))[known]
    dates = matrix.issued_at[row][known]
    assert len(confidence) > 5_000
    assert confidence.max() > 0.7
    for quarter in np.array_split(np.argsort(confidence), 4):
        miss = came_true[quarter] - confidence[quarter]
        _, date = np.unique(dates[quarter], return_inverse=True)
        error = np.sqrt(np.sum(np.bincount(date, miss - miss.mean()) ** 2)) / len(miss)
        assert abs(miss.mean()) < min(3.0 * error, 0.08)


@pytest.mark.slow
def test_most_of_a_planted_signal_is_found_and_its_confidence_is_true() -> None:
    market = SimulatedMarket(PlantedSignal(R_SQUARED), seed=7)
    assert attainable_crps_gain(market) == pytest.approx(0.0513, abs=1e-4)
    matrix = matrix_of(market, COINS, BARS)
    found = trained(matrix)
    shares = {name: share_found(market, matrix, fitted) for name, fitted in found.items()}
    for name in ("lightgbm", "lstm", "ml_ensemble"):
        assert shares[name] >= LEAST_FOUND, shares
        assert_confidence_is_true(matrix, found[name])
