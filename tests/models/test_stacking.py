"""Weights that had to earn it, and members that may fail."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from cryptocast.errors import DataError, ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Forecast, Forecaster
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner
from cryptocast.models.har import HARLearner
from cryptocast.models.stacking import (
    FILE,
    StackForecaster,
    Stacking,
    StackLearner,
    equal_weights,
    simplex_weights,
)
from cryptocast.scoring.quantiles import LEVELS, crps
from tests.models.conftest import MakeMatrix

RUN = FitRun()
BLOCK = 120


def _scaled(forecast: Forecast, factor: float) -> Forecast:
    return dataclasses.replace(forecast, values=forecast.values * factor)


def _walked(matrix: Matrix, members: Mapping[str, float], blocks: int = 5) -> tuple[Stacking, int]:
    """A stacking that has seen some blocks of the baseline, made too narrow or too wide by each member's factor."""
    model = BaselineLearner().fit(matrix)
    stacking = Stacking(matrix, tuple(members))
    first = int(matrix.issued_at.min())
    edges = [first + (200 + BLOCK * i) * matrix.bar_us for i in range(blocks + 1)]
    for begin, end in pairwise(edges):
        stacking.weights(begin)
        row = np.flatnonzero((matrix.issued_at >= begin) & (matrix.issued_at < end)).astype(np.int64)
        made = model.predict(matrix.rows(row))
        stacking.learn(row, {name: _scaled(made, factor) for name, factor in members.items()})
    return stacking, edges[-1]


@pytest.fixture(scope="module")
def long(make_matrix: MakeMatrix) -> Matrix:
    """Two coins, 850 bars."""
    return make_matrix(("bitcoin", "ethereum"), 850)


def test_a_member_that_is_clearly_better_gets_the_weight_and_the_reason_is_told(long: Matrix) -> None:
    stacking, now = _walked(long, {"good": 1.0, "narrow": 0.3})
    weights = stacking.weights(now)
    table = np.array(weights.table)
    assert table.shape == (4, 1, 2)
    np.testing.assert_allclose(table.sum(axis=-1), 1.0)
    assert (table[0, :, 0] > 0.75).all()
    assert weights.reasons[0].startswith("learned: better than equal weights on")


def test_members_that_are_alike_keep_equal_weights(long: Matrix) -> None:
    stacking, now = _walked(long, {"one": 1.0, "two": 1.0})
    weights = stacking.weights(now)
    np.testing.assert_array_equal(np.array(weights.table), 0.5)
    assert all(reason.startswith("equal: ") for reason in weights.reasons)


def test_outcomes_behind_the_moment_change_no_weight(long: Matrix) -> None:
    stacking, now = _walked(long, {"good": 1.0, "narrow": 0.3})
    future = long.label_end > now
    hidden = dataclasses.replace(long, returns=np.where(future, 99.0, long.returns))
    other, _ = _walked(hidden, {"good": 1.0, "narrow": 0.3})
    # The volatilities that the baseline is fitted by are the same; its shape is not, so the members are kept.
    other._parts = stacking._parts
    assert other.weights(now) == stacking.weights(now)


def test_nothing_is_learned_before_anything_is_known(long: Matrix) -> None:
    weights = Stacking(long, ("one", "two")).weights(int(long.issued_at.max()))
    assert weights == equal_weights(("one", "two"), long.horizons, "no member has been tried yet")


def test_simplex_weights_are_those_of_a_search_over_a_grid() -> None:
    rng = np.random.default_rng(1)
    outcome = rng.standard_t(5, 800)
    quantiles = np.stack([np.quantile(outcome, LEVELS) * f for f in (0.4, 1.5)])
    stacked = np.broadcast_to(quantiles, (800, 2, len(LEVELS)))
    found = simplex_weights(stacked, outcome, LEVELS)
    grid = np.linspace(0.0, 1.0, 201)
    losses = [crps(outcome, w * stacked[:, 0] + (1 - w) * stacked[:, 1], LEVELS).mean() for w in grid]
    assert found[0] == pytest.approx(grid[int(np.argmin(losses))], abs=0.01)
    assert found.sum() == pytest.approx(1.0)


class _Unfit:
    """A learner that never has enough."""

    kind = "lstm"
    calibrate = True

    def fit(self, train: Matrix, **_: object) -> Forecaster:
        raise DataError(f"{len(train)} rows are too few")


class _Broken(BaselineForecaster, frozen=True):
    """A member that was fitted and cannot forecast."""

    def predict(self, rows: Matrix) -> Forecast:
        raise ModelError(f"no forecast of {len(rows)} rows")


def test_a_member_that_cannot_be_fitted_is_dropped_and_told(matrix: Matrix, caplog: pytest.LogCaptureFixture) -> None:
    learner = StackLearner({"baseline": BaselineLearner(), "har": HARLearner(), "lstm": _Unfit()})
    model = learner.fit(matrix, stop=None, rounds=None, seed=1, run=RUN)
    assert tuple(model.members) == model.weights.members == ("baseline", "har")
    assert "too few" in model.weights.dropped["lstm"]
    assert "goes on without lstm" in caplog.text
    with pytest.raises(DataError, match="no member that can learn"):
        StackLearner({"baseline": BaselineLearner(), "lstm": _Unfit()}).fit(
            matrix, stop=None, rounds=None, seed=1, run=RUN
        )


def test_a_member_that_cannot_forecast_is_left_out_and_the_others_share_its_weight(
    matrix: Matrix, caplog: pytest.LogCaptureFixture
) -> None:
    baseline = BaselineLearner().fit(matrix)
    broken = _Broken(coins=baseline.coins, horizons=baseline.horizons, quantiles=baseline.quantiles)
    weights = equal_weights(("baseline", "har"), matrix.horizons, "a test")
    made = StackForecaster({"baseline": baseline, "har": broken}, weights).predict(matrix)
    np.testing.assert_allclose(made.values, baseline.predict(matrix).values, rtol=1e-12)
    assert "forecasts without har" in caplog.text
    with pytest.raises(ModelError, match="No member"):
        StackForecaster({"har": broken}, equal_weights(("har",), matrix.horizons, "a test")).predict(matrix)


def test_saved_weights_off_the_simplex_are_refused(matrix: Matrix) -> None:
    baseline = BaselineLearner().fit(matrix)
    weights = equal_weights(("baseline",), matrix.horizons, "a test")
    files = dict(StackForecaster({"baseline": baseline}, weights).save())
    files[FILE] = msgspec.json.encode(msgspec.structs.replace(weights, table=(((0.9,),),) * len(matrix.horizons)))
    with pytest.raises(ModelError, match="simplex"):
        StackForecaster.load(files)


def test_weights_of_2026_follow_the_regime_of_the_row(matrix: Matrix) -> None:
    weights = equal_weights(("a", "b"), matrix.horizons, "a test")
    table = tuple(((0.9, 0.1), (0.5, 0.5), (0.2, 0.8)) for _ in matrix.horizons)
    cuts = (-0.1, 0.1)
    found = msgspec.structs.replace(weights, table=table, cuts=cuts).of(matrix, np.array([0, 3]), ("a", "b"))
    state = np.log(matrix.panel.volatility[matrix.position, 0] / matrix.panel.volatility[matrix.position, 1])
    assert found.shape == (len(matrix), 2, 2)
    expected = np.select([state < cuts[0], state < cuts[1]], [0.9, 0.5], 0.2)
    np.testing.assert_allclose(found[:, 0, 0], expected)
    alone = msgspec.structs.replace(weights, table=table).of(matrix, np.array([0]), ("b",))
    np.testing.assert_array_equal(alone, 1.0)
