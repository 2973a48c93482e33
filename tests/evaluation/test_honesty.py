"""What a backtest shows beyond its scores, on forecasts whose faults are known because they were made."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from scipy.special import ndtri

from cryptocast.arrays import FloatArray
from cryptocast.evaluation.honesty import Honesty, honesty
from cryptocast.evaluation.records import HonestyRecord
from cryptocast.evaluation.scores import ScoreSheet, judge
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.scoring.quantiles import LEVELS
from tests.models.conftest import MakeMatrix
from tests.models.conftest import make_matrix as make_matrix

HORIZONS = (1, 5)
SIGMA = 0.02

MakeForecast: TypeAlias = Callable[[Matrix], Forecast]


@pytest.fixture(scope="module")
def rows(make_matrix: MakeMatrix) -> Matrix:
    """Two coins whose returns are Gaussian noise of 2 % a bar, drawn anew so that the truth is known."""
    matrix = make_matrix(("bitcoin", "ethereum"), 1_400, horizons=HORIZONS)
    rng = np.random.default_rng(3)
    panel = matrix.panel
    log_close = np.cumsum(rng.normal(0.0, SIGMA, len(panel.log_close)))
    made = replace(panel, log_close=log_close)
    returns = np.full(matrix.returns.shape, np.nan)
    for column, horizon in enumerate(HORIZONS):
        end = matrix.position + horizon
        inside = end < panel.start[matrix.coin + 1]
        at = matrix.position[inside]
        returns[inside, column] = log_close[end[inside]] - log_close[at]
    whole = replace(matrix, panel=made, returns=returns, price=np.exp(log_close[matrix.position]))
    late = (whole.position - panel.start[whole.coin]) >= 400
    return whole.rows(late & np.isfinite(returns).all(axis=1))


def gaussian(rows: Matrix, *, width: float = 1.0, shift: FloatArray | float = 0.0) -> Forecast:
    sigma = SIGMA * np.sqrt(rows.horizons.astype(np.float64))[None, :] * np.ones((len(rows), 1))
    values = np.asarray(shift)[..., None] + width * sigma[:, :, None] * ndtri(LEVELS)
    return Forecast(
        coin=rows.coin_names,
        issued_at=rows.issued_at,
        price=rows.price,
        horizons=rows.horizons,
        levels=LEVELS,
        values=np.asarray(values, dtype=np.float64),
        volatility=sigma,
        p_up=np.full(sigma.shape, 0.5),
    )


def told(judged: ScoreSheet, *models: str) -> Honesty:
    return honesty(judged, models, rng=np.random.default_rng(1))


def of(found: Honesty, model: str, horizon: int) -> HonestyRecord:
    return next(record for record in found.records if (record.model, record.horizon) == (model, horizon))


@pytest.fixture(scope="module")
def found(rows: Matrix) -> Honesty:
    """The truth, a forecast that is too narrow, and one that knows a fifth of the next return."""
    known = 0.45 * np.nan_to_num(rows.returns)
    models = {
        "baseline": gaussian(rows, width=1.3),
        "truth": gaussian(rows),
        "narrow": gaussian(rows, width=0.6),
        "seer": gaussian(rows, width=0.8, shift=known),
    }
    return told(judge(rows, models, step=1), *models)


def test_a_true_forecast_passes_and_a_narrow_one_fails_the_test_of_its_distribution(found: Honesty) -> None:
    for horizon in HORIZONS:
        truth, narrow = of(found, "truth", horizon).pit, of(found, "narrow", horizon).pit
        assert truth.p_uniform is not None
        assert truth.p_uniform > 0.01
        assert narrow.p_uniform is not None
        assert narrow.p_uniform < 0.001
        assert narrow.spread > 0.1, "too many outcomes in the tails"
        assert abs(truth.spread) < 0.1
        assert sum(truth.shares) == pytest.approx(1.0)


def test_the_interval_of_a_skill_holds_it_and_agrees_with_the_table(rows: Matrix, found: Honesty) -> None:
    for record in found.records:
        for one in record.skills:
            if one.lower is not None and one.upper is not None and one.value is not None:
                assert one.lower <= one.value <= one.upper


def test_what_is_clearly_worse_leaves_the_confidence_set(found: Honesty) -> None:
    nearest = next(one for one in found.sets if one.horizon == 1)
    assert "seer" in nearest.members
    assert "narrow" in nearest.left_out
    assert set(nearest.members) | set(nearest.left_out) == {
        "baseline",
        "truth",
        "narrow",
        "seer",
        "rw_empirical",
        "rw_gaussian",
    }
    p = of(found, "narrow", 1).confidence_p
    assert p is not None
    assert p <= nearest.alpha


def test_coverage_is_told_by_coin_by_volatility_and_after_breaks(found: Honesty) -> None:
    record = of(found, "truth", 1)
    by = {group.by for group in record.coverage}
    assert {"coin", "volatility"} <= by
    coins = [group for group in record.coverage if group.by == "coin" and group.percent == 80]
    assert [group.label for group in coins] == ["bitcoin", "ethereum"]
    assert sum(group.n for group in coins) == record.n
    for group in coins:
        assert abs(group.share - 0.8) < 4 * group.se
    levels = {round(one.level, 3): one for one in record.levels}
    assert abs(levels[0.5].share - 0.5) < 4 * levels[0.5].se


def test_a_break_is_seen_in_the_bars_behind_it(rows: Matrix) -> None:
    panel = rows.panel
    jumped = panel.log_close.copy()
    at = int(rows.position[len(rows) // 4])
    end = int(panel.start[rows.coin[len(rows) // 4] + 1])
    jumped[at:end] += 0.5
    broken = replace(rows, panel=replace(panel, log_close=jumped))
    judged = judge(broken, {"baseline": gaussian(broken)}, step=1)
    groups = {g.label: g.n for g in of(told(judged, "baseline"), "baseline", 1).coverage if g.by == "after breaks"}
    calm = judge(rows, {"baseline": gaussian(rows)}, step=1)
    before = {g.label: g.n for g in of(told(calm, "baseline"), "baseline", 1).coverage if g.by == "after breaks"}
    hit = "at most 60 bars after a break"
    assert groups[hit] >= before.get(hit, 0) + 55


def test_a_model_without_a_view_has_no_direction_and_the_price_that_stays_as_its_median(found: Honesty) -> None:
    points = of(found, "truth", 1).points
    assert (points.views, points.direction) == (0, None)
    assert points.mase == pytest.approx(1.0, abs=0.1)
    assert points.r2 == pytest.approx(0.0, abs=0.02)


def test_the_same_seed_gives_the_same_words(rows: Matrix) -> None:
    judged = judge(rows, {"baseline": gaussian(rows), "narrow": gaussian(rows, width=0.6)}, step=1)
    assert told(judged, "narrow") == told(judged, "narrow")
