"""Who may ask: where the server may listen, and the bearer token that everything but `/health` needs."""

import hmac
import ipaddress
from hashlib import sha256
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from cryptocast.errors import UsageError
from cryptocast.serving.problems import UNAUTHORIZED, ProblemError, problem_response

__all__ = ["OPEN_PATHS", "TOKEN_VARIABLE", "BearerGuard", "check_exposure"]

TOKEN_VARIABLE: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 - the name, not the token
# Whoever watches the process must not need the token for it.
OPEN_PATHS: Final = frozenset({"/health"})


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


class BearerGuard:
    """Lets a request through that names the token, `Authorization: Bearer ...`; answers 401 to others."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._digest = sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI app."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        refusal = ProblemError(UNAUTHORIZED, "Send the server's token in the header: Authorization: Bearer TOKEN.")
        await problem_response(refusal.problem, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # Digests have one length, so the time that this takes tells nothing about the token.
        return scheme.lower() == b"bearer" and hmac.compare_digest(sha256(token).digest(), self._digest)
