import json
import socket
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import pytest

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, ExchangesConfig, SourceChoice, StoreConfig
from cryptocast.data.schema import CANDLE_SCHEMA, Provenance, SeriesKey
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.errors import UnknownCoin
from cryptocast.errors import CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.net import ApiClient
from cryptocast.rehearsal import FakeUpstream
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.resolve import CoinCandles, is_fresh, obtain, open_store

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)


class Upstream:
    """A CoinGecko that knows every coin but `nocoin`; counts calls, can be cut off, rate limited or late."""

    def __init__(self, *, network: bool = True, status: int = 200, last: datetime = MIDNIGHT) -> None:
        self.network, self.status, self.last = network, status, last
        self.paths: list[str] = []
        self.opened = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if not self.network:
            raise httpx.ConnectError("no") from socket.gaierror(-2, "Name or service not known")
        if request.url.path.endswith("/coins/list"):
            self.paths.pop()
            return httpx.Response(404)
        if "nocoin" in request.url.path:
            return httpx.Response(404, content=b'{"error": "coin not found"}')
        if self.status != 200:
            return httpx.Response(self.status)
        days = int(request.url.params["days"])
        points = [[(self.last - back * DAY).timestamp() * 1000, 100.0 + back % 5] for back in reversed(range(days))]
        return httpx.Response(200, content=json.dumps({"prices": points}).encode())

    def factory(self, config: Config) -> Callable[[], CoinGecko]:
        def build() -> CoinGecko:
            self.opened += 1
            return CoinGecko(config.coingecko, client=partial(ApiClient, transport=httpx.MockTransport(self)))

        return build


def settings(tmp_path: Path) -> Config:
    return Config(
        store=StoreConfig(path=tmp_path / "data", lock_timeout_s=5.0),
        coingecko=CoinGeckoConfig(max_retries=0, calls_per_minute=1000),
        data=DataConfig(since=date(2025, 1, 1), exchanges=()),
    )


class Obtained(NamedTuple):
    """What could be had, and why the rest could not."""

    bars: dict[str, CoinCandles]
    missing: dict[str, CryptocastError]


def ask(
    config: Config,
    upstream: Upstream,
    *coins: str,
    source: SourceChoice = "auto",
    now: datetime | None = None,
    wall: datetime = NOW,
    fetch_allowed: bool = True,
    as_of: datetime | None = None,
) -> Obtained:
    request = Resolved(coins, source, "usd", "daily", now=now, as_of=as_of)
    context = Context(config, wall_clock=lambda: wall)
    outcomes = obtain(context, request, fetch_allowed=fetch_allowed, connect=lambda _: upstream.factory(config)())
    return Obtained(
        {coin: one for coin, one in outcomes.items() if isinstance(one, CoinCandles)},
        {coin: one for coin, one in outcomes.items() if isinstance(one, CryptocastError)},
    )


def put(config: Config, source: str, coin: str, last: datetime, bars: int = 30) -> None:
    rows = [(coin, last - back * DAY, *[50.0 + back] * 4, 1.0, None, True) for back in reversed(range(bars))]
    frame = pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")
    open_store(config).write(SeriesKey(Market(source, "usd", "daily"), coin), frame, fetched_at=last)


def source_of(obtained: Obtained, coin: str) -> str:
    return obtained.bars[coin].candles.provenance.key.source


