"""Live scoring: what is noted, what matures, drift. The online calibration: test_recalibration.py."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from cryptocast.registry import VersionKey
from cryptocast.workflows.context import Selection
from cryptocast.workflows.score import psi, score
from tests.registry.registry_fits import NOW
from tests.workflows.test_backtest import context


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
