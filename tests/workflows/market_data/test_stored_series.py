"""Series one by one: shown, removed, and written as files that come back as they were."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from cryptocast.choices import Granularity
from cryptocast.config import Config, StoreConfig
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.file.reader import read_file
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market
from cryptocast.registry import Registry
from cryptocast.workflows.context import Selection
from cryptocast.workflows.market_data.stored_series import export_series, plan_removal, remove_series, show_series
from tests.registry.registry_fits import FILES, NOW, manifest, new_version, register

START = datetime(2024, 1, 1, tzinfo=UTC)
T1, T2 = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))


def bars(closes: dict[int, float], step: timedelta = timedelta(days=1), coin: str = "bitcoin") -> pl.DataFrame:
    """Every third bar is close-only, every fourth knows no volume."""
    rows = []
    for at, close in sorted(closes.items()):
        wide = close / 7 if at % 3 else 0.0
        volume, cap = (None, None) if at % 4 == 0 else (close * 1e6 / 3, close * 1e9)
        prices = (close - wide / 3, close + wide, close - wide, close)
        rows.append((coin, START + at * step, *prices, volume, cap, at % 3 > 0))
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def key(source: str = "file", vs: str = "usd", granularity: Granularity = "daily", coin: str = "bitcoin") -> SeriesKey:
    return SeriesKey(Market(source, vs, granularity), coin)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Three series of bitcoin and one of ethereum; that of Binance has a gap, a market and a revision."""
    store = CandleStore(tmp_path / "data", lock_timeout_s=1.0)
    store.write(key(), bars(dict.fromkeys(range(1, 9), 100.0)), fetched_at=T1)
    hours = bars(dict.fromkeys(range(1, 9), 7.0), timedelta(hours=1))
    store.write(key(vs="eur", granularity="hourly"), hours, fetched_at=T1)
    store.write(key(coin="ethereum"), bars({1: 5.0, 2: 6.0}, coin="ethereum"), fetched_at=T1)
    span = (START, START + timedelta(days=9))
    binance = key("binance")
    store.write(binance, bars({1: 10.0, 2: 11.0, 5: 12.0}), fetched_at=T1, covered=span, market="BTC/USDT")
    store.write(binance, bars({5: 13.0, 6: 14.0}), fetched_at=T2)
    return Config(store=StoreConfig(path=tmp_path / "data"))


def test_the_list_has_the_markets_gaps_and_revisions_of_all_series(config: Config) -> None:
    document = show_series(config, Selection())
    rows = {
        (row.coin, row.source, row.vs): (row.market, row.rows, row.missing, row.revisions) for row in document.series
    }
    assert rows == {
        ("bitcoin", "binance", "usd"): ("BTC/USDT", 4, 2, 1),
        ("bitcoin", "file", "usd"): (None, 8, 0, 0),
        ("bitcoin", "file", "eur"): (None, 8, 0, 0),
        ("ethereum", "file", "usd"): (None, 2, 0, 0),
    }
    assert document.details is None
    assert len(show_series(config, Selection(("bitcoin",))).series) == 3


def test_one_series_is_shown_with_how_it_came_about_and_its_latest_bars(config: Config) -> None:
    document = show_series(config, Selection(("bitcoin",), source="binance"))
    assert document.series[0].covered == ((START, START + timedelta(days=9)),)
    assert document.details is not None
    assert [(at.at, at.added, at.revised) for at in document.details.history] == [(T1, 3, 0), (T2, 1, 1)]
    assert [bar.close for bar in document.details.latest] == [10.0, 11.0, 13.0, 14.0]
    assert document.details.quality.missing_bars == 2


def test_what_is_not_there_is_said_with_what_is(config: Config) -> None:
    with pytest.raises(
        DataError, match=r"The store has no candles of dogecoin\. Fetch them: cryptocast fetch dogecoin"
    ):
        show_series(config, Selection(("dogecoin",)))
    with pytest.raises(DataError, match=r"has ethereum on other bars only: file, usd, daily\."):
        show_series(config, Selection(("ethereum",), vs="eur"))
    words = r"3 series of bitcoin: binance, .*; file, .* --source, --vs or --gran"
    with pytest.raises(UsageError, match=words):
        export_series(config, Selection(("bitcoin",)), Path("x.csv"))
    with pytest.raises(UsageError, match=words):
        plan_removal(config, Registry.open(config.store.path), Selection(("bitcoin",)))


