"""Strategies on forecasts: nothing is earned from what was not known, and luck is called luck."""

from dataclasses import replace

import numpy as np
import pytest

from cryptocast.arrays import FloatArray
from cryptocast.config import StrategyConfig
from cryptocast.evaluation import trading
from cryptocast.evaluation.records import StrategyRecord
from cryptocast.evaluation.scores import ScoreSheet, judge
from cryptocast.evaluation.trading import TradedBars, Trading, trade
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.scoring.returns import sharpe
from tests.models.conftest import MakeMatrix
from tests.models.conftest import make_matrix as make_matrix

SETTINGS = StrategyConfig(draws=200)


def candles(rows: Matrix, coin: str) -> TradedBars:
    panel = rows.panel
    index = panel.coins.index(coin)
    part = slice(int(panel.start[index]), int(panel.start[index + 1]))
    close = np.exp(panel.log_close[part])
    return TradedBars(coin, panel.close_time[part], np.concatenate([close[:1], close[:-1]]), close, ranges_known=True)


@pytest.fixture(scope="module")
def rows(make_matrix: MakeMatrix) -> Matrix:
    matrix = make_matrix(("bitcoin", "ethereum"), 650, horizons=(1, 7))
    late = (matrix.position - matrix.panel.start[matrix.coin]) >= 300
    return matrix.rows(late & np.isfinite(matrix.returns).all(axis=1))


@pytest.fixture(scope="module")
def forecast(rows: Matrix) -> Forecast:
    return BaselineLearner().fit(rows).predict(rows)


def with_view(forecast: Forecast, p_up: FloatArray) -> Forecast:
    return replace(forecast, p_up=p_up)


