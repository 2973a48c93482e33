import asyncio
import math
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import httpx
import msgspec
import pytest

from cryptocast.errors import DataError, ModelError, UpstreamError, UsageError
from cryptocast.serving.forecast_cache import Failure, ForecastCache, FreshForecast
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import ForecastDocument
from tests.serving.serving_app import (
    FOREVER_S,
    MIDNIGHT,
    Clock,
    FakeForecast,
    app_on,
    config,
    forecasts_of,
    request_of,
    talk,
    until,
)

T = TypeVar("T")
BITCOIN = "/forecasts?ids=bitcoin"


async def statuses(client: httpx.AsyncClient, *urls: str) -> list[int]:
    """What came of requests that were sent at the same time."""
    return [answer.status_code for answer in await asyncio.gather(*(client.get(url) for url in urls))]


def ask(answers: ForecastCache, question: Callable[[], Awaitable[T]]) -> T:
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
def test_what_nobody_fetches_is_looked_at_every_minute(source: str) -> None:
    assert kept_until(FakeForecast(source=source), seconds=59) == 1
    assert kept_until(FakeForecast(source=source), seconds=60) == 2


def test_an_answer_that_is_not_stale_is_not_kept_until_it_should_be() -> None:
    stale_in_half_a_minute = Clock().now - timedelta(days=3) + timedelta(seconds=30)

    assert kept_until(FakeForecast(as_of=stale_in_half_a_minute), seconds=29) == 1
    assert kept_until(FakeForecast(as_of=stale_in_half_a_minute), seconds=30) == 2
    assert kept_until(FakeForecast(as_of=stale_in_half_a_minute, source="simulated"), seconds=30) == 1


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
    production = {"version": 1}

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        early = asyncio.create_task(client.get(BITCOIN))
        await asyncio.sleep(0.1)
        production["version"] = 2
        late = await client.get(BITCOIN)
        return [(await early).status_code, late.status_code]

    assert talk(app_on(forecast, stamp=lambda: production["version"]), conversation) == [200, 200]
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
        await until(lambda: app.state.server.forecasts.computed)
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
        await until(lambda: app.state.server.forecasts.computed)
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
    answers = forecasts_of(forecast, max_entries=2)

    async def question() -> None:
        for coin in ("a", "b", "a", "c", "a", "b"):
            (outcome,) = await answers.of([request_of(coin=coin)], timeout_s=5)
            assert isinstance(outcome, FreshForecast)

    ask(answers, question)
    assert forecast.calls == {"a": 1, "b": 2, "c": 1}


def test_an_outcome_says_until_when_it_holds() -> None:
    failing = DataError("Unknown.")
    forecast = FakeForecast(failing={"atlantis": failing})
    answers = forecasts_of(forecast, Clock(passed_s=100.0))

    good, bad = ask(answers, lambda: answers.of([request_of(), request_of(coin="atlantis")], timeout_s=5))

    assert isinstance(good, FreshForecast)
    assert (good.term.until, good.term.expires) == (MIDNIGHT + timedelta(days=1), math.inf)
    assert isinstance(bad, Failure)
    assert bad.error is failing
    assert bad.term.expires == 105.0


def test_closing_waits_neither_for_what_is_queued_nor_for_ever() -> None:
    forecast = FakeForecast(go=threading.Event())
    answers = forecasts_of(forecast, max_waiting=100)

    async def question() -> list[object]:
        outcomes = await answers.of([request_of(horizon=i) for i in range(1, 50)], timeout_s=0.05)
        await until(lambda: forecast.running)
        threading.Timer(0.3, forecast.go.set).start()  # when it is being closed
        return list(outcomes)

    outcomes = ask(answers, question)

    assert all(isinstance(outcome, Failure) for outcome in outcomes)
    assert forecast.calls["bitcoin"] == 1


def kept(forecast: FakeForecast, clock: Clock, steps: list[str]) -> ForecastCache:
    return forecasts_of(forecast, clock, on_fallback=steps.append)