def test_a_damaged_file_is_named_and_may_be_removed(config: Config) -> None:
    (file,) = config.store.path.rglob("candles/binance/usd/daily/bitcoin.parquet")
    file.write_bytes(b"PAR1")
    document = show_series(config, Selection(("bitcoin",)))
    assert [finding.path for finding in document.findings] == [str(file)]
    assert len(document.series) == 2
    registry = Registry.open(config.store.path)
    removal = plan_removal(config, registry, Selection(("bitcoin",), source="binance"))
    assert (removal.rows, removal.path) == (None, str(file))
    assert remove_series(config, removal).removed
    assert not file.exists()


def test_a_removal_names_the_versions_that_rest_on_the_series_and_touches_nothing_else(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    register(registry)  # of bitcoin on daily bars of the sample, in production
    store = CandleStore(tmp_path, lock_timeout_s=1.0)
    for source in ("sample", "file"):
        store.write(key(source), bars({1: 10.0, 2: 11.0}), fetched_at=T1)
    config = Config(store=StoreConfig(path=tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "sample" not in str(path)}
    assert plan_removal(config, registry, Selection(("bitcoin",), source="file")).versions == ()
    removal = plan_removal(config, registry, Selection(("bitcoin",), source="sample"))
    assert (removal.versions, removal.rows, removal.removed) == (("bitcoin/lightgbm:1",), 2, False)
    remove_series(config, removal)
    assert store.series_keys() == (key("file"),)
    after = {path: path.read_bytes() for path in before if path.exists()}
    assert after == before
    assert [version.name for version in registry.versions()] == ["bitcoin/lightgbm:1"]


def test_a_removal_names_versions_whose_pool_took_the_coin_from_the_series(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    fit = manifest("mixed", coins=("bitcoin", "ethereum"))
    coins = tuple(replace(data, source="okx" if data.coin == "ethereum" else "sample") for data in fit.coins)
    registry.register(replace(fit, coins=coins), FILES, [new_version("bitcoin", None)], now=NOW, who="ada")
    store, config = CandleStore(tmp_path, lock_timeout_s=1.0), Config(store=StoreConfig(path=tmp_path))
    for source in ("okx", "kraken"):
        store.write(key(source, coin="ethereum"), bars({1: 5.0, 2: 6.0}, coin="ethereum"), fetched_at=T1)
    named, other = (
        plan_removal(config, registry, Selection(("ethereum",), source=source)).versions for source in ("okx", "kraken")
    )
    assert (named, other) == (("bitcoin/lightgbm:1",), ())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("vs", "granularity"), [("usd", "daily"), ("eur", "hourly")])
def test_an_exported_series_is_imported_as_the_same_bars(
    tmp_path: Path, suffix: str, vs: str, granularity: Granularity
) -> None:
    step = timedelta(days=1) if granularity == "daily" else timedelta(hours=1)
    frame = bars({at: 100.0 / 3 + at**1.5 for at in (*range(1, 30), *range(33, 40))}, step)
    store = CandleStore(tmp_path / "data", lock_timeout_s=1.0)
    store.write(key("bitstamp", vs, granularity), frame, fetched_at=T1)
    config = Config(store=StoreConfig(path=tmp_path / "data"))
    out = tmp_path / f"out.{suffix}"
    written = export_series(config, Selection(("bitcoin",)), out)
    assert (written.rows, written.written) == (len(frame), str(out))
    imported = read_file(out, "bitcoin", now=T2, vs=vs)
    assert imported.granularity == granularity
    assert imported.frame.equals(frame)
    if vs == "eur":
        with pytest.raises(DataError, match="prices in EUR, not in USD"):
            read_file(out, "bitcoin", now=T2)


def test_an_export_needs_a_suffix_that_says_the_format(config: Config) -> None:
    with pytest.raises(UsageError, match=r"\.csv or \.parquet"):
        export_series(config, Selection(("ethereum",)), Path("x.xlsx"))
