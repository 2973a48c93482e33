from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cryptocast.errors import RegistryError, UsageError
from cryptocast.evaluation.records import HoldOut
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION, NewVersion, ProductionMovedError, Registry, VersionKey
from cryptocast.registry.database import Database
from cryptocast.registry.manifest import FitManifest, artefacts_of, canonical_json, settled, sha256_hex
from cryptocast.registry.tables import FITS_AT_ONCE, insert_fit, insert_version, set_alias, version_digest
from tests.registry.registry_fits import (
    BITCOIN,
    FILES,
    NOW,
    bad_hold_out,
    hold_out,
    manifest,
    new_version,
    register,
    score,
)
from tests.registry.registry_steps import FEW_STEPS, steps_of


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path)


def numbers(registry: Registry, key: VersionKey = BITCOIN) -> dict[str, int | None]:
    found = {name: registry.alias(key, name) for name in ("production", "challenger")}
    return {name: version.number if version else None for name, version in found.items()}


def test_the_first_version_is_challenger_and_production_at_once(registry: Registry) -> None:
    (version,) = register(registry)
    assert (version.key, version.number, version.name) == (BITCOIN, 1, "bitcoin/lightgbm:1")
    assert version.aliases == ("production", "challenger")
    assert version.created_at == NOW
    assert version.manifest == manifest()
    assert version.hold_out == hold_out()
    assert version.calibration == new_version().calibration
    assert registry.versions() == (version,)
    first, second = registry.history()
    assert (first.action, first.alias, first.number, first.previous) == ("register", "challenger", 1, None)
    assert (second.action, second.alias, second.number, second.previous) == ("promote", "production", 1, None)
    assert second.who == "ada"
    assert (first.why, first.reasons) == ("registered", ())
    assert second.why == "the first version, and the gate lets it through"
    assert [(reason.code, reason.facts["skill"]) for reason in second.reasons] == [("scored", 0.01)] * 2
    assert second.evidence["decision"]["accepted"] is True


@pytest.mark.parametrize(
    ("outdated", "scores", "production"),
    [({"bitcoin": 1}, hold_out(), 2), ({"bitcoin": 1}, bad_hold_out(), 1), ({"bitcoin": 7}, hold_out(), 1)],
)
def test_a_version_goes_into_production_by_itself_where_an_outdated_one_stands(
    registry: Registry, outdated: dict[str, int], scores: HoldOut, production: int
) -> None:
    register(registry)
    registry.register(manifest("2"), FILES, [new_version(scores=scores)], now=NOW, who="ada", outdated=outdated)
    assert numbers(registry) == {"production": production, "challenger": 2}


def test_a_first_version_that_the_gate_refuses_stays_challenger_with_the_reasons(registry: Registry) -> None:
    register(registry, scores=bad_hold_out())
    assert numbers(registry) == {"production": None, "challenger": 1}
    (event,) = registry.history()
    assert event.why == "registered, but not fit for production"
    assert event.reasons[0].code == "worse_than_baseline"
    assert event.reasons[0].facts["skill"] == pytest.approx(-0.2)
    assert event.evidence["decision"]["accepted"] is False
    assert registry.production_at(BITCOIN, NOW) is None


def test_the_first_good_version_after_a_refused_one_becomes_production(registry: Registry) -> None:
    register(registry, "1", scores=bad_hold_out())
    register(registry, "2")
    assert numbers(registry) == {"production": 2, "challenger": 2}


def test_a_later_version_takes_challenger_only(registry: Registry) -> None:
    register(registry, "1")
    (second,) = register(registry, "2")
    assert (second.number, second.aliases) == (2, ("challenger",))
    assert numbers(registry) == {"production": 1, "challenger": 2}
    assert registry.history()[-1].previous == 1
    assert registry.history()[-1].evidence == {"fit": second.fit_id}


def test_one_fit_gives_each_of_its_coins_a_version_in_the_order_asked(registry: Registry) -> None:
    register(registry, "0", coins=("litecoin",))
    made = register(registry, "1", coins=("litecoin", "bitcoin"))
    assert [(v.key.coin, v.number) for v in made] == [("litecoin", 2), ("bitcoin", 1)]
    assert len({v.fit_id for v in made}) == 1
    assert [v.key.coin for v in registry.versions(fit_id=made[0].fit_id)] == ["bitcoin", "litecoin"]


