import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.sources.coingecko.coin_list import (
    CoinList,
    ListedCoin,
    parse_coin_list,
    read_coin_list,
    write_coin_list,
)
from cryptocast.data.sources.coingecko.refusals import unknown_coin
from cryptocast.errors import UpstreamError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ROWS = [
    ("batcat", "btc", "batcat"),
    ("bitcoin", "btc", "Bitcoin"),
    ("bitcoin-cash", "bch", "Bitcoin Cash"),
    ("ethereum", "eth", "Ethereum"),
    ("polygon-ecosystem-token", "pol", "POL (ex-MATIC)"),
    ("dogecoin", "doge", "Dogecoin"),
    ("osmosis", "osmo", "Osmosis"),
]


def listing(*rows: tuple[str, str, str], at: datetime = NOW) -> CoinList:
    return CoinList(fetched_at=at, coins=tuple(ListedCoin(*row) for row in rows or ROWS))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bitcoin", ("bitcoin",)),
        ("Bitcoin", ("bitcoin",)),
        ("btc", ("bitcoin", "batcat")),  # symbols are not unique: the well-known one first
        ("BTC ", ("bitcoin", "batcat")),
        ("osmo", ("osmosis",)),
        ("Bitcoin Cash", ("bitcoin-cash",)),
        ("bitcion", ("bitcoin",)),
        ("etherium", ("ethereum",)),
        ("dogcoin", ("dogecoin",)),
        ("qqqqqq", ()),
    ],
)
def test_ids_are_found_by_symbols_names_and_near_misses(typed: str, meant: tuple[str, ...]) -> None:
    assert listing().matches(typed)[: max(len(meant), 1)] == meant


def test_an_unknown_coin_is_told_with_what_may_have_been_meant() -> None:
    assert "Did you mean bitcoin or batcat?" in str(unknown_coin("btc", listing()))
    assert "Did you mean osmosis?" in str(unknown_coin("osmo", listing()))
    assert "Did you mean bitcoin?" in str(unknown_coin("bitcion"))  # without a list


def test_a_coin_that_moved_is_told_with_its_new_id_and_is_never_followed_silently() -> None:
    said = str(unknown_coin("matic-network", listing()))
    assert "it is now polygon-ecosystem-token" in said
    assert "cryptocast fetch polygon-ecosystem-token" in said
    assert listing(("bitcoin", "btc", "Bitcoin")).moved_to("matic-network") is None  # the new one must be listed


def test_moves_are_learned_from_two_lists() -> None:
    old = listing(("old-id", "abc", "Alphabet"), ("gone", "gon", "Gone"), ("stays", "sta", "Stays"))
    new = listing(
        ("new-id", "xyz", "Alphabet"), ("stays", "sta", "Stays"), ("heir-1", "gon", "One"), ("heir-2", "gon", "Two")
    ).after(old)
    assert new.moves == {"old-id": "new-id"}  # by its name; two heirs by symbol leave a choice, so none
    assert new.moved_to("old-id") == "new-id"
    later = listing(("new-id", "xyz", "Alphabet")).after(new)
    assert later.moves["old-id"] == "new-id"
    back = listing(("old-id", "abc", "Alphabet"), ("new-id", "xyz", "Alphabet")).after(later)
    assert back.moved_to("old-id") is None


def test_a_list_is_kept_for_a_day(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "coins.json"
    assert read_coin_list(path) is None
    write_coin_list(path, listing())
    kept = read_coin_list(path)
    assert kept == listing()
    assert kept is not None
    assert kept.is_fresh(NOW + timedelta(hours=23))
    assert not kept.is_fresh(NOW + timedelta(hours=24))
    assert not kept.is_fresh(NOW - timedelta(hours=1))


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff"])
def test_a_damaged_list_on_disk_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "coins.json").write_bytes(content)
    assert read_coin_list(tmp_path / "coins.json") is None


text = st.one_of(st.none(), st.text(max_size=12))
rows = st.lists(st.fixed_dictionaries({"id": st.text(max_size=12), "symbol": text, "name": text}), max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows, st.text(max_size=12))
def test_any_list_of_the_right_shape_can_be_asked_or_is_refused(content: list[dict[str, str]], typed: str) -> None:
    try:
        found = parse_coin_list(json.dumps(content).encode(), NOW)
    except UpstreamError:
        assert not any(row["id"] and row["id"].isprintable() for row in content)
        return
    for coin in found.matches(typed):
        assert coin in found
    assert str(unknown_coin("some-coin", found)).isprintable()


@pytest.mark.parametrize("body", [b"", b"<html>", b'[{"id": "bit'])
def test_what_is_no_json_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="not whole JSON"):
        parse_coin_list(body, NOW)


@pytest.mark.parametrize("body", [b"null", b'{"error": "Down"}', b"{}", b"[]", b"[1]", b'[{"symbol": "x"}]'])
def test_what_is_no_list_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        parse_coin_list(body, NOW)
