"""What only the network does: learn a planted volatility or signal, forget the future, go on from a checkpoint."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from cryptocast.config import LSTMConfig
from cryptocast.errors import DataError, ModelError
from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecast, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.drift_ridge import PENALTIES
from cryptocast.models.lstm import LSTMForecaster, LSTMLearner
from cryptocast.models.lstm.forecaster import ROWS_AT_ONCE, SETTINGS_FILE, WEIGHTS_FILE
from cryptocast.models.student_mixture import mixed
from cryptocast.scoring.quantiles import LEVELS
from tests.conftest import DAY_US, MakeCandles
from tests.models.conftest import MakeMatrix

RUN = FitRun(threads=2)
TINY = LSTMConfig(epochs=2, members=2, hidden=8, samples=20, lookback=32)
QUICK = LSTMConfig(epochs=8, members=1, hidden=16, batch=128, learning_rate=0.01, lookback=24, dropout=0.2)


def _fit(matrix: Matrix, settings: LSTMConfig = TINY, seed: int = 3, run: FitRun = RUN) -> LSTMForecaster:
    return LSTMLearner(settings).fit(matrix, stop=None, rounds=None, seed=seed, run=run)


def _with(settings: LSTMConfig, **changes: object) -> LSTMConfig:
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture(scope="module")
def small(make_matrix: MakeMatrix) -> Matrix:
    made = make_matrix(("bitcoin", "ethereum"), 300)
    assert isinstance(made, Matrix)
    return made


@pytest.fixture(scope="module")
def model(small: Matrix) -> LSTMForecaster:
    return _fit(small)


def _crps(forecast: Forecast, returns: np.ndarray[tuple[int, int], np.dtype[np.float64]], column: int) -> float:
    known = np.isfinite(returns[:, column])
    error = returns[known, column, None] - forecast.values[known, column]
    return float(np.mean(np.maximum(LEVELS * error, (LEVELS - 1) * error)))


def _market(returns: np.ndarray[tuple[int, int], np.dtype[np.float64]], make_candles: MakeCandles) -> Matrix:
    """A matrix of coins with these daily log returns (coins, bars); closes only."""
    coins = tuple(f"coin-{i}" for i in range(len(returns)))
    close = 100 * np.exp(np.cumsum(returns, axis=1)).ravel()
    frame = make_candles(coins, returns.shape[1], range_known=False)
    bars = {name: pl.Series(close) for name in ("open", "high", "low", "close")}
    table = complete_grid(frame.with_columns(**bars).lazy(), DAY_US).collect()
    return build_matrix(table, [], horizons=(1, 7), bar_us=DAY_US)


def _parts(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """60 % of the time to learn from, 20 to stop on, 20 to test on."""
    first, last = int(matrix.issued_at.min()), int(matrix.issued_at.max())
    one, two = first + round((last - first) * 0.6), first + round((last - first) * 0.8)
    later = matrix.rows((matrix.issued_at > one) & (matrix.issued_at <= two))
    return matrix.known_at(one), later, matrix.rows(matrix.issued_at > two)


def test_it_finds_a_planted_volatility_that_the_baseline_does_not_know(make_candles: MakeCandles) -> None:
    # Large moves come in pairs: the bar behind a large one that followed a small one is large, then all is calm again.
    draws = np.random.default_rng(4)
    size = np.full((6, 700), 0.01)
    for coin in range(6):
        for bar in range(2, 700):
            before, earlier = size[coin, bar - 1], size[coin, bar - 2]
            struck = draws.random() < 0.08
            size[coin, bar] = 0.06 if (before > 0.05 and earlier < 0.05) or (struck and before < 0.05) else 0.01
    matrix = _market(size * draws.choice([-1.0, 1.0], size.shape) * draws.uniform(0.8, 1.2, size.shape), make_candles)
    train, stop, test = _parts(matrix)
    made = LSTMLearner(QUICK).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    baseline = _crps(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert _crps(made.predict(test), test.returns, 0) < 0.975 * baseline
    assert made.rounds.counts[0] > 0
    assert made.rounds.penalties == (0, 0)


def test_a_planted_signal_moves_the_median_and_the_final_fit_keeps_the_view(make_candles: MakeCandles) -> None:
    draws = np.random.default_rng(6)
    returns = 0.03 * draws.normal(size=(8, 700))
    for bar in range(1, 700):
        returns[:, bar] -= 0.4 * returns[:, bar - 1]
    matrix = _market(returns, make_candles)
    train, stop, test = _parts(matrix)
    learner = LSTMLearner(QUICK)
    made = learner.fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert made.rounds.penalties[0] in PENALTIES
    forecast = made.predict(test)
    # 14 % of the variance can be told: 7 % of the CRPS.
    baseline = _crps(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert _crps(forecast, test.returns, 0) < 0.96 * baseline
    rises = test.returns[:, 0] > 0
    assert np.mean(forecast.p_up[rises, 0]) > 0.52 > 0.48 > np.mean(forecast.p_up[~rises, 0])
    final = learner.fit(matrix, stop=None, rounds=made.rounds, seed=1, run=RUN)
    assert final.rounds == made.rounds
    assert (final.predict(test).p_up[:, 0] != 0.5).any()
    blind = LSTMLearner(_with(QUICK, view=False, epochs=1)).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert (blind.predict(test).p_up == 0.5).all()


def test_on_a_random_walk_it_stays_with_the_last_price_and_close_to_the_baseline(make_candles: MakeCandles) -> None:
    matrix = _market(0.03 * np.random.default_rng(9).normal(size=(4, 700)), make_candles)
    train, stop, test = _parts(matrix)
    made = LSTMLearner(QUICK).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert made.rounds.penalties == (0, 0)
    baseline = _crps(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert _crps(made.predict(test), test.returns, 0) < 1.015 * baseline


def test_an_untrained_network_is_the_volatility_known_at_issue_times_a_constant(small: Matrix) -> None:
    untrained = LSTMLearner(TINY).fit(small, stop=None, rounds=Rounds(counts=(0,)), seed=3, run=RUN).predict(small)
    factor = np.round(untrained.volatility / small.volatility, 4)
    for column in range(4):
        found = np.unique(factor[:, column])
        assert len(found) == 1
        assert abs(np.log(found[0])) < 0.4


def test_bars_after_the_origin_change_no_bit_of_a_fit_or_a_forecast(small: Matrix) -> None:
    moment = int(small.issued_at[180])
    panel = small.panel
    after = panel.close_time > moment
    noise = np.random.default_rng(8).normal(size=len(after))
    other = dataclasses.replace(
        panel,
        log_close=np.where(after, panel.log_close + noise, panel.log_close),
        variance=np.where(after, np.abs(noise), panel.variance),
        volatility=np.where(after[:, None], 0.5, panel.volatility),
    )
    known, rows = small.known_at(moment), small.rows(small.issued_at <= moment)
    one, two = _fit(known), _fit(dataclasses.replace(known, panel=other))
    first, second = one.predict(rows), two.predict(dataclasses.replace(rows, panel=other))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.volatility, second.volatility)


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
    made = _fit(small, _with(TINY, epochs=6, learning_rate=0.02, dropout=0.5, strength=1.0))
    other = dataclasses.replace(made, seed=made.seed + 1)
    assert (made.predict(small).values != other.predict(small).values).any()
    values = made.predict(small).values[:, 0]
    certain = mixed(np.zeros((1, 1)), np.zeros((1, 1))).shape[0, 0]
    assert (values[:, -1] / values[:, 8]).min() > 1.00001 * certain[-1] / certain[8]


def test_the_samples_go_through_the_network_in_one_pass(
    small: Matrix, model: LSTMForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    gelu = torch.nn.functional.gelu

    def seen(hidden: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(hidden.shape))
        return gelu(hidden)

    monkeypatch.setattr(torch.nn.functional, "gelu", seen)
    model.predict(small.rows(np.arange(100, 105)))
    assert shapes == [(10, 5, 8), (10, 5, 8)]  # samples, rows, hidden; once for each of two members


def test_many_rows_never_pass_the_networks_at_once_neither_in_a_forecast_nor_where_a_view_is_judged(
    make_matrix: MakeMatrix, model: LSTMForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All samples of all rows at once are gigabytes on hourly bars of a dozen coins."""
    rows = make_matrix(("bitcoin", "ethereum"), 700)
    passed: list[int] = []
    gelu = torch.nn.functional.gelu

    def seen(hidden: torch.Tensor) -> torch.Tensor:
        passed.append(hidden.shape[1])
        return gelu(hidden)

    monkeypatch.setattr(torch.nn.functional, "gelu", seen)
    told = model.log_scale(rows)
    model.predict(rows)
    assert len(rows) > ROWS_AT_ONCE == max(passed)
    np.testing.assert_array_equal(told[-9:], model.log_scale(rows.rows(np.arange(len(rows) - 9, len(rows)))))


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


