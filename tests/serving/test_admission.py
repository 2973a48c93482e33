import asyncio

import httpx
import pytest

from cryptocast.serving import create_app
from tests.serving.serving_app import FakeForecast, app_on, context, get, serving, talk
from tests.serving.test_app import problem

BITCOIN = "/forecasts?ids=bitcoin"
SLOW = "/forecasts?ids=slow-"
ADMIN = {"Authorization": "Bearer admin"}
PROXY = {"trusted_proxies": ("127.0.0.0/8", "10.0.0.0/8")}


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({f"x-{number}": "a" for number in range(120)}, 431, "headers-too-large"),
        ({"x": "a" * 20_000}, 431, "headers-too-large"),
        ({"content-length": "65537"}, 413, "body-too-large"),
        ({"content-length": "9" * 400}, 413, "body-too-large"),
        ({"content-length": "-1"}, 413, "body-too-large"),
        ({"transfer-encoding": "chunked"}, 411, "length-required"),
    ],
)
def test_what_is_too_large_is_refused(headers: dict[str, str], status: int, name: str) -> None:
    answer = get(app_on(FakeForecast()), BITCOIN, headers=headers)

    problem(answer, status, name)
    assert answer.headers["connection"] == "close"


def test_an_address_that_is_too_long_is_refused() -> None:
    problem(get(app_on(FakeForecast()), "/" + "a" * 9000), 414, "url-too-long")
    problem(get(app_on(FakeForecast()), BITCOIN + "," * 20_000), 414, "url-too-long")


def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    async def conversation(client: httpx.AsyncClient) -> tuple[list[int], httpx.Response, int]:
        statuses = [(await client.get(BITCOIN)).status_code for _ in range(25)]
        return statuses, await client.get(BITCOIN), (await client.get("/health")).status_code

    statuses, refused, health = talk(app_on(FakeForecast(), settings=serving(client_rate_per_s=1.0)), conversation)

    assert statuses.count(200) in (20, 21)
    problem(refused, 429, "too-many-requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert "ratelimit" in refused.headers
    assert health == 200


def test_guessing_tokens_is_slow() -> None:
    async def conversation(client: httpx.AsyncClient) -> set[int]:
        wrong = [{"Authorization": f"Bearer wrong-{number}"} for number in range(30)]
        return {(await client.get(BITCOIN, headers=headers)).status_code for headers in wrong}

    app = app_on(FakeForecast(), settings=serving(client_rate_per_s=1.0), token="right")  # noqa: S106
    assert talk(app, conversation) == {401, 429}


def test_more_requests_than_may_be_under_way_are_shed_at_once() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get(BITCOIN) for _ in range(20)))

    answers = talk(app_on(FakeForecast(takes_s=0.3), settings=serving(max_concurrency=5)), conversation)

    shed = [answer for answer in answers if answer.status_code == 503]
    assert len(shed) == 15
    assert {answer.headers["retry-after"] for answer in shed} == {"5"}
    assert {answer.json()["type"] for answer in shed} == {"urn:cryptocast:problem:overloaded"}


@pytest.mark.parametrize("token", [None, "reader"])
def test_slow_requests_shut_out_neither_health_nor_finished_answers_nor_an_admin(token: str | None) -> None:
    forecast = FakeForecast()
    settings = serving(max_concurrency=2)
    app = create_app(context(settings), forecast=forecast, stamp=lambda: 0, token=token, admin_token="admin")  # noqa: S106
    switch = "/admin/breakers?name=coingecko%20prices%20default&state=open"
    reader = {"Authorization": f"Bearer {token}"} if token else {}

    async def conversation(client: httpx.AsyncClient) -> tuple[list[int], list[httpx.Response]]:
        assert (await client.get(BITCOIN, headers=reader)).status_code == 200
        forecast.takes_s = 1.0
        slow = [asyncio.create_task(client.get(f"{SLOW}{number}", headers=reader)) for number in range(10)]
        await asyncio.sleep(0.2)
        prompt = [
            await client.get("/health"),
            await client.head("/health"),
            await client.get("/ready"),
            await client.get("/metrics", headers=reader),
            await client.get("/health/detailed", headers=reader),
            await client.get(BITCOIN, headers=reader),
            await client.post(switch, headers=ADMIN),
        ]
        assert app.state.server.telemetry.in_flight > 0
        return [(await one).status_code for one in slow], prompt

    slow, prompt = talk(app, conversation)

    assert sorted(slow) == [200] * 2 + [503] * 8
    assert [answer.status_code for answer in prompt] == [200] * 7
    assert prompt[-1].json()["state"] == "forced_open"


def test_a_place_is_free_again_however_the_request_ended() -> None:
    forecast = FakeForecast(failing={"bad": RuntimeError("planted")})
    settings = serving(max_concurrency=1, trusted_proxies=("127.0.0.1",), client_connections=1)

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        urls = ["/forecasts?ids=bad", "/nowhere", "/forecasts?ids=", "/forecasts?ids=good"]
        return [(await client.get(url, headers={"X-Forwarded-For": "192.0.2.1"})).status_code for url in urls]

    assert talk(app_on(forecast, settings=settings), conversation)[-1] == 200


def test_a_client_behind_a_proxy_has_so_many_requests_under_way_and_the_proxy_any_number() -> None:
    app = app_on(FakeForecast(takes_s=0.4), settings=serving(client_connections=3, **PROXY))

    async def conversation(client: httpx.AsyncClient) -> tuple[list[httpx.Response], list[int], str]:
        greedy = [client.get(BITCOIN, headers={"X-Forwarded-For": "192.0.2.1"}) for _ in range(8)]
        others = [client.get(BITCOIN, headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(10, 20)]
        own = [client.get(BITCOIN) for _ in range(6)]
        answers = await asyncio.gather(*greedy, *others, *own)
        text = (await client.get("/metrics")).text
        return answers[:8], [answer.status_code for answer in answers[8:]], text

    greedy, others, text = talk(app, conversation)

    assert sorted(answer.status_code for answer in greedy) == [200] * 3 + [429] * 5
    refused = next(answer for answer in greedy if answer.status_code == 429)
    problem(refused, 429, "too-many-requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert others == [200] * 16
    assert 'event="connection_refused"' in text
