"""Where a coin's candles come from, as the registry knows it."""

from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.errors import RegistryError
from cryptocast.registry import Registry, SourceMove
from tests.registry.registry_fits import NOW, register


def a_move(coin: str, source: str, hours: int = 0, previous: str | None = "coingecko") -> SourceMove:
    return SourceMove(coin=coin, vs="usd", source=source, previous=previous, at=NOW + timedelta(hours=hours), who="ada")


def test_the_last_move_of_a_coin_counts_and_all_are_kept(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    registry.record_moves([a_move("bitcoin", "bitstamp"), a_move("ethereum", "kraken", previous=None)])
    registry.record_moves([a_move("bitcoin", "okx", 1, "bitstamp")])
    settled = registry.settled_sources("usd", "daily")
    assert settled.moved == {"bitcoin": "okx", "ethereum": "kraken"}
    assert registry.settled_sources("eur", "daily").moved == {}
    assert [move.source for move in registry.source_moves("bitcoin")] == ["bitstamp", "okx"]
    assert len(registry.source_moves()) == 3
    assert registry.verify() == ()


def test_of_versions_in_production_the_earliest_of_the_same_bars_comes_first(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    for source, granularity in (("kraken", "hourly"), ("bitstamp", "daily"), ("coingecko", "daily")):
        register(registry, source=source, granularity=granularity)
    assert registry.settled_sources("usd", "daily").promoted == {"bitcoin": ("bitstamp", "coingecko", "kraken")}
    assert registry.settled_sources("usd", "hourly").promoted == {"bitcoin": ("kraken", "bitstamp", "coingecko")}


def test_a_registry_that_is_not_there_has_settled_nothing(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path, create=False)
    assert (registry.settled_sources("usd", "daily").moved, registry.source_moves()) == ({}, ())
    with pytest.raises(RegistryError, match="no registry"):
        registry.record_moves([a_move("bitcoin", "okx")])


def test_a_move_changes_what_a_server_looks_at(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    before = registry.served_state()
    registry.record_moves([a_move("bitcoin", "okx")])
    assert registry.served_state() != before
