from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, GateConfig, StoreConfig
from cryptocast.errors import RegistryError
from cryptocast.market import Market
from cryptocast.registry import CHALLENGER, PRODUCTION, CachedRegistry, Registry, RegistryWatch
from cryptocast.workflows.lifecycle.ab import ab_start
from tests.registry.registry_fits import BITCOIN, NOW, register
from tests.registry.registry_ledger import live


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    register(made, "1")
    register(made, "2", rounds=500)
    return made


def watched(root: Path) -> tuple[RegistryWatch, CachedRegistry]:
    watch = RegistryWatch(root)
    watch.look()
    return watch, CachedRegistry.over(root, gate=GateConfig(), stamp=watch)


def test_what_forecasts_rest_on_changes_the_stamp_and_the_ledger_does_not(tmp_path: Path, registry: Registry) -> None:
    watch, _ = watched(tmp_path)
    seen = [watch()]
    registry.promote(BITCOIN, 2, now=NOW + timedelta(days=1), who="ada", why="better")
    assert watch() == seen[0], "it is looked at, never asked for"
    seen.append(watch.look())
    rows, known = live(5, v1=0.03)
    registry.write_ledger(rows)
    assert watch.look() == seen[-1]
    registry.write_outcomes(known)
    seen.append(watch.look())
    assert len(set(seen)) == 3
    reader = Registry.open(tmp_path, create=False)
    reader.history()
    assert watch.look() == seen[-1]


def test_an_answer_is_kept_until_the_stamp_changes(tmp_path: Path, registry: Registry) -> None:
    watch, kept = watched(tmp_path)
    version = kept.alias(BITCOIN, PRODUCTION)
    assert version is not None
    assert version.number == 1
    registry.promote(BITCOIN, 2, now=NOW + timedelta(days=1), who="ada", why="better")
    assert kept.alias(BITCOIN, PRODUCTION) is version
    watch.look()
    found = kept.alias(BITCOIN, PRODUCTION)
    assert found is not None
    assert found.number == 2
    assert kept.alias(BITCOIN, PRODUCTION) is found


def test_every_question_has_the_answer_of_the_registry(tmp_path: Path, registry: Registry) -> None:
    _, kept = watched(tmp_path)
    recipe = registry.get("bitcoin/lightgbm:1", Market("sample", "usd", "daily")).manifest.recipe
    for _ in range(2):
        for asked in (registry, kept):
            assert asked.best("bitcoin", Market("sample", "usd", "daily")) == registry.best(
                "bitcoin", Market("sample", "usd", "daily")
            )
            assert asked.alias(BITCOIN, CHALLENGER) == registry.alias(BITCOIN, CHALLENGER)
            assert asked.get("bitcoin/lightgbm:2", Market("sample", "usd", "daily")).number == 2
            assert asked.evidence_for(BITCOIN, recipe) is None
            assert asked.calibration_states(BITCOIN, 1) == {}
            assert asked.live_mark(BITCOIN, 1) is None
            assert asked.ab_tests() == asked.ab_tests(BITCOIN) == ()


def test_an_error_is_not_kept(tmp_path: Path, registry: Registry) -> None:
    _, kept = watched(tmp_path)
    with pytest.raises(RegistryError, match="There is no"):
        kept.get("bitcoin/lightgbm:3", Market("sample", "usd", "daily"))
    register(registry, "3", rounds=600)
    assert kept.get("bitcoin/lightgbm:3", Market("sample", "usd", "daily")).number == 3


def test_where_there_is_no_registry_it_reads_as_empty_and_none_is_made(tmp_path: Path) -> None:
    watch, kept = watched(tmp_path)
    assert kept.best("bitcoin", Market("sample", "usd", "daily")) is None
    assert watch.look() == watch()
    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_cannot_be_read_has_a_stamp_and_says_so_when_it_is_asked(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry, "1")
    for path in (tmp_path / "registry").glob("registry.db*"):
        path.write_bytes(b"no database " * 300)
    watch, kept = watched(tmp_path)
    assert watch() is not None
    with pytest.raises(RegistryError):
        kept.best("bitcoin", Market("sample", "usd", "daily"))


def test_the_start_of_a_test_is_seen(tmp_path: Path, registry: Registry) -> None:
    watch, kept = watched(tmp_path)
    before = watch()
    assert kept.ab_tests() == ()
    settings = Config(store=StoreConfig(path=tmp_path), data=DataConfig(coins=("bitcoin",)))
    ab_start(settings, registry, BITCOIN, challenger=2, share=0.3, who="ada", now=NOW)
    assert watch.look() != before
    assert len(kept.ab_tests()) == 1
