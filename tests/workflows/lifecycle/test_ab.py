from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.config import Config
from cryptocast.errors import RegistryError, UsageError
from cryptocast.registry import PRODUCTION, Registry, side_of
from cryptocast.workflows.lifecycle.ab import ab_conclude, ab_start, ab_status, ab_stop, running_test
from cryptocast.workflows.reports import ab_sentence
from tests.registry.registry_fits import BITCOIN, NOW, hold_out, register, score
from tests.registry.registry_ledger import live

LATER = NOW + timedelta(days=3)


def begin(config: Config, registry: Registry, **changes: object) -> None:
    arguments = {"challenger": 2, "share": 0.3, "who": "ada", "now": NOW, **changes}
    ab_start(config, registry, BITCOIN, **arguments)  # type: ignore[arg-type]


def test_while_a_test_runs_each_client_gets_its_side_and_afterwards_production(
    config: Config, registry: Registry
) -> None:
    assert running_test(registry, BITCOIN) is None
    begin(config, registry)
    test = running_test(registry, BITCOIN)
    assert test is not None
    assert {side_of(test.start.test, test.start.share, f"client {i}") for i in range(100)} == {
        "production",
        "challenger",
    }
    (row,) = ab_status(config, registry, [BITCOIN]).tests
    assert (row.production, row.challenger, row.share, row.ended_at) == (1, 2, 0.3, None)
    assert ab_sentence(row.verdict, over=False) == "no bar has an outcome for both yet"
    (row,) = ab_stop(config, registry, BITCOIN, reason="enough", who="bob", now=LATER).tests
    assert (row.ended_as, row.ended_by, row.why) == ("stop", "bob", "enough")
    assert running_test(registry, BITCOIN) is None
    with pytest.raises(RegistryError, match="No A/B test of bitcoin"):
        ab_stop(config, registry, BITCOIN, reason="", who="bob", now=LATER)


def test_a_test_that_is_over_is_told_of_when_its_challenger_has_been_tidied_up(
    config: Config, registry: Registry
) -> None:
    begin(config, registry)
    ab_stop(config, registry, BITCOIN, reason="enough", who="bob", now=LATER)
    register(registry, "3")
    assert [number for _, number in registry.collect(1).versions] == [2]
    (row,) = ab_status(config, registry, [BITCOIN]).tests
    assert (row.challenger, row.ended_as, row.bars) == (2, "stop", 0)
    assert ab_sentence(row.verdict, over=True) == "no bar has an outcome for both"


def test_a_better_challenger_is_promoted_at_the_conclusion_on_all_bars(config: Config, registry: Registry) -> None:
    begin(config, registry)
    rows, known = live(150, v1=0.05, v2=0.03)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    (row,) = ab_status(config, registry, [BITCOIN]).tests
    assert row.bars == 150
    assert (row.verdict.word, row.verdict.against) == ("better", "production")
    report = ab_conclude(config, registry, BITCOIN, who="ada", now=LATER)
    assert report.promotion is not None
    assert report.promotion.rows[0].action == "promoted"
    assert report.tests[0].ended_as == "conclude"
    production = registry.alias(BITCOIN, PRODUCTION)
    assert production is not None
    assert production.number == 2


def test_a_worse_challenger_ends_its_test_without_a_change(config: Config, registry: Registry) -> None:
    begin(config, registry)
    rows, known = live(150, v1=0.03, v2=0.08)
    registry.write_ledger(rows)
    registry.write_outcomes(known)
    assert ab_status(config, registry, [BITCOIN]).tests[0].verdict.word == "worse"
    report = ab_conclude(config, registry, BITCOIN, who="ada", now=LATER)
    assert report.promotion is not None
    assert report.promotion.rows[0].action == "refused"
    assert report.tests[0].why.startswith("refused: not shown to be better")
    assert registry.production_at(BITCOIN, LATER) == 1


def test_what_makes_no_test_is_refused(config: Config, registry: Registry) -> None:
    for changes, why in (
        ({"share": 0.0}, "above 0 and below 1"),
        ({"share": 1.0}, "--share"),
        ({"challenger": 1}, "itself"),
    ):
        with pytest.raises(UsageError, match=why):
            begin(config, registry, **changes)
    with pytest.raises(RegistryError, match="no bitcoin/lightgbm:9"):
        begin(config, registry, challenger=9)
    assert registry.ab_tests() == ()


def test_a_challenger_may_lack_horizons_of_a_model_for_every_coin_and_no_others(config: Config, tmp_path: Path) -> None:
    own, every = (Registry.open(tmp_path / name) for name in ("own", "every"))
    register(own, "1")
    register(every, "1", knowledge_date=NOW)
    for registry in (own, every):
        registry.promote(BITCOIN, 1, now=NOW, who="ada", why="by hand")
        register(registry, "2", rounds=500, horizons=(1,), scores=hold_out(score(1)))
    with pytest.raises(UsageError, match="lacks horizons that production serves: 7"):
        begin(config, own)
    begin(config, every)
    assert running_test(every, BITCOIN) is not None
