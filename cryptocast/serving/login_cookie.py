"""What a browser shows in place of a token: a cookie, and where its requests come from.

The cookie is `EXPIRY.ROLE.SIGNATURE`, signed with a secret that is made of the token alone: every process with this
token accepts it, none keeps it, and with another token it ends. Its one role is to read: who may do more sends a token.
"""

import hmac
import re
from typing import Final

from starlette.types import Scope

from cryptocast.serving.access import DEFAULT_PORTS, FORWARDED, Headers, Key, is_loopback

LOGIN_S: Final = 12 * 3600
READER: Final = "read"
# A browser takes the first one from a page with TLS only, for this host alone and from none of its neighbours.
SECURE_NAME: Final = "__Host-cryptocast"
NAME: Final = "cryptocast"
NAMES: Final = (SECURE_NAME.encode(), NAME.encode())
MOST_COOKIES: Final = 4  # of these names; a browser sends two at most
FORM: Final = re.compile(rb"([0-9]{1,12})\.([a-z]{1,10})\.([0-9a-f]{64})")
OWN_SITES: Final = (b"same-origin", b"none")  # none: the address was typed, or comes from a bookmark


def cookie_value(key: Key, now_s: float) -> str:
    """What a browser shows from now on for `LOGIN_S` seconds. now_s: of the wall clock, since 1970."""
    expiry = int(now_s) + LOGIN_S
    return f"{expiry}.{READER}.{_signature(key, str(expiry).encode(), READER.encode()).hex()}"


def key_of_cookie(header: bytes, keys: tuple[Key, ...], now_s: float) -> Key | None:
    """The key behind a Cookie header; None where no cookie in it is ours, of one of these keys and not yet over."""
    for value in _values(header)[:MOST_COOKIES]:
        parts = FORM.fullmatch(value)
        if parts is None:
            continue
        expiry, role, signature = parts.groups()
        for key in keys:
            is_ours = hmac.compare_digest(_signature(key, expiry, role), bytes.fromhex(signature.decode()))
            if is_ours and role == READER.encode() and now_s < int(expiry) <= now_s + LOGIN_S:
                return key
    return None


def set_cookies(scope: Scope, headers: Headers, value: str) -> list[tuple[bytes, bytes]]:
    """The headers that make a browser keep the cookie; an empty value ends it, under whichever name it was kept.

    Over TLS under the name that says so, which the browser tells by the Origin of its request, whoever ended TLS in
    between. Without TLS a browser gets one that it keeps on this machine only: elsewhere it would be read on the way.
    """
    has_tls = headers.get(b"origin", b"").startswith(b"https://")
    names = (SECURE_NAME if has_tls else NAME,) if value else (SECURE_NAME, NAME)
    life = f"Max-Age={LOGIN_S if value else 0}; Path=/; HttpOnly; SameSite=Strict"
    return [
        (b"set-cookie", f"{name}={value}; {life}{'' if _is_plain(name, scope, headers) else '; Secure'}".encode())
        for name in names
    ]


def keeps_login(scope: Scope, headers: Headers) -> bool:
    """Whether the browser will keep the cookie, as far as can be told before it sends its Origin. To browsers what they
    call by a name of their own machine is safe, as a port of a container or the end of a tunnel."""
    host = headers.get(b"host", b"").decode("latin-1")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    has_tls = headers.get(b"x-forwarded-proto", b"").strip() == b"https"
    return has_tls or is_local(scope, headers) or is_loopback(name)


def is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the client is on this machine; one behind a proxy here may be anywhere."""
    client = scope.get("client")
    return client is not None and is_loopback(client[0]) and FORWARDED not in headers


def is_same_origin(headers: Headers) -> bool:
    """Whether no page of another origin is behind the request, by headers that pages cannot change."""
    if headers.get(b"sec-fetch-site", b"none") not in OWN_SITES:
        return False
    return b"origin" not in headers or names_own_origin(headers)


def names_own_origin(headers: Headers) -> bool:
    """Whether the request says that it comes from a page of this server, as browsers do with every form."""
    scheme, _, host = headers.get(b"origin", b"").partition(b"://")
    return scheme in (b"http", b"https") and bool(host) and host == _without_port(scheme, headers.get(b"host", b""))


def _is_plain(name: str, scope: Scope, headers: Headers) -> bool:
    return name == NAME and is_local(scope, headers) and not headers.get(b"origin", b"").startswith(b"https://")


def _without_port(scheme: bytes, host: bytes) -> bytes:
    """The host as an Origin has it: without the port that goes without saying."""
    usual = dict(DEFAULT_PORTS)[scheme.decode() + "://"]
    return host.lower().removesuffix(usual.encode())


def _values(header: bytes) -> list[bytes]:
    pairs = (part.strip().partition(b"=") for part in header.split(b";"))
    return [value for name, _, value in pairs if name in NAMES]


def _signature(key: Key, expiry: bytes, role: bytes) -> bytes:
    return hmac.digest(key.seal, b"%s.%s" % (expiry, role), "sha256")
