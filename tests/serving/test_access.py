import httpx
import pytest

from cryptocast.errors import UsageError
from cryptocast.serving.access import check_exposure
from tests.serving.serving_app import FakeForecast, app_on, get, talk

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - made up


def status(authorization: str | bytes | None, path: str = "/forecasts?ids=bitcoin", token: str | None = TOKEN) -> int:
    headers = {} if authorization is None else {"Authorization": authorization}
    return get(app_on(FakeForecast(), token=token), path, headers=headers).status_code  # type: ignore[arg-type]


def test_the_token_opens() -> None:
    assert status(f"Bearer {TOKEN}") == 200
    assert status(f"bearer {TOKEN}") == 200  # schemes have no case: RFC 9110, section 11.1


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer  {TOKEN}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}".encode("utf-16-le"),
        "Bearer Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==",
        b"Bearer \xff\xfe",
    ],
)
def test_everything_else_is_refused(authorization: str | bytes | None) -> None:
    assert status(authorization) == 401


def test_the_refusal_is_a_problem_that_says_how_to_ask() -> None:
    forecast = FakeForecast()
    answer = get(app_on(forecast, token=TOKEN), "/forecasts?ids=bitcoin")

    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:cryptocast:problem:unauthorized"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert TOKEN not in answer.text
    assert forecast.calls.total() == 0


def test_a_token_given_twice_is_refused() -> None:
    async def conversation(client: httpx.AsyncClient) -> int:
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer wrong")]
        return (await client.get("/forecasts?ids=bitcoin", headers=twice)).status_code

    assert talk(app_on(FakeForecast(), token=TOKEN), conversation) == 401


def test_paths_that_do_not_exist_are_not_told_to_strangers() -> None:
    assert status(None, "/nowhere") == 401
    assert status(f"Bearer {TOKEN}", "/nowhere") == 404
    assert status(None, "/health/") == 401


def test_health_needs_no_token() -> None:
    assert status(None, "/health") == 200


def test_without_a_token_nobody_is_asked_for_one() -> None:
    assert status(None, token=None) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    check_exposure(host, token=None, insecure=False)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "", "::", "192.168.1.4", "example.org", "localhost.example.org", "127.0.0.1.nip.io"],  # noqa: S104
)
def test_others_are_let_in_with_a_token_or_on_purpose_only(host: str) -> None:
    with pytest.raises(UsageError, match="CRYPTOCAST_SERVE_TOKEN"):
        check_exposure(host, token=None, insecure=False)
    check_exposure(host, token=TOKEN, insecure=False)
    check_exposure(host, token=None, insecure=True)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "pässword", "\x7f"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="printable ASCII"):
        check_exposure("127.0.0.1", token=token, insecure=False)
