"""Deribit's volatility index over a real socket, as the stand-in plays it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.config import Config, ExchangesConfig, SeriesConfig, StoreConfig
from cryptocast.data.outside.deribit import PUBLISHED, StoredIndex
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.errors import RateLimited
from cryptocast.errors import DataError, UpstreamError
from cryptocast.rehearsal import FakeUpstream, Rule, volatility_index
from cryptocast.rehearsal.messages import Reply
from cryptocast.rehearsal.volatility_index import COINS, index_value

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(now=NOW) as fake:
        yield fake


@pytest.fixture(autouse=True)
def calm(fake: FakeUpstream) -> None:
    fake.reset()


def access(fake: FakeUpstream, folder: Path) -> Access:
    settings = ExchangesConfig(base_url=fake.origin, max_retries=0)
    return Access(Config(store=StoreConfig(path=folder), exchanges=settings), lambda: NOW)


def stored(folder: Path, **settings: str) -> StoredIndex:
    return StoredIndex("dvol", SeriesConfig(source="deribit", **settings), folder)  # type: ignore[arg-type]


def test_all_closed_days_come_from_the_day_of_publication_on(fake: FakeUpstream, tmp_path: Path) -> None:
    index = stored(tmp_path, index="ETH")
    index.fetch(access(fake, tmp_path), NOW)
    rows = index.rows()
    assert (rows["time"][0], rows["time"][-1]) == (PUBLISHED, datetime(2026, 2, 28, tzinfo=UTC))
    assert set(rows["time"].diff().drop_nulls()) == {DAY}
    closes = rows["time"].to_physical().to_numpy() // 1000 + 86_400_000
    truth = index_value(fake.market, COINS["ETH"], closes.astype(np.int64))
    assert rows["value"].to_list() == pytest.approx(truth.tolist())
    series = index.series()
    at = pl.Series([PUBLISHED + DAY - timedelta(seconds=1), PUBLISHED + DAY], dtype=rows["time"].dtype)
    assert series.at(at).to_list() == [None, rows["value"][0]]


def test_a_day_is_known_when_it_is_over_and_an_hour_too(fake: FakeUpstream, tmp_path: Path) -> None:
    index = stored(tmp_path, resolution="1h")
    now = PUBLISHED + timedelta(hours=2500, minutes=59)
    index.fetch(access(fake, tmp_path), now)
    assert len(index.rows()) == 2500
    assert index.series().moments[-1] == PUBLISHED + timedelta(hours=2500)
    assert fake.calls.count("volatility_index") == 3


def test_shorter_answers_are_followed_to_their_beginning(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, index = stored(tmp_path / "whole"), stored(tmp_path)
    whole.fetch(access(fake, tmp_path / "whole"), NOW)
    monkeypatch.setattr(volatility_index, "PAGE", 300)
    index.fetch(access(fake, tmp_path), NOW)
    assert index.rows().equals(whole.rows())


def test_only_what_is_missing_is_asked_for(fake: FakeUpstream, tmp_path: Path) -> None:
    index = stored(tmp_path)
    index.fetch(access(fake, tmp_path), NOW - 10 * DAY)
    calls = fake.calls.count("volatility_index")
    index.fetch(access(fake, tmp_path), NOW - 10 * DAY)
    assert fake.calls.count("volatility_index") == calls
    index.fetch(access(fake, tmp_path), NOW)
    assert fake.calls.count("volatility_index") == calls + 1
    other = stored(tmp_path / "whole")
    other.fetch(access(fake, tmp_path / "whole"), NOW)
    assert index.rows().equals(other.rows())


def test_what_came_before_a_failure_is_kept_and_the_rest_comes_later(fake: FakeUpstream, tmp_path: Path) -> None:
    index = stored(tmp_path)
    fake.script([Rule(fault="error", endpoints=("volatility_index",), after=1)])
    with pytest.raises(UpstreamError, match="Deribit answered with the error"):
        index.fetch(access(fake, tmp_path), NOW)
    assert len(index.rows()) == 1000
    fake.reset()
    index.fetch(access(fake, tmp_path), NOW)
    assert set(index.rows()["time"].diff().drop_nulls()) == {DAY}
    assert index.rows()["time"][-1] == datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("too_many", RateLimited), ("garbage", UpstreamError), ("truncated", UpstreamError), ("close", UpstreamError)],
)
def test_a_failure_is_said_and_nothing_is_stored(
    fault: str, error: type[Exception], fake: FakeUpstream, tmp_path: Path
) -> None:
    index = stored(tmp_path)
    fake.script([Rule(fault=fault, endpoints=("volatility_index",))])  # type: ignore[arg-type]
    with pytest.raises(error):
        index.fetch(access(fake, tmp_path), NOW)
    assert index.rows().is_empty()


def test_before_its_publication_nothing_is_asked_for(fake: FakeUpstream, tmp_path: Path) -> None:
    stored(tmp_path).fetch(access(fake, tmp_path), datetime(2020, 1, 1, tzinfo=UTC))
    assert fake.calls.count("volatility_index") == 0


def test_a_foreign_file_is_not_taken_for_the_index(tmp_path: Path) -> None:
    index = stored(tmp_path)
    index.path.parent.mkdir(parents=True)
    pl.DataFrame({"time": [1]}).write_parquet(index.path)
    with pytest.raises(DataError, match="Delete it"):
        index.rows()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '{"error":{"code":10028,"message":"too_many_requests"}}', RateLimited),
        (400, '{"error":{"code":-32602,"message":"Invalid params"}}', UpstreamError),
        (503, "<html>", UpstreamError),
        (200, '{"result":{"data":[[99999999999999999999,1,1,1,1]],"continuation":null}}', UpstreamError),
        (200, '{"result":{"data":[[1617235200000,1,1,1,null]],"continuation":null}}', UpstreamError),
        (200, '{"jsonrpc":"2.0"}', UpstreamError),
    ],
)
def test_an_answer_that_is_no_page_says_so(
    status: int, body: str, error: type[Exception], fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = Reply(status, body.encode(), {"content-type": "application/json"})
    monkeypatch.setattr("cryptocast.rehearsal.upstream.index_answer", lambda *_: reply)
    with pytest.raises(error, match="Deribit"):
        stored(tmp_path).fetch(access(fake, tmp_path), NOW)
