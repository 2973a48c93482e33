"""Coverage of the trained models where the truth is known: in a market of changing volatility, and after a break."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pytest

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.data.sources.simulated.draws import simulated_coins
from cryptocast.data.sources.simulated.market import SimulatedMarket
from cryptocast.data.sources.simulated.processes import GarchT, VolatilityBreak
from cryptocast.features.catalogue import FEATURES
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.interpolation import at_horizons
from cryptocast.scoring.quantiles import interval_columns
from tests.workflows.simulated_models import HORIZONS, matrix_of, trained

PERCENTS = (80, 90, 95)


def covered(made: Forecast, returns: FloatArray, column: int, percent: int) -> BoolArray:
    """(n,) whether each outcome at the horizon of the column lay in the interval."""
    low, high = interval_columns(made.levels, percent)
    values, outcome = made.values[:, column], returns[:, column]
    return np.asarray((values[:, low] <= outcome) & (outcome <= values[:, high]))


@pytest.mark.slow
def test_intervals_on_garch_t_cover_within_one_and_a_half_points_on_20000_independent_origins() -> None:
    """Pooled over the horizons; each of them within 2 points.

    60 coins without correlation, each origin for itself: trained on the first 2,000 bars, judged on 10,000 more.
    """
    coins, learned, horizon = simulated_coins(60), 2_000, max(HORIZONS)
    market = SimulatedMarket(GarchT(), seed=11, correlation=0.0)
    volatility = [feature for feature in FEATURES if feature.family == "volatility"]
    whole = matrix_of(market, coins, learned + 336 * horizon, volatility)
    end = int(whole.panel.close_time.min()) + (learned - 1) * whole.bar_us
    models = trained(whole.known_at(end))
    bar = (whole.issued_at - end) // whole.bar_us
    rows = whole.rows((bar > 0) & (bar % horizon == 0) & np.isfinite(whole.returns).all(axis=1))
    assert len(rows) >= 20_000
    for name, model in models.items():
        made = model.final.predict(rows)
        for percent in PERCENTS:
            shares = [covered(made, rows.returns, column, percent).mean() for column in range(len(HORIZONS))]
            assert np.mean(shares) == pytest.approx(percent / 100, abs=0.015), (name, percent, shares)
            # 46 independent blocks of 30 bars say where an interval ends to within a point or two.
            assert shares == pytest.approx([percent / 100] * len(HORIZONS), abs=0.02), (name, percent)


@dataclass(frozen=True)
class Cell:
    """How often an interval held, and the standard error of that share: of the outcomes, and of the calibration."""

    kind: str
    horizon: int
    percent: int
    share: float
    se: float


def garch_t_cells(kinds: Sequence[str], coins: int, learned: int, origins: int) -> list[Cell]:
    """Models of all coins' first bars, judged on so many origins of each behind them, 30 bars apart.

    Coins are independent, so that their shares tell the error of the mean. The calibration rests on 70 % of the bars
    that were learned from; the coverage of its intervals, given it, varies by p (1 - p) over its independent blocks.
    """
    longest = max(HORIZONS)
    market = SimulatedMarket(GarchT(), seed=11, correlation=0.0)
    volatility = [feature for feature in FEATURES if feature.family == "volatility"]
    whole = matrix_of(market, simulated_coins(coins), learned + (origins + 1) * longest, volatility)
    end = int(whole.panel.close_time.min()) + (learned - 1) * whole.bar_us
    bar = (whole.issued_at - end) // whole.bar_us
    rows = whole.rows((bar > 0) & (bar % longest == 0) & np.isfinite(whole.returns).all(axis=1))
    cells = []
    for kind, model in trained(whole.known_at(end), kinds).items():
        made = model.final.predict(rows)
        for column, horizon in enumerate(HORIZONS):
            for percent in PERCENTS:
                hits = covered(made, rows.returns, column, percent)
                by_coin = np.bincount(rows.coin, weights=hits) / np.bincount(rows.coin)
                calibrating = percent / 100 * (1 - percent / 100) / (coins * 0.7 * learned / horizon)
                se = np.sqrt(by_coin.var(ddof=1) / coins + calibrating)
                cells.append(Cell(kind, horizon, percent, float(hits.mean()), float(se)))
    return cells


@pytest.mark.slow
def test_every_interval_on_garch_t_lies_in_the_simultaneous_99_percent_band() -> None:
    """Sidak over models, horizons and intervals: all cells hold at once in 99 of 100 markets if all are calibrated."""
    cells = garch_t_cells(("baseline", "har", "lightgbm"), coins=165, learned=6_000, origins=150)
    reach = NormalDist().inv_cdf(0.5 + 0.5 * 0.99 ** (1 / len(cells)))
    assert max(cell.se for cell in cells) <= 0.004
    outside = [cell for cell in cells if abs(cell.share - cell.percent / 100) > reach * cell.se]
    assert outside == []


def _interpolated_coverage(
    kinds: tuple[str, ...], coins: int, origins: int
) -> Iterator[tuple[str, int, int, float, float]]:
    """Kind, horizon, percent, and the coverage of the interpolated and of the fitted interval."""
    learned, between, fitted = 2_000, (3, 10), (1, 3, 7, 10, 14, 30)
    market = SimulatedMarket(GarchT(), seed=23, correlation=0.0)
    volatility = [feature for feature in FEATURES if feature.family == "volatility"]
    names, bars = simulated_coins(coins), learned + origins * max(fitted)
    few = matrix_of(market, names, bars, volatility)
    many = matrix_of(market, names, bars, volatility, horizons=fitted)
    end = int(few.panel.close_time.min()) + (learned - 1) * few.bar_us
    bar = (many.issued_at - end) // many.bar_us
    keep = (bar > 0) & (bar % max(fitted) == 0) & np.isfinite(many.returns).all(axis=1)
    for kind in kinds:
        made = trained(few.known_at(end), [kind])[kind].final.predict(few.rows(keep))
        whole = trained(many.known_at(end), [kind])[kind].final.predict(many.rows(keep))
        guessed = at_horizons(made, between)
        for column, horizon in enumerate(between):
            returns = many.rows(keep).returns[:, [fitted.index(horizon)]]
            known = at_horizons(whole, [horizon])
            for percent in PERCENTS:
                low, high = interval_columns(guessed.levels, percent)
                values = guessed.values[:, column]
                inside = (values[:, low] <= returns[:, 0]) & (returns[:, 0] <= values[:, high])
                yield kind, horizon, percent, inside.mean(), covered(known, returns, 0, percent).mean()


def test_intervals_between_fitted_horizons_cover_as_those_of_a_fit_do() -> None:
    for kind, horizon, percent, interpolated, fitted in _interpolated_coverage(("baseline",), 30, 150):
        assert interpolated == pytest.approx(fitted, abs=0.02), (kind, horizon, percent)
        # 4,470 origins: three standard errors of coverage are two points, those of 30 coins' own shapes not counted.
        assert interpolated == pytest.approx(percent / 100, abs=0.025), (kind, horizon, percent)


@pytest.mark.slow
def test_intervals_between_fitted_horizons_cover_within_two_points_on_20000_independent_origins() -> None:
    found = list(_interpolated_coverage(("baseline", "har", "lightgbm"), 60, 336))
    for kind, horizon, percent, interpolated, fitted in found:
        assert interpolated == pytest.approx(percent / 100, abs=0.02), (kind, horizon, percent)
        assert interpolated == pytest.approx(fitted, abs=0.02), (kind, horizon, percent)


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
    assert rows.steady is not None
    before = replace(rows, steady=rows.steady / 2.0)
    assert covered(models["baseline"].final.predict(before), rows.returns, 0, 90).mean() < 0.75  # had nothing adapted


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_sixty_bars_after_a_break_up_or_down_the_80_percent_interval_of_the_baseline_covers_70(factor: float) -> None:
    """400 coins without correlation are 400 seeds; each is fitted on its own bars, as `forecast` does."""
    bar = 900
    market = SimulatedMarket(VolatilityBreak(bar, factor), seed=6, correlation=0.0)
    whole = matrix_of(market, simulated_coins(400), bar + 62, (), horizons=(1,))
    now = int(whole.panel.close_time.min()) + (bar + 60) * whole.bar_us
    rows = whole.rows(whole.issued_at == now)
    assert len(rows) == 400
    model = BaselineLearner().fit(whole.known_at(now))
    assert covered(model.predict(rows), rows.returns, 0, 80).mean() >= 0.70
    assert rows.steady is not None
    before = replace(rows, steady=rows.steady / factor)  # had nothing adapted
    assert abs(covered(model.predict(before), rows.returns, 0, 80).mean() - 0.80) > 0.10
