"""Who may ask: where the server may listen, and the bearer token that everything but `/health` and `/ready` needs."""

import ipaddress
from typing import Final

from cryptocast.errors import UsageError

__all__ = ["OPEN_PATHS", "TOKEN_VARIABLE", "check_exposure"]

TOKEN_VARIABLE: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 - the name, not the token
# Whoever watches the process must not need the token for it.
OPEN_PATHS: Final = frozenset({"/health", "/ready"})


def check_exposure(host: str, *, token: str | None, insecure: bool) -> None:
    """Raises UsageError for a token that no header can carry, and where others could reach a server without one."""
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token and token):
        raise UsageError(f"The token in {TOKEN_VARIABLE} must be printable ASCII without spaces.")
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
