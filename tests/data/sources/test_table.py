import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

import cryptocast
from cryptocast.config import SOURCE_CHOICES, Config, DataConfig, SourceName
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.table import SOURCES, ages_by_clock, candidates, is_fetched, is_real, settled_source
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market

NOW = datetime(2026, 1, 2, 15, tzinfo=UTC)
NAMES = sorted(SOURCES)
PACKAGE = Path(cryptocast.__file__).parent
OUTSIDE = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "data" / "sources" not in path.parents]


def key_of(source: str) -> SeriesKey:
    return SeriesKey(Market(source, "usd", "daily"), "no-such-coin")


def test_the_settings_and_the_table_name_the_same_sources() -> None:
    assert set(get_args(SourceName)) == set(SOURCES)
    assert ("auto", *get_args(SourceName)) == SOURCE_CHOICES
    assert all(name == source.name for name, source in SOURCES.items())


def test_a_coin_that_was_moved_comes_from_there_whatever_else_it_has() -> None:
    source = settled_source(moved="kraken", stored=["file", "bitstamp"], promoted=["coingecko"])
    assert source is SOURCES["kraken"]


@pytest.mark.parametrize(
    ("stored", "promoted", "expected"),
    [
        (["coingecko", "file"], ["bitstamp"], "file"),
        (["bitstamp"], ["coingecko"], "coingecko"),
        (["bitstamp", "coingecko"], ["sample"], "bitstamp"),
        (["ccxt-bitfinex"], ["of-another-cryptocast", "simulated"], "ccxt-bitfinex"),
        ([], ["file", "sample"], None),
        ([], [], None),
    ],
)
def test_a_coin_keeps_its_file_then_the_source_of_its_version_then_that_of_its_candles(
    stored: list[str], promoted: list[str], expected: str | None
) -> None:
    source = settled_source(moved=None, stored=stored, promoted=promoted)
    assert (None if source is None else source.name) == expected


@pytest.mark.parametrize(
    ("stored", "others", "expected"),
    [
        ([], ["okx"], "okx"),
        (["kraken"], ["okx", "file"], "kraken"),
        ([], ["file", "okx"], "okx"),
        ([], ["file"], "file"),
    ],
)
def test_candles_of_the_other_length_count_after_those_of_the_same(
    stored: list[str], others: list[str], expected: str
) -> None:
    source = settled_source(moved=None, stored=stored, promoted=[], with_other_bars=others)
    assert source is SOURCES[expected]


def test_a_new_coin_is_looked_for_on_the_exchanges_of_the_settings_then_on_coingecko() -> None:
    names = [source.name for source in candidates(Config())]
    assert names == ["bitstamp", "coinbase", "binance", "kraken", "okx", "bybit", "coingecko"]
    assert [source.name for source in candidates(Config(data=DataConfig(exchanges=("okx",))))] == ["okx", "coingecko"]


def test_prices_that_nobody_paid_are_not_real() -> None:
    assert {name for name in NAMES if not is_real(name)} == {"sample", "simulated"}
    assert is_real("ccxt-bitfinex")
    assert not is_real("of-another-cryptocast")


@pytest.mark.parametrize("name", NAMES)
def test_a_source_lies_in_the_store_or_loads_its_candles(name: str) -> None:
    source = SOURCES[name]
    said = source.explain_missing(Config(), key_of(name))
    assert "no-such-coin" in said
    with pytest.raises(DataError, match="no-such-coin"):
        source.load(Config(), key_of(name))


@pytest.mark.parametrize("name", [name for name in NAMES if not SOURCES[name].is_fetched])
def test_what_is_not_fetched_has_no_connection(name: str) -> None:
    with pytest.raises(DataError, match="Nothing is fetched"):
        SOURCES[name].connect(Access(Config(), lambda: NOW))


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_of_a_source_hold_what_is_missing_and_nothing_of_the_future_is_settled(name: str) -> None:
    source = SOURCES[name]
    assert source.pages(key_of(name), [], NOW) == ()
    (page,) = source.pages(key_of(name), [(NOW - timedelta(days=9), NOW)], NOW)
    assert (page.start, page.end, page.ends_now) == (NOW - timedelta(days=9), NOW, True)
    settled = source.settled(page, NOW)
    assert settled is not None
    assert page.start == settled[0] < settled[1] < NOW


def test_real_bars_age_and_those_of_exchanges_are_fetched() -> None:
    assert [name for name in NAMES if not ages_by_clock(name)] == ["simulated"]
    assert [name for name in NAMES if not is_fetched(name)] == ["file", "sample", "simulated"]


def test_what_is_not_known_here_is_not_fetched_and_does_not_age() -> None:
    assert not is_fetched("of-another-cryptocast")
    assert not ages_by_clock("of-another-cryptocast")


def test_the_store_takes_the_names_of_the_table_and_no_others(tmp_path: Path) -> None:
    store = CandleStore(tmp_path, lock_timeout_s=1.0)
    assert {store.path(key_of(name)).parts[-4] for name in NAMES} == set(NAMES)
    with pytest.raises(UsageError, match="is not a source of candles"):
        store.path(key_of("of-another-cryptocast"))


def test_only_what_is_fetched_has_needs_that_doctor_looks_at() -> None:
    needs = {name: {found.name for found in SOURCES[name].findings(Config(), {})} for name in NAMES}
    assert needs.pop("coingecko") >= {"key"}
    assert set().union(*needs.values()) == set()
    assert SOURCES["sample"].probe(Config(), None) == "the sample is not asked"


def compared(tree: ast.AST) -> set[str]:
    """The words that comparisons hold something against."""
    return {
        word.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for word in ast.walk(node)
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }


def test_nobody_but_the_sources_compares_their_names() -> None:
    found = {path: compared(ast.parse(path.read_text(encoding="utf-8"))) & set(NAMES) for path in OUTSIDE}
    assert {path: names for path, names in found.items() if names} == {}
    assert len(found) > 100
