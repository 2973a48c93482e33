"""A learner that is spared: it fits on fewer columns, knows them by name, and is otherwise the one inside."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner
from cryptocast.models.boosting import LightGBMForecaster, LightGBMLearner
from cryptocast.models.kinds import learner
from cryptocast.models.selective import SelectiveLearner, fit_at, spared, thin
from cryptocast.models.variances import log_base
from tests.conftest import simulated_candles

NAMES = ("ret_7", "vol_30", "weekend", "hour_sin")


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    candles = simulated_candles(("bitcoin", "ethereum"), bars=500)
    table = add_features(candles.lazy(), select_features(NAMES), bar_us=BAR_US["daily"]).collect()
    made = build_matrix(table, NAMES, horizons=(1, 7), bar_us=BAR_US["daily"])
    twin = -3.0 * made.features[:, :1]
    return replace(made, features=np.hstack([made.features, twin]), feature_names=(*NAMES, "my_twin"))


def test_the_fitted_model_knows_the_kept_columns_and_finds_them_by_name(matrix: Matrix) -> None:
    fitted = SelectiveLearner(LightGBMLearner(), 0.999).fit(matrix, stop=None, rounds=None, seed=1, run=FitRun())
    assert isinstance(fitted, LightGBMForecaster)
    assert fitted.feature_names == ("ret_7", "vol_30", "weekend")
    order = [4, 3, 2, 1, 0]
    names = tuple(matrix.feature_names[column] for column in order)
    turned = replace(matrix, features=matrix.features[:, order], feature_names=names)
    assert np.array_equal(fitted.predict(matrix).values, fitted.predict(turned).values)


def test_it_fits_what_the_inner_learner_fits_on_the_same_columns(matrix: Matrix) -> None:
    few = replace(matrix, features=matrix.features[:, :3], feature_names=NAMES[:3])
    stop = matrix.rows(np.arange(100))
    one = SelectiveLearner(LightGBMLearner(), 0.999).fit(matrix, stop=stop, rounds=None, seed=1, run=FitRun())
    other = LightGBMLearner().fit(few, stop=few.rows(np.arange(100)), rounds=None, seed=1, run=FitRun())
    assert one.save() == other.save()


def test_what_was_spared_is_told_and_who_does_not_choose_keeps_everything(matrix: Matrix) -> None:
    chosen = spared(learner("lightgbm", Config()), matrix)
    assert set(chosen.dropped) == {"hour_sin", "my_twin"}
    assert spared(BaselineLearner(), matrix).columns.tolist() == [0, 1, 2, 3, 4]
    assert learner("lightgbm", Config()).kind == "lightgbm"
    assert learner("lightgbm", Config()).calibrate


def test_contributions_sum_to_what_the_trees_correct(matrix: Matrix) -> None:
    fitted = SelectiveLearner(LightGBMLearner(), 0.999).fit(matrix, stop=None, rounds=None, seed=1, run=FitRun())
    assert isinstance(fitted, LightGBMForecaster)
    rows = matrix.rows(np.arange(200, 260))
    shares = fitted.contributions(rows)
    assert shares.shape == (60, 2, 4)
    correction = fitted.log_scale(rows) - log_base(rows)
    assert shares.sum(axis=2) == pytest.approx(correction, abs=1e-9)
    assert np.abs(shares[:, :, :-1]).max() > 0.0


@given(count=st.integers(1, 2000), most=st.integers(1, 1000), seed=st.integers(0, 5))
def test_of_many_rows_every_stretch_of_each_coins_time_keeps_its_share(count: int, most: int, seed: int) -> None:
    place = thin(count, most, seed)
    assert len(place) == min(most, count)
    assert (np.diff(place, prepend=-1) > 0).all()
    assert place[-1] < count
    width = max(1.0, count / most)
    assert np.diff(place, prepend=-width, append=count - 1 + width).max() < 2 * width + 1
    np.testing.assert_array_equal(thin(count, most, seed), place)


def test_a_fit_sees_as_many_rows_as_the_settings_allow(matrix: Matrix) -> None:
    one = SelectiveLearner(LightGBMLearner(), 0.999, max_rows=400)
    other = SelectiveLearner(LightGBMLearner(), 0.999)
    few = matrix.rows(thin(len(matrix), 400, 1))
    fits = [a.fit(rows, stop=None, rounds=None, seed=1, run=FitRun()) for a, rows in ((one, matrix), (other, few))]
    assert fits[0].save() == fits[1].save()


@pytest.mark.parametrize("max_rows", [10_000, 300])
def test_a_fit_at_a_moment_is_that_on_what_was_known_then(matrix: Matrix, max_rows: int) -> None:
    doubtful = replace(matrix, doubtful=np.arange(len(matrix)) % 50 == 7)
    spare, moment = SelectiveLearner(LightGBMLearner(), 0.999, max_rows), int(np.median(matrix.issued_at))
    at = fit_at(spare, doubtful, moment, rounds=Rounds(), seed=1, run=FitRun())
    known = spare.fit(doubtful.known_at(moment), stop=None, rounds=Rounds(), seed=1, run=FitRun())
    assert at.save() == known.save()
    assert fit_at(BaselineLearner(), matrix, moment, rounds=Rounds(), seed=1, run=FitRun()).kind == "baseline"


def test_the_rows_that_are_not_fitted_on_are_let_go_before_the_fit(matrix: Matrix) -> None:
    @dataclass(frozen=True)
    class Looking(BaselineLearner):
        def fit(self, train: Matrix, **_: object) -> BaselineForecaster:
            left.append(reference() is not None)
            return super().fit(train)

    left = list[bool]()
    features = matrix.features.copy()
    reference = weakref.ref(features)
    rows = [replace(matrix, features=features)]
    del features
    SelectiveLearner(Looking(), 0.999, 100).fit(rows.pop(), stop=None, rounds=None, seed=1, run=FitRun())
    assert left == [False]
