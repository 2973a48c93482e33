import asyncio

from starlette.requests import Request

from cryptocast.serving.finished import finished
from cryptocast.serving.forecast_cache import Outcome
from cryptocast.serving.query import ForecastQuery, coin_requests
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


def test_what_was_made_before_bars_came_is_given_and_not_kept() -> None:
    app = app_on(FakeForecast())
    server: Server = app.state.server

    async def outcomes() -> list[Outcome]:
        async with app.router.lifespan_context(app):
            return await server.forecasts.of(coin_requests(ForecastQuery(), server.config), timeout_s=60)

    made = asyncio.run(outcomes())
    for query, state, may_keep in (("a", "an earlier one", True), ("b", server.state(), False)):
        response = finished(server, Request(scope(query)), b"{}", made, state=state, may_keep=may_keep)
        assert (response.status_code, response.body) == (200, b"{}")
    assert len(server.answers) == 0
    finished(server, Request(scope("c")), b"{}", made, state=server.state())
    assert len(server.answers) == 1
