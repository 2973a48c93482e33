import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import httpx
import pytest

from cryptocast.errors import DataError, UpstreamError
from cryptocast.serving.forecast_cache import Answered, Answers, Failed
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request
from tests.serving.serving_app import FOREVER_S, MIDNIGHT, Clock, FakeForecast, app_on, config, talk, until

T = TypeVar("T")
BITCOIN = "/forecasts?ids=bitcoin"


async def statuses(client: httpx.AsyncClient, *urls: str) -> list[int]:
    """What came of requests that were sent at the same time."""
    return [answer.status_code for answer in await asyncio.gather(*(client.get(url) for url in urls))]


def request(coin: str = "bitcoin", horizon: int = 1) -> Request:
    return Request(Selection((coin,), "auto", "usd", "daily"), "auto", (horizon,), (80,))


def ask(answers: Answers, question: Callable[[], Awaitable[T]]) -> T:
    async def held() -> T:
        async with answers.opened():
            return await question()

    return asyncio.run(held())


def test_fifty_who_ask_for_the_same_at_once_cause_one_computation() -> None:
    forecast = FakeForecast(takes_s=0.2)

    found = talk(app_on(forecast), lambda client: statuses(client, *[BITCOIN] * 50))

    assert found == [200] * 50
    assert forecast.calls == {"bitcoin": 1}


def test_coins_are_shared_between_different_questions() -> None:
    forecast = FakeForecast(takes_s=0.05)

    talk(app_on(forecast), lambda client: statuses(client, BITCOIN, "/forecasts?ids=ethereum,bitcoin,ethereum"))

    assert forecast.calls == {"bitcoin": 1, "ethereum": 1}


def test_different_options_are_different_forecasts() -> None:
    forecast = FakeForecast()
    options = ("", "&levels=80", "&horizons=7", "&vs=eur", "&model=baseline", "&granularity=hourly")

    talk(app_on(forecast), lambda client: statuses(client, *(BITCOIN + option for option in options)))

    assert forecast.calls == {"bitcoin": 6}


def test_one_forecast_is_made_at_a_time_in_one_thread() -> None:
    forecast = FakeForecast(takes_s=0.02)
    urls = [f"/forecasts?ids=coin-{i}" for i in range(12)]

    assert talk(app_on(forecast), lambda client: statuses(client, *urls)) == [200] * 12
    assert (forecast.most_running, len(forecast.threads)) == (1, 1)


def kept_until(forecast: FakeForecast, **later: float) -> int:
    """How often the forecast is made if it is asked for now and again later."""
    clock = Clock()

    async def conversation(client: httpx.AsyncClient) -> None:
        assert await statuses(client, BITCOIN) == [200]
        clock.forward(**later)
        assert await statuses(client, BITCOIN) == [200]

    talk(app_on(forecast, clock=clock), conversation)
    return forecast.calls["bitcoin"]


def test_an_answer_holds_until_the_next_bar_closes() -> None:
    # The clock stands at noon, the last bar closed at midnight.
    assert kept_until(FakeForecast(), hours=11, minutes=59) == 1
    assert kept_until(FakeForecast(), hours=12) == 2


def test_late_bars_are_looked_for_every_minute() -> None:
    late = MIDNIGHT - timedelta(days=1)

    assert kept_until(FakeForecast(as_of=late), seconds=59) == 1
    assert kept_until(FakeForecast(as_of=late), seconds=60) == 2


@pytest.mark.parametrize("source", ["sample", "file"])
def test_what_does_not_age_by_the_wall_clock_is_looked_at_every_minute(source: str) -> None:
    assert kept_until(FakeForecast(source=source), seconds=59) == 1
    assert kept_until(FakeForecast(source=source), seconds=60) == 2


def test_a_promotion_takes_effect_with_the_next_request() -> None:
    forecast = FakeForecast(version=1)
    production = {"version": 1}

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        seen = []
        for version in (1, 2, 2, 1):
            forecast.version = production["version"] = version
            seen.append((await client.get(BITCOIN)).json()["forecasts"][0]["version"])
        return seen

    assert talk(app_on(forecast, stamp=lambda: production["version"]), conversation) == [1, 2, 2, 1]
    # The third found the second's answer, and the fourth the first's.
    assert forecast.calls["bitcoin"] == 2


def test_a_computation_begun_before_a_promotion_is_not_joined_after_it() -> None:
    forecast = FakeForecast(takes_s=0.2)
    stamps = iter([1, 2])

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        early = asyncio.create_task(client.get(BITCOIN))
        await asyncio.sleep(0.1)
        late = await client.get(BITCOIN)
        return [(await early).status_code, late.status_code]

    assert talk(app_on(forecast, stamp=lambda: next(stamps)), conversation) == [200, 200]
    assert forecast.calls["bitcoin"] == 2


