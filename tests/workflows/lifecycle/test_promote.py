import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptocast.config import Config, DataConfig
from cryptocast.errors import GateError, RegistryError, UsageError
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION, ProductionMovedError, Registry, Version, VersionKey, recipe_hash
from cryptocast.registry.registry import Promotion
from cryptocast.workflows.feature_sets import catalogue_set
from cryptocast.workflows.lifecycle.promote import PromotionReport, promote
from tests.registry.registry_evidence import evidence
from tests.registry.registry_fits import BITCOIN, FILES, NOW, bad_hold_out, manifest, new_version, register

LATER = NOW + timedelta(days=7)
AUTO = Config(data=DataConfig(coins=("bitcoin", "ethereum")))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry that knows of a walk forward of the recipe that most versions here have."""
    made = Registry.open(tmp_path)
    sources = [{}, {"source": "coingecko"}, {"vs": "eur"}, {"granularity": "hourly"}]
    walks: list[dict[str, Any]] = [*sources]
    made.record_evidence(
        [
            evidence(f"walk-{i}", recipe=manifest().recipe, coin=None, start=NOW - timedelta(days=400), end=NOW, **walk)
            for i, walk in enumerate(walks)
        ]
    )
    return made


def run(registry: Registry, *, config: Config = AUTO, **arguments: Any) -> PromotionReport:
    return promote(config, registry, who="bob", now=LATER, **arguments)


def production(registry: Registry, key: VersionKey = BITCOIN) -> int | None:
    version = registry.alias(key, PRODUCTION)
    return version.number if version else None


def test_without_versions_there_is_nothing_to_promote(registry: Registry) -> None:
    report = run(registry)
    assert report.rows == ()
    assert report.summary == "Nothing to promote: there are no versions yet. Train: cryptocast train."
    assert report.refusal() is None


def test_right_after_training_there_is_nothing_to_promote(registry: Registry) -> None:
    register(registry, coins=("bitcoin", "ethereum"))
    events = registry.history()
    report = run(registry)
    assert [(row.coin, row.action, row.from_number, row.to_number) for row in report.rows] == [
        ("bitcoin", "nothing", 1, 1),
        ("ethereum", "nothing", 1, 1),
    ]
    assert report.summary == "Nothing to promote: production is up to date."
    assert [str(reason) for reason in report.rows[0].reasons] == ["version 1 is in production already"]
    assert registry.history() == events
    assert run(registry, coin="bitcoin").refusal() is None


def test_a_refresh_is_promoted_and_the_second_run_changes_nothing(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    report = run(registry)
    (row,) = report.rows
    assert (row.action, row.rule, row.from_number, row.to_number, row.version) == ("promoted", "refresh", 1, 2, 2)
    assert report.summary == "1 promoted."
    event = registry.history()[-1]
    assert (event.action, event.number, event.previous, event.who, event.at) == ("refresh", 2, 1, "bob", LATER)
    assert (event.why, event.reasons[0].code) == ("the gate lets it through", "refresh")
    assert event.evidence["decision"]["rule"] == "refresh"
    assert run(registry).rows[0].action == "nothing"
    assert production(registry) == 2


def test_a_repeated_training_is_kept_out_without_a_refusal(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "1", train_seconds=9.0)
    report = run(registry)
    assert report.rows[0].action == "kept"
    assert report.summary == "Nothing to promote: production is up to date."
    assert run(registry, coin="bitcoin").refusal() is None
    assert production(registry) == 1


def test_a_dry_run_says_what_would_be_and_changes_nothing(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    events = registry.history()
    report = run(registry, dry_run=True)
    assert report.rows[0].action == "promoted"
    assert report.summary == "Dry run, nothing was changed: 1 promoted."
    assert registry.history() == events


def test_refusals_without_a_name_are_told_not_raised(registry: Registry) -> None:
    register(registry, "1", scores=bad_hold_out())
    report = run(registry)
    assert [(row.action, row.rule, row.from_number, row.to_number) for row in report.rows] == [
        ("refused", "first", None, None)
    ]
    assert report.summary == "1 refused."
    assert report.refusal() is None


def test_a_named_promotion_that_is_refused_is_a_gate_error_with_the_reason(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2", rounds=500)
    report = run(registry, coin="bitcoin", kind="lightgbm")
    refusal = report.refusal()
    assert isinstance(refusal, GateError)
    assert re.search(r"refused bitcoin/lightgbm:2: version 2 has a different recipe.*--force", str(refusal))
    assert refusal.exit_code == 6
    assert production(registry) == 1


CURRENT: dict[str, Any] = {
    "feature_hash": catalogue_set().digest,
    "recipe": recipe_hash("lightgbm", manifest().settings, catalogue_set().digest),
}


def test_a_version_that_can_be_asked_takes_the_place_of_one_that_cannot_without_a_comparison(
    registry: Registry,
) -> None:
    register(registry, "1")
    register(registry, "2", **CURRENT)
    (row,) = run(registry).rows
    assert (row.action, row.rule, row.to_number) == ("promoted", "outdated", 2)
    assert str(row.reasons[0]).startswith("version 1 in production is outdated")


def test_a_version_that_cannot_be_asked_takes_no_place(registry: Registry) -> None:
    register(registry, "1", **CURRENT)
    register(registry, "2")
    (row,) = run(registry).rows
    assert (row.action, row.rule, row.to_number) == ("refused", "outdated", 1)
    assert "could not answer" in str(row.reasons[0])


def test_force_promotes_against_the_gate_and_records_the_reason(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2", rounds=500)
    report = run(registry, coin="bitcoin", force=True, reason="a bug in version 1")
    (row,) = report.rows
    assert (row.action, row.rule, row.to_number) == ("promoted", "force", 2)
    assert report.refusal() is None
    event = registry.history()[-1]
    assert event.action == "force"
    assert (event.why, event.reasons[0].code) == ("forced: a bug in version 1", "recipe_unproven")
    assert event.evidence["decision"]["accepted"] is False


def test_force_with_a_number_goes_back(registry: Registry) -> None:
    for label in "12":
        register(registry, label)
    run(registry)
    assert "use cryptocast registry rollback to go back" in str(
        run(registry, coin="bitcoin", kind="lightgbm", number=1).refusal()
    )
    run(registry, coin="bitcoin", kind="lightgbm", number=1, force=True, reason="2 is odd")
    assert production(registry) == 1


def test_forcing_what_is_production_changes_nothing(registry: Registry) -> None:
    register(registry)
    events = registry.history()
    assert run(registry, coin="bitcoin", force=True, reason="x").rows[0].action == "nothing"
    assert registry.history() == events


def test_force_that_was_not_needed_is_recorded_as_what_it_was(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    assert run(registry, coin="bitcoin", force=True, reason="now").rows[0].rule == "refresh"
    event = registry.history()[-1]
    assert event.action == "refresh"
    assert (event.why, event.reasons[0].code) == ("forced: now", "refresh")


def test_only_configured_coins_and_bars_are_looked_at(registry: Registry) -> None:
    register(registry, coins=("bitcoin", "dogecoin"))
    register(registry, granularity="hourly")
    assert [(row.coin, row.granularity) for row in run(registry).rows] == [("bitcoin", "daily")]
    hourly = Config(data=DataConfig(granularity="hourly"))
    assert [(row.coin, row.granularity) for row in run(registry, config=hourly).rows] == [("bitcoin", "hourly")]
    assert [row.coin for row in run(registry, coin="dogecoin").rows] == ["dogecoin"]


def test_each_source_has_a_production_of_its_own(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "1", source="coingecko")
    register(registry, "2", source="coingecko")
    assert [(row.source, row.action) for row in run(registry, coin="bitcoin").rows] == [
        ("coingecko", "promoted"),
        ("sample", "nothing"),
    ]
    assert [row.source for row in run(registry, source="sample").rows] == ["sample"]
    assert [row.source for row in run(registry, config=Config(data=DataConfig(source="sample"))).rows] == ["sample"]
    with pytest.raises(UsageError, match=r"Version 1 could be of .*--source"):
        run(registry, coin="bitcoin", number=1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "lightgbm"}, "Name the coin"),
    ({"number": 2}, "Name the coin"),
    ({"coin": "bitcoin", "number": 0}, "count from 1"),
    ({"force": True, "reason": "x"}, "Name what to force"),
    ({"coin": "bitcoin", "force": True}, "needs its reason"),
    ({"coin": "bitcoin", "force": True, "reason": "  "}, "needs its reason"),
    ({"coin": "bitcoin", "reason": "x"}, "only with --force"),
    ({"coin": "bitcoin", "force": True, "reason": "a\nb"}, "one printable line"),
    ({"coin": "bitcoin", "force": True, "reason": "a" * 1001}, "at most 1000"),
    ({"coin": "../bitcoin"}, "no CoinGecko id"),
    ({"coin": "bit\x1bcoin"}, "no CoinGecko id"),
    ({"coin": "bitcoin", "kind": "light gbm"}, "no kind of model"),
    ({"coin": "bitcoin", "kind": "baseline"}, "baseline has no versions"),
]


@pytest.mark.parametrize(("arguments", "complaint"), WRONG)
def test_arguments_that_do_not_go_together_are_refused(
    registry: Registry, arguments: dict[str, Any], complaint: str
) -> None:
    register(registry)
    with pytest.raises(UsageError, match=complaint) as caught:
        run(registry, **arguments)
    assert str(caught.value).isprintable()


def test_what_is_named_and_not_there_is_an_error_with_what_there_is(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="Train it: cryptocast train bitcoin"):
        run(registry, coin="bitcoin")
    register(registry)
    with pytest.raises(
        RegistryError, match=r"no version of bitcoin/lstm on daily bars in usd\. There are versions of bit"
    ):
        run(registry, coin="bitcoin", kind="lstm")
    with pytest.raises(RegistryError, match="no bitcoin/lightgbm:7"):
        run(registry, coin="bitcoin", kind="lightgbm", number=7)


def test_the_report_as_json_has_these_names(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2", rounds=500)
    document = json.loads(msgspec.json.encode(run(registry)))
    assert document["schema"] == "cryptocast.promotion/2"
    assert set(document) == {"schema", "dry_run", "named", "summary", "rows"}
    (row,) = document["rows"]
    reasons = row.pop("reasons")
    assert len(reasons) == 1
    assert row == {
        "coin": "bitcoin",
        "kind": "lightgbm",
        "source": "sample",
        "vs": "usd",
        "granularity": "daily",
        "action": "refused",
        "rule": "evidence",
        "from": 1,
        "to": 1,
        "version": 2,
        "contest": None,
    }


class Interfering(Registry):
    """A registry in which somebody else moves production between each decision and its execution, `left` times."""

    interfere: Callable[[], object]
    left = 0

    def promote_all(self, moves: Sequence[Promotion], **arguments: Any) -> tuple[Version, ...]:
        if self.left:
            self.left -= 1
            self.interfere()
        return super().promote_all(moves, **arguments)


@pytest.mark.parametrize(("times", "settles"), [(1, True), (4, True), (9, False)])
def test_a_decision_is_made_anew_when_production_moves_meanwhile(tmp_path: Path, times: int, *, settles: bool) -> None:
    registry = Interfering.open(tmp_path)
    registry.record_evidence([evidence(recipe=manifest().recipe, start=NOW - timedelta(days=400), end=NOW)])
    for label in "123":
        register(registry, label)
    other = Registry.open(tmp_path)

    def interfere() -> None:
        moved = 2 if production(other) == 1 else 1
        other.promote(BITCOIN, moved, now=LATER, who="eve", why="meanwhile", action="rollback")

    registry.interfere, registry.left = interfere, times
    if settles:
        (row,) = run(registry).rows
        assert (row.action, row.to_number, row.from_number) == ("promoted", 3, 2 if times % 2 else 1)
        assert production(registry) == 3
    else:
        with pytest.raises(ProductionMovedError, match="Run it again"):
            run(registry)
    assert registry.verify() == ()


def test_times_in_the_history_are_those_given(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    run(registry)
    at: list[datetime] = [event.at for event in registry.history()]
    assert at == [NOW, NOW, NOW, LATER]


def test_a_fit_moves_all_its_coins_in_one_change(registry: Registry) -> None:
    ethereum = VersionKey("ethereum", Market("sample", "usd", "daily"), "lightgbm")
    for label in "12":
        register(registry, label, coins=("bitcoin", "ethereum"))
    report = run(registry, coin="bitcoin", kind="lightgbm", whole_fit=True)
    assert [(row.coin, row.action, row.to_number) for row in report.rows] == [
        ("bitcoin", "promoted", 2),
        ("ethereum", "promoted", 2),
    ]
    assert production(registry, ethereum) == 2


def test_a_fit_of_which_one_coin_is_refused_moves_none(registry: Registry) -> None:
    register(registry, "1", coins=("bitcoin", "ethereum"))
    fit = manifest("2", coins=("bitcoin", "ethereum"))
    versions = [new_version("bitcoin"), new_version("ethereum", bad_hold_out())]
    registry.register(fit, FILES, versions, now=NOW, who="ada")
    report = run(registry, coin="bitcoin", whole_fit=True)
    assert [(row.coin, row.action, row.to_number) for row in report.rows] == [
        ("bitcoin", "refused", 1),
        ("ethereum", "refused", 1),
    ]
    assert str(report.rows[0].reasons[0]) == "the fit moves as a whole, and ethereum/lightgbm:2 was refused"
    assert production(registry) == 1
