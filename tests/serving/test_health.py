import asyncio

import httpx
import pytest

from cryptocast.errors import ModelError
from cryptocast.serving.health import COMPONENTS
from tests.serving.serving_app import FakeForecast, app_on, config, get, talk, until
from tests.serving.test_app import problem

TOKEN = "correct-horse"  # noqa: S105 - made up


def test_ready_says_no_until_a_forecast_could_be_made_and_while_the_server_is_stopped() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> list[tuple[int, str]]:
        seen = []
        for step in (None, "/forecasts?ids=bitcoin", "drain"):
            if step == "drain":
                app.state.server.drain()
            elif step is not None:
                await client.get(step)
            answer = await client.get("/ready")
            seen.append((answer.status_code, answer.json()["status"]))
        return seen

    assert talk(app, conversation) == [(503, "fail"), (200, "pass"), (503, "fail")]


def test_ready_is_never_true_when_the_only_model_fails() -> None:
    app = app_on(FakeForecast(failing={"bitcoin": ModelError("No such file.")}))

    async def conversation(client: httpx.AsyncClient) -> int:
        await client.get("/forecasts?ids=bitcoin")
        return (await client.get("/ready")).status_code

    assert talk(app, conversation) == 503


def test_a_draining_server_asks_its_clients_to_reconnect() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> list[str | None]:
        before = await client.get("/forecasts?ids=bitcoin")
        app.state.server.drain()
        after = await client.get("/forecasts?ids=bitcoin")
        return [before.headers.get("connection"), after.headers.get("connection")]

    assert talk(app, conversation) == [None, "close"]


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_tells_its_numbers(name: str) -> None:
    async def conversation(client: httpx.AsyncClient) -> dict[str, object]:
        await client.get("/forecasts?ids=bitcoin")
        body: dict[str, object] = (await client.get(f"/health/components/{name}")).json()
        return body

    body = talk(app_on(FakeForecast()), conversation)
    assert (body["name"], body["status"]) == (name, "pass")


def test_the_detail_has_the_checks_of_the_draft_by_component_and_measurement() -> None:
    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        await client.get("/forecasts?ids=bitcoin")
        return await client.get("/health/detailed")

    answer = talk(app_on(FakeForecast(source="sample")), conversation)
    checks = answer.json()["checks"]

    assert answer.headers["content-type"] == "application/health+json"
    assert {name.partition(":")[0] for name in checks} == set(COMPONENTS) - {"breakers"}
    assert all(len(rows) == 1 for rows in checks.values())
    rss = checks["resources:rss_mb"][0]
    assert (rss["componentId"], rss["componentType"], rss["observedUnit"]) == ("resources", "system", "MiB")
    assert rss["observedValue"] > 10
    assert rss["time"] == "2026-03-01T12:00:00Z"
    weak = checks["store:on_sample"][0]
    assert (weak["status"], weak["observedValue"], weak["affectedEndpoints"]) == (
        "warn",
        1,
        ["/forecasts", "/paths", "/track", "/candles", "/"],
    )


def test_a_component_that_is_none_is_not_found() -> None:
    body = problem(get(app_on(FakeForecast()), "/health/components/nothing"), 404, "not-found")
    assert "event_loop" in body["detail"]


def test_details_need_the_token_and_ready_tells_a_stranger_no_more_than_its_status() -> None:
    app = app_on(FakeForecast(), token=TOKEN)
    for path in (
        "/health/detailed",
        "/health/trends",
        "/health/components/cache",
        "/metrics",
        "/models",
        "/",
        "/prices",
        "/paths",
    ):
        assert get(app, path).status_code == 401
    assert get(app, "/ready").json() == {"status": "fail", "output": None}
    assert get(app, "/health/detailed", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_health_answers_ask_nobody() -> None:
    forecast = FakeForecast()

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        paths = ("/health", "/ready", "/health/detailed", "/health/trends")
        return [(await client.get(path)).status_code for path in paths for _ in range(10)]

    assert set(talk(app_on(forecast, settings=config()), conversation)) == {200, 503}  # nothing is ready yet
    assert forecast.calls.total() == 0


def test_a_blocked_loop_shows() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> None:
        import time

        def lag_ms() -> float:
            app.state.server.health.pulse.close_minute({})
            return float(app.state.server.health.pulse.minutes[-1].loop_lag_ms)

        await asyncio.sleep(0.05)
        time.sleep(0.9)
        await until(lambda: lag_ms() > 200.0)
        assert (await client.get("/health/trends")).json()["minutes"]

    talk(app, conversation)
