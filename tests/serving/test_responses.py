import httpx
import pytest

from tests.serving.serving_app import FakeForecast, app_on, get, talk

BITCOIN = "/forecasts?ids=bitcoin"


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
