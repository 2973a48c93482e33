"""A version from elsewhere is scored on the bars here that its fit never saw."""

import contextlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from cryptocast.registry import Registry
from cryptocast.workflows.context import Selection
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.training.train import Order, train
from tests.registry.registry_fits import NOW
from tests.workflows.backtesting.small_runs import context


def test_a_version_that_is_scored_here_passes_the_gate_on_what_was_found_here(tmp_path: Path) -> None:
    there, here = context(tmp_path / "there"), context(tmp_path / "here")
    early = Selection(("bitcoin",), now=datetime(2019, 6, 1, tzinfo=UTC))
    train(there, Order(selection=early, model="lightgbm", horizons=(1, 7)))
    (origin,) = there.registry().versions()
    path = tmp_path / "early.zip"
    export_version(there.registry(), origin, path, whole_fit=False, overwrite=False)
    registry = here.registry()
    import_archive(registry, path, dry_run=False, who="ada", now=NOW)
    before = registry.served_state()
    (row,) = import_archive(registry, path, dry_run=False, who="ada", now=NOW, scoring=here).versions
    assert (row.was_there, row.foreign, row.not_scored) == (True, False, None)
    assert row.scored is not None
    assert row.scored > 200
    assert registry.served_state() != before
    (version,) = registry.versions()
    assert not version.hold_out.foreign
    assert version.hold_out.start == datetime(2019, 6, 2, tzinfo=UTC)
    assert version.hold_out.horizons != origin.hold_out.horizons
    assert [listed.foreign for listed in registry.listing()] == [False]
    assert registry.verify() == ()
    report = promote(here.config, registry, coin="bitcoin", who="ada", now=NOW)
    assert (report.rows[0].action, report.rows[0].rule) == ("promoted", "first")
    assert str(report.rows[0].reasons[0]).startswith("1 bar: skill")
    # A byte of what was found here is noticed as any other is.
    with contextlib.closing(sqlite3.connect(tmp_path / "here" / "data" / "registry" / "registry.db")) as raw, raw:
        raw.execute("UPDATE local_hold_outs SET record = replace(record, '0.0', '0.9')")
    assert any("made here, does not match its hash" in finding.problem for finding in registry.verify())


def test_too_few_bars_after_the_fit_are_no_score(exported: tuple[Registry, Path], tmp_path: Path) -> None:
    here = context(tmp_path)
    registry = here.registry()
    report = import_archive(registry, exported[1], dry_run=False, who="ada", now=NOW, scoring=here)
    assert "0 bars after" in str(report.unscored)
    assert [version.hold_out.foreign for version in registry.versions()] == [True]
    own = import_archive(exported[0], exported[1], dry_run=False, who="ada", now=NOW, scoring=here)
    assert [row.foreign for row in own.versions] == [False]
