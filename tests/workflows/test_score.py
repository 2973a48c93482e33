"""Live scoring: what is noted, what matures, the online calibration and its replay, drift."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.registry import CalibrationState, LedgerRow, Outcome, Registry, Version, VersionKey
from cryptocast.registry.live import matured_outcome
from cryptocast.workflows.context import Selection
from cryptocast.workflows.score import advance, psi, replay, score
from tests.registry.registry_fits import BITCOIN, NOW, register
from tests.registry.registry_ledger import day, row
from tests.registry.test_gate import version as made_version
from tests.workflows.test_backtest import context


class Counting:
    """An online calibration whose state is all that it has seen."""

    def start(self, version: Version, horizon: int) -> Mapping[str, object]:
        return {"version": version.number, "horizon": horizon, "seen": []}

    def step(self, state: Mapping[str, object], row: LedgerRow, outcome: Outcome) -> Mapping[str, object]:
        seen = state["seen"]
        assert isinstance(seen, list)
        return {**state, "seen": [*seen, [row.issued_at.isoformat(), outcome.log_return]]}


@pytest.fixture
def version(tmp_path: Path) -> tuple[Registry, Version]:
    registry = Registry.open(tmp_path)
    return registry, register(registry)[0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 7])), unique=True, max_size=20), st.data())
def test_states_that_grow_by_batches_equal_their_replay(bars: list[tuple[int, int]], data: st.DataObject) -> None:
    """Outcomes come in the order of issue, however many at a time."""
    online, at = Counting(), 0
    known: dict[int, CalibrationState] = {}
    bars = sorted(bars)
    matured = [
        (r, matured_outcome(r, 0.01 * n, now=NOW)) for n, r in ((n, row(1, i, h)) for n, (i, h) in enumerate(bars))
    ]
    fit = made_version(1)
    while at < len(matured):
        size = data.draw(st.integers(1, 5))
        for state in advance(online, fit, matured[at : at + size], known):
            known[state.horizon] = state
        at += size
    assert {state.horizon: state for state in advance(online, fit, matured, {})} == known
    assert advance(online, fit, matured, known) == [known[horizon] for horizon in sorted(known)]


def test_what_the_registry_keeps_equals_the_replay_from_ledger_and_outcomes(version: tuple[Registry, Version]) -> None:
    registry, fit = version
    rows = [row(1, issued, horizon) for issued in range(5) for horizon in (1, 7)]
    registry.write_ledger(rows)
    known = [matured_outcome(r, 0.01, now=day(9)) for r in rows]
    registry.write_outcomes(
        known[:4], {(BITCOIN, 1): advance(Counting(), fit, list(zip(rows[:4], known[:4], strict=True)), {})}
    )
    kept = registry.calibration_states(BITCOIN, 1)
    assert list(kept.values()) == replay(Counting(), registry, fit)


def test_a_scoring_notes_the_forecast_of_now_and_joins_it_when_its_bar_has_closed(tmp_path: Path) -> None:
    on_sample = context(tmp_path)
    first = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=1)))
    assert (first.written, first.matured, first.waiting) == (4, 0, 4)  # the baseline at each horizon
    again = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=1)))
    assert (again.matured, again.waiting) == (0, 4)
    later = score(on_sample, Selection(("bitcoin",), now=NOW.replace(year=2019, month=6, day=9)))
    assert (later.matured, later.waiting) == (2, 6)  # 1 and 7 bars, not 14 and 30
    matured = on_sample.registry().matured(VersionKey("bitcoin", "sample", "usd", "daily", "baseline"), 0)
    assert [r.horizon for r, _ in matured] == [1, 7]
    assert all(r.target_at <= NOW.replace(year=2019, month=6, day=9) for r, _ in matured)
    assert all(r.target_at - r.issued_at == timedelta(days=r.horizon) for r, _ in matured)
    assert on_sample.registry().verify() == ()


def test_the_stability_index_is_small_for_the_same_distribution_and_large_for_another() -> None:
    rng = np.random.default_rng(1)
    one = rng.standard_normal(5000)
    assert psi(one, rng.standard_normal(2000)) < 0.05
    assert psi(one, rng.standard_normal(2000) + 1.0) > 0.5
    assert psi(np.full(100, 3.0), one) == 0.0
    assert psi(one, np.array([np.nan])) == 0.0


def test_the_stability_index_has_the_value_of_its_formula() -> None:
    """Two cells of the ten hold all: p = 0.1 in each tenth, q = 1/2 in the outer two, least share 1e-4 elsewhere."""
    expected = np.arange(1000, dtype=np.float64)
    found = np.r_[np.zeros(50), np.full(50, 999.0)]
    value = 2 * (0.5 - 0.1) * np.log(0.5 / 0.1) + 8 * (1e-4 - 0.1) * np.log(1e-4 / 0.1)
    assert psi(expected, found) == pytest.approx(value, rel=1e-6)
