import json
import socket
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.file.columns import FileOptions
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market
from cryptocast.net import ApiClient
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.market_data.fetch import FetchOrder, FetchReport, fetch
from cryptocast.workflows.market_data.resolve import open_store

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"


class Upstream:
    """Knows every coin but `nocoin`, and no hours; `price` is what the days cost."""

    def __init__(self, *, network: bool = True, price: float = 100.0, days: int = 10_000) -> None:
        self.network, self.price, self.days = network, price, days
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(("/coins/list", "/range")):
            return httpx.Response(404)
        self.asked.append(request.url.params["days"])
        if not self.network:
            raise httpx.ConnectError("no") from socket.gaierror(-2, "Name or service not known")
        if "nocoin" in request.url.path:
            return httpx.Response(404, content=b'{"error": "coin not found"}')
        days = range(min(self.days, int(request.url.params["days"])))
        points = [[(MIDNIGHT - timedelta(days=d)).timestamp() * 1000, self.price] for d in reversed(days)]
        return httpx.Response(200, content=json.dumps({"prices": points}).encode())


class Shop:
    """A store and an upstream, and fetches from one into the other."""

    def __init__(self, folder: Path, upstream: Upstream | None = None) -> None:
        self.config = Config(
            store=StoreConfig(path=folder / "data", lock_timeout_s=5.0),
            coingecko=CoinGeckoConfig(max_retries=0, calls_per_minute=1000),
            data=DataConfig(exchanges=()),
        )
        self.upstream = upstream or Upstream()
        self.store = open_store(self.config)

    def fetch(self, *coins: str, **options: Any) -> FetchReport:
        client = partial(ApiClient, transport=httpx.MockTransport(self.upstream))
        arguments: dict[str, Any] = {"source": "auto", "vs": "usd", "now": NOW, "hours": False, **options}
        now = arguments.pop("now")
        bars = {name: arguments.pop(name) for name in ("source", "vs", "granularity") if name in arguments}
        selection = Selection(coins, now=arguments.pop("cut_at", None), **bars)
        context = Context(self.config, wall_clock=lambda: now, candles=self.store)
        upstream = partial(CoinGecko, self.config.coingecko, client=client)
        return fetch(context, FetchOrder(selection, **arguments), connect=lambda _: upstream())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_fetch_fills_the_store_and_a_second_one_asks_for_nothing(shop: Shop) -> None:
    report = shop.fetch("bitcoin")
    (row,) = report.coins
    assert (row.source, row.added, row.revised, row.rows) == ("coingecko", 365, 0, 365)
    assert row.last == MIDNIGHT
    assert row.quality is not None
    assert row.quality.close_only == 365
    assert report.exit_code == 0
    again = shop.fetch("bitcoin").coins[0]
    assert (again.added, again.rows, shop.upstream.asked) == (0, 365, ["365"])


def test_a_longer_history_than_stored_is_fetched(shop: Shop) -> None:
    shop.fetch("bitcoin", since=NOW - timedelta(days=100))
    assert shop.fetch("bitcoin").coins[0].added == 265


def test_refresh_asks_again_and_revisions_are_kept(shop: Shop) -> None:
    shop.fetch("bitcoin")
    shop.upstream.price = 101.0
    row = shop.fetch("bitcoin", refresh=True).coins[0]
    assert (row.added, row.revised, row.rows) == (0, 365, 365)
    past = shop.store.revisions(SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"))
    assert past["close"].unique().to_list() == [100.0]


def test_one_bad_coin_does_not_stop_the_others_and_is_in_the_exit_code(shop: Shop) -> None:
    report = shop.fetch("bitcoin", "nocoin", "ripple", source="coingecko")
    assert [row.error is None for row in report.coins] == [True, False, True]
    assert report.exit_code == 3
    assert report.coins[1].error is not None
    assert "has no coin" in report.coins[1].error.message
    assert [provenance.key.coin for provenance in shop.store.ls()] == ["bitcoin", "ripple"]


def test_without_a_network_a_named_upstream_fails_and_auto_says_what_it_rests_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Upstream(network=False))
    assert shop.fetch("bitcoin", source="coingecko").exit_code == 4
    row = shop.fetch("bitcoin").coins[0]
    assert (row.source, row.error) == ("sample", None)
    assert row.notice is not None
    assert "real Bitstamp prices that end 2020-01-17" in row.notice
    assert shop.fetch("ripple").exit_code == 4


