"""Drift: what is spread as in the training is left alone, however slowly it moves; what is not is named."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryptocast.arrays import FloatArray
from cryptocast.features.matrix import Matrix
from cryptocast.market import Market
from cryptocast.registry import recipe_hash
from cryptocast.workflows.coin_pool import feature_table, gather, matrix_of
from cryptocast.workflows.context import Selection
from cryptocast.workflows.feature_sets import catalogue_set
from cryptocast.workflows.lifecycle.feature_drift import DRIFT_BARS, _edges, drift_of, drifted, psi
from tests.registry.golden_rows import GOLDEN, read_rows
from tests.registry.registry_fits import manifest
from tests.registry.registry_ledger import day
from tests.registry.registry_weeks import refresh
from tests.workflows.backtesting.small_runs import context

DAY_US = 86_400_000_000


def rows_of(features: FloatArray) -> Matrix:
    """So many days of one coin with these features (n, F)."""
    some = read_rows(GOLDEN / "rows.npz").rows(np.zeros(len(features), dtype=np.int64))
    names = tuple(f"f{i}" for i in range(features.shape[1]))
    return replace(some, features=features, feature_names=names, issued_at=DAY_US * np.arange(len(features)))


def slow(rng: np.random.Generator, bars: int, features: int, keeps: float) -> FloatArray:
    """Autoregressions that forget so slowly, of variance 1."""
    shocks = rng.standard_normal((bars, features)) * np.sqrt(1 - keeps**2)
    out = np.empty((bars, features))
    out[0] = rng.standard_normal(features)
    for bar in range(1, bars):
        out[bar] = keeps * out[bar - 1] + shocks[bar]
    return out


@pytest.mark.parametrize("keeps", [0.0, 0.9, 0.99])
def test_features_that_are_spread_as_ever_are_no_drift_however_slow_they_are(keeps: float) -> None:
    rng = np.random.default_rng(1)
    said = [drifted(rows_of(slow(rng, 1560, 20, keeps)), 1500 * DAY_US - 1).features for _ in range(20)]
    assert sum(bool(features) for features in said) <= 4
    # By the usual bound alone, slow features would be named every time.
    if keeps == 0.99:
        one = slow(rng, 1560, 20, keeps)
        assert np.mean([psi(column[:1500], column[1500:]) > 0.25 for column in one.T]) > 0.9


def test_features_that_moved_are_named_the_worst_first_with_what_is_usual() -> None:
    rng = np.random.default_rng(2)
    features = slow(rng, 1600, 10, 0.5)
    features[1500:, 3] += 4.0
    features[1500:, 7] *= 6.0
    found = drifted(rows_of(features), 1500 * DAY_US - 1)
    assert found.bars == 100
    assert {row.feature for row in found.features} >= {"f3", "f7"}
    assert found.features[0].feature == "f3"
    assert all(row.psi > row.usual >= 0.25 for row in found.features)


def test_too_few_bars_since_the_training_tell_nothing() -> None:
    features = slow(np.random.default_rng(3), 1500 + DRIFT_BARS, 5, 0.0)
    features[1500:] += 5.0
    assert drifted(rows_of(features[:-1]), 1500 * DAY_US - 1).bars == 0
    assert drifted(rows_of(features[:-1]), 1500 * DAY_US - 1).features == ()
    assert len(drifted(rows_of(features), 1500 * DAY_US - 1).features) == 5
    assert drifted(rows_of(features), -1).bars == 0


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


def test_a_lineage_that_is_refreshed_every_week_is_held_against_the_youngest_training_old_enough(
    tmp_path: Path,
) -> None:
    """Versions of the sample's last bars, three weeks apart: the last were trained at most 42 bars ago."""
    on_sample = context(tmp_path)
    registry, asked = on_sample.registry(), Selection(("bitcoin",)).resolved(on_sample.config)
    (pool,) = gather(on_sample, asked, pool=())
    last = (pool.bars["bitcoin"].candles.provenance.last - day(0)).days + 1
    catalogue = catalogue_set()
    settings = manifest().settings
    same: dict[str, Any] = {
        "features": catalogue.names[:30],
        "feature_hash": catalogue.digest,
        "recipe": recipe_hash("lightgbm", settings, catalogue.digest),
    }
    whole = feature_table(pool, catalogue.features)
    rows = matrix_of(whole, pool, (1, 7), same["features"])
    rows = rows.rows(rows.coin_names == "bitcoin")
    for week, ago in enumerate(range(84, -1, -21)):
        number = refresh(registry, week, seen=last - ago, **same)
        version = registry.get(f"bitcoin/lightgbm:{number}", Market("sample", "usd", "daily"))
        compared = max(63, ago)
        found = drift_of(on_sample, registry, asked, pool, version)
        end = pool.bars["bitcoin"].candles.provenance.last - timedelta(days=compared)
        assert found == drifted(rows, round(end.timestamp() * 1_000_000))
        assert found.bars == compared


def test_versions_of_the_same_coins_and_features_share_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_sample = context(tmp_path)
    registry, asked = on_sample.registry(), Selection(("bitcoin",)).resolved(on_sample.config)
    (pool,) = gather(on_sample, asked, pool=())
    digest = catalogue_set().digest
    same: dict[str, Any] = {
        "features": catalogue_set().names[:3],
        "feature_hash": digest,
        "recipe": recipe_hash("lightgbm", manifest().settings, digest),
    }
    market, made = Market("sample", "usd", "daily"), list[int]()
    last = (pool.bars["bitcoin"].candles.provenance.last - day(0)).days + 1
    numbers = [refresh(registry, week, seen=last - 84, **same) for week in (0, 1)]
    versions = [registry.get(f"bitcoin/lightgbm:{number}", market) for number in numbers]

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return feature_table(*arguments)

    monkeypatch.setattr("cryptocast.workflows.lifecycle.feature_drift.feature_table", counted)
    matrices: dict[Any, Any] = {}
    shared = [drift_of(on_sample, registry, asked, pool, version, matrices) for version in versions]
    assert len(made) == 1
    assert shared == [drift_of(on_sample, registry, asked, pool, version) for version in versions]


def test_the_columns_of_one_question_are_judged_as_each_by_itself() -> None:
    rng = np.random.default_rng(4)
    features = slow(rng, 1600, 6, 0.9)
    features[::7, 1] = np.nan
    features[:, 2], features[:, 3], features[:1500, 4] = 1.0, np.round(features[:, 3]), np.nan
    found = drifted(
        rows_of(np.tile(features + np.r_[np.zeros(1500), np.full(100, 9.0)][:, None], 2)), 1500 * DAY_US - 1
    )
    for row in found.features:
        column = features[:, int(row.feature[1:]) % 6]
        assert row.psi == pytest.approx(psi(column[:1500], column[1500:] + 9.0))
    assert {row.feature for row in found.features} == {f"f{place}" for place in (0, 1, 3, 5, 6, 7, 9, 11)}


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=st.floats(-1e6, 1e6) | st.just(np.nan)
    )
)
def test_the_edges_of_the_tenths_are_the_quantiles_of_what_is_finite(values: FloatArray) -> None:
    for column, edges in zip(values.T, _edges(values), strict=True):
        there = column[np.isfinite(column)]
        if there.size and np.ptp(there) > 0.0:
            apart = np.abs(edges[:, None] - np.quantile(there, np.arange(1, 10) / 10))
            assert max(*apart.min(axis=0), *apart.min(axis=1)) <= 1e-9 * np.abs(there).max()
        else:
            assert edges.size == 0
