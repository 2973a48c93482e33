"""Blocks of time, each forecast by a model that was fitted before it."""

import numpy as np

from cryptocast.folds import blocks
from cryptocast.models.base import FitRun, Forecast, Rounds
from cryptocast.models.fitting import out_of_fold
from tests.models.conftest import MakeMatrix
from tests.models.test_fitting import SpyLearner, last_label


def test_each_block_is_forecast_by_a_model_fitted_before_it(make_matrix: MakeMatrix) -> None:
    matrix, spy = make_matrix(bars=600), SpyLearner()
    bounds = blocks(int(matrix.issued_at.min()) + 200 * matrix.bar_us, int(matrix.issued_at.max()), 3)
    made = out_of_fold(spy, matrix, bounds, rounds=Rounds(), seed=1, run=FitRun())
    for (train, _, _), begin in zip(spy.seen, bounds[:-1].tolist(), strict=True):
        assert last_label(train) <= begin
        assert train.issued_at.max() <= begin
    assert len(np.unique(made.row)) == len(made.row)
    np.testing.assert_array_equal(made.forecast.issued_at, matrix.issued_at[made.row])


def test_forecasts_of_nothing_are_empty(make_matrix: MakeMatrix) -> None:
    matrix, spy = make_matrix(bars=200), SpyLearner()
    bounds = np.array([0, 1, 2], dtype=np.int64)
    made = out_of_fold(spy, matrix, bounds, rounds=Rounds(), seed=1, run=FitRun())
    assert len(made.row) == 0
    assert isinstance(made.forecast, Forecast)
    assert not spy.seen
