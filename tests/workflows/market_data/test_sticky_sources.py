"""`auto` against the stand-in's exchanges: a coin gets a source once, and keeps it whatever fails."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, ExchangesConfig, SourceChoice, StoreConfig
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.table import SOURCES
from cryptocast.errors import CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.registry import Registry
from cryptocast.rehearsal import FakeUpstream, Rule
from cryptocast.workflows.coin_pool import coin_data, gather
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.market_data.fetch import FetchOrder, FetchReport, fetch
from cryptocast.workflows.market_data.longer_history import longer_histories
from cryptocast.workflows.market_data.move import move
from cryptocast.workflows.market_data.resolve import CoinCandles, Outcome, obtain, open_store
from tests.registry.registry_fits import register
from tests.serving.trained_store import trained

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(now=NOW) as fake:
        yield fake


@pytest.fixture(autouse=True)
def calm(fake: FakeUpstream) -> None:
    fake.reset()


def context_of(folder: Path, address: str, **data: Any) -> Context:
    nearby = {"since": SINCE.date(), **data}
    config = Config(
        store=StoreConfig(path=folder),
        data=DataConfig(**nearby),
        coingecko=CoinGeckoConfig(base_url=f"{address}/api/v3", calls_per_minute=1000, max_retries=0),
        exchanges=ExchangesConfig(base_url=address, max_retries=0),
    )
    return Context(config, wall_clock=lambda: NOW)


def ask(context: Context, coin: str, source: SourceChoice | None = None) -> Outcome:
    return obtain(context, Selection((coin,), source=source).resolved(context.config))[coin]


def source_of(outcome: Outcome) -> str:
    assert isinstance(outcome, CoinCandles), outcome
    return outcome.candles.provenance.key.source


def put(context: Context, source: str, coin: str, *, last: datetime = NOW, known: datetime = NOW) -> None:
    last = last.replace(hour=0, minute=0)
    rows = [(coin, last - timedelta(days=back), *[50.0 + back] * 4, 1.0, None, True) for back in range(40)]
    frame = pl.DataFrame(rows[::-1], schema=CANDLE_SCHEMA, orient="row")
    open_store(context.config).write(SeriesKey(Market(source, "usd", "daily"), coin), frame, fetched_at=known)


def exchange_of(call: Any) -> str:
    return str(call.path).strip("/").split("/")[0]


def test_a_new_coin_gets_the_first_exchange_that_lists_it_and_no_other_is_asked(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    context = context_of(tmp_path, fake.origin)
    assert source_of(ask(context, "bitcoin")) == "bitstamp"
    assert {exchange_of(call) for call in fake.calls.log} == {"bitstamp"}
    elsewhere = context_of(tmp_path, fake.origin, exchanges=("okx", "bitstamp"))
    assert source_of(ask(elsewhere, "bitcoin")) == "bitstamp", "it has a source already"
    assert source_of(ask(elsewhere, "ethereum")) == "okx"


def test_a_coin_that_no_exchange_lists_comes_from_coingecko(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin, exchanges=("bitstamp", "kraken"))
    assert source_of(ask(context, "stopped-coin")) == "coingecko"


@pytest.mark.parametrize("status", [403, 451, 500])
def test_an_exchange_that_fails_leaves_stale_candles_and_is_not_replaced(
    fake: FakeUpstream, tmp_path: Path, status: int
) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "bitstamp", "bitcoin", last=NOW - timedelta(days=9), known=NOW - timedelta(days=9))
    fake.script([Rule(fault="error", status=status, endpoints=("exchange_bars", "exchange_markets"))])
    outcome = ask(context, "bitcoin")
    assert source_of(outcome) == "bitstamp"
    assert isinstance(outcome, CoinCandles)
    assert outcome.stale
    assert "Bitstamp" in (outcome.notice or "")
    assert {exchange_of(call) for call in fake.calls.log} == {"bitstamp"}


def test_a_new_coin_passes_over_an_exchange_that_refuses_and_says_so(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    fake.script([Rule(fault="error", status=451, endpoints=("exchange_markets",), times=1)])
    outcome = ask(context, "bitcoin")
    assert source_of(outcome) == "coinbase"
    assert isinstance(outcome, CoinCandles)
    assert "comes from Coinbase from now on" in (outcome.notice or "")
    assert "does not serve this address (451)" in (outcome.notice or "")


def test_without_a_network_a_new_coin_rests_on_the_sample_and_gets_its_source_when_there_is_one(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    outcome = ask(context_of(tmp_path, NOWHERE), "bitcoin")
    assert source_of(outcome) == "sample"
    assert isinstance(outcome, CoinCandles)
    assert "no network" in (outcome.notice or "")
    assert isinstance(ask(context_of(tmp_path, NOWHERE), "solana"), UpstreamError)
    assert source_of(ask(context_of(tmp_path, fake.origin), "bitcoin")) == "bitstamp"


def test_the_source_of_the_version_in_production_goes_before_that_of_the_candles(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "bitstamp", "bitcoin", known=NOW - timedelta(days=30))
    put(context, "coingecko", "bitcoin", known=NOW)
    assert source_of(ask(context, "bitcoin")) == "bitstamp", "it has been known longer"
    register(Registry.open(tmp_path), source="coingecko")
    assert source_of(ask(context, "bitcoin")) == "coingecko"
    assert source_of(ask(context, "bitcoin", source="bitstamp")) == "bitstamp"


def test_a_store_of_an_earlier_release_answers_with_the_same_version(fake: FakeUpstream, tmp_path: Path) -> None:
    """CoinGecko's candles and versions in production, as every release before the exchanges left them."""
    old = trained(tmp_path)
    named = forecast(old.context, Request(Selection(("bitcoin",))))
    config = replace(old.context.config, data=DataConfig(), exchanges=ExchangesConfig(base_url=fake.origin))
    now = forecast(replace_config(old.context, config), Request(Selection(("bitcoin",))))
    assert now.forecasts == named.forecasts
    assert (now.forecasts[0].version, now.forecasts[0].source) == (1, "coingecko")
    assert now.forecasts[0].fallback_reason is None
    assert fake.calls.total == 0


