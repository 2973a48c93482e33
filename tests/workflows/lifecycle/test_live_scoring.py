"""Live scoring: what is noted, what matures. The online calibration: test_recalibration.py; drift: test_drift.py."""

from datetime import timedelta
from pathlib import Path

from cryptocast.data.sources.sample import load_sample
from cryptocast.market import Market
from cryptocast.registry import VersionKey
from cryptocast.workflows.context import Selection
from cryptocast.workflows.lifecycle.live_scoring import score
from tests.registry.registry_fits import NOW, hold_out, register
from tests.registry.registry_fits import score as made_score
from tests.workflows.backtesting.small_runs import context


def test_a_version_of_other_horizons_than_the_settings_is_named_and_left_out(tmp_path: Path) -> None:
    on_sample = context(tmp_path)
    registry = on_sample.registry()
    register(registry, horizons=(2, 3), scores=hold_out(made_score(2), made_score(3)))
    report = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=1)))
    assert report.written == 4  # the baseline's
    assert report.errors == ("bitcoin/lightgbm:1: it forecasts 2, 3 bars ahead, none of which is to be recorded",)


def test_of_a_series_that_ended_only_target_dates_to_come_are_forecast_live(tmp_path: Path) -> None:
    on_sample = context(tmp_path)
    key = VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline")
    end = load_sample("bitcoin").provenance.last
    part = score(on_sample, Selection(("bitcoin",), now=end + timedelta(days=7)))
    assert (part.written, part.errors) == (2, ())
    assert [row.horizon for row in on_sample.registry().ledger(key, 0)] == [14, 30]
    none = score(on_sample, Selection(("bitcoin",)))  # years later, by the wall clock
    assert none.written == 0
    assert none.errors == ("bitcoin: its bars end 2020-01-17 00:00 UTC, and all target dates have passed",)


def test_a_scoring_notes_the_forecast_of_now_and_joins_it_when_its_bar_has_closed(tmp_path: Path) -> None:
    on_sample = context(tmp_path)
    first = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=1)))
    assert (first.written, first.matured, first.waiting) == (4, 0, 4)  # the baseline at each horizon
    again = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=1)))
    assert (again.matured, again.waiting) == (0, 4)
    later = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=9)))
    assert (later.matured, later.waiting) == (2, 6)  # 1 and 7 bars, not 14 and 30
    matured = on_sample.registry().matured(VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline"), 0)
    assert [r.horizon for r, _ in matured] == [1, 7]
    assert all(r.target_at <= NOW.replace(year=2019, month=6, day=9) for r, _ in matured)
    assert all(r.target_at - r.issued_at == timedelta(days=r.horizon) for r, _ in matured)
    assert on_sample.registry().verify() == ()
