"""The columns of a long ledger are those of all of its rows, however they were kept, and only what is new is read."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import GateConfig
from cryptocast.registry import LedgerRow, Registry, VersionKey
from cryptocast.registry.append_only import Journal
from cryptocast.registry.database import Row
from cryptocast.registry.live import columns_score, live_score, matured_outcome
from cryptocast.registry.live_rows import PART, live_rows
from tests.registry.registry_fits import BITCOIN
from tests.registry.registry_weeks import refresh, written

BASELINE: Final = VersionKey(BITCOIN.coin, BITCOIN.market, "baseline")
DAY_US: Final = 86_400_000_000
WEEKS: Final = 3


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


def mature(registry: Registry, rows: Sequence[LedgerRow], seed: int = 0) -> None:
    returns = np.random.default_rng(seed).normal(0.0, 0.02, len(rows)).tolist()
    registry.write_outcomes([matured_outcome(r, x, now=r.target_at) for r, x in zip(rows, returns, strict=True)])


def check(registry: Registry) -> None:
    for number in registry.lineage(BITCOIN, WEEKS):
        own = registry.live_record(BITCOIN, number.number)
        columns = registry.live_columns(BITCOIN, number.number)
        assert columns.tobytes() == live_rows(own).tobytes()
        whole = live_score(own, registry.matured(BASELINE, 0), GateConfig(), bar_us=DAY_US)
        part = columns_score(columns, registry.live_columns(BASELINE, 0), GateConfig(), bar_us=DAY_US)
        assert part == whole


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 3]), st.integers(1, 30), st.sampled_from([1, 7])), unique=True),
    st.lists(st.integers(0, 3), min_size=1, max_size=80),
)
@settings(max_examples=25, deadline=None)
def test_scores_of_what_was_kept_are_those_of_the_whole_ledger(
    tmp_path_factory: pytest.TempPathFactory, issued: list[tuple[int, int, int]], batches: list[int]
) -> None:
    registry = Registry.open(tmp_path_factory.mktemp("columns"))
    for week in range(WEEKS):
        refresh(registry, 7 * week)
    rows = [written(*one, kind="lightgbm" if one[0] else "baseline") for one in issued]
    registry.write_ledger(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryptocast.registry.live_rows.PART", 3)
        for batch in range(4):  # the last one may leave forecasts without an outcome
            mature(registry, [r for place, r in enumerate(rows) if batches[place % len(batches)] == batch], batch)
            check(registry)
            matured = {
                (r.number, r.issued_at, r.horizon)
                for key, n in ((BASELINE, 0), *((BITCOIN, n) for n in (1, 2, 3)))
                for r, _ in registry.matured(key, n)
            }
            waiting = {(r.number, r.issued_at, r.horizon) for r in rows} - matured
            assert {(r.number, r.issued_at, r.horizon) for r in registry.unscored()} == waiting
            assert registry.count_waiting() == len(waiting)


def test_of_a_long_ledger_only_what_is_new_is_read(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh(registry, 0)
    rows = [written(1, bar) for bar in range(1, 3 * PART)]
    registry.write_ledger(rows)
    mature(registry, rows[:-1])
    decoded = list[Row]()
    plain = Journal.decode

    def decode(journal: Journal[LedgerRow], row: Row) -> LedgerRow:
        decoded.append(row)
        return plain(journal, row)

    monkeypatch.setattr(Journal, "decode", decode)
    assert len(registry.live_columns(BITCOIN, 1)) == len(rows) - 1
    assert len(registry.unscored()) == 1
    assert len(decoded) <= 2 * PART + 2
    assert len(registry.newest_history(BITCOIN, 1, 50)) == 50


def test_a_damaged_part_is_counted_again_from_the_ledger(registry: Registry, tmp_path: Path) -> None:
    refresh(registry, 0)
    rows = [written(1, bar) for bar in range(1, 2 * PART + 5)]
    registry.write_ledger(rows)
    mature(registry, rows)
    whole = registry.live_columns(BITCOIN, 1).tobytes()
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        assert connection.execute("SELECT count(*) FROM live_parts").fetchone() == (2,)
        connection.execute("UPDATE live_parts SET data = zeroblob(length(data)) WHERE part = 1")
        connection.commit()
    assert registry.live_columns(BITCOIN, 1).tobytes() == whole
    another = [written(1, 2 * PART + 5 + bar) for bar in range(PART)]
    registry.write_ledger(another)
    mature(registry, another)
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        assert connection.execute("SELECT count(*) FROM live_parts WHERE data = zeroblob(length(data))").fetchone() == (
            0,
        )


def test_the_newest_forecasts_are_the_end_of_the_history(registry: Registry) -> None:
    for week in range(WEEKS):
        refresh(registry, 7 * week)
    registry.write_ledger([written(n, bar, h) for n, bar in ((1, 3), (1, 5), (2, 9), (3, 16), (2, 16)) for h in (1, 7)])
    history = [row for row, _ in registry.live_history(BITCOIN, 3) if row.horizon == 1]
    assert list(registry.newest_history(BITCOIN, 3, 3)) == history[-3:]
    assert list(registry.newest_history(BITCOIN, 3, 30)) == history
    assert registry.newest_history(BASELINE, 0, 3) == ()


def test_the_newest_matured_forecasts_are_the_end_of_the_record(registry: Registry) -> None:
    for week in range(WEEKS):
        refresh(registry, 7 * week)
    rows = [written(n, bar, h) for n, bar in ((1, 3), (1, 5), (2, 9), (3, 16), (2, 16), (3, 18)) for h in (1, 7)]
    registry.write_ledger([*rows, written(3, 20)])
    mature(registry, rows)
    columns = registry.live_columns(BITCOIN, 3)
    for horizon in (1, 7):
        record = [pair for pair in registry.live_record(BITCOIN, 3) if pair[0].horizon == horizon]
        for most in (1, 3, 30):
            assert list(registry.newest_matured(BITCOIN, columns, horizon, most)) == record[-most:]
    assert list(registry.newest_matured(BITCOIN, columns, 14, 3)) == []
