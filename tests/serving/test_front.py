import asyncio
import gzip
import json
import re
import threading

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Scope

from cryptocast.config import Config
from cryptocast.serving import create_app
from cryptocast.serving.ab_routing import Sides, client_of
from cryptocast.serving.paths import Endpoint
from tests.serving.serving_app import FOREVER_S, Clock, FakeForecast, app_on, config, context, get, talk
from tests.serving.test_app import problem
from tests.serving.test_checklist import PAGE as SERVING_PAGE

BITCOIN = "/forecasts?ids=bitcoin"
MANY = "/forecasts?ids=" + ",".join(f"coin-{number}" for number in range(30))


def serving(**changes: object) -> Config:
    settings = config()
    return msgspec.structs.replace(settings, serve=msgspec.structs.replace(settings.serve, **changes))


def test_each_answer_has_a_request_id_and_a_good_one_of_the_client_is_kept() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> list[str]:
        given = ["abc-1.2_3", "x" * 65, "a b", "<script>"]
        first = [(await client.get(BITCOIN)).headers["x-request-id"] for _ in range(2)]
        return first + [
            (await client.get("/nowhere", headers={"X-Request-ID": one})).headers["x-request-id"] for one in given
        ]

    one, two, kept, *others = talk(app, conversation)

    assert one != two
    assert kept == "abc-1.2_3"
    assert all(re.fullmatch(r"[0-9a-f]{8}-\d+", other) for other in others)