def test_older_candles_are_not_good_enough_for_a_named_upstream_but_stay(shop: Shop) -> None:
    shop.fetch("bitcoin")
    shop.upstream.network = False
    later = NOW + timedelta(days=1)
    assert shop.fetch("bitcoin", source="coingecko", now=later).exit_code == 4
    row = shop.fetch("bitcoin", now=later).coins[0]
    assert (row.source, row.stale, row.rows) == ("coingecko", True, 365)


def test_the_sample_goes_into_the_store_under_its_name(shop: Shop) -> None:
    report = shop.fetch("bitcoin", "ripple", source="sample")
    assert (report.coins[0].added, report.coins[0].rows, report.coins[0].stale) == (1864, 1864, True)
    assert report.coins[1].error is not None
    assert (shop.config.store.path / "candles/sample/usd/daily/bitcoin.parquet").is_file()
    assert shop.upstream.asked == []
    assert shop.store.verify() == []


CSV = "date,close,volume\n" + "".join(f"2021-01-{day:02},{100 + day},{day}\n" for day in range(1, 11))


def test_a_file_is_imported_and_a_later_one_is_merged_or_replaces_it(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(CSV)
    row = shop.fetch("bitcoin", files=[file]).coins[0]  # a file implies its source
    assert (row.source, row.added, row.rows, row.granularity, row.stale) == ("file", 10, 10, "daily", True)
    assert "imported from own.csv" in row.notes
    file.write_text(CSV.replace("2021-01-01,101,1\n", "").replace("2021-01-10,110", "2021-01-10,111"))
    row = shop.fetch("bitcoin", source="file", files=[file]).coins[0]
    assert (row.added, row.revised, row.removed, row.rows) == (0, 1, 0, 10)
    row = shop.fetch("bitcoin", files=[file], replace=True).coins[0]
    assert (row.added, row.revised, row.removed, row.rows) == (0, 0, 1, 9)
    notice = shop.fetch("bitcoin").coins[0].notice
    assert notice is not None
    assert "your own file" in notice


def test_a_file_of_hours_says_that_there_are_no_days_yet(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("date,close\n" + "".join(f"2021-01-01 {hour:02}:00,{100 + hour}\n" for hour in range(24)))
    row = shop.fetch("bitcoin", files=[file]).coins[0]
    assert row.granularity == "hourly"
    assert row.notice is not None
    assert "no daily ones: add --granularity hourly to use them, or import the file with" in row.notice
    row = shop.fetch("bitcoin", files=[file], granularity="daily").coins[0]
    assert (row.granularity, row.rows, row.notice) == ("daily", 1, None)
    assert shop.fetch("bitcoin", files=[file]).coins[0].notice is None


PANEL = pl.DataFrame(
    {
        "unique_id": ["BTC"] * 30 + ["ethereum"] * 30,
        "ds": [datetime(2025, 1, 1) + timedelta(days=day) for day in range(30)] * 2,  # noqa: DTZ001 - as Nixtla has it
        "y": [100.0 + day for day in range(30)] + [10.0] * 30,
    }
)


@pytest.mark.parametrize("coins", [(), ("ethereum", "bitcoin")])
def test_a_long_frame_brings_the_closes_of_all_coins_that_it_names(shop: Shop, coins: tuple[str, ...]) -> None:
    report = shop.fetch(*coins, frame=PANEL.sample(fraction=1.0, shuffle=True, seed=1))
    rows = {row.coin: row for row in report.coins}
    assert {coin: row.rows for coin, row in rows.items()} == {"bitcoin": 30, "ethereum": 30}
    stored = shop.store.read(SeriesKey(Market("file", "usd", "daily"), "bitcoin"))
    assert stored is not None
    assert stored.frame["close"].to_list() == [100.0 + day for day in range(30)]
    assert stored.provenance.first == datetime(2025, 1, 2, tzinfo=UTC)  # the bar of 1 January closes as the 2nd begins
    assert not stored.frame["range_known"].any()
    assert shop.fetch(frame=PANEL).coins[0].added == 0


def test_a_long_file_is_read_for_several_coins_and_another_file_is_not(shop: Shop, tmp_path: Path) -> None:
    PANEL.write_csv(tmp_path / "panel.csv")
    report = shop.fetch("bitcoin", "ethereum", "dogecoin", files=[tmp_path / "panel.csv"])
    assert [row.rows for row in report.coins] == [30, 30, 0]
    assert report.coins[2].error is not None
    assert "not dogecoin" in report.coins[2].error.message
    (tmp_path / "own.csv").write_text(CSV)
    refused = shop.fetch("bitcoin", "ethereum", files=[tmp_path / "own.csv"])
    assert refused.exit_code == 3
    assert all(row.error and "of which coin its rows are" in row.error.message for row in refused.coins)


def test_a_frame_that_is_no_long_one_is_refused_in_one_line(shop: Shop) -> None:
    with pytest.raises(DataError, match="no column unique_id: it has ds, y"):
        shop.fetch(frame=PANEL.drop("unique_id"))
    for bad in (PANEL.drop("y"), PANEL.drop("ds"), PANEL.with_columns(y=pl.lit(None, pl.Float64))):
        report = shop.fetch("bitcoin", frame=bad)
        assert report.exit_code == 3
        assert report.coins[0].error is not None
        assert report.coins[0].error.message.startswith("The table"), report.coins[0].error.message


def test_a_bad_file_leaves_the_store_as_it_was(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(CSV)
    shop.fetch("bitcoin", files=[file])
    before = shop.store.ls()
    for text in ("", CSV + "2021-01-11,-5,1\n", CSV + "2021-01-10,999,1\n", CSV[:-4] + "x\n"):
        file.write_text(text)
        assert shop.fetch("bitcoin", files=[file]).exit_code == 3
    assert shop.store.ls() == before
    assert shop.store.verify() == []


@pytest.mark.parametrize(
    ("coins", "options", "words"),
    [
        (["bitcoin"], {"source": "file"}, "add --file"),
        (["bitcoin"], {"files": [Path("f.csv")], "frame": pl.DataFrame({"unique_id": []})}, "files or from a frame"),
        (["bitcoin"], {"source": "sample", "frame": pl.DataFrame({"unique_id": []})}, "does not go with"),
        (["bitcoin"], {"source": "sample", "files": [Path("f.csv")]}, "does not go with"),
        (["bitcoin"], {"file_options": FileOptions(stamp="close")}, "--stamp"),
        (["../x"], {}, "not a coin id"),
        (["bitcoin"], {"vs": "U$"}, "not a quote currency"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    shop: Shop, coins: list[str], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        shop.fetch(*coins, **options)
    assert not shop.config.store.path.exists()


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    report = Shop(tmp_path).fetch("bitcoin", source="sample")
    assert report.exit_code == 3
    assert report.coins[0].error is not None
    assert "cannot be written" in report.coins[0].error.message


def test_the_report_is_one_json_document_with_its_schema(shop: Shop) -> None:
    document = msgspec.json.decode(msgspec.json.encode(shop.fetch("bitcoin", "nocoin")))
    assert document["schema"] == "cryptocast.fetch/1"
    assert list(document) == ["schema", "vs", "coins", "summary"]
    assert document["summary"]["came"] == document["summary"]["failed"] == 1
    assert document["coins"][0]["last"] == "2026-01-02T00:00:00Z"
    assert document["coins"][1]["error"]["kind"] == "UnknownCoin"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data are not part of the repository")
@pytest.mark.parametrize(("name", "rows"), [("bitcoin.daily.parquet", 2991), ("bitcoin.hourly.parquet", 33_954)])
def test_the_development_data_are_fetched_by_the_plain_command(shop: Shop, name: str, rows: int) -> None:
    row = shop.fetch("bitcoin", source="file", files=[SHARED / name]).coins[0]
    assert (row.rows, row.error, row.granularity) == (rows, None, name.split(".")[1])
