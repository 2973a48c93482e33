import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.serving.access import Keys
from cryptocast.serving.login_cookie import (
    LOGIN_S,
    cookie_value,
    is_same_origin,
    keeps_login,
    key_of_cookie,
    names_own_origin,
    set_cookies,
)

NOW_S = 1_772_366_400.0
KEYS = Keys("reader,second", "the-admins")
READER, SECOND, ADMIN = KEYS.all
VALUE = cookie_value(READER, NOW_S)


def key_at(cookie: str, now_s: float = NOW_S, keys: Keys = KEYS) -> str | None:
    key = key_of_cookie(cookie.encode("latin-1"), keys.all, now_s)
    return None if key is None else key.name


def test_any_process_with_the_token_accepts_the_cookie_and_none_has_to_remember_it() -> None:
    for name in ("cryptocast", "__Host-cryptocast"):
        assert key_at(f"theme=dark; {name}={VALUE}", keys=Keys("reader,second", "the-admins")) == "token 1"


def test_it_holds_for_twelve_hours_and_not_before_it_was_given() -> None:
    assert key_at(f"cryptocast={VALUE}", NOW_S + LOGIN_S - 1) == "token 1"
    assert key_at(f"cryptocast={VALUE}", NOW_S + LOGIN_S) is None
    assert key_at(f"cryptocast={VALUE}", NOW_S - 1) is None  # a clock that was set back does not lengthen it


def test_a_new_token_ends_it_and_one_that_stays_does_not() -> None:
    assert key_at(f"cryptocast={VALUE}", keys=Keys("another")) is None
    assert key_at(f"cryptocast={VALUE}", keys=Keys("another,reader")) == "token 2"
    assert key_at(f"cryptocast={VALUE}", keys=Keys("reader2")) is None


def test_who_logs_in_as_an_admin_gets_a_cookie_that_reads() -> None:
    value = cookie_value(ADMIN, NOW_S)
    assert value.split(".")[1] == "read"
    assert key_at(f"cryptocast={value}") == "admin 1"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "..",
        "reader",
        VALUE.replace(".read.", ".admin."),
        VALUE.replace(".read.", "."),
        VALUE[:-1],
        VALUE + "0",
        VALUE.upper(),
        f"{int(NOW_S) + LOGIN_S - 60}.read.{VALUE.rpartition('.')[2]}",
        f"{int(NOW_S) + 60}.read.{'0' * 64}",
        f"99999999999999999999.read.{VALUE.rpartition('.')[2]}",
        READER.digest.hex(),
        f"{int(NOW_S) + 60}.read.{READER.digest.hex()}",
        f'"{VALUE}"',
        VALUE.replace(".", "%2e"),
    ],
)
def test_a_cookie_that_was_made_up_opens_nothing(value: str) -> None:
    assert key_at(f"cryptocast={value}") is None


@given(st.integers(0, len(VALUE) - 1), st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";"))
def test_no_sign_of_a_cookie_can_be_changed(place: int, sign: str) -> None:
    changed = VALUE[:place] + sign + VALUE[place + 1 :]
    assert key_at(f"cryptocast={changed}") == ("token 1" if changed == VALUE else None)


def test_many_cookies_of_the_name_cost_no_more_than_a_few() -> None:
    assert key_at("; ".join(["cryptocast=x"] * 3 + [f"cryptocast={VALUE}"])) == "token 1"
    assert key_at("; ".join(["cryptocast=x"] * 4 + [f"cryptocast={VALUE}"])) is None


HERE = {"client": ("127.0.0.1", 5)}
AWAY = {"client": ("192.0.2.1", 5)}


@pytest.mark.parametrize(
    ("scope", "headers", "name", "is_secure"),
    [
        (HERE, {b"origin": b"http://localhost:8000"}, "cryptocast", False),
        (AWAY, {b"origin": b"http://box:8000"}, "cryptocast", True),
        (AWAY, {b"origin": b"https://box"}, "__Host-cryptocast", True),
        (HERE, {b"origin": b"https://box"}, "__Host-cryptocast", True),
        (HERE, {b"origin": b"http://box", b"x-forwarded-for": b"192.0.2.1"}, "cryptocast", True),
    ],
    ids=["this machine", "another machine", "TLS", "TLS that ends here", "a proxy here"],
)
def test_the_cookie_is_kept_from_scripts_other_sites_and_open_wires(
    scope: dict[str, object], headers: dict[bytes, bytes], name: str, is_secure: bool
) -> None:
    ((_, header),) = set_cookies(scope, headers, VALUE)
    first, *attributes = header.decode().split("; ")

    assert first == f"{name}={VALUE}"
    assert set(attributes) - {"Secure"} == {f"Max-Age={LOGIN_S}", "Path=/", "HttpOnly", "SameSite=Strict"}
    assert ("Secure" in attributes) == is_secure


def test_a_logout_ends_the_cookie_under_both_names_with_the_attributes_that_browsers_ask_for() -> None:
    plain = [header.decode() for _, header in set_cookies(HERE, {b"origin": b"http://localhost"}, "")]
    assert [one.partition(";")[0] for one in plain] == ["__Host-cryptocast=", "cryptocast="]
    assert all("Max-Age=0" in one for one in plain)
    assert ["Secure" in one for one in plain] == [True, False]


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),  # no browser
        ({b"sec-fetch-site": b"none"}, True),
        ({b"sec-fetch-site": b"same-origin"}, True),
        ({b"sec-fetch-site": b"same-site"}, False),  # another port of this machine
        ({b"sec-fetch-site": b"cross-site"}, False),
        ({b"sec-fetch-site": b"nonsense"}, False),
        ({b"origin": b"http://box:8000", b"host": b"box:8000"}, True),
        ({b"origin": b"http://box:3000", b"host": b"box:8000"}, False),
        ({b"origin": b"null", b"host": b"box:8000"}, False),
        ({b"origin": b"", b"host": b""}, False),
        ({b"origin": b"https://evil.example", b"host": b"box", b"sec-fetch-site": b"same-origin"}, False),
    ],
)
def test_only_pages_of_this_server_are_read_for_with_a_cookie(headers: dict[bytes, bytes], is_ours: bool) -> None:
    assert is_same_origin(headers) == is_ours


def test_the_origin_of_a_form_is_the_host_with_or_without_the_usual_port() -> None:
    assert names_own_origin({b"origin": b"https://box", b"host": b"BOX:443"})
    assert names_own_origin({b"origin": b"http://[::1]:8000", b"host": b"[::1]:8000"})
    assert not names_own_origin({b"origin": b"https://box.evil.example", b"host": b"box"})
    assert not names_own_origin({b"host": b"box"})
    assert not names_own_origin({b"origin": b"file://box", b"host": b"box"})


def test_whether_a_browser_will_keep_the_login_is_told_beforehand() -> None:
    assert keeps_login(HERE, {})
    assert not keeps_login(AWAY, {})
    assert keeps_login(AWAY, {b"x-forwarded-proto": b"https"})
    assert keeps_login(AWAY, {b"host": b"localhost:8000"})
    assert keeps_login(AWAY, {b"host": b"[::1]:8000"})
    assert keeps_login(AWAY, {b"host": b"localhost"})  # at port 80, which goes without saying
    assert keeps_login(AWAY, {b"host": b"[::1]"})
    assert not keeps_login(AWAY, {b"host": b"localhost.evil.example:8000"})
