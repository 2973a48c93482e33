import asyncio
from collections.abc import AsyncIterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette

from cryptocast.serving import create_app
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.login import own_address
from cryptocast.serving.paths import Paths
from tests.evaluation.report import browser
from tests.serving.running import Start
from tests.serving.serving_app import Clock, FakeForecast, context, get, serving, talk, until
from tests.serving.test_landing_page import comes

TOKEN, ADMIN = "a-readers-token", "an-admins-token"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
OWN = {**BROWSER, "Origin": "http://server"}
BITCOIN = "/forecasts?ids=bitcoin"
SWITCH = "/admin/breakers?name=coingecko%20prices%20default&state=open"


def guarded(token: str | None = TOKEN, clock: Clock | None = None) -> Starlette:
    return create_app(
        context(clock=clock), forecast=FakeForecast(), stamp=lambda: 0, token=token, admin_token=ADMIN, refresh=False
    )


async def log_in(client: httpx.AsyncClient, token: str = TOKEN, **more: str) -> httpx.Response:
    """The answer to the form; the client has no cookie jar of its own accord for http://server, so it is told."""
    answer = await client.post("/login", data={"token": token, **more}, headers=OWN)
    client.cookies.clear()
    return answer


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_browser_without_a_cookie_gets_the_form_and_a_program_the_problem() -> None:
    form = get(guarded(), "/?coin=bitcoin", headers=BROWSER)

    assert (form.status_code, form.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'action="/login"' in form.text
    assert 'name="next" value="/?coin=bitcoin"' in form.text
    assert TOKEN not in form.text
    assert form.headers["cache-control"] == "no-store"
    assert "form-action 'self'" in form.headers["content-security-policy"]
    assert "x-request-id" in form.headers
    assert get(guarded(), "/").headers["content-type"] == "application/problem+json"


def test_a_token_in_the_form_opens_pages_and_answers_and_a_logout_ends_it() -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        answer = await log_in(client, next=BITCOIN)
        assert (answer.status_code, answer.headers["location"]) == (303, BITCOIN)
        cookie = cookie_of(answer)
        for path in ("/", BITCOIN, "/models", "/openapi.json", "/health/detailed"):
            assert (await client.get(path, headers=cookie)).status_code == 200
            assert (await client.head(path, headers=cookie)).status_code == 200
        out = await client.post("/logout", headers={**cookie, **OWN})
        assert (out.status_code, out.headers["location"]) == (303, "/")
        assert "Max-Age=0" in out.headers["set-cookie"]

    talk(guarded(), conversation)


def test_a_wrong_token_brings_the_form_again_and_no_cookie() -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        for token in ("wrong", "", TOKEN[:-1], f"{TOKEN},{ADMIN}"):
            answer = await log_in(client, token)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert "not a token of this server" in answer.text

    talk(guarded(), conversation)


def test_the_cookie_opens_nothing_for_other_sites() -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        cookie = cookie_of(await log_in(client))
        foreign = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}]
        for headers in foreign:
            assert (await client.get(BITCOIN, headers={**cookie, **headers})).status_code == 401
        assert (await client.get(BITCOIN, headers={**cookie, "Sec-Fetch-Site": "same-origin"})).status_code == 200

    talk(guarded(), conversation)


def test_the_cookie_never_switches_anything_whoever_has_logged_in() -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        for token in (TOKEN, ADMIN):
            cookie = cookie_of(await log_in(client, token))
            for headers in (cookie, {**cookie, **OWN}, {**cookie, "Authorization": f"Bearer {TOKEN}"}):
                assert (await client.post(SWITCH, headers=headers)).status_code in (401, 403)
            assert (await client.get("/admin/breakers", headers=cookie)).status_code == 401
            assert (await client.post(BITCOIN, headers=cookie)).status_code == 401

    talk(guarded(), conversation)


def test_a_wrong_token_is_not_mended_by_a_cookie() -> None:
    async def conversation(client: httpx.AsyncClient) -> None:
        cookie = cookie_of(await log_in(client))
        assert (await client.get(BITCOIN, headers={**cookie, "Authorization": "Bearer wrong"})).status_code == 401

    talk(guarded(), conversation)