def test_registering_the_same_fit_again_changes_nothing(registry: Registry) -> None:
    first = register(registry)
    events = registry.history()
    assert register(registry, now=NOW + timedelta(hours=1)) == first
    assert registry.history() == events


def test_sources_currencies_granularities_and_kinds_are_numbered_apart(registry: Registry) -> None:
    register(registry)
    others: list[dict[str, Any]] = [{"source": "coingecko"}, {"vs": "eur"}, {"granularity": "hourly"}]
    for changes in others:
        (version,) = register(registry, **changes)
        assert (version.number, version.aliases) == (1, ("production", "challenger"))
    assert len(registry.keys()) == 4
    assert registry.keys(source="coingecko") == (
        VersionKey("bitcoin", Market("coingecko", "usd", "daily"), "lightgbm"),
    )
    assert [v.key.vs for v in registry.versions(vs="eur")] == ["eur"]
    assert [v.name for v in registry.versions(granularity="hourly")] == ["bitcoin/lightgbm:1#hourly"]
    assert len(registry.versions(alias="production")) == 4


def test_a_listing_says_of_the_same_versions_what_a_list_shows(registry: Registry) -> None:
    register(registry, "1", coins=("bitcoin", "ethereum"), scores=bad_hold_out())
    register(registry, "2", coins=("bitcoin",))
    register(registry, "3", granularity="hourly", trained_at=NOW + timedelta(days=1))
    filters: list[dict[str, Any]] = [{}, {"coin": "bitcoin"}, {"granularity": "hourly"}, {"alias": "production"}]
    for where in filters:
        whole, listed = registry.versions(**where), registry.listing(**where)
        for version, short in zip(whole, listed, strict=True):
            assert (short.key, short.number, short.name) == (version.key, version.number, version.name)
            assert (short.fit_id, short.aliases, short.created_at) == (
                version.fit_id,
                version.aliases,
                version.created_at,
            )
            data = version.manifest.data(version.key.coin)
            assert data is not None
            assert short.trained_to == data.last
            assert [(s.horizon, s.skill.baseline, s.answers, s.unanswered) for s in short.scores] == [
                (s.horizon, s.skill["baseline"], {a.question: a.answer for a in s.answers}, s.unanswered)
                for s in version.hold_out.horizons
            ]
    assert len(registry.listing()) == 4
    assert len(registry.listing(alias="production")) == 2


@given(st.lists(st.text("abz019_-+:.T", max_size=40), max_size=6), st.integers(1, 10**6))
def test_the_hash_of_a_version_is_that_of_the_canonical_json_of_its_columns(words: list[str], number: int) -> None:
    fit_id, created = "f" * 64, "2025-06-01T12:00:00.000000+00:00"
    parts = [*words, number, fit_id, sha256_hex(b"{}"), sha256_hex(b"[]"), created]
    assert version_digest(words, number, fit_id, b"{}", b"[]", created) == sha256_hex(canonical_json(parts))


def test_more_fits_than_one_question_may_name_are_all_found(tmp_path: Path, registry: Registry) -> None:
    fits = [settled(manifest(str(label))) for label in range(FITS_AT_ONCE + 3)]
    contents = (canonical_json(new_version().calibration), canonical_json(hold_out()))
    database = Database(tmp_path / "registry" / "registry.db", is_made=True)
    with database.write() as connection:  # registering them one by one would take seconds
        for number, fit in enumerate(fits, start=1):
            text = canonical_json(fit)
            insert_fit(connection, sha256_hex(text), text, fit, NOW)
            insert_version(connection, BITCOIN, number, (sha256_hex(text), fit), contents, NOW)
    assert [version.manifest for version in registry.versions()] == fits
    assert [version.number for version in registry.listing()] == list(range(1, len(fits) + 1))


def test_files_come_back_as_they_were_registered(registry: Registry) -> None:
    (version,) = register(registry)
    assert registry.load_files(version.fit_id) == FILES


def test_the_same_file_of_two_fits_is_stored_once(registry: Registry, tmp_path: Path) -> None:
    register(registry, "1")
    register(registry, "2")
    assert len(list((tmp_path / "registry" / "objects").iterdir())) == len(FILES)


