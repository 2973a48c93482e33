"""Coverage while versions change every week: each of them takes over from the one before it, in a real registry."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from cryptocast.arrays import FloatArray
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket
from cryptocast.data.sources.simulated.processes import VolatilityBreak
from cryptocast.features.catalogue import FEATURES
from cryptocast.models.base import Forecast
from cryptocast.models.fitting import TrainingResult
from cryptocast.registry import LedgerRow, Registry
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.quantiles import LEVELS, interval_columns
from cryptocast.workflows.online_calibration import learn, recalibrated, states_at
from tests.registry.registry_ledger import NORMAL, day
from tests.registry.registry_weeks import refresh, written
from tests.workflows.simulated_models import matrix_of, trained

HORIZONS = (1, 7)
# The quantiles (n, H, q) that the version of a week gives of a bar, for n coins, before live outcomes move them.
Fit: TypeAlias = Callable[[int, int], FloatArray]


def lived(
    folder: Path, coins: Sequence[str], returns: FloatArray, fit: Fit, *, ago: int, refits: bool = True
) -> dict[tuple[int, int], FloatArray]:
    """Whether each interval held: (bars, n) by horizon and percent, NaN where the bars end before its target.

    returns (ago + bars, n): log returns, of which the first `ago` had closed before the first training. Each Monday the
    versions of all coins are refreshed, unless there are no refits.
    """
    registry, bars = Registry.open(folder), len(returns) - ago
    total = np.concatenate([np.zeros((1, len(coins))), np.cumsum(returns, axis=0)])[ago:]
    held = {(h, p): np.full((bars, len(coins)), np.nan) for h in HORIZONS for p in (80, 90, 95)}
    waiting: list[LedgerRow] = []
    refresh(registry, 0, coins=coins, learn=learn)
    versions = registry.versions()
    week = 0
    for bar in range(1, bars):
        closed = [row for row in waiting if row.target_at == day(bar)]
        waiting = [row for row in waiting if row.target_at > day(bar)]
        outcomes = []
        for row in closed:
            column, issued = coins.index(row.coin), (row.issued_at - day(0)).days
            moved = float(total[bar, column] - total[issued, column])
            outcomes.append(matured_outcome(row, moved, now=row.target_at))
            for percent in (80, 90, 95):
                low, high = interval_columns(LEVELS, percent)
                held[row.horizon, percent][issued, column] = row.quantiles[low] <= moved <= row.quantiles[high]
        registry.write_outcomes(outcomes, learn)
        values = fit(week, bar)
        made = []
        for column, version in enumerate(versions):
            fitted = forecast_of(values[column], bar)
            served = recalibrated(fitted, states_at(registry, version, day(bar)), ())
            for place, horizon in enumerate(HORIZONS):
                made.append(
                    written(
                        version.number,
                        bar,
                        horizon,
                        coin=version.key.coin,
                        quantiles=tuple(served.forecast.values[0, place].tolist()),
                        base=tuple(fitted.values[0, place].tolist()) if horizon in served.outcomes else None,
                    )
                )
        registry.write_ledger(made)
        waiting += made
        if refits and bar % 7 == 0:
            number, week = refresh(registry, bar, coins=coins, learn=learn), bar // 7
            versions = tuple(version for version in registry.versions() if version.number == number)
    return held


def forecast_of(values: FloatArray, bar: int) -> Forecast:
    """One row of quantiles (H, q)."""
    return Forecast(
        coin=np.array(["bitcoin"]),
        issued_at=np.array([bar], dtype=np.int64),
        price=np.array([100.0]),
        horizons=np.array(HORIZONS, dtype=np.int64),
        levels=np.array(LEVELS),
        values=values[None],
        volatility=np.ones((1, len(HORIZONS))),
        p_up=np.full((1, len(HORIZONS)), 0.5),
    )


def of_past_returns(returns: FloatArray, ago: int) -> Fit:
    """Normal quantiles as wide as the last `ago` returns of the coin were when the version was fitted."""

    def fit(week: int, bar: int) -> FloatArray:
        scale = returns[7 * week : 7 * week + ago].std(axis=0)
        return np.stack([np.outer(scale * h**0.5, NORMAL) for h in HORIZONS], axis=1)

    return fit


def shares(held: dict[tuple[int, int], FloatArray], horizon: int) -> list[float]:
    return [float(np.nanmean(held[horizon, percent])) for percent in (80, 90, 95)]


def test_six_weekly_refits_leave_the_coverage_where_it_was(tmp_path: Path) -> None:
    """On returns of one distribution, 4 coins: within three standard errors of a share of 168 outcomes."""
    returns = np.random.default_rng(4).normal(0.0, 0.03, (250 + 44, 4))
    held = lived(tmp_path, simulated_coins(4), returns, of_past_returns(returns, 250), ago=250)
    for found, nominal in zip(shares(held, 1), (0.80, 0.90, 0.95), strict=True):
        assert found == pytest.approx(nominal, abs=3 * (nominal * (1 - nominal) / 168) ** 0.5)


@pytest.mark.slow
def test_after_52_weekly_refits_the_coverage_is_nominal_within_one_point(tmp_path: Path) -> None:
    """48 coins without correlation: 17,400 outcomes of one bar, whose share has a standard error of 0.3 points."""
    returns = np.random.default_rng(5).normal(0.0, 0.03, (250 + 365, 48))
    held = lived(tmp_path, simulated_coins(48), returns, of_past_returns(returns, 250), ago=250)
    assert shares(held, 1) == pytest.approx([0.80, 0.90, 0.95], abs=0.01)
    # Of seven bars a fifth as many are independent.
    assert shares(held, 7) == pytest.approx([0.80, 0.90, 0.95], abs=0.015)


@pytest.mark.slow
def test_sixty_bars_after_the_volatility_doubled_the_90_percent_interval_covers_80_percent_again_with_weekly_refits(
    tmp_path: Path,
) -> None:
    """As docs/registry.md says. 40 coins without correlation; lightgbm learns from 12 of them, every week anew."""
    first, bars = 900, 98
    market = SimulatedMarket(VolatilityBreak(first + 7), seed=5, correlation=0.0)
    volatility = [feature for feature in FEATURES if feature.family == "volatility"]
    whole = matrix_of(market, simulated_coins(40), first + bars, volatility)
    coins, closes = whole.panel.coins, whole.panel.log_close.reshape(40, -1).T
    start, fits = int(whole.panel.close_time.min()), dict[int, TrainingResult]()

    def fit(week: int, bar: int) -> FloatArray:
        now = start + (first - 1 + 7 * week) * whole.bar_us
        if week not in fits:
            learned = whole.rows(np.isin(whole.coin_names, coins[:12]) & (whole.issued_at <= now))
            fits[week] = trained(learned.known_at(now), ("lightgbm",))["lightgbm"]
        rows = whole.rows(whole.issued_at == start + (first - 1 + bar) * whole.bar_us)
        made = fits[week].final.predict(rows)
        return made.values[:, [made.horizons.tolist().index(h) for h in HORIZONS]]

    returns = np.diff(closes, axis=0)
    held = lived(tmp_path, coins, returns, fit, ago=first - 1)
    covered = [float(np.nanmean(held[1, 90][at : at + 14])) for at in (8, 22, 36, 50, 68)]
    assert covered[0] < 0.75  # at first it is far too narrow
    assert covered[-1] >= 0.80