@pytest.mark.parametrize("error", [DataError("Unknown."), UpstreamError("Down."), ZeroDivisionError()])
def test_a_failure_is_believed_for_as_long_as_retry_after_says(error: Exception) -> None:
    clock = Clock()
    forecast = FakeForecast(failing={"bitcoin": error})

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        calls = []
        for seconds in (0.0, 4.9, 0.1):
            clock.forward(seconds=seconds)
            assert (await client.get(BITCOIN)).status_code >= 400
            calls.append(forecast.calls["bitcoin"])
        return calls

    assert talk(app_on(forecast, clock=clock), conversation) == [1, 1, 2]


def test_what_takes_too_long_is_refused_and_found_done_later() -> None:
    forecast = FakeForecast(go=threading.Event())
    app = app_on(forecast, settings=config(request_timeout_s=0.1))

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        early = await client.get(BITCOIN)
        forecast.go.set()
        await until(lambda: app.state.service.answers.computed)
        return early, await client.get(BITCOIN)

    early, late = talk(app, conversation)

    assert (early.status_code, early.headers["retry-after"]) == (503, "5")
    assert early.json()["type"] == "urn:cryptocast:problem:overloaded"
    assert "0.1 s" in early.json()["detail"]
    assert late.status_code == 200
    assert forecast.calls["bitcoin"] == 1


def test_coins_that_are_ready_in_time_do_not_wait_for_those_that_are_not() -> None:
    forecast = FakeForecast()
    app = app_on(forecast, settings=config(request_timeout_s=0.5))

    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        await client.get(BITCOIN)
        await until(lambda: app.state.service.answers.computed)
        forecast.go.clear()
        answer = await client.get("/forecasts?ids=bitcoin,ethereum")
        forecast.go.set()
        return answer

    answer = talk(app, conversation)

    assert answer.status_code == 200
    assert [made["coin"] for made in answer.json()["forecasts"]] == ["bitcoin"]
    assert [error["coin"] for error in answer.json()["errors"]] == ["ethereum"]


def test_a_client_that_goes_away_cancels_nothing_for_the_others() -> None:
    forecast = FakeForecast(takes_s=0.2)

    async def conversation(client: httpx.AsyncClient) -> int:
        leaving = asyncio.create_task(client.get(BITCOIN))
        staying = asyncio.create_task(client.get(BITCOIN))
        await asyncio.sleep(0.05)
        leaving.cancel()
        return (await staying).status_code

    assert talk(app_on(forecast), conversation) == 200
    assert forecast.calls["bitcoin"] == 1


def test_more_than_may_wait_is_refused_at_once() -> None:
    forecast = FakeForecast(go=threading.Event())
    urls = [f"/forecasts?ids=coin-{i}" for i in range(30)]

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [asyncio.create_task(client.get(url)) for url in urls]
        await until(lambda: sum(one.done() for one in asked) >= 25)  # while nothing is made
        forecast.go.set()
        return await asyncio.gather(*asked)

    # Four may wait for each id that a request may have, and one is being made, or about to be.
    answers = talk(app_on(forecast, settings=config(max_ids=1, request_timeout_s=FOREVER_S)), conversation)

    refused = [answer for answer in answers if answer.status_code == 503]
    assert 25 <= len(refused) <= 26
    assert {answer.headers["retry-after"] for answer in refused} == {"5"}
    assert all(answer.status_code == 200 for answer in answers if answer not in refused)


def test_the_memory_is_bounded_and_forgets_what_was_not_asked_for_longest() -> None:
    forecast = FakeForecast()
    answers = Answers(forecast, stamp=lambda: 0, wall_clock=Clock(), max_waiting=10, max_entries=2)

    async def question() -> None:
        for coin in ("a", "b", "a", "c", "a", "b"):
            (outcome,) = await answers.of([request(coin)], timeout_s=5)
            assert isinstance(outcome, Answered)

    ask(answers, question)
    assert forecast.calls == {"a": 1, "b": 2, "c": 1}


def test_an_outcome_says_until_when_it_holds() -> None:
    failing = DataError("Unknown.")
    forecast = FakeForecast(failing={"atlantis": failing})
    answers = Answers(forecast, stamp=lambda: 0, wall_clock=Clock(), clock=lambda: 100.0, max_waiting=10)

    good, bad = ask(answers, lambda: answers.of([request("bitcoin"), request("atlantis")], timeout_s=5))

    assert isinstance(good, Answered)
    assert (good.term.until, good.term.expires) == (MIDNIGHT + timedelta(days=1), math.inf)
    assert isinstance(bad, Failed)
    assert bad.error is failing
    assert bad.term.expires == 105.0


def test_closing_waits_neither_for_what_is_queued_nor_for_ever() -> None:
    forecast = FakeForecast(go=threading.Event())
    answers = Answers(forecast, stamp=lambda: 0, wall_clock=Clock(), max_waiting=100)

    async def question() -> list[object]:
        outcomes = await answers.of([request(horizon=i) for i in range(1, 50)], timeout_s=0.05)
        await until(lambda: forecast.running)
        threading.Timer(0.3, forecast.go.set).start()  # when it is being closed
        return list(outcomes)

    outcomes = ask(answers, question)

    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert forecast.calls["bitcoin"] == 1