def test_loading_refuses_a_flipped_byte_a_missing_file_and_an_unknown_fit(registry: Registry, tmp_path: Path) -> None:
    (version,) = register(registry)
    path = tmp_path / "registry" / "objects" / version.manifest.artefacts[0].sha256
    path.chmod(0o644)
    path.write_bytes(b"bree\n" + path.read_bytes()[5:])
    with pytest.raises(RegistryError, match="is damaged"):
        registry.load_files(version.fit_id)
    path.unlink()
    with pytest.raises(RegistryError, match="is missing"):
        registry.load_files(version.fit_id)
    with pytest.raises(RegistryError, match="There is no fit"):
        registry.load_files("0" * 64)


def _lying(**changes: Any) -> FitManifest:
    return msgspec.structs.replace(manifest(), **changes)


BAD_CALLS: list[tuple[FitManifest, dict[str, bytes], list[NewVersion], str]] = [
    (manifest(), {}, [new_version()], "exactly the files"),
    (manifest(), {**FILES, "extra": b""}, [new_version()], "exactly the files"),
    (manifest(), {**FILES, "state.json": b"[]"}, [new_version()], "exactly the files"),
    (_lying(artefacts=artefacts_of(FILES) * 2), FILES, [new_version()], "exactly the files"),
    (_lying(recipe="0" * 64), FILES, [new_version()], "recipe_hash"),
    (manifest(), FILES, [], "at least one coin"),
    (manifest(), FILES, [new_version(), new_version()], "at least one coin"),
    (manifest(), FILES, [new_version("ethereum")], "not in the pool"),
    (manifest(), FILES, [NewVersion("bitcoin", new_version("ethereum").calibration, hold_out())], "that of ethereum"),
    (manifest(), FILES, [new_version(scores=hold_out(score(1)))], "scores horizons"),
    (manifest(), FILES, [new_version(scores=hold_out(score(1), score(7, mape=float("nan"))))], "JSON"),
    (_lying(kind="../kind"), FILES, [new_version()], "kind"),
]


@pytest.mark.parametrize(("fit", "files", "versions", "complaint"), BAD_CALLS)
def test_parts_that_do_not_belong_together_are_refused_and_leave_no_trace(
    registry: Registry,
    tmp_path: Path,
    fit: FitManifest,
    files: dict[str, bytes],
    versions: list[NewVersion],
    complaint: str,
) -> None:
    with pytest.raises(ValueError, match=complaint):
        registry.register(fit, files, versions, now=NOW, who="ada")
    assert registry.versions() == ()
    assert not (tmp_path / "registry" / "objects").exists()


def test_a_time_without_a_zone_is_refused(registry: Registry) -> None:
    with pytest.raises(ValueError, match="time zone"):
        register(registry, now=datetime(2025, 1, 1))  # noqa: DTZ001
    assert registry.versions() == ()


def test_references_resolve_to_versions(registry: Registry) -> None:
    for label in "123":
        register(registry, label)
    hourly = register(registry, granularity="hourly")[0]

    def got(reference: str) -> int:
        return registry.get(reference, Market("sample", "usd", "daily")).number

    assert got("bitcoin/lightgbm:2") == 2
    assert got("bitcoin/lightgbm@production") == 1
    assert got("bitcoin/lightgbm@challenger") == 3
    assert got("bitcoin/lightgbm") == 1
    assert got("bitcoin@best") == 1
    assert registry.get("bitcoin/lightgbm#hourly", Market("sample", "usd", "daily")) == hourly
    assert registry.get("bitcoin/lightgbm", Market("sample", "usd", "hourly")) == hourly
    assert registry.get(hourly.name, Market("sample", "usd", "daily")) == hourly


def test_without_a_production_version_a_bare_kind_means_the_newest(registry: Registry) -> None:
    register(registry, "1", scores=bad_hold_out())
    register(registry, "2", scores=bad_hold_out())
    assert registry.get("bitcoin/lightgbm", Market("sample", "usd", "daily")).number == 2
    with pytest.raises(RegistryError, match="None is in production: see cryptocast registry promote"):
        registry.get("bitcoin/lightgbm@production", Market("sample", "usd", "daily"))
    with pytest.raises(RegistryError, match="the baseline answers"):
        registry.get("bitcoin@best", Market("sample", "usd", "daily"))


