"""Coverage of the trained models where the truth is known: in a market of changing volatility, and after a break."""

from dataclasses import replace

import numpy as np
import pytest

from cryptocast.data.simulated import simulated_coins
from cryptocast.data.simulated.market import SimulatedMarket
from cryptocast.data.simulated.processes import GarchT, VolatilityBreak
from cryptocast.features.matrix import FloatArray, Matrix
from cryptocast.folds import BoolArray
from cryptocast.models.base import Forecast
from cryptocast.scoring.quantiles import interval_columns
from tests.workflows.simulated_models import HORIZONS, matrix_of, trained

PERCENTS = (80, 90, 95)


def covered(made: Forecast, returns: FloatArray, column: int, percent: int) -> BoolArray:
    """(n,) whether each outcome at the horizon of the column lay in the interval."""
    low, high = interval_columns(made.levels, percent)
    values, outcome = made.values[:, column], returns[:, column]
    return np.asarray((values[:, low] <= outcome) & (outcome <= values[:, high]))


def spaced(matrix: Matrix, column: int) -> BoolArray:
    """(n,) rows whose labels do not overlap, behind the warm-up of the features, with a known outcome."""
    day = matrix.issued_at // matrix.bar_us
    bar = day - day.min()
    return np.asarray((bar % HORIZONS[column] == 0) & (bar >= 400) & np.isfinite(matrix.returns[:, column]))


@pytest.mark.slow
def test_intervals_on_garch_t_cover_within_one_and_a_half_points_on_20000_independent_origins() -> None:
    """Coins without correlation, so that each origin stands for itself; trained on 60 coins, judged on 400 others."""
    market = SimulatedMarket(GarchT(), seed=11, correlation=0.0)
    coins = simulated_coins(460)
    models = trained(matrix_of(market, coins[:60], 2_000))
    judged = matrix_of(market, coins[60:], 2_000)
    for column in range(len(HORIZONS)):
        rows = judged.rows(np.flatnonzero(spaced(judged, column)))
        if len(rows) > 40_000:
            rows = judged.rows(np.flatnonzero(spaced(judged, column))[:: len(rows) // 20_000])
        assert len(rows) >= 20_000
        for name, model in models.items():
            made = model.final.predict(rows)
            for percent in PERCENTS:
                share = covered(made, rows.returns, column, percent).mean()
                assert share == pytest.approx(percent / 100, abs=0.015), (name, HORIZONS[column], percent)


@pytest.mark.slow
def test_sixty_bars_after_the_volatility_doubled_the_90_percent_interval_covers_80_percent_again() -> None:
    """200 coins without correlation are 200 seeds; the models learned before the break, from twelve more of them."""
    bar = 900
    market = SimulatedMarket(VolatilityBreak(bar), seed=5, correlation=0.0)
    coins = simulated_coins(212)
    whole = matrix_of(market, coins, bar + 62)
    start = int(whole.panel.close_time.min())
    learned = np.isin(whole.coin_names, coins[200:]) & (whole.issued_at < start + bar * whole.bar_us)
    models = trained(whole.rows(learned).known_at(start + (bar - 1) * whole.bar_us))
    at = np.isin(whole.coin_names, coins[:200]) & (whole.issued_at == start + (bar + 60) * whole.bar_us)
    rows = whole.rows(at)
    assert len(rows) == 200
    for name, model in models.items():
        made = model.final.predict(rows)
        assert covered(made, rows.returns, 0, 90).mean() >= 0.80, name
    before = replace(rows, volatility=rows.volatility / 2.0)
    assert covered(models["baseline"].final.predict(before), rows.returns, 0, 90).mean() < 0.75  # had nothing adapted
