"""What every request passes, in one pure ASGI layer: identity, limits, the token, finished answers, deadline, counts.

One layer and not eight, because each costs every request a frame and a wrapped `send`. The order is: client behind a
proxy, count, drain, size, preflight, rate, token, finished answer, place, app. Only what may have to wait takes one of
the `max_concurrency` places, so that slow requests shut out neither those who watch the server nor those who switch it,
nor answers that are finished.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptocast.config import ServeConfig
from cryptocast.serving.access import ADMIN_PREFIX, ADMIN_VARIABLE, OPEN_PATHS, Keys, Origins, Proxies, counted_as
from cryptocast.serving.compression import preferred
from cryptocast.serving.finished import Finished, FinishedAnswers
from cryptocast.serving.limits import ClientRates, Connections
from cryptocast.serving.problems import (
    FORBIDDEN,
    HEADERS_TOO_LARGE,
    INTERNAL,
    INTERNAL_ERROR,
    LENGTH_REQUIRED,
    OVERLOADED,
    RETRY_AFTER_S,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    URL_TOO_LONG,
    ProblemError,
    problem_response,
)
from cryptocast.serving.reports import Reports
from cryptocast.serving.responses import raw_headers
from cryptocast.serving.telemetry import Telemetry

__all__ = ["REQUEST_ID", "Front", "Headers", "allowed_methods"]

log = logging.getLogger(__name__)

Headers: TypeAlias = dict[bytes, bytes]
REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="-")
GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
MAX_HEADERS: Final = 100
MAX_URL_BYTES: Final = 8192
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
FORECASTS: Final = "/forecasts"
# What no request waits for: it is given out of memory. Admins are known by their token before they come that far.
PROMPT_PREFIXES: Final = ("/health", "/ready", "/metrics", ADMIN_PREFIX)
# The headers of requests that docs/serving.md offers, and the one that clients send out of habit.
REQUEST_HEADERS: Final = b"authorization, content-type, if-none-match, prefer, x-client-id, x-request-id"
SLACK_S: Final = 1.0  # the handlers have the deadline of the settings themselves; this one is for what they overlook


class Front:
    """`routes`: the paths that are served, which are also the labels of the metrics."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        serve: ServeConfig,
        telemetry: Telemetry,
        finished: FinishedAnswers,
        question: Callable[[Scope], bytes],
        routes: Callable[[str], str],
        keys: Keys,
        is_draining: Callable[[], bool],
        reports: Reports,
    ) -> None:
        self._app, self._serve, self._telemetry, self._finished = app, serve, telemetry, finished
        self._question = question
        self._route, self._is_draining, self._reports = routes, is_draining, reports
        self._keys = keys
        self._rates = ClientRates(serve.client_rate_per_s)
        self._origins, self._proxies = Origins(serve.cors_origins), Proxies(serve.trusted_proxies)
        self._waiting = 0
        refused = partial(telemetry.count, "connection_refused")
        self._forwarded = Connections(serve.client_connections, on_refused=refused)
        self._boot, self._numbers = secrets.token_hex(4).encode(), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        forwarded = self._proxies.client_of(scope)
        if forwarded is not None:
            scope["client"] = (forwarded, 0)
        await _Exchange(self, scope, send, forwarded).run(receive)

    def refusal(self, scope: Scope, headers: Headers) -> tuple[ProblemError, dict[str, str]] | None:
        """Why the request goes no further, with the headers that say so."""
        serve = self._serve
        size = 0
        for name, value in scope["headers"]:  # a generator would take twice as long
            size += len(name) + len(value)
        if size > serve.max_header_bytes or len(scope["headers"]) > MAX_HEADERS:
            detail = f"At most {MAX_HEADERS} headers of {serve.max_header_bytes} bytes together are read."
            return ProblemError(HEADERS_TOO_LARGE, detail), {"Connection": "close"}
        if len(scope["path"]) > MAX_URL_BYTES or len(scope["query_string"]) > serve.max_header_bytes:
            return ProblemError(URL_TOO_LONG, f"The path may have {MAX_URL_BYTES} bytes."), {"Connection": "close"}
        if b"content-length" in headers or b"transfer-encoding" in headers:
            body = self._refused_body(headers)
            if body is not None:
                return body, {"Connection": "close"}
        if scope["path"] in OPEN_PATHS or _is_preflight(scope, headers):
            return None
        return self._not_let_in(scope, headers)

    @contextmanager
    def place(self, scope: Scope, forwarded: str | None) -> Iterator[ProblemError | None]:
        """A place among the requests under way while this lasts, or why there is none.

        forwarded: a client behind a proxy, for whose connections its requests under way stand: those to the proxy are
        not to be seen, and those of the proxy serve all.
        """
        if scope["path"].startswith(PROMPT_PREFIXES):
            yield None
            return
        may_stay = forwarded is None or self._forwarded.came(forwarded)
        try:
            if not may_stay:
                detail = f"At most {self._serve.client_connections} requests of a client are answered at a time."
                yield ProblemError(TOO_MANY_REQUESTS, detail)
            elif self._waiting >= self._serve.max_concurrency:
                yield ProblemError(OVERLOADED, f"{self._waiting} requests are under way. Ask again later.")
            else:
                self._waiting += 1
                try:
                    yield None
                finally:
                    self._waiting -= 1
        finally:
            if forwarded is not None:
                self._forwarded.went(forwarded)

    def _not_let_in(self, scope: Scope, headers: Headers) -> tuple[ProblemError, dict[str, str]] | None:
        """Without a key that it needs, or too often: by its key, and by its address where it shows none."""
        key = self._keys.of(scope["headers"]) if b"authorization" in headers else None
        too_often = self._too_often(key.name if key is not None else _address(scope))
        if too_often is not None:
            return too_often  # a stranger's requests are counted too, so that guessing is slow
        if scope["path"].startswith(ADMIN_PREFIX) and not (key is not None and key.is_admin):
            detail = f"Only a token of {ADMIN_VARIABLE} switches anything."
            return (
                (ProblemError(UNAUTHORIZED, detail), CHALLENGE)
                if key is None
                else (ProblemError(FORBIDDEN, detail), {})
            )
        if self._keys.asks and key is None:
            detail = "Send the server's token in the header: Authorization: Bearer TOKEN."
            return ProblemError(UNAUTHORIZED, detail), CHALLENGE
        return None

    def finished(self, scope: Scope, headers: Headers) -> tuple[Finished, list[tuple[bytes, bytes]], int] | None:
        """A finished answer to this request: with its headers, and 304 where the client has it already."""
        if scope["path"] != FORECASTS or scope["method"] not in ("GET", "HEAD"):
            return None
        answer = self._finished.find(self._question(scope), preferred(headers.get(b"accept-encoding", b"")))
        if answer is None:
            return None
        sent = [*answer.headers, *self._finished.age_headers(answer)]
        given = headers.get(b"if-none-match")
        if given is not None and answer.matches(given):
            return answer, [header for header in sent if header[0] not in (b"content-length", b"content-type")], 304
        return answer, sent, 200

    def new_id(self, given: bytes | None) -> bytes:
        """The client's request id if it is one, else one of ours."""
        if given is not None and GIVEN_ID.fullmatch(given):
            return given
        return b"%s-%d" % (self._boot, next(self._numbers))

    def cors(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """What lets a page of a configured origin read the answer."""
        return self._origins.headers(headers.get(b"origin", b""))

    def _refused_body(self, headers: Headers) -> ProblemError | None:
        length = headers.get(b"content-length")
        if length is not None and not (length.isdigit() and int(length[:20]) <= self._serve.max_body_bytes):
            return ProblemError(TOO_LARGE, f"A body may have {self._serve.max_body_bytes} bytes; none is read.")
        if b"transfer-encoding" in headers:
            return ProblemError(LENGTH_REQUIRED, "A body without a length is not read.")
        return None

    def _too_often(self, client: str) -> tuple[ProblemError, dict[str, str]] | None:
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
        return ProblemError(TOO_MANY_REQUESTS, f"At most {rate} requests a second are answered to a client."), limit


def allowed_methods(path: str) -> str:
    """What a path answers to, as the Allow header has it."""
    return "POST, OPTIONS" if path.startswith(ADMIN_PREFIX) else "GET, HEAD, OPTIONS"


def _address(scope: Scope) -> str:
    return counted_as(scope["client"][0]) if scope.get("client") else ""


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks whether a page may ask: it never sends a token with that."""
    return scope["method"] == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


class _Exchange:
    """One request and its answer. forwarded: the client that a trusted proxy names."""

    __slots__ = ("_extra", "_forwarded", "_front", "_headers", "_scope", "_send", "id", "status")

    def __init__(self, front: Front, scope: Scope, send: Send, forwarded: str | None) -> None:
        self._front, self._scope, self._send, self._forwarded = front, scope, send, forwarded
        self._headers: Headers = dict(scope["headers"])
        self.id = front.new_id(self._headers.get(b"x-request-id"))
        self.status = 0
        self._extra = [(b"x-request-id", self.id), *front.cors(self._headers)]
        if front._is_draining():
            self._extra.append((b"connection", b"close"))  # the client's next request finds another server

    async def run(self, receive: Receive) -> None:
        telemetry, scope = self._front._telemetry, self._scope
        telemetry.in_flight += 1
        began = time.perf_counter()
        try:
            await self._answer(receive)
        except Exception as error:
            log.exception("request %s to %s failed", self.id.decode(), scope["path"][:100])
            self._front._reports.error(error)
            await self._fail(receive, ProblemError(INTERNAL_ERROR, INTERNAL))
        finally:
            telemetry.in_flight -= 1
            route = self._front._route(scope["path"])
            telemetry.answered(scope["method"], route, self.status or 499, time.perf_counter() - began)

    async def _answer(self, receive: Receive) -> None:
        front, scope = self._front, self._scope
        refused = front.refusal(scope, self._headers)
        if refused is not None:
            problem, headers = refused
            await problem_response(problem.problem, headers)(scope, receive, self.send)
            return
        ready = front.finished(scope, self._headers)
        if ready is not None:
            answer, headers_, status = ready
            await self.send({"type": "http.response.start", "status": status, "headers": headers_})
            body = b"" if status == 304 or scope["method"] == "HEAD" else answer.body
            await self._send({"type": "http.response.body", "body": body})
            return
        if scope["method"] == "OPTIONS":
            await self._options()
            return
        REQUEST_ID.set(self.id.decode())
        with front.place(scope, self._forwarded) as crowded:
            if crowded is None:
                await self._by_app(receive)
            else:
                again = {"Retry-After": str(RETRY_AFTER_S)}
                await problem_response(crowded.problem, again)(scope, receive, self.send)

    async def _options(self) -> None:
        allowed = allowed_methods(self._scope["path"]).encode()
        headers = [*raw_headers("text/plain")[1:], (b"allow", allowed), (b"content-length", b"0")]
        if any(name == b"access-control-allow-origin" for name, _ in self._extra):
            headers += [
                (b"access-control-allow-methods", allowed),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def _by_app(self, receive: Receive) -> None:
        timeout_s = self._front._serve.request_timeout_s + SLACK_S
        try:
            with self._front._reports.trace(self._front._route(self._scope["path"])):
                async with asyncio.timeout(timeout_s):
                    await self._front._app(self._scope, receive, self.send)
        except TimeoutError:
            log.error("request %s to %s took over %g s", self.id.decode(), self._scope["path"][:100], timeout_s)
            await self._fail(receive, ProblemError(OVERLOADED, f"No answer within {timeout_s:g} s. Ask again later."))

    async def _fail(self, receive: Receive, problem: ProblemError) -> None:
        if not self.status:  # else the answer has begun, and its end is missing: the server closes the connection
            await problem_response(problem.problem)(self._scope, receive, self.send)

    async def send(self, message: Message) -> None:
        """With the headers of the request."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._extra]
        await self._send(message)
