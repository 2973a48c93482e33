"""Bad prints and redenominations on the way from candles to forecasts: no width rests on them, and it is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.config import Config, LightGBMConfig, LSTMConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.evaluation.plan import plan_folds
from cryptocast.evaluation.scores import judge
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.builder import select_features
from cryptocast.features.own import FeatureSet, catalogue_set
from cryptocast.kinds import KINDS
from cryptocast.market import Market
from cryptocast.models.base import FitRun, Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.kinds import learner
from cryptocast.workflows.clean_candles import clean_frame, pending_times, with_notice
from cryptocast.workflows.coin_pool import CoinPool, last_rows, pool_rows, rows_at
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, baseline_forecast, forecast, last_row
from cryptocast.workflows.training.train import Order, train
from tests.conftest import DAY_US, START_US, simulated_candles
from tests.workflows.backtesting.small_runs import context
from tests.workflows.pools import bars_of, pool_of_frames, spoiled

HORIZONS = (1, 7)
NAMES = ("ret_1", "ret_7", "vol_30", "btc_ret_30", "rsi_14")
QUICK = Config(
    lightgbm=LightGBMConfig(rounds=12, next_bar_rounds=12, min_data_in_leaf=30),
    lstm=LSTMConfig(epochs=1, members=2, hidden=8, samples=20),
)
RUN = FitRun(threads=1)
powers = st.floats(-6, 6).map(lambda power: 10.0**power).filter(lambda factor: max(factor, 1 / factor) >= 5)


def few_features() -> FeatureSet:
    whole = catalogue_set()
    return replace(whole, features=select_features(NAMES, whole.features))


def widths(forecast: Forecast) -> FloatArray:
    """(H, q / 2) of the central intervals of the last price, as shares of it."""
    quantiles = np.exp(forecast.values[0])
    return np.asarray(quantiles[:, :-7:-1] - quantiles[:, :6])


@settings(max_examples=40)
@given(st.sampled_from([60, 200, 400]), st.integers(0, 20), st.booleans(), powers, st.data())
@example(bars=100, seed=1, close_only=False, factor=1e6, data=None)
def test_one_bad_print_changes_no_interval_of_the_baseline_by_more_than_a_tenth(
    bars: int, seed: int, close_only: bool, factor: float, data: st.DataObject | None
) -> None:
    place = 96 if data is None else data.draw(st.integers(0, bars - 4))
    clean = simulated_candles(("bitcoin",), bars, seed=seed, changing_volatility=False)
    other = spoiled(clean, "bitcoin", slice(place, place + 1), factor, close_only=close_only)
    if not len(pending_times(bars_of(other))):
        # On a price that had just moved the other way it is within a factor of 5 of what was usual.
        assert max(factor, 1 / factor) < 8
        return
    before, after = (baseline_forecast(pool_of_frames(frame), "bitcoin", HORIZONS) for frame in (clean, other))
    assert widths(after) == pytest.approx(widths(before), rel=0.1)


def test_no_interval_of_closes_alone_changes_by_more_than_a_tenth_either() -> None:
    clean = simulated_candles(("bitcoin",), 400, range_known=False)
    before = widths(baseline_forecast(pool_of_frames(clean), "bitcoin", HORIZONS))
    for place in (5, 120, 300, 350):
        other = spoiled(clean, "bitcoin", slice(place, place + 1), 100.0)
        assert widths(baseline_forecast(pool_of_frames(other), "bitcoin", HORIZONS)) == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "baseline"])
def test_one_bad_print_changes_no_interval_of_any_other_kind_by_more_than_a_tenth(kind: str) -> None:
    clean = simulated_candles(("bitcoin", "ethereum"), 700)
    before, after = (
        widths(trained(kind, pool_of_frames(frame)))
        for frame in (clean, spoiled(clean, "bitcoin", slice(600, 601), 100.0))
    )
    assert after == pytest.approx(before, rel=0.1)


def trained(kind: str, pool: CoinPool) -> Forecast:
    rows = pool_rows(pool, few_features(), HORIZONS)
    training = fit_in_time(
        learner(kind, QUICK),
        rows.matrix,
        fit=0.6,
        stop=0.15,
        block_count=2,
        least_blocks=0,
        seed=1,
        run=RUN,
    )
    return training.final.predict(last_row(rows.matrix, "bitcoin"))


@settings(max_examples=15)
@given(st.integers(40, 115), st.integers(1, 2), powers, st.integers(30, 119), st.booleans())
@example(place=60, lasting=1, factor=100.0, cut=60, close_only=False)
@example(place=60, lasting=2, factor=100.0, cut=62, close_only=False)
@example(place=60, lasting=60, factor=1e-3, cut=66, close_only=False)
def test_a_row_is_what_it_is_as_of_its_bar_whatever_bars_follow(
    place: int, lasting: int, factor: float, cut: int, close_only: bool
) -> None:
    """One bar more or less: the property that makes a backtest one of what was known."""
    frame = simulated_candles(("bitcoin", "ethereum"), 120)
    pool = pool_of_frames(spoiled(frame, "bitcoin", slice(place, place + lasting), factor, close_only=close_only))
    features, at = few_features(), START_US + (cut + 1) * DAY_US
    whole = pool_rows(pool, features, HORIZONS).matrix
    if not (whole.issued_at == at).any() or (lasting > 2 and cut < place):
        return  # of a coin whose unit changed, the bars before are gone
    now, then = whole.rows(whole.issued_at == at), rows_at(pool, HORIZONS, features.features, at)
    assert now.coin_names.tolist() == [coin for coin in then.coin_names.tolist() if coin in now.coin_names]
    then = then.rows(np.isin(then.coin_names, now.coin_names))
    np.testing.assert_allclose(now.price, then.price, rtol=1e-12)
    np.testing.assert_allclose(now.volatility, then.volatility, rtol=1e-8)
    np.testing.assert_allclose(now.features, then.features, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["har", "lstm"])
def test_a_forecast_in_a_backtest_sees_the_window_that_was_known(kind: str) -> None:
    """Kinds that look back at bars, not only at features: at the bad print itself, and behind it."""
    frame = simulated_candles(("bitcoin", "ethereum"), 500)
    pool, features = pool_of_frames(spoiled(frame, "bitcoin", slice(450, 452), 30.0)), few_features()
    matrix = pool_rows(pool, features, HORIZONS).matrix
    model = learner(kind, QUICK).fit(matrix.lessons(), stop=None, rounds=None, seed=1, run=RUN)
    for bar in (449, 450, 451, 452):
        at = START_US + (bar + 1) * DAY_US
        now, then = matrix.rows(matrix.issued_at == at), rows_at(pool, HORIZONS, features.features, at)
        np.testing.assert_allclose(model.predict(now).values, model.predict(then).values, rtol=1e-6)


def test_what_is_learned_has_no_bad_print_and_what_scores_has_the_prices_as_they_came() -> None:
    frame = simulated_candles(("bitcoin", "ethereum"), 120)
    matrix = pool_rows(pool_of_frames(spoiled(frame, "bitcoin", slice(60, 61), 100.0)), few_features(), HORIZONS).matrix
    own, bar = matrix.coin_names == "bitcoin", (matrix.issued_at - START_US) // DAY_US - 1
    assert np.nanmax(np.abs(matrix.returns)) < 1.0
    assert np.isnan(matrix.returns[own & (bar == 59), 0]).all()
    assert matrix.outcomes[own & (bar == 59), 0] > 4.0
    assert matrix.outcomes[own & (bar == 60), 0] < -4.0
    assert matrix.doubtful is not None
    assert sorted(set(bar[matrix.doubtful].tolist())) == [60]
    assert np.isnan(matrix.returns[bar == 60]).all()
    assert 60 not in (matrix.lessons().issued_at - START_US) // DAY_US - 1
    others = ~own & (bar != 60)
    assert (matrix.outcomes[others] == matrix.returns[others])[np.isfinite(matrix.returns[others])].all()


def test_a_walk_forward_answers_at_the_bad_print_as_one_would_have_and_behind_it_as_if_nothing_were() -> None:
    frame = simulated_candles(("bitcoin",), 500)
    walks = []
    for candles in (frame, spoiled(frame, "bitcoin", slice(450, 451), 100.0)):
        matrix = pool_rows(pool_of_frames(candles), few_features(), HORIZONS).matrix
        plan = plan_folds(matrix, step=1, refit_every=30, embargo=0, min_train_bars=300, start=None, end=None)
        walk = walk_forward(
            matrix, {"baseline": BaselineLearner()}, plan, block_count=1, least_blocks=0, seed=1, run=RUN
        )
        sheet = judge(matrix.rows(walk.row), walk.forecasts, step=1)
        walks.append((matrix.issued_at[walk.row], sheet.forecasts["baseline"].values, sheet.losses["baseline"]))
    (times, before, _), (same, after, losses) = walks
    at = START_US + 451 * DAY_US
    assert same.tolist() == times.tolist()
    others = times != at
    np.testing.assert_allclose(after[others], before[others], rtol=0.1, atol=1e-6)
    # At the bad print nobody could know: its width is that of a price that went up a hundredfold.
    assert (after[~others][..., -1] > 5 * before[~others][..., -1]).all()
    assert losses[~others, 0] > 0.5
    assert losses[times == at - DAY_US, 0] > 50  # as a target it is a price that came


def test_the_rows_of_clean_candles_are_as_if_there_were_no_rule() -> None:
    frame = simulated_candles(("bitcoin", "ethereum"), 120)
    pool = pool_of_frames(frame)
    matrix = pool_rows(pool, few_features(), HORIZONS).matrix
    assert matrix.paid is None
    assert matrix.doubtful is None
    assert matrix.lessons() is matrix
    assert matrix.outcomes is matrix.returns
    assert clean_frame(pool.bars["bitcoin"]) is pool.bars["bitcoin"].candles.frame
    assert with_notice(pool.bars["bitcoin"]) is pool.bars["bitcoin"]


@pytest.mark.parametrize("place", [50, 1900, 2470, 2495])
def test_serving_sees_what_training_saw_wherever_the_bad_print_stands(place: int) -> None:
    frame = simulated_candles(("bitcoin", "ethereum"), 2500)
    pool, features = pool_of_frames(spoiled(frame, "bitcoin", slice(place, place + 1), 1e-4)), few_features()
    whole = pool_rows(pool, features, HORIZONS).matrix
    # The tail begins right behind, at or before the print: what it is was decided on all bars.
    for tail in (2500 - place, 2499 - place, 2501 - place, 600):
        if tail < 500:
            continue
        served = last_rows(pool, HORIZONS, features.features, tail=tail)
        batch = whole.rows(whole.issued_at == whole.issued_at.max())
        np.testing.assert_allclose(served.features, batch.features, rtol=1e-8, atol=1e-8)
        if tail > 600:
            np.testing.assert_allclose(served.volatility, batch.volatility, rtol=1e-8)


def test_after_a_redenomination_the_widths_are_those_of_the_bars_since() -> None:
    frame = simulated_candles(("bitcoin",), 400)
    changed = spoiled(frame, "bitcoin", slice(250, None), 1e-3)
    since = baseline_forecast(pool_of_frames(frame[250:]), "bitcoin", HORIZONS)
    after = baseline_forecast(pool_of_frames(changed), "bitcoin", HORIZONS)
    np.testing.assert_allclose(widths(after), widths(since), rtol=1e-9)


def test_what_is_left_out_is_said_beside_what_was_said_before() -> None:
    frame = simulated_candles(("bitcoin",), 400, price=100.0)
    once = spoiled(frame, "bitcoin", slice(300, 301), 100.0)
    bars = replace(bars_of(once), notice="The store is old.")
    notice = with_notice(bars).notice
    assert notice is not None
    assert notice.startswith("The store is old. bitcoin's close of 2020-10-28 00:00 UTC is left out: ")
    assert notice.endswith(" USD.")
    twice = with_notice(bars_of(spoiled(once, "bitcoin", slice(100, 101), 0.01))).notice
    assert twice is not None
    assert twice.startswith("2 closes of bitcoin are left out, the last of 2020-10-28 00:00 UTC: ")
    unit = with_notice(bars_of(spoiled(frame, "bitcoin", slice(300, None), 1e-3))).notice
    assert unit is not None
    assert unit.startswith("bitcoin's prices changed their unit at 2020-10-28 00:00 UTC, from ")
    assert unit.endswith(" only the bars since then count.")


def test_the_forecast_and_the_training_say_what_was_left_out(tmp_path: Path) -> None:
    used = context(tmp_path)
    frame = spoiled(simulated_candles(("bitcoin",), 400), "bitcoin", slice(300, 301), 100.0)
    key = SeriesKey(Market("file", "usd", "daily"), "bitcoin")
    CandleStore(used.config.store.path, lock_timeout_s=5).write(key, frame, fetched_at=frame["close_time"][-1])
    (made,) = forecast(used, Request(Selection(("bitcoin",), source="file"))).forecasts
    assert any("is left out" in notice for notice in made.notices)
    report = train(used, Order(Selection(("bitcoin",), source="file"), model="baseline", horizons=(1, 7)))
    assert any("is left out" in (row.notice or "") for row in report.data if row.coin == "bitcoin")


def test_hours_are_looked_at_as_days_are() -> None:
    frame = simulated_candles(("bitcoin",), 500, bar_us=DAY_US // 24)
    other = spoiled(frame, "bitcoin", slice(400, 401), 1e3)
    before, after = (baseline_forecast(pool_of_frames(one, "hourly"), "bitcoin", (1, 24)) for one in (frame, other))
    assert widths(after) == pytest.approx(widths(before), rel=0.1)
