"""The fitted networks: rows stand for themselves, awkward prices give finite forecasts, strange files are refused."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.lstm import LSTMForecaster, network
from cryptocast.models.lstm.forecaster import ROWS_AT_ONCE, SETTINGS_FILE, WEIGHTS_FILE
from cryptocast.models.student_mixture import mixed
from tests.models.conftest import MakeMatrix
from tests.models.lstm.conftest import TINY, fit_tiny, with_changes


def test_two_calls_agree_and_more_rows_in_a_call_change_no_bit(small: Matrix, model: LSTMForecaster) -> None:
    whole = model.predict(small)
    np.testing.assert_array_equal(model.predict(small).values, whole.values)
    some = np.array([300, 17, 4, 222])
    np.testing.assert_array_equal(model.predict(small.rows(some)).values, whole.values[some])


def test_any_horizon_can_be_asked_for_alone(small: Matrix, model: LSTMForecaster) -> None:
    whole = model.predict(small)
    for column in range(4):
        alone = dataclasses.replace(small, horizons=small.horizons[[column]], volatility=small.volatility[:, [column]])
        np.testing.assert_array_equal(model.predict(alone).values[:, 0], whole.values[:, column])


def test_the_samples_of_dropout_widen_the_tails_and_are_drawn_from_the_seed(small: Matrix) -> None:
    made = fit_tiny(small, with_changes(TINY, epochs=6, learning_rate=0.02, dropout=0.5, strength=1.0))
    members = enumerate(made.members)
    drawn = [network.Dropout.drawn(one.shape, made.settings, 4, index) for index, one in members]
    other = dataclasses.replace(
        made,
        members=tuple(dataclasses.replace(one, dropout=own) for one, own in zip(made.members, drawn, strict=True)),
    )
    assert (made.predict(small).values != other.predict(small).values).any()
    values = made.predict(small).values[:, 0]
    certain = mixed(np.zeros((1, 1)), np.zeros((1, 1))).shape[0, 0]
    assert (values[:, -1] / values[:, 8]).min() > 1.00001 * certain[-1] / certain[8]


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the hidden layers that networks compute from now on."""
    shapes: list[tuple[int, ...]] = []
    gelu = network.gelu

    def seen(hidden: np.ndarray) -> np.ndarray:
        shapes.append(hidden.shape)
        return gelu(hidden)

    monkeypatch.setattr(network, "gelu", seen)
    return shapes


def test_the_samples_go_through_the_network_in_one_pass(
    small: Matrix, model: LSTMForecaster, layers: list[tuple[int, ...]]
) -> None:
    model.predict(small.rows(np.arange(100, 105)))
    assert layers == [(5, 10, 8), (5, 10, 8)]  # rows, samples, hidden; once for each of two members


def test_many_rows_never_pass_the_networks_at_once_neither_in_a_forecast_nor_where_a_view_is_judged(
    small: Matrix, model: LSTMForecaster, layers: list[tuple[int, ...]]
) -> None:
    """All samples of all rows at once are gigabytes on hourly bars of a dozen coins."""
    told = model.log_scale(small)
    model.predict(small)
    assert len(small) > ROWS_AT_ONCE == max(rows for rows, *_ in layers)
    np.testing.assert_array_equal(told[-9:], model.log_scale(small.rows(np.arange(len(small) - 9, len(small)))))


def test_gaps_flat_tiny_and_huge_prices_give_finite_forecasts(make_matrix: MakeMatrix, model: LSTMForecaster) -> None:
    gappy = make_matrix(("bitcoin",), 400, drop=tuple(range(50, 350, 15)))
    windowless = model.predict(gappy)
    assert np.isfinite(windowless.values).all()
    # Between gaps of 15 bars there is never a window: the volatility known at issue is all that is left.
    inside = gappy.position < 350
    inside &= gappy.position > 75
    np.testing.assert_allclose(windowless.volatility[inside], gappy.volatility[inside], rtol=1e-3)
    for price in (1e-10, 1e9):
        assert np.isfinite(model.predict(make_matrix(("bitcoin",), 300, price=price)).values).all()
    whole = make_matrix(("bitcoin",), 300)
    flat = whole.panel.log_close.copy()
    flat[100:] = flat[100]
    still = dataclasses.replace(whole.panel, log_close=flat, variance=np.zeros_like(flat))
    assert np.isfinite(model.predict(dataclasses.replace(whole, panel=still)).values).all()


def test_the_files_are_json_and_safetensors_and_say_the_same_when_loaded(small: Matrix, model: LSTMForecaster) -> None:
    files = model.save()
    assert set(files) == {SETTINGS_FILE, WEIGHTS_FILE}
    assert json.loads(files[SETTINGS_FILE])["horizons"] == [1, 7, 14, 30]
    loaded = LSTMForecaster.load(files)
    assert loaded.rounds == model.rounds
    np.testing.assert_array_equal(loaded.predict(small).values, model.predict(small).values)


def _damaged(tensors: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    name = "0.mixer.weight"
    changed = dict(tensors)
    match how:
        case "foreign":
            changed["payload"] = np.zeros(3)
        case "renamed":
            changed["0.mixer.wait"] = changed.pop(name)
        case "missing":
            del changed[name]
        case "shape":
            changed[name] = changed[name].T.copy()
        case "dtype":
            changed[name] = changed[name].astype(np.float64)
        case "no masks":
            del changed["0.masks.read"]
        case "masks of other samples":
            changed["0.masks.hidden"] = changed["0.masks.hidden"][1:]
        case "masks of numbers":
            changed["0.masks.hidden"] = changed["0.masks.hidden"].astype(np.uint8)
        case "infinite":
            changed[name] = np.full_like(changed[name], np.inf)
    return changed


@pytest.mark.parametrize(
    "how",
    [
        *("foreign", "renamed", "missing", "shape", "dtype", "infinite"),
        *("no masks", "masks of other samples", "masks of numbers"),
    ],
)
def test_tensors_that_are_not_as_saved_are_refused(model: LSTMForecaster, how: str) -> None:
    files = dict(model.save())
    files[WEIGHTS_FILE] = save_tensors(_damaged(load_tensors(files[WEIGHTS_FILE]), how))
    with pytest.raises(ModelError, match="saved lstm cannot be read"):
        LSTMForecaster.load(files)


@pytest.mark.parametrize("content", [pickle.dumps({"a": 1}), b"", b"\x80\x04", b"\xff" * 100])
def test_a_pickle_and_other_bytes_are_refused(model: LSTMForecaster, content: bytes) -> None:
    with pytest.raises(ModelError, match="saved lstm cannot be read"):
        LSTMForecaster.load({**model.save(), WEIGHTS_FILE: content})
    with pytest.raises(ModelError, match="saved lstm cannot be read"):
        LSTMForecaster.load({**model.save(), SETTINGS_FILE: content})


def test_settings_that_do_not_fit_the_weights_are_refused(model: LSTMForecaster) -> None:
    files = model.save()
    saved = json.loads(files[SETTINGS_FILE])
    wrong = (
        {"hidden": 9},
        {"members": 3},
        {"members": 1},
        {"horizons": [1, 7]},
        {"penalties": [0]},
        {"penalties": [100, 0]},
        {"extra": 1},
    )
    for change in (*wrong, {"samples": 10**9}, {"lookback": 30}, {"dropout": 1.0}):
        with pytest.raises(ModelError, match="saved lstm cannot be read"):
            LSTMForecaster.load({**files, SETTINGS_FILE: json.dumps({**saved, **change}).encode()})