def test_after_twelve_hours_and_with_another_token_the_form_comes_again() -> None:
    clock = Clock()

    async def conversation(client: httpx.AsyncClient) -> dict[str, str]:
        cookie = cookie_of(await log_in(client))
        clock.now += timedelta(hours=11, minutes=59)
        assert (await client.get(BITCOIN, headers=cookie)).status_code == 200
        clock.now += timedelta(minutes=1)
        assert (await client.get(BITCOIN, headers=cookie)).status_code == 401
        clock.now -= timedelta(hours=6)
        return cookie

    cookie = talk(guarded(clock=clock), conversation)
    assert get(guarded(clock=clock), BITCOIN, headers=cookie).status_code == 200
    assert get(guarded("another", clock), BITCOIN, headers=cookie).status_code == 401


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://server.evil.example", "http://server:1"]
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_form_of_another_site_is_refused(path: str, origin: str | None) -> None:
    async def conversation(client: httpx.AsyncClient) -> httpx.Response:
        headers = {} if origin is None else {"Origin": origin}
        return await client.post(path, data={"token": TOKEN}, headers=headers)

    answer = talk(guarded(), conversation)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:cryptocast:problem:cross-origin")
    assert "set-cookie" not in answer.headers


def test_wrong_tokens_have_to_wait_and_keep_nobody_of_the_same_address_out() -> None:
    clock = Clock()

    async def conversation(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            assert (await log_in(client, "wrong")).status_code == 401
        refused = await log_in(client, "wrong")
        assert refused.status_code == 429
        assert "set-cookie" not in refused.headers
        assert (await log_in(client)).status_code == 303
        clock.forward(seconds=int(refused.headers["retry-after"]))
        assert (await log_in(client, "wrong")).status_code == 401

    talk(guarded(clock=clock), conversation)


def test_the_form_is_given_no_more_often_than_any_answer() -> None:
    clock = Clock()
    guarded_by_rate = create_app(
        context(serving(client_rate_per_s=1.0), clock),
        forecast=FakeForecast(),
        stamp=lambda: 0,
        token=TOKEN,
        admin_token=ADMIN,
        refresh=False,
    )

    async def conversation(client: httpx.AsyncClient) -> None:
        assert {(await client.get("/login", headers=BROWSER)).status_code for _ in range(20)} == {200}
        refused = await client.get("/login", headers=BROWSER)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert (await log_in(client)).status_code == 429
        clock.forward(seconds=2)
        assert (await log_in(client)).status_code == 303

    talk(guarded_by_rate, conversation)


FOREIGN = [
    "https://evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%2f/evil.example",
    "/\t/evil.example",
    "/\r\nSet-Cookie: a=b",
    "javascript:alert(1)",
    "evil.example",
    "/forecasts//evil.example",
    "/@evil.example",
    "/nowhere",
    "/login",
    "/logout",
    "/admin/breakers",
    "/health",
    "",
    "/" + "a" * 3000,
]


@pytest.mark.parametrize("address", FOREIGN)
def test_a_login_leads_to_no_foreign_address(address: str) -> None:
    assert own_address(Paths(PATHS), address) == "/"
    answer = talk(guarded(), lambda client: log_in(client, next=address))
    assert answer.headers["location"] == "/"
    assert 'name="next" value="/"' in get(guarded(), f"/login?next={quote(address)}", headers=BROWSER).text


@pytest.mark.parametrize("address", ["/", BITCOIN, "/?coin=bitcoin&model=auto&horizon=7", "/health/components/cache"])
def test_a_login_leads_back_to_the_page_that_was_asked_for(address: str) -> None:
    assert own_address(Paths(PATHS), address) == address


def test_the_form_says_when_a_browser_will_not_keep_the_login() -> None:
    async def told(client: httpx.AsyncClient) -> str:
        return (await client.get("/login", headers={**BROWSER, "X-Forwarded-For": "192.0.2.1"})).text

    assert "not encrypted" in talk(guarded(), told)
    assert "not encrypted" not in get(guarded(), "/login", headers=BROWSER).text


def test_without_a_token_there_is_nothing_to_log_in_to() -> None:
    app = create_app(context(), forecast=FakeForecast(), stamp=lambda: 0)
    assert get(app, "/login").headers["location"] == "/"
    assert "set-cookie" not in get(app, "/login", method="POST", headers=OWN).headers


@pytest.mark.parametrize("body", ["&".join(f"a{number}=1" for number in range(11)), "a=1&" * 5000])
def test_what_is_no_form_is_the_fault_of_the_client_and_no_error_in_the_log(
    body: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = talk(guarded(), lambda client: client.post("/login", content=body, headers=OWN))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:cryptocast:problem:bad-request")
    assert not caplog.records


def test_a_client_that_leaves_before_its_form_has_come_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "query_string": b"",
        "headers": [(b"host", b"server"), (b"origin", b"http://server"), (b"content-length", b"5")],
        "client": ("192.0.2.1", 1),
    }
    sent: list[MutableMapping[str, Any]] = []

    async def gone() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guarded()(scope, gone, send))
    assert sent[0]["status"] == 400
    assert not caplog.records