def replace_config(context: Context, config: Config) -> Context:
    return dataclasses.replace(context, config=config)


def test_a_coin_is_moved_by_hand_with_a_row_in_the_registry(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "coingecko", "bitcoin")
    register(Registry.open(tmp_path), source="coingecko")
    order = FetchOrder(Selection(("bitcoin",)), since=SINCE)
    (row,) = move(context, order, "bitstamp").coins
    assert (row.source, row.error) == ("bitstamp", None)
    assert "comes from Bitstamp from now on (before: CoinGecko)" in (row.notice or "")
    (recorded,) = Registry.open(tmp_path).source_moves("bitcoin")
    assert (recorded.source, recorded.previous, recorded.at) == ("bitstamp", "coingecko", NOW)
    assert source_of(ask(context, "bitcoin")) == "bitstamp"
    assert open_store(context.config).read(SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")) is not None
    assert len(Registry.open(tmp_path).versions()) == 1
    assert move(context, order, "bitstamp").coins[0].notice is None, "it is there already"
    assert len(Registry.open(tmp_path).source_moves()) == 1


def test_what_did_not_come_is_not_moved(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "coingecko", "bitcoin")
    fake.script([Rule(fault="error", status=503, endpoints=("exchange_bars",))])
    report = move(context, FetchOrder(Selection(("bitcoin",))), "bitstamp")
    assert report.coins[0].error is not None
    assert source_of(ask(context, "bitcoin")) == "coingecko"


@pytest.mark.parametrize(("target", "source"), [("sample", None), ("simulated", None), ("kraken", "okx")])
def test_a_coin_is_moved_to_real_prices_only_and_to_one_source(tmp_path: Path, target: str, source: str | None) -> None:
    with pytest.raises(UsageError, match="--move-to"):
        move(context_of(tmp_path, NOWHERE), FetchOrder(Selection(("bitcoin",), source=source)), target)


def test_coins_of_several_sources_learn_together_and_the_manifest_says_from_where(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "coingecko", "ethereum")
    put(context, "file", "litecoin")
    request = Selection(("bitcoin",)).resolved(context.config)
    (pool,) = gather(context, request, pool=("ethereum", "litecoin"))
    assert (pool.market.source, pool.coins) == ("bitstamp", ("bitcoin", "ethereum", "litecoin"))
    origins = {data.coin: (data.source, data.market) for data in coin_data(pool)}
    assert origins["bitcoin"] == ("bitstamp", "BTC/USD")
    assert origins["ethereum"][0] == "coingecko"
    assert origins["litecoin"][0] == "file"


def test_a_longer_history_is_named_with_the_source_that_has_it(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "coingecko", "bitcoin")
    put(context, "kraken", "ethereum")
    request = Selection(("bitcoin", "ethereum", "litecoin")).resolved(context.config)
    access = Access(context.config, lambda: NOW)
    others = [SOURCES["kraken"], SOURCES["bitstamp"]]
    histories = list(longer_histories(context, request, others, lambda source: source.connect(access)))
    assert [(one.coin, one.own.name, one.source.name) for one in histories] == [
        ("bitcoin", "coingecko", "kraken"),
        ("ethereum", "kraken", "bitstamp"),
    ]


def test_a_fetch_without_a_source_brings_a_new_coin_from_an_exchange(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    report: FetchReport = fetch(context, FetchOrder(Selection(("bitcoin", "no-such-coin"))))
    bitcoin, unknown = report.coins
    assert (bitcoin.source, bitcoin.stale) == ("bitstamp", False)
    assert unknown.error is not None
    assert report.summary.came == 1


def test_a_registry_that_cannot_be_read_settles_nothing(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    put(context, "coingecko", "bitcoin")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "registry.db").write_bytes(b"not a database" * 100)
    assert source_of(ask(context, "bitcoin")) == "coingecko"


def test_a_command_that_fetches_nothing_says_so_of_a_new_coin(fake: FakeUpstream, tmp_path: Path) -> None:
    context = context_of(tmp_path, fake.origin)
    request = Selection(("bitcoin",), stored=True).resolved(context.config)
    assert isinstance(obtain(context, request)["bitcoin"], DataError)
    past = obtain(context, Selection(("bitcoin",), as_of=NOW).resolved(context.config))["bitcoin"]
    assert isinstance(past, CryptocastError)
    assert "it has none" in str(past)
    assert fake.calls.total == 0


def test_a_coin_with_hours_from_a_file_alone_is_told_of_them_where_days_are_wanted(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    context = context_of(tmp_path, fake.origin)
    start = NOW.replace(minute=0)
    rows = [("bitcoin", start - timedelta(hours=back), *[50.0 + back] * 4, 1.0, None, True) for back in range(40)]
    frame = pl.DataFrame(rows[::-1], schema=CANDLE_SCHEMA, orient="row")
    open_store(context.config).write(SeriesKey(Market("file", "usd", "hourly"), "bitcoin"), frame, fetched_at=NOW)
    outcome = ask(context, "bitcoin")
    assert isinstance(outcome, DataError)
    assert "has hourly candles of bitcoin from your own file" in str(outcome)
    assert "--granularity daily" in str(outcome)
    assert fake.calls.total == 0
