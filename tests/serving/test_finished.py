import asyncio
import threading

import pytest
from starlette.requests import Request

from cryptocast.serving.finished import AT_ONCE, finished
from cryptocast.serving.forecast_cache import Outcome
from cryptocast.serving.query import ForecastQuery, coin_requests
from cryptocast.serving.response_cache import PackedBody, packed_body
from cryptocast.serving.wiring import Server
from tests.serving.serving_app import FakeForecast, app_on


def scope(query: str) -> dict[str, object]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/forecasts",
        "query_string": query.encode(),
        "headers": [],
        "client": ("192.0.2.1", 5),
    }


def test_what_is_large_is_compressed_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    app, threads = app_on(FakeForecast()), list[bool]()

    def noted(body: bytes, encoding: str) -> PackedBody:
        threads.append(threading.current_thread() is threading.main_thread())
        return packed_body(body, encoding)

    monkeypatch.setattr("cryptocast.serving.finished.packed_body", noted)
    server: Server = app.state.server

    async def outcomes() -> list[Outcome]:
        async with app.router.lifespan_context(app):
            return await server.forecasts.of(coin_requests(ForecastQuery(), server.config), timeout_s=60)

    made = asyncio.run(outcomes())
    threads.clear()
    asked = {**scope("a"), "headers": [(b"accept-encoding", b"gzip")]}
    for size in (AT_ONCE, AT_ONCE + 1):
        response = asyncio.run(finished(server, Request(asked), b"x" * size, made, state=0, may_keep=False))
        assert response.headers["content-encoding"] == "gzip"
    assert threads == [True, False]


def test_what_was_made_before_bars_came_is_given_and_not_kept() -> None:
    app = app_on(FakeForecast())
    server: Server = app.state.server

    async def outcomes() -> list[Outcome]:
        async with app.router.lifespan_context(app):
            return await server.forecasts.of(coin_requests(ForecastQuery(), server.config), timeout_s=60)

    made = asyncio.run(outcomes())
    for query, state, may_keep in (("a", "an earlier one", True), ("b", server.state(), False)):
        response = asyncio.run(finished(server, Request(scope(query)), b"{}", made, state=state, may_keep=may_keep))
        assert (response.status_code, response.body) == (200, b"{}")
    assert len(server.answers) == 0
    asyncio.run(finished(server, Request(scope("c")), b"{}", made, state=server.state()))
    assert len(server.answers) == 1
