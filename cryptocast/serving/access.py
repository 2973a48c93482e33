"""Who may ask: where the server may listen, and the bearer token that everything but `/health` and `/ready` needs.

Tokens may read, or read and switch breakers (`admin`). Several may hold at a time, separated by commas, so that one can
be replaced without an outage. Only their digests are kept.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptocast.errors import UsageError

__all__ = [
    "ADMIN_PREFIX",
    "ADMIN_VARIABLE",
    "OPEN_PATHS",
    "TOKEN_VARIABLE",
    "Key",
    "Keys",
    "check_exposure",
    "is_loopback",
]

TOKEN_VARIABLE: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 - the name, not the token
ADMIN_VARIABLE: Final = "CRYPTOCAST_SERVE_ADMIN_TOKEN"
# Whoever watches the process must not need the token for it.
OPEN_PATHS: Final = frozenset({"/health", "/ready"})
ADMIN_PREFIX: Final = "/admin/"


@dataclass(frozen=True, slots=True)
class Key:
    """One token: its place in the settings, which may be told, and what it may do."""

    name: str
    digest: bytes
    is_admin: bool


class Keys:
    """The tokens that hold. Without one that may read, everybody may; nobody switches anything without an admin's."""

    def __init__(self, token: str | None, admin: str | None = None) -> None:
        self._keys = (*_keys(token, "token", is_admin=False), *_keys(admin, "admin", is_admin=True))
        self.asks = token is not None

    def of(self, headers: Iterable[tuple[bytes, bytes]]) -> Key | None:
        """The key that the request shows; None without one, with two, and with one that is none."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1:
            return None
        scheme, _, shown = given[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        digest, found = sha256(shown).digest(), None
        for key in self._keys:
            # Digests have one length and all are compared, so the time that this takes tells nothing about the tokens.
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found


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


def _can_be_sent(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def _keys(tokens: str | None, name: str, *, is_admin: bool) -> list[Key]:
    parts = [] if tokens is None else tokens.split(",")
    return [
        Key(f"{name} {number}", sha256(part.encode()).digest(), is_admin) for number, part in enumerate(parts, start=1)
    ]
