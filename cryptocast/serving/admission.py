"""Who is let in: the size of a request, its token, how often a client asks, and how many requests may wait at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Final

from starlette.types import Scope

from cryptocast.config import ServeConfig
from cryptocast.serving.access import ADMIN_VARIABLE, KEY_NAME, Headers, Key, Keys, address_of
from cryptocast.serving.login_cookie import is_same_origin, key_of_cookie
from cryptocast.serving.paths import Endpoint
from cryptocast.serving.problems import LATER, ProblemError, ProblemKind
from cryptocast.serving.rate_limit import ClientRates, Connections
from cryptocast.serving.telemetry import Telemetry

MAX_HEADERS: Final = 100
MAX_URL_BYTES: Final = 8192


class Admission:
    """The limits of the settings, and what each client has used of them."""

    def __init__(
        self, serve: ServeConfig, keys: Keys, telemetry: Telemetry, wall_clock: Callable[[], datetime]
    ) -> None:
        self._serve, self._keys, self._wall_clock = serve, keys, wall_clock
        self._rates = ClientRates(serve.client_rate_per_s)
        self._waiting = 0
        self._forwarded = Connections(
            serve.client_connections, on_refused=partial(telemetry.count, "connection_refused")
        )

    def refusal(self, scope: Scope, headers: Headers, endpoint: Endpoint | None) -> ProblemError | None:
        """Why the request goes no further. endpoint: none where nothing is served."""
        serve = self._serve
        size = 0
        for name, value in scope["headers"]:  # a generator would take twice as long
            size += len(name) + len(value)
        if size > serve.max_header_bytes or len(scope["headers"]) > MAX_HEADERS:
            detail = f"At most {MAX_HEADERS} headers of {serve.max_header_bytes} bytes together are read."
            return ProblemError(ProblemKind.HEADERS_TOO_LARGE, detail)
        if len(scope["path"]) > MAX_URL_BYTES or len(scope["query_string"]) > serve.max_header_bytes:
            return ProblemError(ProblemKind.URL_TOO_LONG, f"The path may have {MAX_URL_BYTES} bytes.")
        if b"content-length" in headers or b"transfer-encoding" in headers:
            problem = self._refused_body(headers)
            if problem is not None:
                return problem
        access = "read" if endpoint is None else endpoint.access
        if access == "open" or _is_preflight(scope, headers):
            return None
        return self._not_let_in(scope, headers, needs_admin=access == "admin")

    @contextmanager
    def place(self, endpoint: Endpoint | None, forwarded: str | None) -> Iterator[ProblemError | None]:
        """A place among the requests under way while this lasts, or why there is none. What is prompt needs none.

        forwarded: a client behind a proxy, for whose connections its requests under way stand: those to the proxy are
        not to be seen, and those of the proxy serve all.
        """
        if endpoint is not None and endpoint.is_prompt:
            yield None
            return
        may_stay = forwarded is None or self._forwarded.came(forwarded)
        try:
            if not may_stay:
                detail = f"At most {self._serve.client_connections} requests of a client are answered at a time."
                yield ProblemError(ProblemKind.TOO_MANY_REQUESTS, detail, headers=LATER)
            elif self._waiting >= self._serve.max_concurrency:
                yield ProblemError(ProblemKind.OVERLOADED, f"{self._waiting} requests are under way. Ask again later.")
            else:
                self._waiting += 1
                try:
                    yield None
                finally:
                    self._waiting -= 1
        finally:
            if forwarded is not None:
                self._forwarded.went(forwarded)

    def _not_let_in(self, scope: Scope, headers: Headers, *, needs_admin: bool) -> ProblemError | None:
        """Without a key that it needs, or too often: by its key, and by its address where it shows none."""
        key = self._key(scope, headers, needs_admin=needs_admin)
        if key is not None:
            scope[KEY_NAME] = key.name
        too_often = self._too_often(key.name if key is not None else address_of(scope))
        if too_often is not None:
            return too_often  # a stranger's requests are counted too, so that guessing is slow
        if needs_admin and not (key is not None and key.is_admin):
            detail = f"Only a token of {ADMIN_VARIABLE} switches anything."
            return ProblemError(ProblemKind.UNAUTHORIZED if key is None else ProblemKind.FORBIDDEN, detail)
        if self._keys.asks and key is None:
            detail = "Send the server's token in the header: Authorization: Bearer TOKEN."
            return ProblemError(ProblemKind.UNAUTHORIZED, detail)
        return None

    def _key(self, scope: Scope, headers: Headers, *, needs_admin: bool) -> Key | None:
        """The key of the token that is shown; where none is, that of the cookie, which lets a page of this server read
        and do nothing else."""
        if b"authorization" in headers:
            return self._keys.of(scope["headers"])
        if b"cookie" not in headers or not self._keys.asks or needs_admin or scope["method"] not in ("GET", "HEAD"):
            return None
        if not is_same_origin(headers):
            return None
        return key_of_cookie(headers[b"cookie"], self._keys.all, self._wall_clock().timestamp())

    def _refused_body(self, headers: Headers) -> ProblemError | None:
        length = headers.get(b"content-length")
        if length is not None and not (length.isdigit() and int(length[:20]) <= self._serve.max_body_bytes):
            detail = f"A body may have {self._serve.max_body_bytes} bytes; none is read."
            return ProblemError(ProblemKind.TOO_LARGE, detail)
        if b"transfer-encoding" in headers:
            return ProblemError(ProblemKind.LENGTH_REQUIRED, "A body without a length is not read.")
        return None

    def _too_often(self, client: str) -> ProblemError | None:
        wait = self._rates.wait_s(client)
        if wait == 0.0:
            return None
        rate = f"{self._serve.client_rate_per_s:g}"
        seconds = str(int(wait) + 1)
        limit = {
            "Retry-After": seconds,
            "RateLimit-Policy": f'"client";q={rate};w=1',
            "RateLimit": f'"client";r=0;t={seconds}',
        }
        detail = f"At most {rate} requests a second are answered to a client."
        return ProblemError(ProblemKind.TOO_MANY_REQUESTS, detail, headers=limit)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks whether a page may ask: it never sends a token with that."""
    return scope["method"] == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers
