"""Lineages: which version is a refresh of which, and what of the others' live record is its own."""

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.registry import LedgerRow, LiveMark, Registry
from cryptocast.registry.live import matured_outcome
from cryptocast.workflows.online_calibration import learn
from tests.registry.registry_fits import BITCOIN, bad_hold_out, register
from tests.registry.registry_ledger import day
from tests.registry.registry_weeks import HALF_PAST, refresh, written


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


def numbers(registry: Registry, number: int) -> list[int]:
    return [member.number for member in registry.lineage(BITCOIN, number)]


def bars(registry: Registry, number: int) -> list[tuple[int, int]]:
    """Whose forecast of which bar stands in the record of a version."""
    return [((row.issued_at - day(0)).days, row.number) for row, _ in registry.live_record(BITCOIN, number)]


def noted(registry: Registry, rows: Sequence[LedgerRow], log_return: float = 0.01) -> None:
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(row, log_return, now=row.target_at) for row in rows])


def test_a_refresh_follows_the_version_that_was_in_production_when_it_was_registered(registry: Registry) -> None:
    assert [refresh(registry, 7 * week) for week in range(3)] == [1, 2, 3]
    refresh(registry, 21, promoted=False)
    refresh(registry, 28)  # version 4 never was in production
    assert numbers(registry, 1) == [1]
    assert numbers(registry, 5) == [5, 3, 2, 1]


def test_another_recipe_starts_anew_and_older_bars_are_no_refresh(registry: Registry) -> None:
    refresh(registry, 0)
    assert numbers(registry, refresh(registry, 7, rounds=500)) == [2]
    assert numbers(registry, refresh(registry, 14, rounds=500)) == [3, 2]
    assert numbers(registry, refresh(registry, 21, rounds=500, seen=9)) == [4]


def test_neither_promotion_nor_rollback_changes_what_a_version_follows(registry: Registry) -> None:
    for week in range(3):
        refresh(registry, 7 * week)
    before = [numbers(registry, number) for number in (1, 2, 3)]
    registry.promote(BITCOIN, 1, now=day(20), who="ada", why="back", action="rollback")
    assert [numbers(registry, number) for number in (1, 2, 3)] == before
    assert numbers(registry, refresh(registry, 21)) == [4, 1]


def test_a_damaged_summary_is_read_from_the_version_and_a_damaged_version_follows_none(
    registry: Registry, tmp_path: Path
) -> None:
    for week in range(3):
        refresh(registry, 7 * week)
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        connection.execute("UPDATE summaries SET summary = X'00' WHERE version_id = 2")
        connection.commit()
        assert numbers(registry, 3) == [3, 2, 1]
        connection.execute("DROP TRIGGER versions_no_update")
        connection.execute("UPDATE versions SET hold_out = X'00' WHERE id = 2")
        connection.commit()
    assert numbers(registry, 3) == [3]


def test_the_record_has_at_each_bar_the_forecast_of_the_version_that_was_in_production(registry: Registry) -> None:
    for week in range(3):
        refresh(registry, 7 * week)
    late = timedelta(hours=1)  # scored once more after the training of that day
    noted(registry, [written(1, bar) for bar in range(1, 8)])
    noted(registry, [written(2, 7, written_at=day(7) + late), *(written(2, bar) for bar in range(8, 15))])
    noted(registry, [written(1, bar) for bar in range(9, 12)])  # by an A/B test, say, when it no longer was
    noted(registry, [written(3, bar) for bar in range(15, 18)])
    assert bars(registry, 3) == [(bar, 1 if bar < 8 else 2 if bar < 15 else 3) for bar in range(1, 18)]
    assert bars(registry, 2) == bars(registry, 3)[:14]
    assert bars(registry, 1) == [(bar, 1) for bar in (*range(1, 8), *range(9, 12))]