def traded(judged: ScoreSheet, *models: str, **options: object) -> Trading:
    bars = [candles(judged.rows, coin) for coin in judged.rows.panel.coins]
    found = trade(judged, models, bars, SETTINGS, rng=np.random.default_rng(2), **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def row(found: Trading, name: str) -> StrategyRecord:
    return next(one for one in found.record.rows if one.name == name)


def test_buy_and_hold_is_the_mean_return_of_the_coins(rows: Matrix, forecast: Forecast) -> None:
    found = traded(judge(rows, {"baseline": forecast}, step=1), "baseline")
    panel, first = rows.panel, int(rows.issued_at.min())
    simple = []
    for index in range(2):
        part = slice(int(panel.start[index]), int(panel.start[index + 1]))
        keep = panel.close_time[part] >= first
        simple.append(np.expm1(np.diff(panel.log_close[part][keep])))
    gross = np.mean(simple, axis=0)[: found.record.bars - 1]
    held = row(found, "buy and hold")
    expected = sharpe(np.concatenate([[0.0], gross]), 365.0)
    assert found.record.periods == 365.0
    assert held.sharpe == pytest.approx(expected, abs=0.05), "but for the fee of the first fill"
    assert row(found, "flat").total_return == 0.0


def test_a_sign_that_is_the_bars_own_return_earns_nothing_unless_the_bar_is_credited(
    rows: Matrix, forecast: Forecast
) -> None:
    panel = rows.panel
    own = panel.log_close[rows.position] - panel.log_close[rows.position - 1]
    views = np.where(own > 0, 1.0, 0.0)[:, None] * np.ones((1, 2))
    judged = judge(rows, {"baseline": forecast, "echo": with_view(forecast, views)}, step=1)
    honest = row(traded(judged, "echo"), "stated direction, echo")
    credited = row(traded(judged, "echo", execution="same_bar"), "stated direction, echo")
    assert honest.sharpe is not None
    assert credited.sharpe is not None
    assert honest.sharpe < 2.0
    assert credited.sharpe > 10.0
    notes = traded(judged, "echo", execution="same_bar").record.notes
    assert notes[0].startswith("Same-bar execution")


def test_a_sign_that_knows_the_next_bar_earns_it_and_beats_random_entries(rows: Matrix, forecast: Forecast) -> None:
    views = np.where(rows.returns[:, :1] > 0, 1.0, 0.0) * np.ones((1, 2))
    judged = judge(rows, {"baseline": forecast, "seer": with_view(forecast, views)}, step=1)
    found = traded(judged, "seer")
    seer = row(found, "stated direction, seer")
    assert seer.sharpe is not None
    assert seer.sharpe > 10.0
    assert seer.beaten == 1.0
    assert seer.psr == pytest.approx(1.0)
    assert seer.difference_lower is not None
    assert seer.difference_lower > 0.0
    (delay,) = [one for one in found.record.delays if one.name == seer.name]
    assert delay.sharpe_by_delay[0] == seer.sharpe
    assert abs(delay.sharpe_by_delay[1] or 0.0) < 2.0, "one bar late, it knows nothing"


def test_who_holds_the_same_at_any_moment_beats_no_random_entries(rows: Matrix, forecast: Forecast) -> None:
    always = with_view(forecast, np.ones((len(rows), 2)))
    found = traded(judge(rows, {"baseline": forecast, "bull": always}, step=1), "bull")
    assert row(found, "stated direction, bull").beaten == 0.0, "all of them hold what it holds"


def test_what_is_said_of_random_entries_is_what_they_earn_one_by_one(
    rows: Matrix, forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = np.random.default_rng(3).random((len(rows), 1)) * np.ones((1, 2))
    judged = judge(rows, {"baseline": forecast, "guess": with_view(forecast, views)}, step=1)
    together = traded(judged, "guess").record
    monkeypatch.setattr(trading, "CELLS", 1)
    assert traded(judged, "guess").record == together


def test_without_a_view_no_sign_is_traded_and_that_is_said(rows: Matrix, forecast: Forecast) -> None:
    found = traded(judge(rows, {"baseline": forecast}, step=1), "baseline")
    assert not any(one.name.startswith("stated direction") for one in found.record.rows)
    assert any("No model states a direction" in note for note in found.record.notes)


def test_costs_only_take_and_the_break_even_takes_all(rows: Matrix, forecast: Forecast) -> None:
    found = traded(judge(rows, {"baseline": forecast}, step=7), "baseline")
    (cost,) = found.record.costs
    ratios = [ratio for _, ratio in cost.sharpe_by_bps if ratio is not None]
    assert [bps for bps, _ in cost.sharpe_by_bps] == [0.0, 5.0, 10.0, 20.0, 50.0]
    assert ratios == sorted(ratios, reverse=True)
    if cost.break_even_bps:
        gross = row(found, "40 % volatility, baseline").total_return
        assert gross is not None
        assert gross > 0.0


def test_the_more_was_tried_the_less_the_best_is_worth(rows: Matrix, forecast: Forecast) -> None:
    judged = judge(rows, {"baseline": forecast}, step=7)
    name = "40 % volatility, baseline"
    alone = traded(judged, "baseline")
    assert (row(alone, name).dsr, alone.record.trials) == (None, None), "no record of trials, no deflated figure"
    few = {"a": 0.03, "b": -0.03}
    many = {**few, **{f"trial {i}": 0.03 * (-1) ** i for i in range(200)}}
    little, much = traded(judged, "baseline", past=few), traded(judged, "baseline", past=many)
    assert (little.record.trials, much.record.trials) == (3, 203)
    first, second = row(little, name).dsr, row(much, name).dsr
    assert first is not None
    assert second is not None
    assert second < first < (row(alone, name).psr or 1.0)


def test_a_strategy_that_was_tried_before_is_no_new_trial(rows: Matrix, forecast: Forecast) -> None:
    judged = judge(rows, {"baseline": forecast}, step=7)
    past = {"40 % volatility, baseline": 0.02}
    assert traded(judged, "baseline", past=past).record.trials == 1


def test_purged_paths_trade_the_whole_time_each(rows: Matrix, forecast: Forecast) -> None:
    judged = judge(rows, {"baseline": forecast}, step=7)
    (paths,) = traded(judged, "baseline", cpcv=True).record.paths
    assert len(paths.sharpe) == 5, "two of six groups tested: C(5, 1) paths"
    assert traded(judged, "baseline").record.paths == ()


def test_bars_without_ranges_are_filled_at_the_same_close_for_more_slippage(rows: Matrix, forecast: Forecast) -> None:
    judged = judge(rows, {"baseline": forecast}, step=7)
    bars = [replace(candles(rows, coin), ranges_known=False) for coin in rows.panel.coins]
    found = trade(judged, ["baseline"], bars, SETTINGS, rng=np.random.default_rng(2))
    assert found is not None
    assert found.record.filled_at == "same close"
    assert found.record.slippage_bps == SETTINGS.close_only_slippage_bps


def test_a_few_bars_are_not_traded_on(rows: Matrix, forecast: Forecast) -> None:
    last = rows.issued_at > rows.issued_at.max() - 30 * rows.bar_us
    judged = judge(rows.rows(last), {"baseline": forecast.rows(last)}, step=1)
    bars = [candles(rows, coin) for coin in rows.panel.coins]
    assert trade(judged, ["baseline"], bars, SETTINGS, rng=np.random.default_rng(2)) is None