def test_any_bytes_of_a_query_string_bring_the_form(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def nothing() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    for app, path, status in ((guarded(), "/", 401), (guarded(None), "/nowhere", 404)):
        headers = [(b"host", b"server"), (b"accept", b"text/html")]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"\xff", "headers": headers}
        sent.clear()
        asyncio.run(app(scope, nothing, send))
        assert sent[0]["status"] == status
    assert not caplog.records


def test_forms_that_do_not_come_take_no_place_from_those_who_have_a_token() -> None:
    app = create_app(
        context(serving(max_concurrency=1)), forecast=FakeForecast(), stamp=lambda: 0, token=TOKEN, refresh=False
    )
    never = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await never.wait()
        yield b"token"

    async def conversation(client: httpx.AsyncClient) -> int:
        headers = {**OWN, "Content-Length": "5"}
        form = asyncio.create_task(client.post("/login", content=slow(), headers=headers))
        await until(lambda: app.state.server.telemetry.in_flight == 1)
        status = (await client.get("/models", headers={"Authorization": f"Bearer {TOKEN}"})).status_code
        form.cancel()
        return status

    assert talk(app, conversation) == 200


@pytest.mark.skipif(browser.BROWSER is None, reason="no Chromium here: install Debian's package chromium")
def test_a_person_logs_in_and_out_in_a_browser(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0", TOKEN=TOKEN)
    with browser.tab(tmp_path / "profile") as page:
        page.open_address(server.address + "/?coin=ethereum&model=auto&horizon=7", width=1400)
        for token, then in (("wrong", "[role=alert]"), (TOKEN, ".head h1")):
            page.value(f"document.querySelector('[name=token]').value = {token!r}")
            page.value("document.querySelector('form button').click()")
            comes(page, f"document.readyState === 'complete' && !!document.querySelector('{then}')")
        assert page.value("location.search") == "?coin=ethereum&model=auto&horizon=7"
        assert page.value("document.cookie") == ""  # no script reads it
        comes(page, "document.querySelector('.head .price').textContent === '64,321'")
        # The login ends while the page stays open: it does not go on saying that all is well.
        comes(page, "!['', 'Health'].includes(document.getElementById('health').textContent)")
        page.ask("Network.clearBrowserCookies")
        page.value("(later => { Date.now = () => later; })(Date.now() + 6 * 60 * 1000)")
        page.value("document.dispatchEvent(new Event('visibilitychange'))")
        comes(page, "document.getElementById('health').textContent === 'The server does not say how it is'")
        page.value("document.querySelector('header form button').click()")
        comes(page, "!!document.querySelector('[name=token]')")
        # A 401 is told in the console as what could not be loaded; nothing else may be.
        said = [str(one) for one in page.complaints()]
        assert all("401" in one for one in said), said
        assert all(url.startswith((server.address + "/", "data:image/svg")) for url in page.requests())