def test_what_the_client_has_is_not_sent_again() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get(BITCOIN)
        tags = [first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*", '"other"']
        return [first, *[await client.get(BITCOIN, headers={"If-None-Match": tag}) for tag in tags]]

    first, *again = talk(app_on(FakeForecast()), conversation)

    assert [answer.status_code for answer in again] == [304, 304, 304, 200]
    for answer in again[:3]:
        assert answer.content == b""
        assert answer.headers["etag"] == first.headers["etag"]
        assert "content-type" not in answer.headers
        assert "max-age" in answer.headers["cache-control"]


def test_the_first_answer_may_be_a_304_too() -> None:
    app = app_on(FakeForecast())
    tag = get(app, BITCOIN).headers["etag"]

    assert get(app_on(FakeForecast()), BITCOIN, headers={"If-None-Match": tag}).status_code == 304


def test_cache_control_ends_with_the_bar_and_age_grows() -> None:
    clock = Clock()

    async def conversation(client: httpx.AsyncClient) -> list[tuple[str, str]]:
        seen = []
        for seconds in (0, 11 * 3600 + 59 * 60 + 30, 29):
            clock.forward(seconds=seconds)
            answer = await client.get(BITCOIN)
            seen.append((answer.headers["age"], answer.headers["cache-control"]))
        return seen

    assert talk(app_on(FakeForecast(), clock=clock), conversation) == [
        ("0", "private, max-age=60, must-revalidate"),
        ("43170", "private, max-age=30, must-revalidate"),
        ("43199", "private, max-age=1, must-revalidate"),
    ]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_thirty_coins_are_sent_in_less_than_three_tenths(encoding: str) -> None:
    app = app_on(FakeForecast())
    whole = get(app, MANY, headers={"Accept-Encoding": "identity"})
    small = get(app, MANY, headers={"Accept-Encoding": encoding})

    assert "content-encoding" not in whole.headers
    assert small.headers["content-encoding"] == encoding
    assert small.content == whole.content
    assert int(small.headers["content-length"]) < 0.3 * len(whole.content)
    assert small.headers["vary"] == "accept-encoding"
    assert small.headers["etag"] != whole.headers["etag"]


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/", "/health/detailed", "/health/trends"])
def test_other_long_answers_are_compressed_too(path: str) -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        for _ in range(20):
            app.state.server.health.pulse.close_minute({})
        await client.get(BITCOIN)
        return await client.get(path, headers={"Accept-Encoding": "gzip"})

    answer = talk(app, conversation)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"].lower() == "accept-encoding"
    assert int(answer.headers["content-length"]) < 0.6 * len(answer.content)


def test_a_short_answer_is_not_compressed() -> None:
    answer = get(app_on(FakeForecast()), "/health", headers={"Accept-Encoding": "gzip"})

    assert len(answer.content) < 200
    assert "content-encoding" not in answer.headers


def test_a_repeated_question_is_answered_with_the_same_bytes_without_the_app() -> None:
    forecast = FakeForecast()

    async def conversation(client: httpx.AsyncClient) -> tuple[bytes, bytes, dict[str, int]]:
        first = await client.get(MANY)
        second = await client.get(MANY)
        cache = (await client.get("/health/components/cache")).json()["values"]
        return first.content, second.content, cache

    first, second, cache = talk(app_on(forecast), conversation)

    assert first == second
    assert cache["hits"] == 1
    assert set(forecast.calls.values()) == {1}


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


def test_options_says_what_is_allowed_and_no_origin_may_read_by_default() -> None:
    answer = get(app_on(FakeForecast()), BITCOIN, method="OPTIONS", headers={"Origin": "https://example.org"})

    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_only_configured_origins_may_read() -> None:
    app = app_on(FakeForecast(), settings=serving(cors_origins=("https://example.org",)))
    good = get(app, BITCOIN, headers={"Origin": "https://example.org"})
    bad = get(app, BITCOIN, headers={"Origin": "https://example.com"})
    before = get(app, BITCOIN, method="OPTIONS", headers={"Origin": "https://example.org"})

    assert good.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in bad.headers
    assert "authorization" in before.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in good.headers


SLOW = "/forecasts?ids=slow-"
ADMIN = {"Authorization": "Bearer admin"}


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


PAGE = "https://app.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}


def with_pages(*origins: str, **changes: object) -> Starlette:
    return app_on(FakeForecast(), settings=serving(cors_origins=origins or (PAGE,), **changes), token="right")  # noqa: S106


def listed(answer: httpx.Response, name: str) -> set[str]:
    return set(answer.headers.get(f"access-control-{name}", "").split(", "))


@pytest.mark.parametrize(("path", "method"), [(BITCOIN, "GET"), ("/admin/breakers?name=x&state=open", "POST")])
def test_a_browser_asks_without_a_token_whether_a_page_may_ask_with_one(path: str, method: str) -> None:
    offered = set(re.findall(r"^- .*?`(Prefer|If-None-Match|X-Request-ID)", SERVING_PAGE, re.MULTILINE))
    asked = {*(name.lower() for name in offered), "authorization", "x-client-id"}
    sent = {**PREFLIGHT, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(asked)}

    answer = get(with_pages(), path, method="OPTIONS", headers=sent)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in listed(answer, "allow-methods")
    assert asked <= listed(answer, "allow-headers")
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_of_another_page_is_told_nothing_and_what_is_none_needs_the_token() -> None:
    other = get(with_pages(), BITCOIN, method="OPTIONS", headers={**PREFLIGHT, "Origin": "https://other.example"})
    plain = get(with_pages(), BITCOIN, method="OPTIONS", headers={"Origin": PAGE})

    assert other.status_code == 204
    assert not [name for name in other.headers if name.startswith("access-control")]
    assert plain.status_code == 401


def test_preflights_do_not_use_up_what_a_client_may_ask() -> None:
    async def conversation(client: httpx.AsyncClient) -> set[int]:
        return {(await client.options(BITCOIN, headers=PREFLIGHT)).status_code for _ in range(30)}

    assert talk(with_pages(client_rate_per_s=1.0), conversation) == {204}


def test_a_page_may_read_the_headers_that_tell_it_what_to_do_also_those_of_errors() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        origin = {"Origin": PAGE}
        known = {**origin, "Authorization": "Bearer right"}
        first = await client.get(BITCOIN, headers=known)
        answers = [
            first,
            await client.get(BITCOIN, headers={**known, "If-None-Match": first.headers["etag"]}),
            await client.get(BITCOIN, headers=origin),
            await client.get("/nowhere", headers=known),
            await client.post("/forecasts", headers={**known, "Content-Length": "99999"}),
            await client.get("/forecasts?ids=bitcoin&x=1", headers=known),
        ]
        while answers[-1].status_code != 429:
            answers.append(await client.get(BITCOIN, headers=known))
        return answers

    answers = talk(with_pages(client_rate_per_s=1.0), conversation)

    assert [answer.status_code for answer in answers[:6]] == [200, 304, 401, 404, 413, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert {"etag", "age", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"} <= listed(
            answer, "expose-headers"
        )
        assert "origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("setting", "origin", "said"),
    [
        ("*", "https://any.example", "*"),
        ("https://app.example/", PAGE, PAGE),
        ("HTTPS://App.Example:443", PAGE, PAGE),
        ("http://localhost:3000", "http://localhost:3000", "http://localhost:3000"),
        (PAGE, "https://app.example.evil", None),
        (PAGE, "http://app.example", None),
        (PAGE, "null", None),
        (PAGE, "", None),
    ],
)
def test_origins_are_compared_as_browsers_send_them(setting: str, origin: str, said: str | None) -> None:
    app = with_pages(setting)
    answer = get(app, "/health", headers={"Origin": origin})
    asked = get(app, BITCOIN, method="OPTIONS", headers={**PREFLIGHT, "Origin": origin})

    assert answer.headers.get("access-control-allow-origin") == said
    assert asked.headers.get("access-control-allow-origin") == said


PROXY = {"trusted_proxies": ("127.0.0.0/8", "10.0.0.0/8")}


def test_behind_a_trusted_proxy_each_client_has_its_own_rate() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        came = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.1", "192.0.2.3, 10.1.1.1", "x, 192.0.2.1"]
        return [(await client.get(BITCOIN, headers={"X-Forwarded-For": one})).status_code for one in came]

    settings = serving(client_rate_per_s=0.05, **PROXY)  # bursts of one
    assert talk(app_on(FakeForecast(), settings=settings), conversation) == [200, 429, 200, 429, 200, 429]


@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",)])
def test_the_word_of_a_stranger_about_who_asks_counts_for_nothing(trusted: tuple[str, ...]) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        came = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        return [(await client.get(BITCOIN, headers={"X-Forwarded-For": one})).status_code for one in came]

    settings = serving(client_rate_per_s=0.05, trusted_proxies=trusted)
    assert talk(app_on(FakeForecast(), settings=settings), conversation) == [200, 429, 429]


def test_the_side_of_a_test_is_that_of_the_client_behind_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def question(_: Sides, scope: Scope) -> bytes:
        asked.append(client_of(scope))
        return bytes(scope["query_string"])

    monkeypatch.setattr(Sides, "question", question)
    app = app_on(FakeForecast(), settings=serving(**PROXY))
    for headers in ({"X-Forwarded-For": "192.0.2.7"}, {}, {"X-Forwarded-For": "192.0.2.7", "X-Client-Id": "ada"}):
        asked.append("|")
        get(app, BITCOIN, headers=headers)

    assert [set(part.split()) for part in " ".join(asked).replace("address ", "").split("|")[1:]] == [
        {"192.0.2.7"},
        {"127.0.0.1"},
        {"id", "ada"},
    ]


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


def test_no_header_and_no_answer_names_a_path_of_this_machine() -> None:
    app = app_on(FakeForecast())
    for path in ("/openapi.json", "/metrics", "/health/detailed", "/"):
        assert "/work/" not in get(app, path).text
        assert "/home/" not in get(app, path).text


def test_metrics_know_the_routes_and_put_everything_else_into_one_series() -> None:
    async def conversation(client: httpx.AsyncClient) -> str:
        for path in (BITCOIN, BITCOIN, "/nowhere", "/nowhere/else", "/health/components/cache"):
            await client.get(path)
        await client.request("BREW", "/health")
        return (await client.get("/metrics")).text

    text = talk(app_on(FakeForecast()), conversation)

    assert 'http_server_request_duration_seconds_count{method="GET",route="/forecasts",status="200"} 2.0' in text
    assert 'http_server_request_duration_seconds_count{method="GET",route="_OTHER",status="404"} 2.0' in text
    assert 'route="/health/components/{name}"' in text
    assert 'method="_OTHER"' in text
    assert "nowhere" not in text
    assert "BREW" not in text
    assert "bitcoin" not in text


def test_the_deadline_of_the_settings_holds_for_what_the_handlers_overlook() -> None:
    async def hanging(_service: object, _request: object, _query: object) -> Response:
        await asyncio.Event().wait()
        return Response()

    endpoints = {"/hanging": Endpoint(summary="Never answers", handler=hanging)}
    app = create_app(context(serving(request_timeout_s=0.05)), forecast=FakeForecast(), endpoints=endpoints)

    problem(get(app, "/hanging"), 503, "overloaded")


def test_a_client_may_wait_less_than_the_settings_let_it_and_finds_the_forecast_later() -> None:
    forecast = FakeForecast(go=threading.Event())

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        early = await client.get(BITCOIN, headers={"Prefer": "respond-async, wait=1"})
        assert forecast.calls["bitcoin"] <= 1
        forecast.go.set()
        return early, await client.get(BITCOIN)

    early, later = talk(app_on(forecast, settings=serving(request_timeout_s=FOREVER_S)), conversation)

    problem(early, 503, "overloaded")
    assert "within 1 s" in early.json()["detail"]
    assert later.status_code == 200
    assert forecast.calls["bitcoin"] == 1


def test_the_bytes_of_an_encoding_are_the_document() -> None:
    async def conversation(client: httpx.AsyncClient) -> bytes:
        async with client.stream("GET", BITCOIN, headers={"Accept-Encoding": "gzip"}) as answer:
            return b"".join([chunk async for chunk in answer.aiter_raw()])

    raw = talk(app_on(FakeForecast()), conversation)

    assert json.loads(gzip.decompress(raw))["forecasts"][0]["coin"] == "bitcoin"
