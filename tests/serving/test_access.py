import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from cryptocast.errors import UsageError
from cryptocast.serving import create_app
from cryptocast.serving.access import Proxies, check_exposure, counted_as, plain_address
from tests.serving.serving_app import FakeForecast, app_on, config, context, get, talk
from tests.serving.test_app import problem

BITCOIN = "/forecasts?ids=bitcoin"
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


ADMIN = "the-admins-own"
SWITCH = "/admin/breakers?name=coingecko%20prices%20default&state="


def guarded(token: str | None = TOKEN, admin: str | None = ADMIN, **serve: float) -> Starlette:
    settings = config()
    settings = msgspec.structs.replace(settings, serve=msgspec.structs.replace(settings.serve, **serve))
    return create_app(context(settings), forecast=FakeForecast(), stamp=lambda: 0, token=token, admin_token=admin)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_several_tokens_hold_at_once_so_that_one_can_be_replaced() -> None:
    app = guarded("old-one,new-one")
    assert [
        get(app, BITCOIN, headers=bearer(one)).status_code for one in ("old-one", "new-one", "old-one,new-one")
    ] == [
        200,
        200,
        401,
    ]


def test_an_admin_reads_and_switches_and_a_reader_only_reads() -> None:
    app = guarded()
    assert get(app, BITCOIN, headers=bearer(ADMIN)).status_code == 200
    assert get(app, SWITCH + "open", method="POST").status_code == 401
    assert get(app, SWITCH + "open", method="POST", headers=bearer("wrong")).status_code == 401
    problem(get(app, SWITCH + "open", method="POST", headers=bearer(TOKEN)), 403, "forbidden")
    assert get(app, SWITCH + "open", method="POST", headers=bearer(ADMIN)).json() == {
        "breaker": "coingecko prices default",
        "state": "forced_open",
    }


def test_without_an_admins_token_nobody_switches_anything() -> None:
    app = guarded(token=None, admin=None)
    assert get(app, BITCOIN).status_code == 200
    assert get(app, SWITCH + "open", method="POST").status_code == 401
    assert get(guarded(admin=None), SWITCH + "open", method="POST", headers=bearer(TOKEN)).status_code == 403


def test_a_breaker_is_held_open_held_closed_and_let_go() -> None:
    app = guarded()

    async def conversation(client: httpx.AsyncClient) -> list[str]:
        states = []
        for state in ("open", "closed", "auto"):
            said = await client.post(SWITCH + state, headers=bearer(ADMIN))
            health = await client.get("/health/components/breakers", headers=bearer(TOKEN))
            assert said.json()["state"] == health.json()["values"]["coingecko prices default"]["state"]
            states.append(said.json()["state"])
        return states

    assert talk(app, conversation) == ["forced_open", "forced_closed", "closed"]


@pytest.mark.parametrize(
    ("query", "status", "name"),
    [
        ("", 400, "invalid-parameter"),
        ("?name=coingecko%20prices%20default", 400, "invalid-parameter"),
        ("?name=coingecko%20prices%20default&state=ajar", 400, "invalid-parameter"),
        ("?name=nothing&state=open", 404, "not-found"),
        ("?name=x&state=open&force=1", 400, "unknown-parameter"),
    ],
)
def test_an_order_that_makes_no_sense_says_why(query: str, status: int, name: str) -> None:
    problem(get(guarded(), f"/admin/breakers{query}", method="POST", headers=bearer(ADMIN)), status, name)


def test_the_switch_is_no_page_to_look_at() -> None:
    answer = get(guarded(), SWITCH + "open", headers=bearer(ADMIN))
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST, OPTIONS"


def test_a_token_has_its_own_rate_wherever_it_comes_from_and_strangers_share_that_of_their_address() -> None:
    app = guarded("one,two", client_rate_per_s=0.05)  # bursts of one

    async def conversation(client: httpx.AsyncClient) -> list[int]:
        asked = [bearer("one"), bearer("one"), bearer("two"), bearer("guess-1"), bearer("guess-2"), {}]
        return [(await client.get(BITCOIN, headers=headers)).status_code for headers in asked]

    assert talk(app, conversation) == [200, 429, 200, 401, 429, 429]


def test_a_token_in_both_places_is_refused() -> None:
    with pytest.raises(UsageError, match="both"):
        check_exposure("127.0.0.1", token="a,b", admin="b", insecure=False)  # noqa: S106


