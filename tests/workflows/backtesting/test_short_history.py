"""Walks as a user with few bars would have them: the same as truncating the store and asking for a forecast."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cryptocast.config import DataConfig
from cryptocast.errors import UsageError
from cryptocast.evaluation.plan import plan_blocks
from cryptocast.market import Market
from cryptocast.models.calibrated import too_short, with_fallback
from cryptocast.models.calibration import fit_calibration
from cryptocast.models.har import HARLearner
from cryptocast.models.out_of_fold import concatenate
from cryptocast.registry import VersionKey
from cryptocast.workflows.backtesting.backtest import backtest, prepare
from cryptocast.workflows.backtesting.run import carry_out
from cryptocast.workflows.backtesting.short_history import short_history
from cryptocast.workflows.coin_pool import last_rows, pool_at
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.forecast import baseline_forecast, last_row
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import WALK, changed, context, numbers

BARS = 60
# One refit, so that what calibrates it is easy to write down; every fourth week until the refit would be repeated.
SHORT = changed(
    WALK,
    models=("har",),
    step=28,
    refit_every=1400,
    history=BARS,
    start=datetime(2018, 10, 1, tzinfo=UTC),
    end=datetime(2019, 6, 1, tzinfo=UTC),
)


def test_with_all_bars_the_numbers_are_those_of_the_ordinary_walk(
    whole: tuple[Path, BacktestReport], tmp_path: Path
) -> None:
    _, expected = whole
    report = backtest(context(tmp_path), changed(WALK, history=100_000))
    assert report.history_bars == 100_000
    assert numbers(msgspec.structs.replace(report, run=expected.run, history_bars=0)) == numbers(expected)


def test_with_few_bars_each_forecast_is_that_of_a_truncated_store(tmp_path: Path) -> None:
    """The obvious loop: learn and calibrate on everything, then cut the coin's bars at each origin and ask."""
    inputs = prepare(context(tmp_path), SHORT)
    plan, matrix = inputs.plan, inputs.rows.matrix
    assert plan is not None
    sheet = carry_out(inputs, None, Engine()).judgement
    *early, last = plan_blocks(matrix, plan, early=2)
    raws, rows = [], []
    for block in early:
        rows.append(np.flatnonzero((matrix.issued_at >= block.begin) & (matrix.issued_at < block.end)))
        raws.append(HARLearner().fit(matrix.known_at(block.known_at)).predict(matrix.rows(rows[-1])))
    row = np.concatenate(rows)
    returns = np.where(matrix.label_end[row] > last.known_at, np.nan, matrix.returns[row])
    calibration = fit_calibration(concatenate(raws), returns, bar_us=matrix.bar_us)
    model = HARLearner().fit(matrix.known_at(last.known_at))
    assert {"bitcoin", "ethereum"} == set(sheet.rows.coin_names.tolist())
    for at, (coin, issued) in enumerate(
        zip(sheet.rows.coin_names.tolist(), sheet.rows.issued_at.tolist(), strict=True)
    ):
        pool = pool_at(inputs.pool, issued, {coin: BARS})
        assert pool.bars[coin].candles.frame.height == BARS
        seen = last_row(last_rows(pool, inputs.rows.horizons, inputs.rows.features.features), coin)
        plain = baseline_forecast(pool, coin, inputs.rows.horizons)
        raw = calibration.apply(model.predict(seen))
        expected = with_fallback(raw, plain, too_short(seen, inputs.context.config.train.min_independent_blocks))
        np.testing.assert_array_equal(sheet.forecasts["har"].values[at], expected.values[0])
        np.testing.assert_array_equal(sheet.forecasts["baseline"].values[at], plain.values[0])


def test_features_are_those_of_the_few_bars_and_nothing_is_learned_from_the_copies(tmp_path: Path) -> None:
    inputs = prepare(context(tmp_path), SHORT)
    assert inputs.plan is not None
    matrix = inputs.rows.matrix
    short = short_history(inputs.context, inputs.rows, inputs.plan)
    assert short is not None
    copies = short.matrix.rows(np.arange(len(matrix), len(short.matrix)))
    usual = matrix.rows(short.stands_for[len(matrix) :])
    np.testing.assert_array_equal(copies.issued_at, usual.issued_at)
    long = usual.feature_names.index("high_365")
    assert (np.isnan(copies.features) >= np.isnan(usual.features)).all(), "nothing is known that was not"
    assert np.isnan(copies.features[:, long]).all()
    assert np.isfinite(usual.features[:, long]).any()
    for begin, end in zip(copies.begin.tolist(), copies.position.tolist(), strict=True):
        assert np.isfinite(copies.panel.log_close[begin : end + 1]).sum() == BARS, "gaps are no bars"
    for moment in (inputs.plan.start, inputs.plan.end):
        np.testing.assert_array_equal(short.matrix.known_at(moment).position, matrix.known_at(moment).position)
        np.testing.assert_array_equal(short.matrix.known_at(moment).returns, matrix.known_at(moment).returns)


def test_its_scores_are_marked_and_are_no_evidence_on_a_version(tmp_path: Path) -> None:
    one = context(tmp_path, data=DataConfig(coins=("bitcoin",), source="sample"))
    order = changed(SHORT, models=("baseline",))
    report = backtest(one, order)
    assert any(f"the last {BARS} bars of its coin" in text for text in report.notes)
    registry = one.registry()
    (row,) = registry.evidence()
    assert row.history_bars == BARS
    usual = backtest(one, changed(order, history=0))
    assert usual.run != report.run
    recipe = recipe_of(one.config, "baseline", prepare(one, order).rows.features.digest)
    found = registry.evidence_for(VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline"), recipe)
    assert found is not None
    assert (found.run, found.history_bars) == (usual.run, msgspec.UNSET)
    assert recipe != row.recipe


@pytest.mark.parametrize(("walk_forward", "bars", "words"), [(False, 60, "--walk-forward"), (True, 20, "takes 21")])
def test_what_cannot_be_is_refused(tmp_path: Path, walk_forward: bool, bars: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        backtest(context(tmp_path), changed(WALK, walk_forward=walk_forward, history=bars))
