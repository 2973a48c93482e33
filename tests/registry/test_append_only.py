import contextlib
import logging
import math
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import HorizonScore
from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from tests.registry.registry_evidence import OTHER, RECIPE, SERIES, day, evidence, trial
from tests.registry.registry_fits import BITCOIN, NOW, score
from tests.registry.registry_steps import FEW_STEPS, steps_of

ETHEREUM = VersionKey("ethereum", Market("sample", "usd", "daily"), "lightgbm")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


# Evidence


def test_evidence_comes_back_as_it_was_recorded(registry: Registry) -> None:
    rows = [evidence(), evidence(coin="ethereum"), evidence(coin=None), evidence(recipe=OTHER)]
    registry.record_evidence(rows)
    assert registry.evidence() == tuple(rows)
    assert registry.verify() == ()


def test_evidence_counts_on_its_own_series_and_for_its_own_recipe_alone(registry: Registry) -> None:
    registry.record_evidence([evidence()])
    assert registry.evidence_for(BITCOIN, RECIPE) == evidence()
    for other in (
        replace(BITCOIN, market=Market("file", "usd", "daily")),
        replace(BITCOIN, market=Market("sample", "eur", "daily")),
        replace(BITCOIN, market=Market("sample", "usd", "hourly")),
        replace(BITCOIN, coin="litecoin"),
    ):
        assert registry.evidence_for(other, RECIPE) is None
    assert registry.evidence_for(BITCOIN, OTHER) is None


def test_the_newest_evidence_is_that_with_the_last_origin_then_that_recorded_last(registry: Registry) -> None:
    later = evidence("later", end=day(110), recorded_at=day(111))
    again = evidence("again", end=day(110), recorded_at=day(120))
    registry.record_evidence([again, later, evidence("old", end=day(90), recorded_at=day(150))])
    assert registry.evidence_for(BITCOIN, RECIPE) == again


