"""Live scores: forecasts of the same bars are paired, and an outcome keeps what identifies its forecast."""

import pytest

from cryptocast.config import GateConfig
from cryptocast.registry.live import live_score, matured_outcome, pair_up
from tests.registry.registry_fits import NOW
from tests.registry.registry_ledger import live

DAY_US = 86_400_000_000


def test_an_outcome_is_of_the_forecast_that_it_came_of() -> None:
    (row, *_), _ = live(3, v1=0.03)
    outcome = matured_outcome(row, 0.01, now=NOW)
    assert (outcome.columns, outcome.number) == (row.columns, row.number)
    assert (outcome.issued_at, outcome.horizon) == (row.issued_at, row.horizon)
    assert 0.0 <= outcome.pit_low <= outcome.pit_high <= 1.0


def test_only_bars_that_both_forecast_are_compared() -> None:
    rows, outcomes = live(10, v1=0.03, v2=0.02)
    by_key = {(o.number, o.issued_at, o.horizon): o for o in outcomes}
    pairs = [(row, by_key[row.number, row.issued_at, row.horizon]) for row in rows]
    first = pairs[0][0].number
    one = [pair for pair in pairs if pair[0].number == first]
    other = [pair for pair in pairs if pair[0].number != first][:4]
    (both,) = pair_up(one, other, bar_us=DAY_US)
    assert both.dates.size == 4
    assert pair_up(one, [], bar_us=DAY_US) == []


def test_intervals_beyond_the_outer_levels_have_a_coverage_and_judge_nothing() -> None:
    rows, outcomes = live(400, v1=0.03)
    report = live_score(list(zip(rows, outcomes, strict=True)), [], GateConfig(), bar_us=DAY_US)
    (score,) = report.scores
    assert [interval.percent for interval in score.coverage] == [80, 95]
    assert [interval.percent for interval in score.tails] == [98, 99]
    assert score.coverage[-1].share <= score.tails[0].share <= score.tails[1].share
    assert score.tails[1].share == pytest.approx(0.99, abs=0.015)
    narrow = live_score(list(zip(*live(400, v1=0.012), strict=True)), [], GateConfig(), bar_us=DAY_US)
    assert {reason.facts["percent"] for reason in narrow.degraded} == {80, 95}
