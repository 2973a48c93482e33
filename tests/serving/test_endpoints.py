"""Status codes say what can be had: 404 or 400 for what never can, 503 for what is broken now."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from starlette.applications import Starlette

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.market import Market
from cryptocast.serving import create_app, endpoints
from cryptocast.serving.encoding import encode
from cryptocast.serving.responses import respond
from cryptocast.workflows.context import Context
from tests.serving.serving_app import Clock, get, talk
from tests.serving.test_app import problem
from tests.serving.trained_store import AFTER, CANDLES, Trained, trained
from tests.workflows.lifecycle.live_bars import live_bars


def settings(store: Path, source: str) -> Config:
    # A port of this machine that nobody listens on.
    nobody = CoinGeckoConfig(base_url="http://127.0.0.1:9/api/v3", deadline_s=1.0, max_retries=0)
    return Config(store=StoreConfig(path=store), data=DataConfig(source=source, exchanges=()), coingecko=nobody)


def asked(store: Path, source: str, query: str) -> httpx.Response:
    return get(create_app(Context(settings(store, source)), refresh=False), f"/forecasts?{query}")


@pytest.mark.parametrize("source", ["sample", "file"])
@pytest.mark.parametrize("query", ["ids=dogecoin", "ids=bitcoin&vs=eur", "ids=bitcoin&granularity=hourly"])
def test_what_the_source_lacks_is_not_there_and_never_will_be(tmp_path: Path, source: str, query: str) -> None:
    answer = asked(tmp_path, source, query)
    assert answer.status_code == 404
    assert "retry-after" not in answer.headers
    assert answer.json()["detail"]


def test_what_the_upstream_might_have_is_503_while_it_does_not_answer(tmp_path: Path) -> None:
    answer = asked(tmp_path, "auto", "ids=dogecoin")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def _store_of(folder: Path, frame: pl.DataFrame) -> Path:
    key = SeriesKey(Market("file", "usd", "daily"), "bitcoin")
    CandleStore(folder, lock_timeout_s=10).write(key, frame, fetched_at=frame["close_time"][-1] + AFTER)
    return folder


def test_a_coin_that_is_too_young_or_never_moved_is_404_with_the_reason(tmp_path: Path) -> None:
    frame = CANDLES.filter(pl.col("coin") == "bitcoin")[:100]
    young = asked(_store_of(tmp_path / "young", frame[:3]), "file", "ids=bitcoin")
    still = frame.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    flat = asked(_store_of(tmp_path / "flat", still), "file", "ids=bitcoin")
    assert (young.status_code, flat.status_code) == (404, 404)
    assert "takes 21 to state a volatility" in young.json()["detail"]
    assert "never moved" in flat.json()["detail"]
    assert "retry-after" not in young.headers


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("status"))


def test_a_horizon_beyond_the_longest_is_400_with_the_list_beside_coins_that_can_be_answered(store: Trained) -> None:
    answer = get(store.app(), "/forecasts?ids=bitcoin&horizons=1,31")
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cryptocast:problem:bad-request")
    assert "was fitted for 1, 7 and 30 bars ahead" in answer.json()["detail"]


def test_no_answer_tells_where_on_the_disk_something_lies(tmp_path: Path) -> None:
    store = trained(tmp_path)
    for path in (store.store / "registry" / "objects").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    for path in (store.store / "candles").rglob("ethereum*"):
        path.write_bytes(b"damaged")

    async def conversation(client: httpx.AsyncClient) -> list[str]:
        urls = ("/forecasts", "/forecasts?ids=ethereum", "/", "/health/detailed", "/ready", "/models", "/metrics")
        return [(await client.get(url)).text for url in urls]

    for text in talk(store.app(refresh=True), conversation):
        assert str(tmp_path) not in text
        assert str(tmp_path.parent) not in text


def served(folder: Path) -> tuple[Starlette, Clock]:
    used = live_bars(folder)
    clock = Clock(used.wall_clock())
    return create_app(replace(used, wall_clock=clock, clock=clock.seconds), refresh=False), clock


def test_past_forecasts_stand_beside_what_came_and_are_finished_bytes_while_the_bar_lasts(tmp_path: Path) -> None:
    app, _ = served(tmp_path)

    async def conversation(client: httpx.AsyncClient) -> dict[str, Any]:
        first = await client.get("/track?ids=BTC&model=baseline&levels=80&last=3")
        again = await client.get("/track?ids=BTC&model=baseline&levels=80&last=3")
        assert (again.content, app.state.server.answers.hits) == (first.content, 1)
        same = await client.get(first.url, headers={"If-None-Match": first.headers["etag"]})
        assert same.status_code == 304
        document: dict[str, Any] = first.json()
        return document

    document = talk(app, conversation)
    (track,) = document["tracks"]
    assert (document["schema"], document["names"]) == ("cryptocast.track/1", {"BTC": "bitcoin"})
    assert [(score["horizon"], score["bars"]) for score in track["scores"]] == [(1, 12), (7, 6)]
    assert [row["horizon"] for row in track["forecasts"]] == [1, 1, 1, 7, 7, 7]
    assert [one["level"] for one in track["forecasts"][0]["intervals"]] == [80]


def test_large_answers_are_bounded_and_made_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[threading.Thread]()

    def noting(make: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **named: Any) -> Any:
            threads.append(threading.current_thread())
            return make(*args, **named)

        return noted

    app, _ = served(tmp_path)
    monkeypatch.setattr(endpoints, "encode", noting(encode))
    monkeypatch.setattr(endpoints, "respond", noting(respond))
    monkeypatch.setattr(endpoints, "MOST_PAST", 4)

    async def conversation(client: httpx.AsyncClient) -> dict[str, Any]:
        assert (await client.get("/candles?ids=bitcoin")).status_code == 200
        track: dict[str, Any] = (await client.get("/track?ids=bitcoin&model=baseline&horizons=1,7&last=3")).json()
        return track

    (track,) = talk(app, conversation)["tracks"]
    assert [row["horizon"] for row in track["forecasts"]] == [1, 1, 7, 7]
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_candles_are_those_of_the_store_and_the_newest_come_last(tmp_path: Path) -> None:
    app, clock = served(tmp_path)
    document = get(app, "/candles?ids=bitcoin,atlantis&last=2").json()
    (series,) = document["series"]
    assert (document["schema"], series["source"], series["stale"]) == ("cryptocast.candles/1", "coingecko", False)
    assert datetime.fromisoformat(series["candles"][1]["close_time"]) == clock.now - timedelta(minutes=30)
    assert set(series["candles"][0]) == {"close_time", "open", "high", "low", "close", "volume", "range_known"}
    assert document["errors"] == [
        {"coin": "atlantis", "error": "There are no daily candles of atlantis in usd in the store."}
    ]
    problem(get(app, "/candles?ids=atlantis"), 404, "no-data")
    problem(get(app, "/candles?ids=bitcoin&last=0"), 400, "invalid-parameter")