def origins(dates: int) -> tuple[HorizonScore, ...]:
    return (score(1, dates=dates), score(7, dates=dates // 2))


@pytest.mark.parametrize(
    ("dates", "chosen"),
    [
        (300, "late"),  # as long
        (150, "late"),  # half as long
        (149, "long"),  # a short late walk does not stand in the place of a long one
        (1, "long"),
    ],
)
def test_a_short_late_walk_does_not_displace_a_long_one(registry: Registry, dates: int, chosen: str) -> None:
    long = evidence("long", scores=origins(300))
    late = evidence("late", start=day(150), end=day(200), scores=origins(dates), recorded_at=day(201))
    registry.record_evidence([long, late])
    found = registry.evidence_for(BITCOIN, RECIPE)
    assert found is not None
    assert found.run == chosen


def test_a_long_walk_that_ended_too_long_before_the_newest_makes_room_for_it(registry: Registry) -> None:
    """`gate.max_evidence_age_days` is 180."""
    registry.record_evidence([evidence("long", scores=origins(300))])
    for end, expected in ((280, "long"), (281, "short-281")):
        short = evidence(f"short-{end}", start=day(end - 9), end=day(end), scores=origins(9), recorded_at=day(400))
        registry.record_evidence([short])
        found = registry.evidence_for(BITCOIN, RECIPE)
        assert found is not None
        assert found.run == expected


def test_a_coin_without_evidence_of_its_own_has_that_of_a_pool_with_it(registry: Registry) -> None:
    pooled = evidence("pool", coin=None)
    newer = evidence("without", coin=None, coins=("bitcoin", "ethereum-classic"), end=day(200))
    registry.record_evidence([pooled, newer])
    assert registry.evidence_for(ETHEREUM, RECIPE) == pooled
    assert registry.evidence_for(BITCOIN, RECIPE) == newer
    own = evidence("own", end=day(50))
    registry.record_evidence([own])
    assert registry.evidence_for(BITCOIN, RECIPE) == own  # the coin's own goes before, also if it is older


def test_evidence_is_listed_by_what_it_is_of(registry: Registry) -> None:
    pooled, hourly = evidence("b", coin=None), evidence("c", granularity="hourly", kind="lstm", recipe=OTHER)
    registry.record_evidence([evidence("a"), pooled, hourly])
    assert registry.evidence(run="a") == (evidence("a"),)
    assert registry.evidence(recipe=RECIPE) == (evidence("a"), pooled)
    assert registry.evidence(coin="") == (pooled,)
    assert registry.evidence(coin="bitcoin") == (evidence("a"), hourly)
    assert registry.evidence(kind="lstm", granularity="hourly", source="sample", vs="usd") == (hourly,)
    assert registry.evidence(vs="eur") == ()


def test_recording_again_changes_nothing_and_contradiction_is_logged(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.record_evidence([evidence(), evidence()])
    registry.record_trials([trial(), trial()])
    with caplog.at_level(logging.WARNING):
        registry.record_evidence([evidence(recorded_at=day(140))])  # a walk that was resumed
        registry.record_trials([trial(at=day(140))])
        assert caplog.messages == []
        registry.record_evidence([evidence(scores=(score(14),))])
        registry.record_trials([trial(sharpe=0.5)])
    assert [message.split(" was ")[0] for message in caplog.messages] == [
        f"evidence: walk-1, {RECIPE}, bitcoin",
        f"trials: walk-1, {SERIES}, long, target 0.4",
    ]
    assert registry.evidence() == (evidence(),)
    assert registry.trials_on(SERIES, NOW, NOW) == (trial(),)
    assert registry.verify() == ()


def test_the_same_recipe_in_another_run_or_of_another_coin_is_other_evidence(registry: Registry) -> None:
    rows = (evidence(), evidence("walk-2"), evidence(coin="ethereum"), evidence(coin=None), evidence(recipe=OTHER))
    for row in rows:
        registry.record_evidence([row])
    assert registry.evidence() == rows


# Trials


def test_trials_count_when_their_span_touches_the_one_asked_for(registry: Registry) -> None:
    early, late = trial("early", end=day(10)), trial("late", start=day(20), end=day(30))
    registry.record_trials([late, early])

    def names(start: int, end: int) -> list[str]:
        return [found.name for found in registry.trials_on(SERIES, day(start), day(end))]

    assert names(-5, -1) == []
    assert names(-5, 0) == ["early"]
    assert names(10, 20) == ["late", "early"]  # in the order of recording
    assert names(11, 19) == []
    assert names(0, 100) == ["late", "early"]
    assert names(30, 30) == ["late"]
    assert names(31, 40) == []
    with pytest.raises(ValueError, match="before it starts"):
        names(1, 0)


def test_trials_are_told_apart_by_series_and_command(registry: Registry) -> None:
    ether, tuned = (
        trial(series="sample/usd/daily/ethereum"),
        trial("rounds=400", command="tune", sharpe=None, score=0.02),
    )
    registry.record_trials([trial(), ether, tuned, trial(run="walk-2")])
    assert registry.trials_on(SERIES, NOW, day(1)) == (trial(), tuned, trial(run="walk-2"))
    assert registry.trials_on(SERIES, NOW, day(1), "tune") == (tuned,)
    assert registry.trials_on(SERIES, NOW, day(1), command="backtest") == (trial(), trial(run="walk-2"))
    assert registry.trials_on("sample/usd/daily/ethereum", NOW, day(1)) == (ether,)


spans = st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(spans, st.sampled_from(["bitcoin", "ethereum"])), max_size=12), spans)
def test_overlapping_trials_are_those_that_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[tuple[int, int], str]], asked: tuple[int, int]
) -> None:
    registry = Registry.open(tmp_path_factory.mktemp("store"))
    rows = [
        trial(str(i), start=day(start), end=day(end), series=f"sample/usd/daily/{coin}")
        for i, ((start, end), coin) in enumerate(made)
    ]
    registry.record_trials(rows)
    expected = [row for row in rows if row.series == SERIES and row.start <= day(asked[1]) and row.end >= day(asked[0])]
    assert list(registry.trials_on(SERIES, day(asked[0]), day(asked[1]))) == expected


# What is refused


BAD_EVIDENCE: list[tuple[dict[str, Any], str]] = [
    ({"run": "../escape"}, "run"),
    ({"run": "a\n"}, "run"),
    ({"recipe": "abc"}, "recipe"),
    ({"kind": "Light GBM"}, "kind"),
    ({"granularity": "weekly"}, "granularity"),
    ({"step_bars": 0}, "step_bars"),
    ({"window_bars": -1}, "window_bars"),
    ({"scores": ()}, "scores"),
    ({"scores": (score(7, mape=math.nan),)}, "JSON"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_EVIDENCE)
def test_evidence_that_breaks_its_own_rules_is_refused_with_the_rows_beside_it(
    registry: Registry, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        registry.record_evidence([evidence("good"), evidence(**change)])
    assert registry.evidence() == ()


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"coins": ()}, "not among the coins"),
    ({"coin": "litecoin"}, "litecoin is not among the coins walked over: bitcoin, ethereum"),
    ({"coins": ("bitcoin", "bitcoin")}, "twice"),
    ({"scores": (score(7), score(7))}, "scored twice"),
    ({"end": day(-1)}, "before it starts"),
    ({"start": datetime(2025, 1, 1)}, "time zone"),  # noqa: DTZ001
]


