"""What only the boosters do: a view of the direction kept with them, features that say nothing, fits without rows."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cryptocast.config import LightGBMConfig
from cryptocast.errors import DataError, ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.boosting import SETTINGS_FILE, LightGBMForecaster, LightGBMLearner
from cryptocast.models.drift_ridge import PENALTIES
from cryptocast.models.fitting import TrainingResult, fit_in_time

RUN = FitRun(threads=1)
QUICK = LightGBMLearner(LightGBMConfig(rounds=20, next_bar_rounds=20, min_data_in_leaf=30))
MIDDLE = 6  # of the quantile levels


def _fit(train: Matrix, stop: Matrix | None = None, rounds: Rounds | None = None) -> LightGBMForecaster:
    return QUICK.fit(train, stop=stop, rounds=rounds, seed=3, run=RUN)


@pytest.fixture(scope="module")
def told(matrix: Matrix) -> Matrix:
    """The first feature tells a third of the variance of the next bar, and nothing of what comes behind it."""
    rng = np.random.default_rng(5)
    signal, noise = rng.standard_normal((2, len(matrix)))
    features, returns = matrix.features.copy(), matrix.returns.copy()
    features[:, 0] = signal
    moved = (np.sqrt(0.3) * signal + np.sqrt(0.7) * noise) * matrix.volatility[:, 0]
    returns[:, 0] = np.where(np.isfinite(returns[:, 0]), moved, np.nan)
    return replace(matrix, features=features, returns=returns)


@pytest.fixture(scope="module")
def parts(told: Matrix) -> tuple[Matrix, Matrix]:
    middle = int(np.quantile(told.issued_at, 0.6))
    return told.known_at(middle), told.rows(told.issued_at > middle)


@pytest.fixture(scope="module")
def model(parts: tuple[Matrix, Matrix]) -> LightGBMForecaster:
    return _fit(*parts)


def test_a_signal_moves_median_and_confidence_at_its_horizon_alone(
    model: LightGBMForecaster, parts: tuple[Matrix, Matrix]
) -> None:
    made, signal = model.predict(parts[1]), parts[1].features[:, 0]
    assert model.penalties[0] in PENALTIES
    assert model.penalties[1:] == (0, 0, 0)
    assert np.corrcoef(made.values[:, 0, MIDDLE] / parts[1].volatility[:, 0], signal)[0, 1] > 0.9
    assert (np.sign(made.p_up[:, 0] - 0.5) == np.sign(made.values[:, 0, MIDDLE])).all()
    assert (made.p_up[:, 1:] == 0.5).all()
    np.testing.assert_array_equal(made.values[:, 1:, MIDDLE], 0.0)


def test_a_loaded_view_says_the_same_and_one_that_does_not_fit_is_refused(
    model: LightGBMForecaster, told: Matrix
) -> None:
    files = model.save()
    loaded = LightGBMForecaster.load(files)
    np.testing.assert_array_equal(loaded.predict(told).values, model.predict(told).values)
    np.testing.assert_array_equal(loaded.predict(told).p_up, model.predict(told).p_up)
    assert (loaded.save(), loaded.rounds) == (files, model.rounds)
    saved = json.loads(files[SETTINGS_FILE])
    view = saved["view"]
    wrong = (
        {"penalties": view["penalties"][:1]},
        {"centre": view["centre"][1:]},
        {"spread": [0.0, *view["spread"][1:]]},
        {"weights": view["weights"][1:]},
        {"extra": 1},
    )
    for change in wrong:
        content = json.dumps({**saved, "view": {**view, **change}}).encode()
        with pytest.raises(ModelError, match="saved lightgbm cannot be read"):
            LightGBMForecaster.load({**files, SETTINGS_FILE: content})


def test_the_rounds_repeat_boosters_and_view_and_those_without_penalties_give_none(
    model: LightGBMForecaster, parts: tuple[Matrix, Matrix]
) -> None:
    again = _fit(parts[0], rounds=model.rounds)
    assert again.rounds == model.rounds
    np.testing.assert_allclose(again.predict(parts[1]).values, model.predict(parts[1]).values, rtol=1e-12)
    older = _fit(parts[0], rounds=replace(model.rounds, penalties=()))
    assert older.penalties == (0, 0, 0, 0)
    np.testing.assert_array_equal(older.predict(parts[1]).values[:, :, MIDDLE], 0.0)


def test_rounds_of_a_search_that_found_none_are_as_good_as_no_rounds(parts: tuple[Matrix, Matrix]) -> None:
    assert _fit(parts[0], rounds=Rounds()).save() == _fit(parts[0]).save()


def test_outcomes_of_the_hold_out_change_neither_the_view_nor_its_forecasts(told: Matrix) -> None:
    """Turned around behind the stop block the signal would be worth nothing: the view must not know."""

    def fitted(matrix: Matrix) -> TrainingResult:
        return fit_in_time(QUICK, matrix, fit=0.5, stop=0.3, block_count=2, least_blocks=12, seed=1, run=RUN)

    first = fitted(told)
    begin = first.test_start
    returns = np.where(told.label_end > begin, -told.returns, told.returns)
    other = fitted(replace(told, returns=returns))
    assert first.rounds == other.rounds
    assert first.rounds.penalties[0] in PENALTIES
    np.testing.assert_array_equal(first.hold_out.forecast.values, other.hold_out.forecast.values)
    np.testing.assert_array_equal(first.hold_out.forecast.p_up, other.hold_out.forecast.p_up)
    assert (first.hold_out.forecast.p_up[:, 0] != 0.5).mean() > 0.9


@pytest.mark.parametrize("count", [0, 1, 199])
def test_too_few_rows_are_refused_with_a_stop_block_as_without(parts: tuple[Matrix, Matrix], count: int) -> None:
    few = parts[0].rows(np.arange(count))
    for stop in (None, parts[1]):
        with pytest.raises(DataError, match=rf"needs 200 bars .*there are {count}\."):
            _fit(few, stop)


def test_features_that_say_nothing_are_refused_in_our_own_words(matrix: Matrix) -> None:
    """So that an ensemble goes on without the boosters instead of ending with an error of the library."""
    rare = np.zeros_like(matrix.features)
    rare[7] = 1.0
    for features in (np.full_like(matrix.features, np.nan), np.ones_like(matrix.features), rare):
        with pytest.raises(DataError, match="can learn nothing from the features of these"):
            _fit(replace(matrix, features=features))
    with pytest.raises(DataError, match="can learn nothing"):
        _fit(replace(matrix, features=matrix.features[:, :0], feature_names=()))