@pytest.mark.parametrize("path", [BITCOIN, "/", "/models", "/openapi.json", "/health/detailed", "/metrics", "/nowhere"])
def test_no_answer_holds_the_token_so_none_leaks_by_its_compressed_length(path: str) -> None:
    answer = get(guarded(), path, headers={**bearer(TOKEN), "Accept-Encoding": "gzip"})
    for secret in (TOKEN, ADMIN):
        assert secret not in answer.text
        assert secret not in str(answer.headers)


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


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
JUNK = st.one_of(
    ADDRESSES,
    st.sampled_from(["", "unknown", "_hidden", "1.2.3", "::ffff:", "[::1", "9" * 50, "a:b:c", "%", "\xff"]),
    st.text(st.characters(max_codepoint=255, exclude_characters=",\r\n"), max_size=30),
)
OURS = ("10.0.0.0/8", "fd00::/8", "127.0.0.1")


def came(peer: str, *lines: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    return {"client": (peer, 5000), "headers": [(b"host", b"x"), *headers]}


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("10.0.0.1", ("192.0.2.1",), "192.0.2.1"),
        ("10.0.0.1", ("198.51.100.9, 192.0.2.1",), "192.0.2.1"),
        ("10.0.0.1", ("192.0.2.1, 10.0.0.2,10.0.0.3",), "192.0.2.1"),
        ("10.0.0.1", ("192.0.2.1", "10.0.0.2"), "192.0.2.1"),
        ("10.0.0.1", ("192.0.2.1:4711",), "192.0.2.1"),
        ("10.0.0.1", ("[2001:db8::1]:443",), "2001:db8::1"),
        ("10.0.0.1", ("2001:DB8:0::1",), "2001:db8::1"),
        ("10.0.0.1", ("::ffff:192.0.2.1, ::ffff:10.0.0.7",), "192.0.2.1"),
        ("::ffff:10.0.0.1", ("192.0.2.1",), "192.0.2.1"),
        ("fd00::1", ("2001:db8::1",), "2001:db8::1"),
        ("10.0.0.1", ("10.0.0.2, 10.0.0.3",), "10.0.0.2"),
        ("10.0.0.1", ("made-up, 10.0.0.3",), "10.0.0.3"),
        ("10.0.0.1", ("192.0.2.1, made-up",), None),
        ("10.0.0.1", (), None),
        ("10.0.0.1", ("",), None),
        ("192.0.2.8", ("192.0.2.1",), None),
        ("", ("192.0.2.1",), None),
    ],
)
def test_the_client_is_the_last_that_a_trusted_proxy_names_and_that_is_none_itself(
    peer: str, lines: tuple[str, ...], client: str | None
) -> None:
    assert Proxies(OURS).client_of(came(peer, *lines)) == client


@given(made_up=st.lists(JUNK, max_size=60), client=ADDRESSES, hops=st.lists(st.sampled_from(["10.1.2.3", "fd00::9"])))
def test_nothing_that_a_client_makes_up_changes_who_it_is(made_up: list[str], client: str, hops: list[str]) -> None:
    proxies = Proxies(OURS)
    hops = hops[:10]
    honest = proxies.client_of(came("10.0.0.1", ", ".join([client, *hops])))
    lying = proxies.client_of(came("10.0.0.1", ", ".join([*made_up, client, *hops])))

    if not proxies.trusts(client):
        assert honest is not None
        assert lying == honest
    assert proxies.client_of(came("192.0.2.1", ", ".join(made_up))) is None


def test_without_trusted_proxies_nobody_is_one() -> None:
    assert not Proxies(()).trusts("127.0.0.1")
    assert Proxies(()).client_of(came("127.0.0.1", "192.0.2.1")) is None
    assert Proxies(OURS).client_of({"client": None, "headers": []}) is None


@pytest.mark.parametrize(
    ("shown", "plain"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("2001:db8::1", "2001:db8::1")],
)
def test_a_client_of_version_4_has_one_address_on_every_socket(shown: str, plain: str) -> None:
    assert plain_address(shown) == plain


def test_who_has_a_whole_network_of_version_6_is_one_client() -> None:
    assert counted_as("2001:db8:1:2::7") == counted_as("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:3::7") != counted_as("2001:db8:1:2::7")
    assert counted_as("192.0.2.7") == "192.0.2.7"
    assert counted_as("") == ""