def test_a_challenger_is_judged_on_its_own_forecasts_where_it_has_them(registry: Registry) -> None:
    refresh(registry, 0)
    refresh(registry, 7, promoted=False)
    noted(registry, [written(1, bar) for bar in range(1, 12)] + [written(2, bar) for bar in range(8, 11)])
    assert bars(registry, 2) == [(bar, 2 if 8 <= bar < 11 else 1) for bar in range(1, 12)]
    assert bars(registry, 1) == [(bar, 1) for bar in range(1, 12)]


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 30)), unique=True))
@settings(max_examples=20, deadline=None)
def test_a_record_has_one_forecast_a_bar_whatever_was_written(
    tmp_path_factory: pytest.TempPathFactory, found: Sequence[tuple[int, int]]
) -> None:
    registry = Registry.open(tmp_path_factory.mktemp("records"))
    for week in range(3):
        refresh(registry, 7 * week)
    noted(registry, [written(number, bar) for number, bar in found])
    record = bars(registry, 3)
    assert [bar for bar, _ in record] == sorted({bar for bar, _ in record})
    in_production = {(1, bar) for bar in range(1, 8)} | {(2, bar) for bar in range(8, 15)}
    for bar, number in record:
        assert number == 3 or (number, bar) in in_production
    assert {bar for bar, _ in record} >= {bar for number, bar in found if number == 3 or (number, bar) in in_production}


def test_what_was_found_of_a_lineage_goes_on_with_its_next_version(registry: Registry) -> None:
    refresh(registry, 0)
    registry.write_mark(BITCOIN, LiveMark(number=1, at=day(5), degraded=("too narrow",)))
    refresh(registry, 7)
    inherited = registry.live_mark(BITCOIN, 2)
    assert inherited is not None
    assert (inherited.number, inherited.degraded_since) == (1, day(5))
    registry.write_mark(BITCOIN, LiveMark(number=2, at=day(8), degraded=("still too narrow",)))
    found = registry.live_mark(BITCOIN, 2)
    assert found is not None
    assert (found.number, found.degraded, found.degraded_since) == (2, ("still too narrow",), day(5))
    registry.write_mark(BITCOIN, LiveMark(number=2, at=day(9)))
    refresh(registry, 14, rounds=500)
    assert registry.live_mark(BITCOIN, 3) is None
    registry.write_mark(BITCOIN, LiveMark(number=3, at=day(15), degraded=("too wide",)))
    found = registry.live_mark(BITCOIN, 3)
    assert found is not None
    assert found.degraded_since == day(15)


def test_where_nothing_ever_was_in_production_a_version_has_its_own_record(registry: Registry) -> None:
    register(registry, scores=bad_hold_out())
    register(registry, "2", scores=bad_hold_out())
    registry.write_ledger([written(1, bar) for bar in range(1, 4)])
    known = [matured_outcome(row, 0.01, now=row.target_at) for row in registry.unscored()]
    registry.write_outcomes(known, learn)
    assert bars(registry, 1) == [(bar, 1) for bar in range(1, 4)]
    assert bars(registry, 2) == []
    assert set(registry.calibration_states(BITCOIN, 1)) == {1}
    assert registry.live_mark(BITCOIN, 2) is None


def test_a_version_is_in_production_from_one_promotion_to_the_next(registry: Registry) -> None:
    """At the very minute of a promotion both are: a clock that stands still loses no row."""
    refresh(registry, 0)
    refresh(registry, 7)
    moved = day(7) + HALF_PAST + timedelta(minutes=1)
    noted(registry, [written(1, 7, written_at=moved), written(2, 7, 7, written_at=moved)])
    noted(registry, [written(1, 8, written_at=moved + timedelta(seconds=1))])
    assert bars(registry, 2) == [(7, 1), (7, 2)]


def test_a_version_that_came_with_an_archive_follows_none_and_none_follows_it(registry: Registry) -> None:
    refresh(registry, 0)
    foreign = refresh(registry, 7, foreign=True)
    assert numbers(registry, foreign) == [foreign]
    assert numbers(registry, refresh(registry, 14)) == [3]
