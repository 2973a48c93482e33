"""Live marks: how a version stands now, since when, and gone with it."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import RegistryError
from cryptocast.registry import LiveMark, Registry
from cryptocast.registry.live_status import Drift
from tests.registry.registry_fits import BITCOIN, register
from tests.registry.registry_ledger import day

DRIFT = (Drift(feature="vol_24", psi=0.9, usual=0.3),)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    register(made)
    return made


def mark(at: int, *, degraded: bool = False, drift: tuple[Drift, ...] = ()) -> LiveMark:
    return LiveMark(number=1, at=day(at), degraded=("worse",) if degraded else (), drift=drift, drift_bars=at)


def test_since_is_the_bar_at_which_it_began_and_ends_with_it(registry: Registry) -> None:
    assert registry.live_mark(BITCOIN, 1) is None
    told = []
    for at, degraded, drift in ((1, False, ()), (2, True, ()), (3, True, DRIFT), (4, False, DRIFT), (5, True, ())):
        registry.write_mark(BITCOIN, mark(at, degraded=degraded, drift=drift))
        found = registry.live_mark(BITCOIN, 1)
        assert found is not None
        told.append((found.degraded_since, found.drift_since))
    assert told == [(None, None), (day(2), None), (day(2), day(3)), (None, day(3)), (day(5), None)]


def test_a_look_at_an_earlier_bar_changes_nothing(registry: Registry) -> None:
    registry.write_mark(BITCOIN, mark(5, degraded=True))
    registry.write_mark(BITCOIN, mark(4))
    found = registry.live_mark(BITCOIN, 1)
    assert found is not None
    assert (found.at, found.degraded) == (day(5), ("worse",))


def test_a_damaged_mark_is_found_refused_and_made_anew(registry: Registry, tmp_path: Path) -> None:
    registry.write_mark(BITCOIN, mark(5, degraded=True))
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        connection.execute("UPDATE live_marks SET record = replace(record, 'worse', 'fine!')")
        connection.commit()
    assert [finding.where for finding in registry.verify()] == [f"live mark of version 1 of {BITCOIN}"]
    with pytest.raises(RegistryError, match="made again"):
        registry.live_mark(BITCOIN, 1)
    registry.write_mark(BITCOIN, mark(6))
    assert registry.verify() == ()


def test_a_mark_goes_with_its_version_and_none_comes_after_it(registry: Registry) -> None:
    for label in "234":
        register(registry, label)
    # What was ever in production stays; versions 2 and 3 never were.
    registry.write_mark(BITCOIN, msgspec.structs.replace(mark(1), number=2))
    assert registry.live_mark(BITCOIN, 2) is not None
    registry.collect(1)
    assert registry.live_mark(BITCOIN, 2) is None
    registry.write_mark(BITCOIN, msgspec.structs.replace(mark(2), number=2))
    assert registry.live_mark(BITCOIN, 2) is None
    assert registry.verify() == ()
