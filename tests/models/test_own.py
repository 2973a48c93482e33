"""Models of a file of the user's own: what is no model is refused by line, and none is trusted with the future."""

import pickle
import re
from collections.abc import Callable

import numpy as np
import pytest

from cryptocast.errors import ConfigError, DataError, ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.own import OwnLearner, OwnModels, with_models

MakeMatrix = Callable[..., Matrix]

# A model that does what the lines in it say.
MODEL = """
from dataclasses import replace
import numpy as np
from cryptocast.errors import DataError
from cryptocast.models.baseline import BaselineLearner, BaselineForecaster

class Forecaster:
    def __init__(self, inner):
        self.inner = inner
    def predict(self, rows):
        forecast = self.inner.predict(rows)
        {predict}
        return forecast
    def save(self):
        {save}
        return self.inner.save()
    @classmethod
    def load(cls, files):
        {load}
        return cls(BaselineForecaster.load(files))

class Learner:
    kind = "mine"
    def fit(self, train, *, stop, rounds, seed, run):
        {fit}
        return Forecaster(BaselineLearner().fit(train))

MODELS = ((Learner(), Forecaster),)
"""


def models(predict: str = "pass", save: str = "pass", load: str = "pass", fit: str = "pass") -> OwnModels:
    return with_models(MODEL.format(predict=predict, save=save, load=load, fit=fit), "my_model.py")


def fitted(found: OwnModels, matrix: Matrix) -> object:
    return found.learner("mine").fit(matrix, stop=None, rounds=None, seed=1, run=FitRun())


def test_it_fits_forecasts_saves_and_loads_like_any_other(matrix: Matrix) -> None:
    found = models()
    model = fitted(found, matrix)
    expected = BaselineLearner().fit(matrix).predict(matrix)
    np.testing.assert_array_equal(model.predict(matrix).values, expected.values)  # type: ignore[attr-defined]
    files = model.save()  # type: ignore[attr-defined]
    assert list(files) == ["mine-baseline.json"], "no name of its files meets one of the package's"
    again = found.loader("mine").load(files)
    np.testing.assert_array_equal(again.predict(matrix).values, expected.values)
    assert (found.names, again.kind, again.rounds) == (("mine",), "mine", Rounds())
    assert found.learner("mine").calibrate


def test_its_learner_reaches_other_processes(matrix: Matrix) -> None:
    learner = pickle.loads(pickle.dumps(models().learner("mine")))  # noqa: S301 - made here
    assert isinstance(learner, OwnLearner)
    assert len(learner.fit(matrix, stop=None, rounds=None, seed=1, run=FitRun()).predict(matrix)) == len(matrix)


def test_the_digest_is_that_of_the_code() -> None:
    digest = models().digest
    assert with_models("# a comment\n" + models().text, "elsewhere.py").digest == digest
    assert models(fit="seed += 1").digest != digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1", "my_model.py defines no MODELS. Write MODELS = ((MyLearner(), MyForecaster),)"),
        ("\nMODELS = ()", "line 2: MODELS is tuple, expected a tuple of pairs"),
        ("MODELS = (3,)", "line 1: entry 1 of MODELS is int, expected a learner and the class"),
        ("class A: pass\nMODELS = ((A, A),)", "A is a class, expected a learner: write A()"),
        ("class A: pass\nMODELS = ((A(), A),)", "A has no method fit"),
        ("class A:\n    def fit(self): ...\nMODELS = ((A(), A()),)", "A is an object, expected the class"),
        ("class A:\n    def fit(self): ...\nMODELS = ((A(), A),)", "A has no method predict"),
        (MODEL.replace('kind = "mine"', 'kind = "My-Model"'), "kind is 'My-Model', expected lower-case"),
        (MODEL.replace('kind = "mine"', "pass"), "kind is None"),
        *((MODEL.replace('"mine"', f'"{word}"'), f"the name {word} is taken") for word in ("lightgbm", "mix", "store")),
        (MODEL.replace("((Learner(), Forecaster),)", "((Learner(), Forecaster),) * 2"), "it is twice in MODELS"),
        ("MODELS = (", "this is not Python"),
        ("import no_such_module", "line 1: ModuleNotFoundError"),
    ],
)
def test_what_is_no_table_of_models_is_refused_with_its_line(text: str, words: str) -> None:
    text = text.format(**dict.fromkeys(("predict", "save", "load", "fit"), "pass"))
    with pytest.raises(ConfigError, match=re.escape(words)):
        with_models(text, "my_model.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("return forecast.values", "a forecast of mine is ndarray, expected cryptocast.models.Forecast"),
        ("forecast = forecast.rows(np.arange(len(forecast) - 1))", "expected"),
        ("forecast = replace(forecast, horizons=forecast.horizons + 1)", "other horizons"),
        ("forecast = replace(forecast, levels=forecast.levels * 0.9)", "other levels"),
        ("forecast = replace(forecast, coin=np.full(len(forecast), 'dogecoin'))", "other coins"),
        ("forecast = replace(forecast, values=forecast.values[:, :1])", "expected"),
        ("forecast = replace(forecast, values=forecast.values * np.nan)", "not finite"),
        ("forecast = replace(forecast, values=forecast.values[:, :, ::-1])", "Forecast quantiles cross"),
        ("return rows.nothing", "my_model.py, line 12: mine cannot be asked: AttributeError"),
    ],
)
def test_what_is_no_forecast_of_these_rows_is_refused(matrix: Matrix, line: str, words: str) -> None:
    with pytest.raises(ModelError, match=re.escape(words)):
        fitted(models(predict=line), matrix).predict(matrix)  # type: ignore[attr-defined]