@pytest.mark.parametrize(("change", "complaint"), CONTRADICTIONS)
def test_evidence_that_contradicts_itself_cannot_be_made(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        evidence(**change)


BAD_TRIALS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "red \x1b[31m"}, "name"),
    ({"name": "x" * 1001}, "name"),
    ({"series": "bitcoin"}, "series"),
    ({"series": SERIES + "\n"}, "series"),
    ({"command": "guess"}, "command"),
    ({"bars": -1}, "bars"),
    ({"sharpe": math.inf}, "JSON"),
    ({"recipe": "x"}, "recipe"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD_TRIALS)
def test_trials_that_break_their_own_rules_are_refused_with_the_rows_beside_them(
    registry: Registry, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        registry.record_trials([trial("good"), trial(**change)])
    assert registry.trials_on(SERIES, NOW, day(100)) == ()


def test_numpy_numbers_are_stored_as_the_plain_ones_that_they_are(registry: Registry) -> None:
    registry.record_trials([trial(sharpe=np.float64(0.1), bars=np.int64(9))])
    (found,) = registry.trials_on(SERIES, NOW, NOW)
    assert (found.sharpe, type(found.sharpe), found.bars, type(found.bars)) == (0.1, float, 9, int)


def test_nothing_to_record_needs_no_registry_and_anything_else_does(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "none", create=False)
    registry.record_evidence([])
    registry.record_trials([])
    assert registry.evidence() == ()
    assert registry.evidence_for(BITCOIN, RECIPE) is None
    assert registry.trials_on(SERIES, NOW, day(1)) == ()
    with pytest.raises(RegistryError, match="no registry at"):
        registry.record_trials([trial()])
    assert list(tmp_path.iterdir()) == []


# What nobody may change


def _filled(tmp_path: Path) -> Registry:
    registry = Registry.open(tmp_path)
    registry.record_evidence([evidence(str(i)) for i in range(3)])
    registry.record_trials([trial(str(i)) for i in range(3)])
    return registry


APPEND_ONLY = [
    statement.format(table=table, other=other)
    for table, other in (("evidence", "run"), ("trials", "name"))
    for statement in (
        "UPDATE {table} SET run = 'other'",
        "UPDATE OR REPLACE {table} SET id = 1 WHERE id = 2",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE id = 3",
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table} WHERE id = 1",
    )
] + [
    "INSERT OR REPLACE INTO evidence SELECT 9, run, recipe, coin, kind, source, vs, granularity, coins, end_at,"
    " recorded_at, record, digest FROM evidence WHERE id = 1",
    "INSERT OR REPLACE INTO trials SELECT 9, run, series, name, command, start_at, end_at, record, digest FROM trials"
    " WHERE id = 1",
]


@pytest.mark.parametrize("statement", APPEND_ONLY)
def test_the_schema_itself_refuses_to_rewrite_evidence_and_trials(tmp_path: Path, statement: str) -> None:
    registry = _filled(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as plain:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            plain.execute(statement)
        plain.rollback()
    assert registry.verify() == ()


def test_what_was_undone_leaves_no_gap(tmp_path: Path) -> None:
    registry = _filled(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        registry.record_trials([trial("a"), trial("b", sharpe=math.nan)])
    registry.record_trials([trial("0"), trial("c"), trial("0")])
    assert [found.name for found in registry.trials_on(SERIES, NOW, NOW)] == ["0", "1", "2", "c"]
    assert registry.verify() == ()


# How much is looked at; how long that takes is measured in benchmarks/registry.py


def test_a_look_up_among_2_000_rows_looks_at_few_of_them(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    walks = [evidence(f"run-{i}", recipe=f"{i % 100:064x}", end=day(i)) for i in range(2_000)]
    registry.record_evidence(walks)
    coins = [f"coin-{i}" for i in range(200)]
    registry.record_trials([trial(f"{i}", series=f"sample/usd/daily/{coins[i % 200]}") for i in range(2_000)])
    assert registry.evidence_for(BITCOIN, f"{7:064x}") == walks[1907]
    assert len(registry.trials_on("sample/usd/daily/coin-7", NOW, NOW)) == 10
    steps = steps_of(monkeypatch)
    assert steps(lambda: registry.evidence_for(BITCOIN, f"{7:064x}")) < FEW_STEPS
    assert steps(lambda: registry.evidence_for(BITCOIN, OTHER)) < FEW_STEPS
    assert steps(lambda: registry.trials_on("sample/usd/daily/coin-7", NOW, NOW)) < FEW_STEPS
