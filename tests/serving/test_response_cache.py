import asyncio
import threading
from datetime import timedelta

import httpx

from cryptocast.serving.response_cache import ResponseCache, packed_body
from cryptocast.serving.terms import Term
from tests.serving.serving_app import Clock, FakeForecast, app_on, talk, until

BODY = b'{"forecasts":[]}' * 100


def kept(answers: ResponseCache, clock: Clock, number: int, body: bytes = BODY) -> None:
    term = Term(clock(), clock() + timedelta(hours=1))
    answers.finish(b"ids=coin-%d" % number, "identity", packed_body(body, "identity"), term=term, state=0, keep=True)


def test_there_is_a_bound_on_entries_and_who_was_not_asked_for_longest_goes() -> None:
    clock = Clock()
    answers = ResponseCache(clock, clock.seconds, state=lambda: 0, max_entries=3)
    for number in range(3):
        kept(answers, clock, number)
    assert answers.find(b"ids=coin-0", "identity") is not None
    kept(answers, clock, 3)

    assert (len(answers), answers.evicted) == (3, 1)
    assert answers.find(b"ids=coin-1", "identity") is None
    assert answers.find(b"ids=coin-0", "identity") is not None


def test_there_is_a_bound_on_bytes_that_is_counted_right_whatever_comes_and_goes() -> None:
    clock = Clock()
    answers = ResponseCache(clock, clock.seconds, state=lambda: 0, max_bytes=20_000)
    for number in range(50):
        kept(answers, clock, number % 20, BODY * (number % 3 + 1))
        assert answers.bytes <= 20_000
    assert answers.evicted > 0
    clock.forward(hours=2)
    assert all(answers.find(b"ids=coin-%d" % number, "identity") is None for number in range(20))
    assert (len(answers), answers.bytes) == (0, 0)


def test_evictions_are_told_to_prometheus() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> str:
        app.state.server.answers._max_entries = 2
        for number in range(5):
            await client.get(f"/forecasts?ids=coin-{number}")
        text: str = (await client.get("/metrics")).text
        return text

    assert "cryptocast_cache_evicted_total 3.0" in talk(app, conversation)


def test_an_answer_begun_before_new_bars_is_not_kept_for_those_who_ask_behind_them() -> None:
    forecast = FakeForecast(go=threading.Event())
    app = app_on(forecast)

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        service = app.state.server
        first = asyncio.create_task(client.get("/forecasts?ids=bitcoin"))
        await until(lambda: forecast.running)
        service.state.candles_changed("bitcoin")
        forecast.go.set()
        statuses = [(await first).status_code]
        assert len(service.answers) == 0
        return [*statuses, *[(await client.get("/forecasts?ids=bitcoin")).status_code for _ in range(2)]]

    assert talk(app, conversation) == [200, 200, 200]
    assert forecast.calls["bitcoin"] == 2  # before the bars came, and behind them
