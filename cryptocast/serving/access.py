"""Who asks and who may: where the server may listen, the bearer token that everything but `/health` and `/ready` needs,
the pages that may read, and the client behind a proxy.

Tokens may read, or read and switch breakers (`admin`). Several may hold at a time, separated by commas, so that one can
be replaced without an outage. Only their digests are kept.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeAlias

from starlette.types import Scope

from cryptocast.errors import UsageError

TOKEN_VARIABLE: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 - the name, not the token
ADMIN_VARIABLE: Final = "CRYPTOCAST_SERVE_ADMIN_TOKEN"
SEALS: Final = b"cryptocast login"  # what a token makes of it signs cookies, and nothing else does
KEY_NAME: Final = "cryptocast.key"  # in the scope of a request, once it was let in with one
FORWARDED: Final = b"x-forwarded-for"
MOST_HOPS: Final = 32  # of proxies behind one another; what stands before them was made up by somebody
# Browsers hide all but a few headers of an answer from the page that asked, unless they are named.
EXPOSED: Final = (
    b"access-control-expose-headers",
    b"age, etag, ratelimit, ratelimit-policy, retry-after, x-request-id",
)
BY_ORIGIN: Final = (b"vary", b"origin")
DEFAULT_PORTS: Final = (("http://", ":80"), ("https://", ":443"))

Headers: TypeAlias = dict[bytes, bytes]
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of the request that is being answered, for what works behind the answers. Tasks take it over from whoever began them.
CLIENT: Final[ContextVar[str]] = ContextVar("client", default="")


@dataclass(frozen=True, slots=True)
class Key:
    """One token: its place in the settings, which may be told, and what it may do. seal: what signs the cookies of
    those who logged in with it; it tells nothing of the token, nor does the digest of it."""

    name: str
    digest: bytes
    seal: bytes
    is_admin: bool


class Keys:
    """The tokens that hold. Without one that may read, everybody may; nobody switches anything without an admin's."""

    def __init__(self, token: str | None, admin: str | None = None) -> None:
        self.all = (*_keys(token, "token", is_admin=False), *_keys(admin, "admin", is_admin=True))
        self.asks = token is not None

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Key | None:
        """The key that the request shows; None without one, with two, and with one that is none."""
        credentials = [value for name, value in headers if name == b"authorization"]
        if len(credentials) != 1:
            return None
        scheme, _, token = credentials[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        return self.of_token(token)

    def of_token(self, token: bytes) -> Key | None:
        """The key that this token is; None if it is none."""
        digest = sha256(token).digest()
        # Digests have one length and all are compared, so the time that this takes tells nothing about the tokens.
        matches = [key for key in self.all if hmac.compare_digest(digest, key.digest)]
        return matches[-1] if matches else None

    def client_of(self, scope: Scope) -> str:
        """A word that stays with a client and that a client cannot choose: the name of its key, or its address."""
        if (name := scope.get(KEY_NAME)) is not None:
            return str(name)
        key = self.of(scope["headers"])
        return key.name if key is not None else address_of(scope)


class Origins:
    """The origins whose pages may read the answers, as browsers write them; `"*"` among them: every page."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._named = frozenset(_as_browsers_write(origin).encode() for origin in origins)
        self._any = b"*" in self._named

    def headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """What lets a page of this origin read an answer and its headers; credentials never."""
        if not self._named:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*"), EXPOSED]
        if origin in self._named:
            return [(b"access-control-allow-origin", origin), EXPOSED, BY_ORIGIN]
        return [BY_ORIGIN]


class Proxies:
    """The proxies that are trusted to say in X-Forwarded-For who asked them: addresses and networks."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(text) for text in trusted)

    def trusts(self, address: str) -> bool:
        """Whether this is one of them."""
        if not self._networks:
            return False
        parsed = _address(address)
        return parsed is not None and self._are_ours(parsed)

    def client_of(self, scope: Scope) -> str | None:
        """Whom the request comes from by the word of trusted proxies; None where none of them says it.

        Each proxy writes whom it was asked by behind what stands there already, so only what trusted ones wrote counts:
        from the right, up to the first address that is not theirs. What stands left of it the client may have made up.
        """
        if not self._networks or not scope.get("client") or not self.trusts(scope["client"][0]):
            return None
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED]
        nearest: str | None = None
        for part in reversed(",".join(lines).rsplit(",", MOST_HOPS)):
            address = _address(part)
            if address is None:
                return nearest
            nearest = str(address)
            if not self._are_ours(address):
                return nearest
        return nearest

    def _are_ours(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def plain_address(text: str) -> str:
    """An address of version 4 as that, also where a socket of both versions shows it as one of version 6."""
    return text.removeprefix("::ffff:") if text.startswith("::ffff:") and "." in text else text


@lru_cache(maxsize=4096)
def counted_as(text: str) -> str:
    """Whose limits an address falls under: its own, of version 6 those of its /64, which one customer has whole."""
    address = _address(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return text


def address_of(scope: Scope) -> str:
    """Whose limits the request falls under; behind a trusted proxy the front has put its client there."""
    return counted_as(scope["client"][0]) if scope.get("client") else ""


def check_exposure(host: str, *, token: str | None, insecure: bool, admin: str | None = None) -> None:
    """Raises UsageError for a token that no header can carry, and where others could reach a server without one."""
    for variable, tokens in ((TOKEN_VARIABLE, token), (ADMIN_VARIABLE, admin)):
        if tokens is not None and not all(_can_be_sent(one) for one in tokens.split(",")):
            raise UsageError(
                f"A token in {variable} must be printable ASCII without spaces; several are separated by commas."
            )
    if token is not None and admin is not None and set(token.split(",")) & set(admin.split(",")):
        raise UsageError(
            f"A token stands in both {TOKEN_VARIABLE} and {ADMIN_VARIABLE}. Choose another for one of them."
        )
    if token is None and not insecure and not is_loopback(host):
        raise UsageError(
            f"Listening on {host or 'all addresses'} lets other machines ask. Set a token in {TOKEN_VARIABLE}, "
            "or do without one: --insecure."
        )


def is_loopback(host: str) -> bool:
    """Whether the address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """The address, with or without the port that some proxies write; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _as_browsers_write(origin: str) -> str:
    origin = origin.lower().removesuffix("/")
    for scheme, port in DEFAULT_PORTS:
        if origin.startswith(scheme):
            origin = origin.removesuffix(port)
    return origin


def _can_be_sent(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def _keys(tokens: str | None, name: str, *, is_admin: bool) -> list[Key]:
    parts = [] if tokens is None else tokens.split(",")
    return [
        Key(f"{name} {number}", sha256(part).digest(), hmac.digest(part, SEALS, "sha256"), is_admin)
        for number, part in enumerate((part.encode() for part in parts), start=1)
    ]
