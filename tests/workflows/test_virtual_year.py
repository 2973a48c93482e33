"""The cron lines of the docs as they are run week after week: what they train, and that it is a slow replay."""

from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.market import Market
from cryptocast.workflows.lifecycle.model_card import model_card
from tests.workflows.virtual_year import JUDGED, KEY, START, Oracle, VirtualYear


def test_the_cron_line_of_the_docs_trains_once_a_week_over_six_weeks(tmp_path: Path) -> None:
    """Each training ends some seconds after it began, so that its version is never quite a week old on a Monday."""
    year = VirtualYear(tmp_path)
    for week in range(6):
        year.train(START + timedelta(weeks=week))
        year.promote(START + timedelta(weeks=week), force=week > 0)
    assert len(year.registered) == 6
    year.train(START + timedelta(weeks=5, days=6))
    assert len(year.registered) == 6  # at six days it is young


def test_five_weeks_of_cron_lines_leave_what_a_slow_replay_gives(tmp_path: Path) -> None:
    year = VirtualYear(tmp_path)
    year.run(5, missed=(9, 24), new_recipe=2, walked=(5,))
    assert len(year.registered) == 5
    oracle = Oracle(year)
    # The first; refreshed on the walk before it; refused with the new recipe, which then was forced.
    assert [number for _, number in year.promotions] == [1, 2, 5]
    assert oracle.lineage(2) == [2, 1]
    assert oracle.lineage(4) == [4]
    oracle.check()
    registry = year.context().registry()
    assert {row.number for row, _ in registry.live_record(KEY, 2)} == {1, 2}
    card = model_card(registry, JUDGED, registry.get("bitcoin/lightgbm:2", Market("simulated", "usd", "daily")), None)
    assert "Forecasts of 2 versions, 1 to 2, each while it was in production." in card.markdown


@pytest.mark.slow
def test_a_year_of_cron_lines_leaves_what_a_slow_replay_gives(tmp_path: Path) -> None:
    year = VirtualYear(tmp_path)
    year.run(52, missed=(9, 40, 41, 100), new_recipe=30, walked=range(28, 364, 30))
    assert len(year.registered) == 52
    oracle = Oracle(year)
    assert len(oracle.lineage(30)) > 25
    oracle.check()
    # Drift is told although no version is ever 60 bars old.
    marks = [mark for made in year.marks for mark in made.values() if mark is not None]
    assert sum(mark.drift_bars >= 60 for mark in marks) > 200
    assert any(mark.degraded_since is not None and mark.at - mark.degraded_since > timedelta(days=14) for mark in marks)