def test_a_fit_that_fails_or_gives_something_else_is_an_error_and_too_few_rows_are_its_own(matrix: Matrix) -> None:
    with pytest.raises(ModelError, match=r"my_model.py, line \d+: mine cannot be fitted: ZeroDivisionError"):
        fitted(models(fit="1 / 0"), matrix)
    with pytest.raises(ModelError, match="a fit of mine gave int, expected Forecaster"):
        fitted(models(fit="return 3"), matrix)
    with pytest.raises(DataError, match="too few"):
        fitted(models(fit="raise DataError('too few')"), matrix)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"save": "import pickle; return {'a.bin': pickle.dumps(1)}"}, "saves 'a.bin' as a pickle"),
        ({"save": "return {'a.json': '1'}"}, "saves 'a.json' as str"),
        ({"save": "1 / 0"}, "mine cannot be saved: ZeroDivisionError"),
        ({"load": "1 / 0"}, "mine cannot be loaded: ZeroDivisionError"),
        (
            {"save": "self.n = getattr(self, 'n', id(self)); return {**self.inner.save(), 'n.json': b'%d' % self.n}"},
            "what mine loads is not what it saved",
        ),
    ],
)
def test_what_cannot_be_stored_is_refused_before_it_is(matrix: Matrix, lines: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=re.escape(words)):
        fitted(models(**lines), matrix).save()  # type: ignore[attr-defined]


PEEKS = {
    "labels": "assert not np.isfinite(rows.returns).any() and not np.isfinite(rows.variance).any()",
    "bars": "assert not np.isfinite(rows.panel.log_close[rows.panel.close_time > rows.issued_at.max()]).any()",
}


@pytest.mark.parametrize("line", PEEKS.values(), ids=PEEKS)
def test_labels_and_later_bars_are_taken_away_before_it_is_asked(matrix: Matrix, line: str) -> None:
    rows = matrix.rows(matrix.issued_at <= np.median(matrix.issued_at))
    assert np.isfinite(rows.returns).any()
    fitted(models(predict=line), matrix).predict(rows)  # type: ignore[attr-defined]


def test_a_fit_sees_the_bars_up_to_the_last_label_that_it_knows(matrix: Matrix) -> None:
    line = "assert np.nanmax(np.where(np.isnan(train.panel.log_close), 0, train.panel.close_time)) == train.seen"
    known = matrix.known_at(int(np.median(matrix.issued_at)))
    moment = int(known.issued_at.max())
    fitted(models(fit=line.replace("train.seen", str(moment))), known)


@pytest.mark.parametrize(
    "line",
    [
        "ahead = np.roll(rows.price, -1) > rows.price; "
        "forecast = replace(forecast, values=forecast.values * (1.0 + ahead)[:, None, None])",
        "forecast = replace(forecast, values=forecast.values * rows.price.mean() / 1000)",
        "forecast = replace(forecast, values=forecast.values * (1.0 + np.random.default_rng().random()))",
    ],
    ids=["the next row", "the mean of all rows", "chance"],
)
def test_a_forecast_that_knows_later_rows_or_is_drawn_by_chance_is_refused(matrix: Matrix, line: str) -> None:
    with pytest.raises(ModelError, match="mine looks into the future, or is not the same"):
        fitted(models(predict=line), matrix).predict(matrix)  # type: ignore[attr-defined]