def test_too_few_rows_are_refused_with_the_number_needed(make_matrix: MakeMatrix) -> None:
    with pytest.raises(DataError, match=r"needs 200 bars.*there are \d+") as caught:
        _fit(make_matrix(("bitcoin",), 120))
    assert "--model baseline" in str(caught.value)


def test_one_thread_or_more_and_thinned_rows(small: Matrix, model: LSTMForecaster) -> None:
    alone = _fit(small, run=FitRun(threads=1))
    assert alone.save() == model.save()
    thinned = _fit(small, _with(TINY, max_rows=220))
    assert np.isfinite(thinned.predict(small).values).all()
    assert thinned.save() != model.save()


def test_a_fit_leaves_the_shared_random_numbers_and_threads_alone(small: Matrix) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    _fit(small)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_epoch_is_reported_with_its_loss(small: Matrix) -> None:
    said: list[str] = []
    _fit(small, run=FitRun(step=said.append))
    assert [text.split(":")[0] for text in said] == ["lstm, epoch 1 of at most 2", "lstm, epoch 2 of at most 2"]
    assert all(float(text.rsplit(" ", 1)[1]) > 0 for text in said)


class KilledError(Exception):
    """Raised in place of a kill."""


def _killed_after(epoch: int) -> Callable[[str], None]:
    def step(text: str) -> None:
        if f"epoch {epoch} " in text:
            raise KilledError

    return step