def test_when_nothing_can_be_made_the_last_good_forecast_is_given_and_marked() -> None:
    clock, forecast, steps = Clock(), FakeForecast(), list[str]()
    answers = kept(forecast, clock, steps)

    async def question() -> list[object]:
        good = await answers.of([request_of()], timeout_s=5)
        clock.forward(days=1)
        forecast.failing["bitcoin"] = DataError("The candles cannot be read.")
        return [*good, *await answers.of([request_of()], timeout_s=5)]

    good, old = ask(answers, question)

    assert isinstance(good, FreshForecast)
    assert isinstance(old, FreshForecast)
    assert (good.forecast.stale, old.forecast.stale) == (False, True)
    assert old.forecast.price == good.forecast.price
    assert old.forecast.fallback_reason == Fallback(code=FallbackCode.CANDLES)
    assert old.term.expires == clock.passed_s + 5.0
    assert steps == ["last_good"]


def test_the_last_good_forecast_is_given_at_once_while_the_next_one_takes_long() -> None:
    clock, forecast, steps = Clock(), FakeForecast(), list[str]()
    answers = kept(forecast, clock, steps)

    async def question() -> list[object]:
        await answers.of([request_of()], timeout_s=5)
        clock.forward(days=1)
        forecast.takes_s = 2.0
        return list(await answers.of([request_of()], timeout_s=5))

    (old,) = ask(answers, question)

    assert isinstance(old, FreshForecast)
    assert old.forecast.fallback_reason == Fallback(code=FallbackCode.TIMEOUT)


def test_what_the_client_did_wrong_is_told_whatever_was_good_before() -> None:
    clock, forecast = Clock(), FakeForecast()
    answers = kept(forecast, clock, [])

    async def question() -> list[object]:
        await answers.of([request_of()], timeout_s=5)
        clock.forward(days=1)
        forecast.failing["bitcoin"] = UsageError("That means nothing.")
        return list(await answers.of([request_of()], timeout_s=5))

    (told,) = ask(answers, question)
    assert isinstance(told, Failure)


def test_with_nothing_at_all_the_answer_is_an_error() -> None:
    answers = kept(FakeForecast(failing={"bitcoin": ModelError("No such file.")}), Clock(), [])

    (told,) = ask(answers, lambda: answers.of([request_of()], timeout_s=5))
    assert isinstance(told, Failure)


@pytest.mark.parametrize("code", list(FallbackCode))
def test_a_fallback_whose_cause_may_pass_is_made_anew_after_five_seconds_and_any_other_with_the_bar(
    code: FallbackCode,
) -> None:
    passing = {"artefact", "exception", "breaker", "registry", "candles", "timeout", "overload"}
    clock, asked = Clock(), list[Request]()

    def forecast(request: Request) -> ForecastDocument:
        asked.append(request)
        made = FakeForecast().made("bitcoin", request)
        made = msgspec.structs.replace(made, model_used="baseline", fallback_reason=Fallback(code=code))
        return ForecastDocument(forecasts=(made,))

    answers = forecasts_of(forecast, clock)

    async def question() -> None:
        for passed in (0.0, 4.9, 0.1, 4.9, 0.1):
            clock.forward(seconds=passed)
            await answers.of([request_of()], timeout_s=5)

    ask(answers, question)
    assert len(asked) == (3 if code in passing else 1)


def test_what_was_computed_under_a_clock_that_ran_ahead_is_noticed_and_computed_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, forecast = Clock(), FakeForecast()
    answers, right = kept(forecast, clock, []), clock.now

    async def question() -> object:
        clock.forward(days=3)
        await answers.of([request_of()], timeout_s=5)
        clock.now = right
        await answers.of([request_of()], timeout_s=5)
        (told,) = await answers.of([request_of()], timeout_s=5)
        return told

    told = ask(answers, question)
    assert isinstance(told, FreshForecast)
    assert told.term.since == right
    assert forecast.calls["bitcoin"] == 2
    assert "from the future" in caplog.text


def test_no_last_good_forecast_comes_from_the_future() -> None:
    clock, forecast = Clock(), FakeForecast()
    answers, right = kept(forecast, clock, []), clock.now

    async def question() -> object:
        clock.forward(days=3)
        await answers.of([request_of()], timeout_s=5)
        clock.now = right + timedelta(seconds=1)
        forecast.failing["bitcoin"] = UpstreamError("Nobody there.")
        (told,) = await answers.of([request_of()], timeout_s=5)
        return told

    assert isinstance(ask(answers, question), Failure)
