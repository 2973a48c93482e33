import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cryptocast.errors import (
    ConfigError,
    CryptocastError,
    DataError,
    ModelError,
    RegistryError,
    UpstreamError,
    UsageError,
)
from cryptocast.workflows.reports import ForecastDocument
from tests.serving.serving_app import FOREVER_S, FakeForecast, app_on, config, get, talk, until

SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


def problem(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """The body of an answer that must be this problem."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["type"]) == (status, f"urn:cryptocast:problem:{name}")
    assert body["title"]
    assert body["detail"]
    return body


def test_the_answer_is_the_document_that_the_terminal_and_the_files_have() -> None:
    answer = get(app_on(FakeForecast()), "/forecasts?ids=bitcoin,ethereum&model=auto&horizons=1,7&levels=80,95")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = msgspec.json.decode(answer.content, type=ForecastDocument)
    assert document.schema == "cryptocast.forecast/3"
    assert [made.coin for made in document.forecasts] == ["bitcoin", "ethereum"]
    assert [horizon.horizon for horizon in document.forecasts[0].horizons] == [1, 7]
    assert [interval.level for interval in document.forecasts[0].horizons[0].intervals] == [80, 95]
    assert document.errors == ()
    assert list(answer.json()) == ["schema", "forecasts", "errors"]


def test_a_ticker_is_answered_as_its_coin_which_is_computed_once_and_kept_under_its_id(tmp_path: Path) -> None:
    forecast = FakeForecast()
    app = app_on(forecast, settings=config(store=tmp_path))
    for ids, names in (
        ("bitcoin", None),
        ("BTC", {"BTC": "bitcoin"}),
        ("btc,BTCUSDT", {"btc": "bitcoin", "BTCUSDT": "bitcoin"}),
    ):
        answer = get(app, f"/forecasts?ids={ids}&vs=usd").json()
        assert [made["coin"] for made in answer["forecasts"]] == ["bitcoin"]
        assert answer.get("names") == names
    assert problem(get(app, "/forecasts?ids=btc-eur&vs=usd"), 400, "bad-request")["detail"].startswith(
        "'btc-eur' is in eur"
    )


def test_numbers_have_eight_significant_digits() -> None:
    made = get(app_on(FakeForecast()), "/forecasts?ids=bitcoin&horizons=1").json()["forecasts"][0]

    assert made["price"] == 65_123.457
    assert made["horizons"][0]["volatility"] == 0.033333333
    assert made["as_of"] == "2026-03-01T00:00:00Z"


def test_a_coin_that_cannot_be_had_stands_beside_those_that_can() -> None:
    forecast = FakeForecast(failing={"atlantis": DataError("There are no candles of atlantis.")})

    answer = get(app_on(forecast), "/forecasts?ids=atlantis,bitcoin")

    assert answer.status_code == 200
    assert [made["coin"] for made in answer.json()["forecasts"]] == ["bitcoin"]
    assert answer.json()["errors"] == [{"coin": "atlantis", "error": "There are no candles of atlantis."}]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (DataError("No candles. Fetch them."), 404, "no-data"),
        (UsageError("That means nothing."), 400, "bad-request"),
        (UpstreamError("CoinGecko is down."), 503, "upstream-unavailable"),
        (ModelError("The model is broken."), 503, "model-unavailable"),
        (RegistryError("The registry is damaged."), 503, "registry-unavailable"),
        (ConfigError("A setting is wrong."), 500, "misconfigured"),
        (CryptocastError("Something else."), 500, "internal-error"),
    ],
)
def test_with_no_coin_at_all_the_class_of_the_error_decides(error: CryptocastError, status: int, name: str) -> None:
    answer = get(app_on(FakeForecast(failing={"bitcoin": error})), "/forecasts?ids=bitcoin")

    body = problem(answer, status, name)
    assert body["detail"] == str(error)
    assert body["errors"] == [{"coin": "bitcoin", "error": str(error)}]
    assert ("retry-after" in answer.headers) == (status == 503)


def test_an_error_of_a_class_that_came_later_is_answered_as_its_parent() -> None:
    class CircuitOpenError(UpstreamError):
        pass

    answer = get(app_on(FakeForecast(failing={"bitcoin": CircuitOpenError("Open.")})), "/forecasts?ids=bitcoin")

    problem(answer, 503, "upstream-unavailable")


def test_of_several_failures_the_one_that_may_pass_decides() -> None:
    forecast = FakeForecast(failing={"atlantis": DataError("Unknown."), "bitcoin": UpstreamError("Down.")})

    body = problem(get(app_on(forecast), "/forecasts?ids=atlantis,bitcoin"), 503, "upstream-unavailable")

    assert [error["coin"] for error in body["errors"]] == ["atlantis", "bitcoin"]


def test_a_fault_of_ours_shows_neither_its_text_nor_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    forecast = FakeForecast(failing={"bitcoin": ZeroDivisionError("secret of the inside")})

    answer = get(app_on(forecast), "/forecasts?ids=bitcoin")

    problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret of the inside" in caplog.text


def test_a_fault_outside_the_forecast_is_a_problem_document_too() -> None:
    def broken() -> int:
        raise OSError("/secret/path")

    answer = get(app_on(FakeForecast(), stamp=broken), "/forecasts?ids=bitcoin")

    problem(answer, 500, "internal-error")
    assert "secret" not in answer.text


def test_a_number_that_json_cannot_hold_is_no_answer() -> None:
    answer = get(app_on(FakeForecast(price=float("nan"))), "/forecasts?ids=bitcoin")

    assert "nan" in problem(answer, 503, "model-unavailable")["detail"]


def test_health_looks_at_nothing() -> None:
    def broken() -> int:
        raise AssertionError("health asked the registry")

    forecast = FakeForecast()
    answer = get(app_on(forecast, stamp=broken), "/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "pass"})
    assert answer.headers["content-type"] == "application/health+json"
    assert forecast.calls.total() == 0


def test_health_answers_while_every_forecast_hangs() -> None:
    forecast = FakeForecast(go=threading.Event())

    async def conversation(client: httpx.AsyncClient) -> tuple[int, int]:
        asking = asyncio.create_task(client.get("/forecasts?ids=bitcoin"))
        await until(lambda: forecast.running)
        answer = await client.get("/health")
        assert not asking.done()
        forecast.go.set()
        return answer.status_code, (await asking).status_code

    assert talk(app_on(forecast, settings=config(request_timeout_s=FOREVER_S)), conversation) == (200, 200)


@pytest.mark.parametrize("url", ["/forecasts?ids=bitcoin", "/health", "/forecasts?ids=atlantis", "/nowhere"])
def test_every_answer_has_the_security_headers_and_none_names_the_server(url: str) -> None:
    answer = get(app_on(FakeForecast(failing={"atlantis": DataError("Unknown.")})), url)

    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert "server" not in answer.headers
    good = "private, max-age=60, must-revalidate"
    assert answer.headers["cache-control"] == (good if url == "/forecasts?ids=bitcoin" else "no-store")


@pytest.mark.parametrize("url", ["/forecasts?ids=bitcoin", "/health"])
def test_head_is_answered_with_the_headers_of_get(url: str) -> None:
    app = app_on(FakeForecast())
    whole, head = get(app, url), get(app, url, method="HEAD")

    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "x-request-id": ""} == {**whole.headers, "x-request-id": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_other_methods_are_refused_by_a_problem_that_says_which_are_not(method: str) -> None:
    answer = get(app_on(FakeForecast()), "/forecasts?ids=bitcoin", method=method)

    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", ["/forecast", "/forecasts/", "/health/x", "/..%2f..%2fetc", "/%00", "/%F0%9F%92%A9"])
def test_other_paths_are_not_found_and_the_problem_is_plain_ascii(path: str) -> None:
    answer = get(app_on(FakeForecast()), path)

    assert (
        "/forecasts, /paths, /prices, /track, /candles, /models, /health" in problem(answer, 404, "not-found")["detail"]
    )
    assert answer.text.isascii()


def test_a_bad_parameter_is_named_with_what_it_may_be() -> None:
    forecast = FakeForecast()
    body = problem(get(app_on(forecast), "/forecasts?ids=bitcoin&levels=85"), 400, "invalid-parameter")

    assert body["parameter"] == "levels"
    assert "20, 40, 60, 80, 90, 95, 98, 99" in body["allowed"]
    assert "'85'" in body["detail"]
    assert forecast.calls.total() == 0


def test_without_ids_the_configured_coins_are_forecast() -> None:
    answer = get(app_on(FakeForecast(), settings=config()), "/forecasts")

    assert [made["coin"] for made in answer.json()["forecasts"]] == ["bitcoin", "ethereum", "litecoin"]