def test_what_is_not_there_is_refused_with_what_there_is(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="Train it: cryptocast train bitcoin --model lightgbm"):
        registry.get("bitcoin/lightgbm", Market("sample", "usd", "daily"))
    register(registry)
    with pytest.raises(RegistryError, match=r"no bitcoin/lightgbm:2 on sample bars in usd\. There is one version: 1"):
        registry.get("bitcoin/lightgbm:2", Market("sample", "usd", "daily"))
    with pytest.raises(RegistryError, match=r"There are versions of bitcoin/lightgbm \(sample, usd, daily\)"):
        registry.get("bitcoin/lightgbm", Market("coingecko", "usd", "daily"))
    with pytest.raises(UsageError):
        registry.get("../bitcoin", Market("sample", "usd", "daily"))


def test_promotion_moves_production_and_is_written_down(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    later = NOW + timedelta(days=1)
    version = registry.promote(BITCOIN, 2, now=later, who="bob", why="better", evidence={"p": 0.01})
    assert version.aliases == ("production", "challenger")
    event = registry.history(alias=PRODUCTION)[-1]
    assert (event.at, event.who, event.action, event.why) == (later, "bob", "promote", "better")
    assert (event.number, event.previous, event.evidence) == (2, 1, {"p": 0.01})
    assert registry.production_at(BITCOIN, later - timedelta(seconds=1)) == 1
    assert registry.production_at(BITCOIN, later) == 2
    assert registry.production_at(BITCOIN, NOW - timedelta(seconds=1)) is None


def test_promoting_production_again_writes_nothing(registry: Registry) -> None:
    register(registry)
    events = registry.history()
    registry.promote(BITCOIN, 1, now=NOW, who="bob", why="again")
    assert registry.history() == events


def test_promoting_what_is_not_there_changes_nothing(registry: Registry) -> None:
    register(registry)
    with pytest.raises(RegistryError, match="no version 2 of bitcoin/lightgbm"):
        registry.promote(BITCOIN, 2, now=NOW, who="bob", why="x")
    assert numbers(registry)["production"] == 1


def test_a_decision_against_another_production_is_not_carried_out(registry: Registry) -> None:
    for label in "123":
        register(registry, label)
    registry.promote(BITCOIN, 3, now=NOW, who="bob", why="x", expected=1)
    with pytest.raises(ProductionMovedError, match="from 1 to 3"):
        registry.promote(BITCOIN, 2, now=NOW, who="eve", why="x", expected=1)
    with pytest.raises(ProductionMovedError, match="from None to 3"):
        registry.promote(BITCOIN, 2, now=NOW, who="eve", why="x", expected=None)
    assert numbers(registry)["production"] == 3


def test_evidence_that_is_no_json_undoes_the_promotion(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    with pytest.raises(ValueError, match="JSON"):
        registry.promote(BITCOIN, 2, now=NOW, who="bob", why="x", evidence={"p": float("nan")})
    assert numbers(registry)["production"] == 1
    assert registry.verify() == ()


def test_names_and_reasons_are_kept_printable(registry: Registry) -> None:
    register(registry, "1")
    register(registry, "2")
    registry.promote(BITCOIN, 2, now=NOW, who="b\x1b[2J\udcff", why="line\nbreak ✓")
    event = registry.history()[-1]
    assert (event.who, event.why) == ("b?[2J?", "line?break ✓")
    assert registry.verify() == ()


def test_without_create_a_missing_registry_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "store", create=False)
    assert registry.versions() == ()
    assert registry.keys() == ()
    assert registry.history() == ()
    assert registry.verify() == ()
    assert registry.alias(BITCOIN, "production") is None
    assert registry.best("bitcoin", Market("sample", "usd", "daily")) is None
    with pytest.raises(RegistryError, match="no registry at"):
        registry.promote(BITCOIN, 1, now=NOW, who="bob", why="x")
    assert list(tmp_path.iterdir()) == []
    register(Registry.open(tmp_path / "store"))
    assert len(registry.versions()) == 1  # the one opened before sees what was made since


class AgainstAModel(RuleBasedStateMachine):
    """Random registrations and promotions, beside a list of what happened."""

    make: Callable[[], Registry]

    def __init__(self) -> None:
        super().__init__()
        self.registry = type(self).make()
        self.coins = ("bitcoin", "ethereum")
        self.count: dict[str, int] = dict.fromkeys(self.coins, 0)
        self.production: dict[str, int | None] = dict.fromkeys(self.coins)
        self.moves: list[tuple[datetime, str, str, int, int | None]] = []
        self.now, self.fits = NOW, 0

    def key(self, coin: str) -> VersionKey:
        return VersionKey(coin, Market("sample", "usd", "daily"), "lightgbm")

    @rule(coins=st.sampled_from([("bitcoin",), ("ethereum",), ("ethereum", "bitcoin")]), good=st.booleans())
    def register(self, coins: tuple[str, ...], *, good: bool) -> None:
        self.now += timedelta(hours=1)
        self.fits += 1
        before = dict(self.count)
        made = register(
            self.registry, str(self.fits), coins=coins, scores=hold_out() if good else bad_hold_out(), now=self.now
        )
        for coin, version in zip(coins, made, strict=True):
            self.count[coin] += 1
            assert version.number == self.count[coin]
            self.moves.append((self.now, coin, "challenger", version.number, before[coin] or None))
            if good and self.production[coin] is None:
                self.moves.append((self.now, coin, "production", version.number, None))
                self.production[coin] = version.number

    @rule(coin=st.sampled_from(["bitcoin", "ethereum"]), number=st.integers(1, 6))
    def promote(self, coin: str, number: int) -> None:
        self.now += timedelta(hours=1)
        if number > self.count[coin]:
            with pytest.raises(RegistryError):
                self.registry.promote(self.key(coin), number, now=self.now, who="bob", why="x")
            return
        self.registry.promote(self.key(coin), number, now=self.now, who="bob", why="x")
        if self.production[coin] != number:
            self.moves.append((self.now, coin, "production", number, self.production[coin]))
        self.production[coin] = number

    @rule(coin=st.sampled_from(["bitcoin", "ethereum"]), hours=st.integers(0, 12))
    def ask_the_past(self, coin: str, hours: int) -> None:
        moment = NOW + timedelta(hours=hours, minutes=30)
        served = [
            number for at, c, alias, number, _ in self.moves if (c, alias) == (coin, "production") and at <= moment
        ]
        assert self.registry.production_at(self.key(coin), moment) == (served[-1] if served else None)

    @invariant()
    def aliases_and_history_are_as_told(self) -> None:
        for coin in self.coins:
            expected = {"production": self.production[coin], "challenger": self.count[coin] or None}
            assert numbers(self.registry, self.key(coin)) == expected
        told = [(e.at, e.key.coin, e.alias, e.number, e.previous) for e in self.registry.history()]
        assert told == self.moves

    def teardown(self) -> None:
        assert self.registry.verify() == ()


def test_aliases_and_history_follow_a_simple_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    class Machine(AgainstAModel):
        make = staticmethod(lambda: Registry.open(tmp_path_factory.mktemp("store")))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.slow
def test_one_of_ten_thousand_versions_is_asked_for_without_a_look_at_the_others(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long it takes, and how long the list of all of them does, is measured in benchmarks/registry.py."""
    coins = [f"coin{i}" for i in range(25)]
    contents = (canonical_json(new_version().calibration), canonical_json(hold_out()))
    database = Database(tmp_path / "registry" / "registry.db")
    database.create()
    with database.write() as connection:
        for number in range(1, 401):
            fit = settled(manifest(str(number), coins=coins))
            text = canonical_json(fit)
            insert_fit(connection, sha256_hex(text), text, fit, NOW)
            for coin in coins:
                key = VersionKey(coin, Market("sample", "usd", "daily"), "lightgbm")
                insert_version(connection, key, number, (sha256_hex(text), fit), contents, NOW)
                if number == 1:
                    set_alias(connection, key, "production", 1)
    steps = steps_of(monkeypatch)
    assert steps(lambda: registry.get("coin7/lightgbm:200", Market("sample", "usd", "daily"))) < FEW_STEPS
    assert steps(lambda: registry.best("coin7", Market("sample", "usd", "daily"))) < FEW_STEPS
    assert len(registry.listing()) == 10_000
