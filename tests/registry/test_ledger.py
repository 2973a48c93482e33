import contextlib
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cryptocast.config import GateConfig
from cryptocast.errors import RegistryError
from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from cryptocast.registry.ledger import CalibrationState
from cryptocast.registry.live import live_score, matured_outcome
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.scoring.quantiles import LEVELS, crps_relative
from tests.registry.registry_fits import BITCOIN, NOW, register
from tests.registry.registry_ledger import day, live, row

BASELINE = VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline")
DAY_US = 86_400_000_000


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    register(made)
    return made


def test_the_first_forecast_of_a_bar_stands_whatever_is_said_later(registry: Registry) -> None:
    registry.write_ledger([row(), row(horizon=7)])
    registry.write_ledger([row(scale=0.5), row(issued=1)])
    assert registry.ledger(BITCOIN, 1) == (row(), row(horizon=7), row(issued=1))
    assert registry.verify() == ()


def test_an_outcome_is_joined_with_its_forecast_and_is_waited_for_no_longer(registry: Registry) -> None:
    registry.write_ledger([row(), row(issued=1)])
    known = matured_outcome(row(), 0.02, now=day(2))
    assert registry.unscored() == (row(), row(issued=1))
    registry.write_outcomes([known])
    registry.write_outcomes([matured_outcome(row(), 0.5, now=day(3))])  # a correction of the bar changes no history
    assert registry.matured(BITCOIN, 1) == ((row(), known),)
    assert registry.unscored() == (row(issued=1),)


def test_an_outcome_has_the_crps_and_the_place_of_the_scoring_room() -> None:
    known = matured_outcome(row(), 0.02, now=NOW)
    expected = crps_relative(np.array([0.02]), np.array([row().quantiles]), LEVELS)[0]
    assert known.crps == pytest.approx(float(expected))
    assert (known.pit_low, known.pit_high) == (0.7, 0.8)  # 0.667 deviations, between 0.5244 and 0.8416


def test_quantiles_that_cross_and_numbers_that_are_none_are_not_kept(registry: Registry) -> None:
    for bad in ({"quantiles": row().quantiles[::-1]}, {"price": float("nan")}, {"target_at": NOW}):
        with pytest.raises(ValueError, match=r"cross|JSON|target"):
            registry.write_ledger([msgspec.structs.replace(row(), **bad)])
    assert registry.ledger(BITCOIN, 1) == ()


def test_neither_ledger_nor_outcomes_can_be_changed_and_a_change_behind_the_back_is_found(
    registry: Registry, tmp_path: Path
) -> None:
    registry.write_ledger([row()])
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        for statement in ("UPDATE ledger SET number = 2", "DELETE FROM ledger"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
        connection.execute("DROP TRIGGER ledger_no_update")
        connection.execute("UPDATE ledger SET record = replace(record, '100.0', '101.0')")
        connection.commit()
    assert any("ledger" in finding.where for finding in registry.verify())
    with pytest.raises(RegistryError, match="does not match its hash"):
        registry.ledger(BITCOIN, 1)


def test_a_calibration_state_is_checked(registry: Registry, tmp_path: Path) -> None:
    state = CalibrationState(key_number=1, horizon=1, through=day(3), state={"seen": 3})
    registry.recount_states(BITCOIN, 1, lambda number, known, rows: [state])
    assert registry.calibration_states(BITCOIN, 1) == {1: state}
    assert registry.calibration_states(BITCOIN, 2) == {}
    for damage in ("state = replace(state, '3', '4')", "through = '2999'"):
        with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
            connection.execute(f"UPDATE calibration_states SET {damage}")  # noqa: S608 - written above
            connection.commit()
        assert any(finding.where.startswith("calibration of version 1") for finding in registry.verify())
        with pytest.raises(RegistryError, match=r"counted again|damaged"):
            registry.calibration_states(BITCOIN, 1)
        registry.recount_states(BITCOIN, 1, lambda number, known, rows: [state])
        assert registry.verify() == ()


def scored(registry: Registry, days: int, *, v1: float, v0: float) -> tuple[Reason, ...]:
    rows, known = live(days, v1=v1, v0=v0)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    own, baseline = registry.matured(BITCOIN, 1), registry.matured(BASELINE, 0)
    return live_score(own, baseline, GateConfig(), bar_us=DAY_US).degraded


def test_a_calibrated_version_is_not_degraded_and_has_the_baselines_skill(registry: Registry) -> None:
    assert scored(registry, 120, v1=0.03, v0=0.03) == ()


def test_broken_coverage_and_a_better_baseline_make_it_degraded(registry: Registry) -> None:
    codes = {reason.code for reason in scored(registry, 120, v1=0.006, v0=0.03)}
    assert {ReasonCode.BASELINE_BETTER_LIVE, ReasonCode.COVERAGE_OFF_LIVE} <= codes


def test_below_the_least_number_of_bars_nothing_is_degraded(registry: Registry) -> None:
    assert scored(registry, 40, v1=0.006, v0=0.03) == ()
