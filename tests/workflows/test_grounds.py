"""The evidence that the gate reads: walks kept beside their runs, and live forecasts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, GateConfig, StoreConfig
from cryptocast.data.tables import write_noted
from cryptocast.errors import DataError
from cryptocast.registry import Registry, recipe_hash
from cryptocast.scoring.dates import mean_by_date
from cryptocast.workflows.backtest import backtest
from cryptocast.workflows.compare import compare
from cryptocast.workflows.losses import losses_of
from cryptocast.workflows.promote import PromotionRow, promote
from cryptocast.workflows.runs import RUNS, RunFolder
from tests.registry.registry_evidence import evidence
from tests.registry.registry_fits import FILES, NOW, manifest, new_version, register, score
from tests.registry.registry_ledger import live
from tests.workflows.test_backtest import WALK, context

DAYS = 400
NEW, OLD = 500, 400  # rounds, which make two recipes


def recipe_of(kind: str, rounds: int) -> str:
    made = manifest(rounds=rounds)
    return recipe_hash(kind, made.settings, made.feature_hash)


def walked(
    store: Path,
    registry: Registry,
    run: str,
    rounds: int,
    *,
    loss: float,
    inside: float = 0.8,
    kind: str = "lightgbm",
    **changes: Any,
) -> None:
    """A kept walk of a recipe: daily origins of two coins whose losses are near `loss`, and the evidence on it."""
    rng, days = np.random.default_rng(5), np.arange(DAYS)
    shared = np.exp(0.5 * rng.standard_normal(DAYS))
    own = np.random.default_rng(rounds)
    issued = [round((NOW - timedelta(days=int(DAYS - d))).timestamp() * 1_000_000) for d in days]
    parts, scores = [], []
    for horizon in (1, 7):
        for coin in ("bitcoin", "ethereum"):
            crps = loss * shared * (1 + 0.02 * own.standard_normal(DAYS))
            hits = {"in_80": own.random(DAYS) < inside, "in_95": own.random(DAYS) < 0.95}
            same = {"model": kind, "coin": coin, "issued_at": issued, "horizon": horizon}
            parts.append(pl.DataFrame({**same, "crps": crps, **hits}, schema_overrides={"horizon": pl.Int64}))
    frame = pl.concat(parts)
    for horizon in (1, 7):
        part = frame.filter(pl.col("horizon") == horizon)
        mean = float(mean_by_date(part["crps"].to_numpy(), part["issued_at"].to_numpy())[1].mean())
        scores.append(score(horizon, n=part.height, crps={kind: mean}))
    write_noted(frame, store / RUNS / run / "losses.parquet", b'{"step":1}')
    made = evidence(
        run,
        recipe=recipe_of(kind, rounds),
        kind=kind,
        coin=None,
        scores=tuple(scores),
        start=NOW - timedelta(days=DAYS),
        end=NOW - timedelta(days=1),
        **changes,
    )
    registry.record_evidence([made])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    register(made, "1", rounds=OLD)
    register(made, "2", rounds=NEW)
    return made


def judged(tmp_path: Path, registry: Registry, **gate: Any) -> PromotionRow:
    config = Config(store=StoreConfig(path=tmp_path), data=DataConfig(coins=("bitcoin",)), gate=GateConfig(**gate))
    return promote(config, registry, who="bob", now=NOW).rows[0]


def test_a_recipe_that_was_better_on_the_same_origins_is_promoted_and_the_comparison_kept(
    tmp_path: Path, registry: Registry
) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.019)
    row = judged(tmp_path, registry)
    assert (row.action, row.rule, row.to_number) == ("promoted", "evidence", 2)
    assert row.contest is not None
    assert row.contest.skill == pytest.approx(0.05, abs=0.01)
    assert "400 origins of bitcoin, ethereum walked forward (new and old)" in row.reasons[0]
    event = registry.history()[-1]
    assert event.evidence["decision"]["contest"]["e_value"] == pytest.approx(row.contest.e_value)
    assert judged(tmp_path, registry).action == "nothing"


def test_an_equal_recipe_is_refused_and_so_is_a_better_one_with_broken_coverage(
    tmp_path: Path, registry: Registry
) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.020)
    assert "not shown to be better" in judged(tmp_path, registry).reasons[0]
    walked(tmp_path, registry, "newer", NEW, loss=0.015, inside=0.55, recorded_at=NOW + timedelta(days=200))
    row = judged(tmp_path, registry)
    assert row.action == "refused"
    assert "its 80 % interval held" in row.reasons[0]


def test_a_short_late_walk_of_both_recipes_does_not_displace_the_long_one(tmp_path: Path, registry: Registry) -> None:
    """Whoever walks the last weeks once more, where the new recipe happens to do well, decides nothing by it."""
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.020)
    late = {"start": NOW - timedelta(days=40), "end": NOW, "recorded_at": NOW + timedelta(days=300)}
    for run in ("old", "new"):
        (walk,) = registry.evidence(run=run)
        registry.record_evidence([msgspec.structs.replace(walk, run=f"{run}-late", **late)])
    row = judged(tmp_path, registry)
    assert row.contest is not None
    assert row.contest.rests_on == "400 origins of bitcoin, ethereum walked forward (new and old)"


def test_versions_of_two_kinds_are_compared_on_the_walks_of_their_recipes(tmp_path: Path, registry: Registry) -> None:
    register(registry, "1", kind="lstm", recipe=recipe_of("lstm", 400))
    walked(tmp_path, registry, "trees", OLD, loss=0.020)
    walked(tmp_path, registry, "network", 400, loss=0.019, kind="lstm")
    one, other = registry.versions(kind="lstm")[0], registry.versions(kind="lightgbm")[0]
    found = compare(registry, tmp_path, GateConfig(), one, other)
    assert found.contest is not None
    assert found.contest.skill == pytest.approx(0.05, abs=0.01)
    assert found.verdict == "bitcoin/lstm:1 is better than bitcoin/lightgbm:1"


def test_without_a_walk_of_both_the_refusal_names_the_command(tmp_path: Path, registry: Registry) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    row = judged(tmp_path, registry)
    assert "version 2's recipe was never walked forward" in row.reasons[0]
    assert "cryptocast backtest bitcoin --walk-forward --model lightgbm" in row.reasons[0]


def test_evidence_that_is_too_old_for_the_bars_decides_nothing(tmp_path: Path, registry: Registry) -> None:
    for run, rounds in (("old", OLD), ("new", NEW)):
        walked(tmp_path, registry, run, rounds, loss=0.01 * rounds)
    data = msgspec.structs.replace(manifest().coins[0], last=NOW + timedelta(days=300))
    register(registry, "3", rounds=NEW, coins=("bitcoin",))
    later = manifest("4", rounds=NEW)
    later = msgspec.structs.replace(later, coins=(data,))

    registry.register(later, FILES, [new_version()], now=NOW, who="ada")
    assert "301 days old, and at most 180 are allowed" in judged(tmp_path, registry).reasons[0]


def test_losses_that_are_not_those_of_the_evidence_are_refused(tmp_path: Path, registry: Registry) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.020)
    path = tmp_path / RUNS / "new" / "losses.parquet"
    frame = pl.read_parquet(path).with_columns(pl.col("crps") * 0.5)
    write_noted(frame, path, b'{"step":1}')
    assert "are not those of its evidence" in judged(tmp_path, registry).reasons[0]
    path.unlink()
    assert "has kept no losses by origin; repeat it: cryptocast rerun new" in judged(tmp_path, registry).reasons[0]


def test_enough_live_forecasts_go_before_the_walks(tmp_path: Path, registry: Registry) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.010)
    rows, known = live(150, v1=0.05, v2=0.03)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    row = judged(tmp_path, registry)
    assert row.contest is not None
    assert row.contest.rests_on == "150 live bars of both"
    assert (row.action, row.to_number) == ("promoted", 2)


def test_a_walk_keeps_the_losses_that_its_evidence_was_counted_from(tmp_path: Path) -> None:
    with_store = context(tmp_path)
    backtest(with_store, WALK)
    found = [row for row in with_store.registry().evidence(coin="") if row.kind == "lightgbm"]
    folder = RunFolder(with_store.config.store.path / RUNS / found[0].run)
    own, step = losses_of(folder, found[0])
    assert step == found[0].step_bars
    assert set(own["coin"].unique()) == {"bitcoin", "ethereum"}
    assert own["in_80"].mean() == pytest.approx(0.8, abs=0.15)
    assert losses_of(folder, msgspec.structs.replace(found[0], kind="baseline"))[0].height == own.height
    told = msgspec.structs.replace(found[0].scores[0], n=1)
    with pytest.raises(DataError, match="not those of its evidence"):
        losses_of(folder, msgspec.structs.replace(found[0], scores=(told,)))
