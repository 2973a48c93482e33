import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cryptocast.config import DataConfig
from cryptocast.errors import DataError, UsageError
from cryptocast.serving import create_app
from cryptocast.serving.flights import Flights
from tests.serving.serving_app import Clock, FakeForecast, app_on, config, get, talk
from tests.serving.test_app import problem
from tests.workflows.lifecycle.live_bars import live_bars


def test_a_page_is_made_once_a_bar_for_each_choice_and_asked_for_again_each_time() -> None:
    forecast, clock = FakeForecast(), Clock()
    app = app_on(forecast, clock=clock)

    async def conversation(client: httpx.AsyncClient) -> None:
        first = await client.get("/?coin=bitcoin&horizon=7")
        assert (first.status_code, first.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert first.headers["cache-control"] == "private, no-cache"
        assert "script-src 'sha256-" in first.headers["content-security-policy"]
        again = await client.get("/?coin=bitcoin&horizon=7")
        assert (again.content, app.state.server.answers.hits) == (first.content, 1)
        same = await client.get("/?coin=bitcoin&horizon=7", headers={"If-None-Match": first.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert (await client.head("/?coin=bitcoin&horizon=7")).content == b""
        assert forecast.calls == {"bitcoin": 1, "ethereum": 1, "litecoin": 1}
        clock.forward(days=1)
        assert (await client.get("/?coin=bitcoin&horizon=7")).status_code == 200
        assert forecast.calls["bitcoin"] == 2

    talk(app, conversation)


class CountingFlights(Flights[bytes]):
    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    async def of(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        def counted() -> Coroutine[Any, Any, bytes]:
            self.begun += 1
            return work()

        return await super().of(key, counted)


def test_fifty_who_open_the_page_of_a_new_bar_at_once_have_it_made_once() -> None:
    app = app_on(FakeForecast())
    app.state.server.pages = flights = CountingFlights()

    async def conversation(client: httpx.AsyncClient) -> set[bytes]:
        await client.get("/forecasts")
        return {one.content for one in await asyncio.gather(*(client.get("/") for _ in range(50)))}

    assert len(talk(app, conversation)) == 1
    assert flights.begun == 1


def test_another_model_is_one_forecast_more() -> None:
    forecast = FakeForecast()
    assert get(app_on(forecast), "/?coin=ethereum&model=baseline").status_code == 200
    assert forecast.calls == {"bitcoin": 1, "ethereum": 2, "litecoin": 1}
    assert forecast.requests[-1].model == "baseline"


def test_the_page_and_the_forecasts_of_one_query_string_are_never_mixed_up() -> None:
    async def conversation(client: httpx.AsyncClient) -> tuple[str, str, str, str]:
        answers = [await client.get(path) for path in ("/", "/forecasts", "/", "/forecasts")]
        one, two, three, four = (answer.headers["content-type"].partition(";")[0] for answer in answers)
        return one, two, three, four

    assert talk(app_on(FakeForecast()), conversation) == ("text/html", "application/json") * 2


@pytest.mark.parametrize(
    ("query", "status", "name"),
    [
        ("coin=dogecoin", 404, "not-found"),
        ("horizon=3", 400, "bad-request"),
        ("horizon=0", 400, "invalid-parameter"),
        ("coin=%3Cscript%3E", 400, "invalid-parameter"),
        ("model=..%2F..", 400, "invalid-parameter"),
        ("tokens=x", 400, "unknown-parameter"),
    ],
)
def test_there_are_pages_of_the_settings_alone(query: str, status: int, name: str) -> None:
    forecast = FakeForecast()
    problem(get(app_on(forecast), f"/?{query}"), status, name)
    assert not forecast.calls


def test_a_model_that_there_is_not_is_refused_and_a_coin_that_fails_stands_beside_the_others() -> None:
    refusing = FakeForecast(failing={"bitcoin": UsageError("There is no model xgboost.")})
    problem(get(app_on(refusing), "/?coin=bitcoin&model=xgboost"), 400, "bad-request")
    failing = FakeForecast(failing={"litecoin": DataError("There are no candles of litecoin.")})
    answer = get(app_on(failing), "/")
    assert answer.status_code == 200
    assert "litecoin: There are no candles of litecoin." in answer.text


def test_before_the_first_forecast_the_page_is_there_and_not_kept() -> None:
    coins = ("bitcoin", "ethereum", "litecoin")
    app = app_on(FakeForecast(failing=dict.fromkeys(coins, DataError("Nothing yet."))))
    answer = get(app, "/")
    assert answer.status_code == 200
    assert "No forecast has been made yet" in answer.text


def test_the_price_before_the_forecast_and_the_outcomes_of_earlier_ones_come_from_the_store(tmp_path: Path) -> None:
    used = live_bars(tmp_path)
    last = used.wall_clock()
    clock = Clock(last)
    app = create_app(replace(used, wall_clock=clock, clock=clock.seconds), refresh=False)
    text = get(app, "/?coin=bitcoin&model=baseline&horizon=7").text

    assert f"{last - timedelta(days=20):%Y-%m-%d}: " in text  # a close
    assert "of 6 forecasts" in text
    assert " came; 7 d before: 80 % " in text
    assert "Log out" not in text


def test_a_page_shows_nothing_of_folders() -> None:
    settings = msgspec.structs.replace(config(store=Path("/srv/secret/store")), data=DataConfig(coins=("bitcoin",)))
    assert "/srv" not in get(app_on(FakeForecast(), settings=settings), "/").text
