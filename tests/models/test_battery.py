"""What every model must do, whatever is inside."""

import dataclasses

import msgspec
import numpy as np
import pytest

from cryptocast.config import Config, LightGBMConfig, LSTMConfig
from cryptocast.errors import DataError, ModelError, UsageError
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import ALL_KINDS, KINDS, TRAINABLE
from cryptocast.models.base import FitRun, Forecaster, Learner, Rounds
from cryptocast.models.kinds import forecaster_type, learner
from tests.models.conftest import MakeMatrix

QUICK = Config(
    lightgbm=LightGBMConfig(rounds=12, next_bar_rounds=12, min_data_in_leaf=30),
    lstm=LSTMConfig(epochs=1, members=2, hidden=8, samples=20),
)
RUN = FitRun(threads=1)


@pytest.fixture(scope="module", params=tuple(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, matrix: Matrix) -> Forecaster:
    return _fit(learner(kind, QUICK), matrix)


def _fit(made: Learner, matrix: Matrix, seed: int = 3) -> Forecaster:
    return made.fit(matrix, stop=None, rounds=None, seed=seed, run=RUN)


def test_a_loaded_model_forecasts_what_the_saved_one_did(kind: str, model: Forecaster, matrix: Matrix) -> None:
    files = {name: bytes(content) for name, content in model.save().items()}
    loaded = forecaster_type(kind).load(files)
    np.testing.assert_array_equal(loaded.predict(matrix).values, model.predict(matrix).values)
    assert loaded.save() == files


def test_saved_files_are_text_without_a_pickle(model: Forecaster) -> None:
    for name, content in model.save().items():
        assert name.endswith((".json", ".txt", ".safetensors"))
        assert not content.startswith(b"\x80"), f"{name} looks like a pickle"


def test_same_seed_same_forecast(kind: str, model: Forecaster, matrix: Matrix) -> None:
    again = _fit(learner(kind, QUICK), matrix)
    np.testing.assert_array_equal(again.predict(matrix).values, model.predict(matrix).values)


def test_rounds_survive_json_and_a_refit_repeats_them(kind: str, model: Forecaster, matrix: Matrix) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(model.rounds), type=Rounds)
    assert stored == model.rounds
    again = learner(kind, QUICK).fit(matrix, stop=None, rounds=stored, seed=3, run=RUN)
    assert again.rounds == model.rounds


def test_rows_are_forecast_one_by_one_as_they_are_together_in_any_order(model: Forecaster, matrix: Matrix) -> None:
    together = model.predict(matrix)
    order = np.random.default_rng(0).permutation(len(matrix))[:40]
    np.testing.assert_allclose(model.predict(matrix.rows(order)).values, together.values[order], rtol=1e-12)
    one = model.predict(matrix.rows(order[:1]))
    np.testing.assert_allclose(one.values[0], together.values[order[0]], rtol=1e-12)


def test_quantiles_are_ordered_finite_and_positive_as_prices(model: Forecaster, make_matrix: MakeMatrix) -> None:
    strange = [
        make_matrix(("bitcoin",), 400, price=1e-10),
        make_matrix(("bitcoin",), 400, price=1e9),
        make_matrix(("bitcoin",), 400, drop=tuple(range(200, 212))),
        make_matrix(("bitcoin",), 400, range_known=False),
        make_matrix(("bitcoin",), 400, flat=tuple(range(100, 390))),
    ]
    for rows in strange:
        made = model.predict(rows)
        assert np.isfinite(made.values).all()
        assert (np.diff(made.values, axis=-1) >= 0).all()
        assert (made.prices() > 0).all()


def test_too_little_data_is_refused_with_the_number_needed(kind: str, make_matrix: MakeMatrix) -> None:
    little = make_matrix(("bitcoin",), 120)
    if kind == "baseline":  # its prior shape answers for what it has not seen
        assert np.isfinite(_fit(learner(kind, QUICK), little).predict(little).values).all()
        return
    with pytest.raises(DataError, match=r"needs 200 bars .*there are \d+"):
        _fit(learner(kind, QUICK), little)


def test_the_price_level_does_not_matter(model: Forecaster, make_matrix: MakeMatrix) -> None:
    low, high = (model.predict(make_matrix(("bitcoin",), 300, price=price)) for price in (1e-8, 1e5))
    np.testing.assert_allclose(low.values, high.values, rtol=1e-6, atol=1e-9)


def test_bars_after_the_issue_change_nothing(model: Forecaster, make_matrix: MakeMatrix) -> None:
    whole = make_matrix(("bitcoin",), 500)
    part = make_matrix(("bitcoin",), 500).rows(np.arange(200))
    hidden = dataclasses.replace(
        part, returns=np.full_like(part.returns, np.nan), variance=np.full_like(part.variance, np.nan)
    )
    np.testing.assert_array_equal(model.predict(whole).values[:200], model.predict(hidden).values)


def test_a_model_without_a_view_keeps_the_median_at_the_last_price(model: Forecaster, matrix: Matrix) -> None:
    made = model.predict(matrix)
    middle = len(made.levels) // 2
    np.testing.assert_allclose(made.prices()[:, :, middle], np.repeat(made.price[:, None], 4, axis=1), rtol=1e-9)
    assert (made.p_up == 0.5).all()


def test_it_is_wider_when_the_market_is_wilder(model: Forecaster, matrix: Matrix) -> None:
    made = model.predict(matrix)
    width = made.values[:, 0, -1] - made.values[:, 0, 0]
    order = np.argsort(matrix.volatility[:, 0])
    assert width[order[-50:]].mean() > 1.5 * width[order[:50]].mean()


def test_horizons_that_were_not_fitted_are_refused_with_those_that_were(
    model: Forecaster, make_matrix: MakeMatrix
) -> None:
    with pytest.raises(ModelError, match=r"1, 7, 14, 30 bars ahead, not for 3"):
        model.predict(make_matrix(("bitcoin",), 100, horizons=(1, 3)))


def test_damaged_files_are_refused(kind: str, model: Forecaster) -> None:
    files = dict(model.save())
    name = next(name for name in files if name.endswith(".json"))
    with pytest.raises(ModelError, match="cannot be read"):
        forecaster_type(kind).load({**files, name: files[name][: len(files[name]) // 2]})
    with pytest.raises(ModelError, match="cannot be read"):
        forecaster_type(kind).load({other: content for other, content in files.items() if other != name})


def test_a_kind_that_there_is_not_is_a_mistake() -> None:
    assert set(ALL_KINDS) == {"baseline", *TRAINABLE}
    with pytest.raises(UsageError, match="Choose among baseline"):
        learner("prophet", QUICK)
