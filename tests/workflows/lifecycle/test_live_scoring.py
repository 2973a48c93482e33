"""Live scoring: what is noted, what matures. The online calibration: test_recalibration.py; drift: test_drift.py."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from cryptocast.config import DataConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.registry import VersionKey
from cryptocast.workflows.context import Selection
from cryptocast.workflows.lifecycle.live_scoring import score
from tests.conftest import simulated_candles
from tests.registry.registry_fits import NOW, hold_out, register
from tests.registry.registry_fits import score as made_score
from tests.serving.test_gauges import matured
from tests.workflows.backtesting.small_runs import context
from tests.workflows.pools import spoiled


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


FILE = Market("file", "usd", "daily")


def outcomes_day_by_day(folder: Path, frame: pl.DataFrame, bars: range) -> dict[int, tuple[int, list[bool]]]:
    """What the ledger of the baseline, one bar ahead, has after each of some bars: rows that wait, and which of the
    matured ones are of prices that somebody paid."""
    used = context(folder)
    CandleStore(used.config.store.path, lock_timeout_s=5).write(
        SeriesKey(FILE, "bitcoin"), frame, fetched_at=frame["close_time"][-1]
    )
    seen = {}
    for bar in bars:
        now = frame["close_time"][bar]
        score(used, Selection(("bitcoin",), source="file", now=now))
        rows = [row for row in used.registry().unscored() if row.horizon == 1]
        matured = used.registry().matured(VersionKey("bitcoin", FILE, "baseline"), 0)
        seen[bar] = len(rows), [outcome.paid for row, outcome in matured if row.horizon == 1]
    assert used.registry().verify() == ()
    return seen


def test_an_outcome_waits_until_its_price_is_known_to_be_one(tmp_path: Path) -> None:
    frame = spoiled(simulated_candles(("bitcoin",), 100), "bitcoin", slice(60, 61), 100.0)
    seen = outcomes_day_by_day(tmp_path, frame, range(58, 63))
    assert seen[59] == (1, [True])
    assert seen[60] == (2, [True])  # of the bar that jumped, which may be back, and of now
    assert seen[61] == (1, [True, False, False])  # it was no price: neither as an outcome nor as where one begins
    assert seen[62] == (1, [True, False, False, True])


def test_an_outcome_in_another_unit_scores_and_teaches_nothing(tmp_path: Path) -> None:
    frame = spoiled(simulated_candles(("bitcoin",), 100), "bitcoin", slice(60, None), 1e-3)
    seen = outcomes_day_by_day(tmp_path, frame, range(58, 68))
    assert seen[65] == (7, [True])
    assert [paid for paid in seen[66][1] if paid] == [True]  # the widths of these days rest on a jump of a thousand
    assert len(seen[66][1]) == 8


def test_a_market_that_crashes_is_scored_at_once(tmp_path: Path) -> None:
    frame = spoiled(simulated_candles(("bitcoin",), 100), "bitcoin", slice(60, None), 0.3)
    assert outcomes_day_by_day(tmp_path, frame, range(59, 62))[61] == (1, [True, True])


def test_a_version_in_production_that_is_degraded_is_told_once_and_of_past_times_nothing(tmp_path: Path) -> None:
    on_sample = context(tmp_path)
    registry = on_sample.registry()
    (version,) = register(registry)
    matured(registry, version.key, version.number, 80, spread=0.001)

    def told() -> list[str]:
        return [entry.notice.code for entry in registry.outbox() if entry.notice.code != "promoted"]

    assert score(on_sample, Selection(("bitcoin",), now=NOW)).rows[0].degraded
    assert told() == []
    for _ in range(2):
        score(on_sample, Selection(("bitcoin",)))
        assert told() == ["degraded"]


def test_late_candles_are_told_where_they_could_come(tmp_path: Path) -> None:
    auto = context(tmp_path, data=DataConfig(coins=("bitcoin",), exchanges=()))
    file = CandleStore(tmp_path / "data", lock_timeout_s=5.0)
    file.write(SeriesKey(FILE, "bitcoin"), load_sample("bitcoin").frame, fetched_at=NOW, replace=True)
    score(auto, Selection(("bitcoin",)))
    assert [entry.notice.code for entry in auto.registry().outbox()] == ["stale"]
    score(context(tmp_path), Selection(("bitcoin",), source="sample"))
    assert [entry.notice.code for entry in auto.registry().outbox()] == ["stale"]
