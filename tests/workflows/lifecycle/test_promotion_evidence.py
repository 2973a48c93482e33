"""The evidence that the gate reads: walks kept beside their runs, and live forecasts."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, GateConfig, StoreConfig
from cryptocast.data.tables import write_noted
from cryptocast.registry import MaturedRow, Registry, Version, VersionKey, recipe_hash
from cryptocast.registry.contest import LossPairs, contest
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.dates import mean_by_date
from cryptocast.workflows.backtesting.run_folder import RUNS
from cryptocast.workflows.lifecycle.compare import compare
from cryptocast.workflows.lifecycle.promote import PromotionRow, promote
from cryptocast.workflows.lifecycle.promotion_evidence import live_pairs
from cryptocast.workflows.reports import comparison_sentence
from tests.registry.registry_evidence import evidence
from tests.registry.registry_fits import BITCOIN, FILES, NOW, manifest, new_version, register, score
from tests.registry.registry_ledger import day, live
from tests.registry.registry_weeks import refresh, written
from tests.registry.test_contest import first, season

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
    assert "400 origins of bitcoin, ethereum walked forward (new and old)" in str(row.reasons[0])
    event = registry.history()[-1]
    assert event.evidence["decision"]["contest"]["e_value"] == pytest.approx(row.contest.e_value)
    assert judged(tmp_path, registry).action == "nothing"


def test_an_equal_recipe_is_refused_and_so_is_a_better_one_with_broken_coverage(
    tmp_path: Path, registry: Registry
) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.020)
    assert "not shown to be better" in str(judged(tmp_path, registry).reasons[0])
    walked(tmp_path, registry, "newer", NEW, loss=0.015, inside=0.55, recorded_at=NOW + timedelta(days=200))
    row = judged(tmp_path, registry)
    assert row.action == "refused"
    assert "its 80 % interval held" in str(row.reasons[0])


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
    assert comparison_sentence(found.a.name, found.verdict) == "bitcoin/lstm:1 is better than bitcoin/lightgbm:1"


def test_without_a_walk_of_both_the_refusal_names_the_command(tmp_path: Path, registry: Registry) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    row = judged(tmp_path, registry)
    assert "version 2's recipe was never walked forward" in str(row.reasons[0])
    assert "cryptocast backtest bitcoin --walk-forward --model lightgbm" in str(row.reasons[0])


def test_for_a_version_that_learned_in_parts_the_command_leaves_out_what_it_does_not_look_at(
    tmp_path: Path, registry: Registry
) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    register(registry, "3", rounds=NEW, lessons=("bitcoin",))
    found = compare(registry, tmp_path, GateConfig(), registry.versions(coin="bitcoin")[-1], registry.versions()[0])
    assert "CRYPTOCAST_FEATURES__ACROSS_COINS=false cryptocast backtest bitcoin --walk" in (found.why_not or "")


def test_evidence_that_is_too_old_for_the_bars_decides_nothing(tmp_path: Path, registry: Registry) -> None:
    for run, rounds in (("old", OLD), ("new", NEW)):
        walked(tmp_path, registry, run, rounds, loss=0.01 * rounds)
    data = msgspec.structs.replace(manifest().coins[0], last=NOW + timedelta(days=300))
    register(registry, "3", rounds=NEW, coins=("bitcoin",))
    later = manifest("4", rounds=NEW)
    later = msgspec.structs.replace(later, coins=(data,))

    registry.register(later, FILES, [new_version()], now=NOW, who="ada")
    assert "301 days old, and at most 180 are allowed" in str(judged(tmp_path, registry).reasons[0])


def test_losses_that_are_not_those_of_the_evidence_are_refused(tmp_path: Path, registry: Registry) -> None:
    walked(tmp_path, registry, "old", OLD, loss=0.020)
    walked(tmp_path, registry, "new", NEW, loss=0.020)
    path = tmp_path / RUNS / "new" / "losses.parquet"
    frame = pl.read_parquet(path).with_columns(pl.col("crps") * 0.5)
    write_noted(frame, path, b'{"step":1}')
    assert "are not those of its evidence" in str(judged(tmp_path, registry).reasons[0])
    path.unlink()
    assert "has kept no losses by origin; repeat it: cryptocast rerun new" in str(judged(tmp_path, registry).reasons[0])


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


def paired_bars(registry: Registry, old: int, new: int) -> dict[int, list[int]]:
    """By horizon the bars, counted from day 0, on which two versions are compared."""
    versions = {version.number: version for version in registry.versions(coin="bitcoin")}
    pairs = live_pairs(registry, versions[old], versions[new])
    start = round(day(0).timestamp() * 1_000_000)
    return {pair.horizon: [int(bar) for bar in (pair.dates - start) // 86_400_000_000] for pair in pairs}


def test_only_bars_behind_the_registration_of_the_younger_count_each_with_its_own_forecast(tmp_path: Path) -> None:
    """Both lineages have forecasts of every bar; what the younger versions inherit enters no comparison."""
    registry = Registry.open(tmp_path)
    refresh(registry, 0)  # 1
    refresh(registry, 0, rounds=500, promoted=False)  # 2
    refresh(registry, 20)  # 3, a refresh of 1
    refresh(registry, 30, rounds=500, promoted=False)  # 4, of the recipe of 2
    late = day(30) + timedelta(hours=1)  # scored once more, when 4 was registered already
    spans = {1: range(1, 21), 2: range(1, 31), 3: range(21, 50), 4: range(31, 50)}
    rows = [written(number, bar, ahead) for number, span in spans.items() for bar in span for ahead in (1, 7)]
    rows += [written(number, 30, ahead, written_at=late) for number in (4,) for ahead in (1, 7)]
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(r, 0.01, now=r.target_at) for r in rows])
    assert paired_bars(registry, 3, 4) == {1: list(range(31, 50)), 7: list(range(31, 50))}
    assert paired_bars(registry, 3, 2) == {1: list(range(21, 31)), 7: list(range(21, 31))}
    assert paired_bars(registry, 1, 2) == {1: list(range(1, 21)), 7: list(range(1, 21))}
    assert paired_bars(registry, 1, 4) == {}
    assert len({row.issued_at for row, _ in registry.live_record(BITCOIN, 3)}) == 49


def test_bars_that_had_ended_long_before_count_from_behind_those_of_the_fit(tmp_path: Path) -> None:
    """A file that ends years ago is scored by --now: its bars are never younger than a registration."""
    registry = Registry.open(tmp_path)
    refresh(registry, 400, seen=0)
    refresh(registry, 400, seen=5, rounds=500, promoted=False)
    rows = [written(number, bar, written_at=day(401)) for number in (1, 2) for bar in range(1, 20)]
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(r, 0.01, now=day(402)) for r in rows])
    assert paired_bars(registry, 1, 2) == {1: list(range(6, 20))}


class Rows:
    """Matured forecasts by version, in the place of a registry that 1,000 contests would fill with a million rows."""

    def __init__(self, rows: dict[int, list[MaturedRow]]) -> None:
        self._rows = rows

    def matured(self, key: VersionKey, number: int) -> tuple[MaturedRow, ...]:
        return tuple(self._rows[number])


def contest_of_refreshed(
    versions: Sequence[Version], rng: np.random.Generator, days: int, *, before: int
) -> tuple[list[LossPairs], list[LossPairs]]:
    """Two equally good models; and the same as versions of which the younger had `before` bars inherited, on which it
    was much better."""
    pairs = season(rng, days)
    rows: dict[int, list[MaturedRow]] = {1: [], 2: []}
    for pair in pairs:
        for number, losses in ((1, pair.production), (2, pair.challenger)):
            made = [0.01 if number == 2 else 1.0] * before + losses.tolist()
            held = [True] * before + pair.hits[80][number == 1].tolist()
            for at, (loss, inside) in enumerate(zip(made, held, strict=True)):
                forecast = written(number, at - before + 1, pair.horizon)
                after = OUTCOME[inside]
                known = msgspec.structs.replace(
                    after, issued_at=forecast.issued_at, horizon=pair.horizon, number=number, crps=loss
                )
                rows[number].append((forecast, known))
    found = live_pairs(cast("Registry", Rows(rows)), *versions)
    return [dataclasses.replace(pair, hits={80: pair.hits[80]}) for pair in found], pairs


OUTCOME = {inside: matured_outcome(written(1, 0), 0.0 if inside else 0.5, now=NOW) for inside in (True, False)}


def equally_good(tmp_path: Path, contests: int, days: int, looks: Sequence[int]) -> tuple[int, int]:
    """How many of so many challengers are let through at any look: as refreshed versions, and as the bare losses."""
    registry = Registry.open(tmp_path)
    refresh(registry, 0)
    refresh(registry, 0, rounds=500, promoted=False)
    versions = registry.versions(coin="bitcoin")
    rng, let = np.random.default_rng(21), [0, 0]
    for _ in range(contests):
        for side, pairs in enumerate(contest_of_refreshed(versions, rng, days, before=30)):
            let[side] += any(contest(first(pairs, look), GateConfig(), rests_on="x").better for look in looks)
    return let[0], let[1]


def test_equally_good_challengers_are_let_through_as_rarely_as_before_they_inherited(tmp_path: Path) -> None:
    refreshed, bare = equally_good(tmp_path, 20, 63, (63,))
    assert refreshed == bare <= 3


@pytest.mark.slow
def test_of_1000_equally_good_challengers_one_in_twenty_at_most_is_let_through_in_50_weekly_looks(
    tmp_path: Path,
) -> None:
    """One of 1,000, with and without what the younger version inherits."""
    refreshed, bare = equally_good(tmp_path, 1000, 350, range(63, 351, 7))
    assert refreshed == bare <= 50
