"""What the training finds: a planted volatility or signal, and nothing of the future."""

import dataclasses

import numpy as np
import pytest

from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.drift_ridge import PENALTIES
from cryptocast.models.lstm import LSTMForecaster, LSTMLearner
from cryptocast.models.out_of_fold import out_of_fold
from tests.conftest import MakeCandles
from tests.models.conftest import MakeMatrix
from tests.models.lstm.conftest import QUICK, RUN, TINY, crps_at, fit_tiny, market_of, parts_of, with_changes


def test_it_finds_a_planted_volatility_that_the_baseline_does_not_know(make_candles: MakeCandles) -> None:
    # Large moves come in pairs: the bar behind a large one that followed a small one is large, then all is calm again.
    draws = np.random.default_rng(4)
    size = np.full((6, 700), 0.01)
    for coin in range(6):
        for bar in range(2, 700):
            before, earlier = size[coin, bar - 1], size[coin, bar - 2]
            struck = draws.random() < 0.08
            size[coin, bar] = 0.06 if (before > 0.05 and earlier < 0.05) or (struck and before < 0.05) else 0.01
    matrix = market_of(size * draws.choice([-1.0, 1.0], size.shape) * draws.uniform(0.8, 1.2, size.shape), make_candles)
    train, stop, test = parts_of(matrix)
    made = LSTMLearner(QUICK).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    baseline = crps_at(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert crps_at(made.predict(test), test.returns, 0) < 0.975 * baseline
    assert made.rounds.counts[0] > 0
    assert made.rounds.penalties == (0, 0)


def test_a_planted_signal_moves_the_median_and_the_final_fit_keeps_the_view(make_candles: MakeCandles) -> None:
    draws = np.random.default_rng(6)
    returns = 0.03 * draws.normal(size=(8, 700))
    for bar in range(1, 700):
        returns[:, bar] -= 0.4 * returns[:, bar - 1]
    matrix = market_of(returns, make_candles)
    train, stop, test = parts_of(matrix)
    learner = LSTMLearner(QUICK)
    made = learner.fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert made.rounds.penalties[0] in PENALTIES
    forecast = made.predict(test)
    # 14 % of the variance can be told: 7 % of the CRPS.
    baseline = crps_at(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert crps_at(forecast, test.returns, 0) < 0.96 * baseline
    rises = test.returns[:, 0] > 0
    assert np.mean(forecast.p_up[rises, 0]) > 0.52 > 0.48 > np.mean(forecast.p_up[~rises, 0])
    final = learner.fit(matrix, stop=None, rounds=made.rounds, seed=1, run=RUN)
    assert final.rounds == made.rounds
    assert (final.predict(test).p_up[:, 0] != 0.5).any()
    blind = LSTMLearner(with_changes(QUICK, view=False, epochs=1)).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert (blind.predict(test).p_up == 0.5).all()


def test_on_a_random_walk_it_stays_with_the_last_price_and_close_to_the_baseline(make_candles: MakeCandles) -> None:
    matrix = market_of(0.03 * np.random.default_rng(9).normal(size=(4, 700)), make_candles)
    train, stop, test = parts_of(matrix)
    made = LSTMLearner(QUICK).fit(train, stop=stop, rounds=None, seed=1, run=RUN)
    assert made.rounds.penalties == (0, 0)
    baseline = crps_at(BaselineLearner().fit(train).predict(test), test.returns, 0)
    assert crps_at(made.predict(test), test.returns, 0) < 1.015 * baseline


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
    one, two = fit_tiny(known), fit_tiny(dataclasses.replace(known, panel=other))
    first, second = one.predict(rows), two.predict(dataclasses.replace(rows, panel=other))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.volatility, second.volatility)


def test_too_few_rows_are_refused_with_the_number_needed(make_matrix: MakeMatrix) -> None:
    with pytest.raises(DataError, match=r"needs 200 bars.*there are \d+") as caught:
        fit_tiny(make_matrix(("bitcoin",), 120))
    assert "--model baseline" in str(caught.value)


def test_one_thread_or_more_and_thinned_rows(small: Matrix, model: LSTMForecaster) -> None:
    alone = fit_tiny(small, run=FitRun(threads=1))
    assert alone.save() == model.save()
    thinned = fit_tiny(small, with_changes(TINY, max_rows=220))
    assert np.isfinite(thinned.predict(small).values).all()
    assert thinned.save() != model.save()


def test_every_epoch_is_reported_with_its_loss(small: Matrix) -> None:
    said: list[str] = []
    fit_tiny(small, run=FitRun(step=said.append))
    assert [text.split(":")[0] for text in said] == ["lstm, epoch 1 of at most 2", "lstm, epoch 2 of at most 2"]
    assert all(float(text.rsplit(" ", 1)[1]) > 0 for text in said)


def test_a_fit_that_goes_on_from_an_earlier_one_needs_half_of_the_epochs_and_is_another(small: Matrix) -> None:
    rounds = Rounds(counts=(5,), penalties=(0, 0, 0, 0))
    learner, earlier = LSTMLearner(TINY), small.known_at(int(small.issued_at[260]))
    first = learner.fit(earlier, stop=None, rounds=rounds, seed=3, run=RUN)
    said: list[str] = []
    run = FitRun(threads=1, step=said.append, start=first)
    warm = learner.fit(small, stop=None, rounds=rounds, seed=3, run=run)
    assert len(said) == 3
    assert warm.rounds == first.rounds
    assert warm.save() not in (first.save(), learner.fit(small, stop=None, rounds=rounds, seed=3, run=RUN).save())
    said.clear()
    LSTMLearner(with_changes(TINY, dropout=0.3)).fit(small, stop=None, rounds=rounds, seed=3, run=run)
    assert len(said) == 5  # of other settings there is nothing to go on from


def test_the_fits_of_the_blocks_go_on_from_each_other(small: Matrix) -> None:
    said: list[str] = []
    first, last = int(small.issued_at.min()), int(small.issued_at.max())
    bounds = np.linspace(first + (last - first) * 0.5, last, 4).astype(np.int64)
    rounds = Rounds(counts=(2,), penalties=(0, 0, 0, 0))
    out_of_fold(LSTMLearner(TINY), small, bounds, rounds=rounds, seed=3, run=FitRun(step=said.append))
    assert [text.split(":")[0].removeprefix("lstm, ") for text in said] == [
        *("epoch 1 of at most 2", "epoch 2 of at most 2"),
        *("epoch 1 of at most 1", "epoch 1 of at most 1"),
    ]