@pytest.mark.parametrize("with_stop", [False, True])
def test_a_fit_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(
    small: Matrix, tmp_path: Path, with_stop: bool
) -> None:
    train, stop, _ = _parts(small)
    learner = LSTMLearner(_with(TINY, epochs=4))
    block = stop if with_stop else None
    whole = learner.fit(train, stop=block, rounds=None, seed=3, run=RUN)
    killed = dataclasses.replace(RUN, step=_killed_after(2), checkpoints=tmp_path / "fits")
    with pytest.raises(KilledError):
        learner.fit(train, stop=block, rounds=None, seed=3, run=killed)
    said: list[str] = []
    resumed = dataclasses.replace(killed, step=said.append)
    again = learner.fit(train, stop=block, rounds=None, seed=3, run=resumed)
    assert again.save() == whole.save()
    assert [text.split()[2] for text in said] == ["3", "4"]
    said.clear()
    assert learner.fit(train, stop=block, rounds=None, seed=3, run=resumed).save() == whole.save()
    assert said == []  # it was done
    assert [path.suffix for path in (tmp_path / "fits").iterdir()] == [".safetensors"]


def test_a_checkpoint_of_another_fit_or_a_torn_one_is_not_used(small: Matrix, tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, checkpoints=tmp_path)
    first = _fit(small, run=run)
    assert _fit(small, seed=4, run=run).save() == _fit(small, seed=4).save()
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    assert _fit(small, run=run).save() == first.save()
    for path in tmp_path.iterdir():
        path.write_bytes(save_tensors({"0/weights/foreign": torch.zeros(3)}, {"progress": '{"epoch": 1}'}))
    assert _fit(small, run=run).save() == first.save()


def test_the_files_are_json_and_safetensors_and_say_the_same_when_loaded(small: Matrix, model: LSTMForecaster) -> None:
    files = model.save()
    assert set(files) == {SETTINGS_FILE, WEIGHTS_FILE}
    assert json.loads(files[SETTINGS_FILE])["horizons"] == [1, 7, 14, 30]
    loaded = LSTMForecaster.load(files)
    assert loaded.rounds == model.rounds
    np.testing.assert_array_equal(loaded.predict(small).values, model.predict(small).values)


def _damaged(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    name = "0.mixer.weight"
    changed = dict(tensors)
    match how:
        case "foreign":
            changed["payload"] = torch.zeros(3)
        case "renamed":
            changed["0.mixer.wait"] = changed.pop(name)
        case "missing":
            del changed[name]
        case "shape":
            changed[name] = changed[name].T.contiguous()
        case "dtype":
            changed[name] = changed[name].double()
        case "infinite":
            changed[name] = torch.full_like(changed[name], float("inf"))
    return changed


@pytest.mark.parametrize("how", ["foreign", "renamed", "missing", "shape", "dtype", "infinite"])
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