def test_auto_fetches_what_the_store_lacks_and_asks_no_more_while_it_is_fresh(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    first = ask(config, upstream, "bitcoin", "ripple")
    assert [source_of(first, coin) for coin in ("bitcoin", "ripple")] == ["coingecko", "coingecko"]
    assert list(first.bars) == ["bitcoin", "ripple"]
    assert len(upstream.paths) == 2
    bars = first.bars["bitcoin"]
    assert (bars.age.now, bars.stale, bars.notice) == (NOW, False, None)
    assert bars.candles.provenance.last == MIDNIGHT
    again = ask(config, upstream, "bitcoin", wall=NOW + timedelta(hours=8))
    assert len(upstream.paths) == 2
    assert again.bars["bitcoin"].candles.provenance == bars.candles.provenance


def test_a_new_bar_is_fetched_once_it_can_be_there(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    ask(config, upstream, "bitcoin")
    ask(config, upstream, "bitcoin", wall=MIDNIGHT + DAY + timedelta(minutes=10))  # the upstream is late by ten minutes
    assert len(upstream.paths) == 1
    upstream.last = MIDNIGHT + DAY
    later = ask(config, upstream, "bitcoin", wall=MIDNIGHT + DAY + timedelta(minutes=20))
    assert len(upstream.paths) == 2
    assert later.bars["bitcoin"].candles.provenance.last == MIDNIGHT + DAY


def test_a_coin_that_upstream_let_die_is_stale_and_not_asked_for_with_every_command(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream(last=MIDNIGHT - 10 * DAY)
    bars = ask(config, upstream, "bitcoin").bars["bitcoin"]
    assert bars.stale
    assert bars.notice is not None
    assert "2025-12-23" in bars.notice
    ask(config, upstream, "bitcoin", wall=NOW + timedelta(minutes=5))
    assert len(upstream.paths) == 1


def test_the_users_own_file_comes_first_and_an_old_one_names_the_source_that_it_hides(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    last = datetime(2021, 7, 7, tzinfo=UTC)
    put(config, "file", "bitcoin", last)
    put(config, "coingecko", "bitcoin", MIDNIGHT)
    bars = ask(config, upstream, "bitcoin").bars["bitcoin"]
    assert (bars.candles.provenance.key.source, bars.age.now, bars.stale) == ("file", NOW, True)
    assert (bars.age.has_ended, bars.age.late) == (True, 0)
    assert "auto uses your own file for bitcoin" in (bars.notice or "")
    assert "cryptocast fetch bitcoin --move-to SOURCE" in (bars.notice or "")
    assert ask(config, upstream, "bitcoin", source="file").bars["bitcoin"].notice is None
    assert upstream.opened == 0


@pytest.mark.parametrize(("days", "stale"), [(0, False), (2, False), (3, True)])
def test_a_file_is_stale_once_its_next_bar_is_late(tmp_path: Path, days: int, stale: bool) -> None:
    config = settings(tmp_path)
    put(config, "file", "bitcoin", MIDNIGHT - days * DAY)
    bars = ask(config, Upstream(), "bitcoin").bars["bitcoin"]
    assert (bars.stale, bars.notice is not None, bars.age.has_ended) == (stale, stale, True)
    then = ask(config, Upstream(), "bitcoin", now=MIDNIGHT - days * DAY).bars["bitcoin"]
    assert (then.stale, then.notice) == (False, None)
    later = ask(config, Upstream(), "bitcoin", now=MIDNIGHT + 30 * DAY).bars["bitcoin"]
    assert (later.stale, later.age.now) == (True, MIDNIGHT + 30 * DAY)


def test_an_exchange_that_is_not_reached_is_live_for_its_longest_horizon_and_then_it_has_ended(tmp_path: Path) -> None:
    with FakeUpstream(now=NOW, coins=0) as fake:
        config = Config(
            store=StoreConfig(path=tmp_path / "data"),
            data=DataConfig(since=date(2025, 11, 1)),
            exchanges=ExchangesConfig(base_url=fake.origin),
        )
        request, ages = Resolved(("bitcoin",), "bitstamp", "usd", "daily", now=None), []
        for days in (0, 2, 5, 40):
            wall = NOW + days * DAY
            context = Context(config, wall_clock=partial(datetime.fromisoformat, wall.isoformat()))
            bars = obtain(context, request, fetch_allowed=days == 0)["bitcoin"]
            assert isinstance(bars, CoinCandles)
            assert bars.candles.provenance.last == MIDNIGHT
            ages.append((bars.stale, bars.age.has_ended, bars.age.late))
    assert ages == [(False, False, 0), (True, False, 0), (True, False, 5), (True, True, 0)]


def test_the_simulated_market_has_a_clock_of_its_own(tmp_path: Path) -> None:
    bars = ask(settings(tmp_path), Upstream(), "bitcoin", source="simulated").bars["bitcoin"]
    assert (bars.age.now, bars.stale) == (bars.candles.provenance.last, False)


def test_without_a_network_the_sample_answers_and_says_so_after_one_attempt(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream(network=False)
    obtained = ask(config, upstream, "bitcoin", "ethereum", "ripple", "litecoin")
    assert list(obtained.bars) == ["bitcoin", "ethereum", "litecoin"]
    for bars in obtained.bars.values():
        assert bars.notice is not None
        assert "no network" in bars.notice
        assert "using the sample, real Bitstamp prices that end 2020-01-17, instead" in bars.notice
        assert (bars.age.now, bars.stale, bars.age.has_ended) == (NOW, True, True)
    assert isinstance(obtained.missing["ripple"], UpstreamError)
    assert len(upstream.paths) == 1
    assert not (tmp_path / "data").exists()


def test_the_sample_never_keeps_auto_from_coingecko(tmp_path: Path) -> None:
    config = settings(tmp_path)
    put(config, "sample", "bitcoin", datetime(2020, 1, 17, tzinfo=UTC))
    assert source_of(ask(config, Upstream(network=False), "bitcoin"), "bitcoin") == "sample"
    assert source_of(ask(config, Upstream(), "bitcoin"), "bitcoin") == "coingecko"


@pytest.mark.parametrize("upstream", [Upstream(network=False), Upstream(status=429), Upstream(status=503)])
def test_older_candles_come_before_the_sample_and_are_stale(tmp_path: Path, upstream: Upstream) -> None:
    config = settings(tmp_path)
    put(config, "coingecko", "bitcoin", MIDNIGHT - DAY)
    bars = ask(config, upstream, "bitcoin").bars["bitcoin"]
    assert (bars.candles.provenance.key.source, bars.stale, bars.age.now) == ("coingecko", True, NOW)
    assert bars.notice is not None
    assert "older CoinGecko candles, to 2026-01-01" in bars.notice
    assert len(bars.candles.frame) == 30


def test_new_bars_are_joined_to_the_old_ones_of_the_same_source(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    put(config, "coingecko", "bitcoin", MIDNIGHT - 200 * DAY)
    bars = ask(config, upstream, "bitcoin").bars["bitcoin"]
    assert bars.candles.provenance.first == MIDNIGHT - 229 * DAY
    assert bars.candles.provenance.last == MIDNIGHT
    assert len(bars.candles.frame) == 230


def test_an_unknown_coin_is_missing_and_the_others_are_there(tmp_path: Path) -> None:
    obtained = ask(settings(tmp_path), Upstream(), "nocoin", "bitcoin")
    assert list(obtained.bars) == ["bitcoin"]
    assert type(obtained.missing["nocoin"]) is UnknownCoin


def test_a_near_miss_is_guessed_at_without_a_network(tmp_path: Path) -> None:
    obtained = ask(settings(tmp_path), Upstream(network=False), "bitcion", "btc")
    for coin in ("bitcion", "btc"):
        assert "Did you mean bitcoin?" in str(obtained.missing[coin])


def test_a_malformed_name_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    upstream = Upstream()
    with pytest.raises(UsageError):
        ask(settings(tmp_path), upstream, "bitcoin", "../../etc/passwd")
    assert upstream.opened == 0


def test_now_cuts_the_bars_and_sets_the_clock(tmp_path: Path) -> None:
    config = settings(tmp_path)
    then = datetime(2018, 5, 5, 12, tzinfo=UTC)
    bars = ask(config, Upstream(), "bitcoin", source="sample", now=then).bars["bitcoin"]
    assert bars.age.now == then
    assert bars.candles.provenance.last == datetime(2018, 5, 5, tzinfo=UTC)
    assert bars.candles.provenance.rows == len(bars.candles.frame)
    whole = ask(config, Upstream(), "bitcoin", source="sample").bars["bitcoin"]
    assert whole.candles.provenance.content_hash != bars.candles.provenance.content_hash
    early = ask(config, Upstream(), "bitcoin", source="sample", now=datetime(2010, 1, 1, tzinfo=UTC))
    assert "later --now" in str(early.missing["bitcoin"])


def test_a_past_now_needs_no_fetch_when_the_store_reaches_it(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    put(config, "coingecko", "bitcoin", MIDNIGHT - 20 * DAY)
    bars = ask(config, upstream, "bitcoin", now=MIDNIGHT - 25 * DAY).bars["bitcoin"]
    assert (bars.candles.provenance.last, bars.stale, upstream.paths) == (MIDNIGHT - 25 * DAY, False, [])


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [("file", DataError, "--source file --file FILE"), ("coingecko", UpstreamError, "not in the store")],
)
def test_a_named_source_is_not_replaced_by_another(
    tmp_path: Path, source: SourceChoice, error: type[Exception], words: str
) -> None:
    obtained = ask(settings(tmp_path), Upstream(network=False), "bitcoin", source=source)
    assert obtained.bars == {}
    assert isinstance(obtained.missing["bitcoin"], error)
    assert words in str(obtained.missing["bitcoin"])


def test_where_fetching_is_not_allowed_nothing_is_asked(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    put(config, "coingecko", "ripple", MIDNIGHT - 3 * DAY)
    obtained = ask(config, upstream, "ripple", "monero", "bitcoin", fetch_allowed=False)
    assert obtained.bars["ripple"].stale
    assert source_of(obtained, "bitcoin") == "sample"
    assert "cryptocast fetch monero" in str(obtained.missing["monero"])
    assert upstream.opened == 0


def test_a_damaged_file_is_told_and_not_replaced_by_another_source(tmp_path: Path) -> None:
    config = settings(tmp_path)
    put(config, "file", "bitcoin", MIDNIGHT)
    path = open_store(config).path(SeriesKey(Market("file", "usd", "daily"), "bitcoin"))
    path.write_bytes(path.read_bytes()[:100])
    obtained = ask(config, Upstream(), "bitcoin")
    assert "bitcoin.parquet" in str(obtained.missing["bitcoin"])


# --- what was known then


def test_as_of_gives_what_the_store_knew_and_asks_nobody(tmp_path: Path) -> None:
    config, upstream = settings(tmp_path), Upstream()
    put(config, "coingecko", "bitcoin", MIDNIGHT - DAY)  # fetched at its last close
    ask(config, upstream, "bitcoin")  # and again now, with other prices
    calls = len(upstream.paths)
    bars = ask(config, upstream, "bitcoin", as_of=MIDNIGHT).bars["bitcoin"]
    assert bars.candles.provenance.last == MIDNIGHT - DAY
    assert bars.candles.frame["close"][-1] == 50.0
    assert (bars.age.now, bars.stale, bars.notice) == (MIDNIGHT, False, None)
    assert len(upstream.paths) == calls
    assert ask(config, upstream, "bitcoin", as_of=NOW).bars["bitcoin"].candles.frame["close"][-1] == 100.0


def test_as_of_before_the_store_knew_anything_says_since_when_it_does(tmp_path: Path) -> None:
    config = settings(tmp_path)
    put(config, "coingecko", "bitcoin", MIDNIGHT)
    said = str(ask(config, Upstream(), "bitcoin", as_of=MIDNIGHT - DAY).missing["bitcoin"])
    assert "it knows some since 2026-01-02 00:00 UTC" in said
    assert "--as-of" in said
    assert "it has none" in str(ask(config, Upstream(), "ripple", as_of=NOW).missing["ripple"])
    named = ask(config, Upstream(), "bitcoin", source="file", as_of=NOW).missing["bitcoin"]
    assert "it has none" in str(named)


def test_as_of_reads_the_users_file_too(tmp_path: Path) -> None:
    config = settings(tmp_path)
    last = datetime(2021, 7, 7, tzinfo=UTC)
    put(config, "file", "bitcoin", last)
    put(config, "file", "bitcoin", last + DAY)
    bars = ask(config, Upstream(), "bitcoin", as_of=last + DAY / 2).bars["bitcoin"]
    assert bars.candles.provenance.last == last


# --- when to ask again


def stored(last: datetime, fetched_at: datetime) -> Provenance:
    key = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
    return Provenance(key, fetched_at, "", 1, last, last)


@pytest.mark.parametrize(
    ("last", "fetched", "wall", "fresh"),
    [
        (MIDNIGHT, MIDNIGHT + DAY / 48, MIDNIGHT + DAY, True),  # midnight is late
        (MIDNIGHT, MIDNIGHT + DAY / 48, MIDNIGHT + DAY + timedelta(minutes=16), False),
        (MIDNIGHT, MIDNIGHT + DAY + timedelta(minutes=5), MIDNIGHT + DAY + timedelta(minutes=16), False),
        (MIDNIGHT, MIDNIGHT + DAY + timedelta(minutes=16), MIDNIGHT + DAY + timedelta(minutes=40), True),
        (MIDNIGHT, MIDNIGHT + DAY + timedelta(minutes=16), MIDNIGHT + DAY + timedelta(minutes=47), False),
        (MIDNIGHT - 9 * DAY, NOW - timedelta(minutes=5), NOW, True),  # a dead coin
        (MIDNIGHT - 9 * DAY, NOW + timedelta(minutes=5), NOW, False),  # a clock that was wrong
    ],
)
def test_a_try_counts_only_if_the_bar_could_have_been_there(
    last: datetime, fetched: datetime, wall: datetime, fresh: bool
) -> None:
    assert is_fresh(stored(last, fetched), wall) is fresh
