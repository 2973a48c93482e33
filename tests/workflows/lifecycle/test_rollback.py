"""Back to the version before, and never around the gate."""

from pathlib import Path

import pytest

from cryptocast.config import TrainConfig
from cryptocast.errors import GateError, RegistryError
from cryptocast.registry import PRODUCTION, Event, Registry
from cryptocast.workflows.context import Selection
from cryptocast.workflows.lifecycle.archives import export_version, import_archive
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.lifecycle.rollback import earlier_production, rollback
from cryptocast.workflows.training.train import Order, train
from tests.registry.registry_fits import BITCOIN, NOW
from tests.workflows.backtesting.small_runs import context


def test_going_back_is_no_way_around_the_gate(exported: tuple[Registry, Path], tmp_path: Path) -> None:
    here = context(tmp_path)
    train(here, Order(selection=Selection(("bitcoin",)), model="lightgbm", horizons=(1, 7)))
    registry = here.registry()
    (mine,) = registry.versions()
    registry.promote(mine.key, 1, now=NOW, who="ada", why="for the test", action="force")
    other = tmp_path / "other"
    there = context(other, train=TrainConfig(blocks=2, threads=1, audit=False, seed=8))
    train(there, Order(selection=Selection(("bitcoin",)), model="lightgbm", horizons=(1, 7)))
    path = tmp_path / "other.zip"
    export_version(there.registry(), there.registry().versions()[0], path, whole_fit=False, overwrite=False)
    import_archive(registry, path, dry_run=False, who="eve", now=NOW)
    with pytest.raises(GateError, match=r"bitcoin/lightgbm:2 was never in production, and .*--force --reason"):
        rollback(registry, mine.key, to=2, who="eve", now=NOW)
    report = promote(here.config, registry, coin="bitcoin", who="eve", now=NOW)
    assert (report.rows[0].action, report.rows[0].version) == ("refused", 2)
    assert "only forecasts made here can tell" in str(report.rows[0].reasons[0])


def moves(*numbers: int, back: frozenset[int] = frozenset()) -> list[Event]:
    """Production at these numbers, one after the other; back: places that were reached by a rollback."""
    return [
        Event(
            id=place,
            at=NOW,
            who="ada",
            action="rollback" if place in back else "promote",
            key=BITCOIN,
            alias=PRODUCTION,
            number=number,
            previous=None,
            why="",
            evidence={},
        )
        for place, number in enumerate(numbers)
    ]


def test_each_rollback_goes_further_back_and_none_forth_again() -> None:
    assert earlier_production(moves(1)) is None
    assert earlier_production(moves(1, 2, 3)) == 2
    assert earlier_production(moves(1, 2, 3, 2, back=frozenset({3}))) == 1
    assert earlier_production(moves(1, 2, 3, 2, 4, back=frozenset({3}))) == 2


def test_a_rollback_moves_production_with_its_reason_and_a_dry_one_does_not(registry: Registry) -> None:
    registry.promote(BITCOIN, 2, now=NOW, who="ada", why="better")
    dry = rollback(registry, BITCOIN, dry_run=True, who="bob", now=NOW).row
    assert (dry.from_number, dry.to_number, dry.moved) == (2, 1, True)
    assert registry.history()[-1].number == 2
    row = rollback(registry, BITCOIN, reason="it errs", who="bob", now=NOW).row
    assert (row.to_number, row.why) == (1, "rolled back from 2: it errs")
    with pytest.raises(RegistryError, match="there is nothing to go back to"):
        rollback(registry, BITCOIN, who="bob", now=NOW)
