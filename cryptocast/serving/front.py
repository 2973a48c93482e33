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
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptocast.config import ServeConfig
from cryptocast.serving.access import ADMIN_PREFIX, Keys, Origins, Proxies
from cryptocast.serving.admission import Admission, Headers
from cryptocast.serving.compression import preferred
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.problems import (
    INTERNAL,
    INTERNAL_ERROR,
    OVERLOADED,
    RETRY_AFTER_S,
    ProblemError,
    problem_response,
)
from cryptocast.serving.response_cache import Finished, FinishedAnswers
from cryptocast.serving.responses import raw_headers
from cryptocast.serving.telemetry import Telemetry

__all__ = ["REQUEST_ID", "Exchange", "Front", "allowed_methods"]

log = logging.getLogger(__name__)

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="-")
VALID_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
FORECASTS: Final = "/forecasts"
# The headers of requests that docs/serving.md offers, and the one that clients send out of habit.
REQUEST_HEADERS: Final = b"authorization, content-type, if-none-match, prefer, x-client-id, x-request-id"
SLACK_S: Final = 1.0  # the handlers have the deadline of the settings themselves; this one is for what they overlook


class Exchange:
    """One request and its answer.

    id: of the request. extra: headers that every answer to it has. status: of the answer, 0 until it has begun.
    """

    __slots__ = ("_send", "extra", "headers", "id", "receive", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: bytes) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.headers, self.id = headers, request_id
        self.extra: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id)]
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send a part of the answer; its first one with the extra headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self.extra]
        await self._send(message)

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, error: ProblemError, headers: dict[str, str] | None = None) -> None:
        """Send a problem. Where an answer has begun its end is missing, and the server closes the connection."""
        if not self.status:
            await problem_response(error.problem, headers)(self.scope, self.receive, self.send)


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
        self._app, self._telemetry, self._finished = app, telemetry, finished
        self._question = question
        self._route, self._is_draining, self._reports = routes, is_draining, reports
        self._admission = Admission(serve, keys, telemetry)
        self._origins, self._proxies = Origins(serve.cors_origins), Proxies(serve.trusted_proxies)
        self._timeout_s = serve.request_timeout_s + SLACK_S
        self._boot, self._numbers = secrets.token_hex(4).encode(), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        forwarded = self._proxies.client_of(scope)
        if forwarded is not None:
            scope["client"] = (forwarded, 0)
        await self._counted(self._exchange(scope, receive, send), forwarded)

    def _exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        headers: Headers = dict(scope["headers"])
        exchange = Exchange(scope, receive, send, headers, self._request_id(headers.get(b"x-request-id")))
        exchange.extra += self._origins.headers(headers.get(b"origin", b""))
        if self._is_draining():
            exchange.extra.append((b"connection", b"close"))  # the client's next request finds another server
        return exchange

    def _request_id(self, proposed: bytes | None) -> bytes:
        """The client's request id if it is one, else one of ours."""
        if proposed is not None and VALID_ID.fullmatch(proposed):
            return proposed
        return b"%s-%d" % (self._boot, next(self._numbers))

    async def _counted(self, exchange: Exchange, forwarded: str | None) -> None:
        telemetry, scope = self._telemetry, exchange.scope
        telemetry.in_flight += 1
        began = time.perf_counter()
        try:
            await self._answer(exchange, forwarded)
        except Exception as error:
            log.exception("request %s to %s failed", exchange.id.decode(), scope["path"][:100])
            self._reports.error(error)
            await exchange.refuse(ProblemError(INTERNAL_ERROR, INTERNAL))
        finally:
            telemetry.in_flight -= 1
            route = self._route(scope["path"])
            telemetry.answered(scope["method"], route, exchange.status or 499, time.perf_counter() - began)

    async def _answer(self, exchange: Exchange, forwarded: str | None) -> None:
        scope, headers = exchange.scope, exchange.headers
        if (refusal := self._admission.refusal(scope, headers)) is not None:
            await exchange.refuse(*refusal)
            return
        if (answer := self._finished_answer(exchange)) is not None:
            await self._give(exchange, answer)
            return
        if scope["method"] == "OPTIONS":
            await self._options(exchange)
            return
        REQUEST_ID.set(exchange.id.decode())
        with self._admission.place(scope, forwarded) as crowded:
            if crowded is None:
                await self._by_app(exchange)
            else:
                await exchange.refuse(crowded, {"Retry-After": str(RETRY_AFTER_S)})

    def _finished_answer(self, exchange: Exchange) -> Finished | None:
        scope = exchange.scope
        if scope["path"] != FORECASTS or scope["method"] not in ("GET", "HEAD"):
            return None
        encoding = preferred(exchange.headers.get(b"accept-encoding", b""))
        return self._finished.find(self._question(scope), encoding)

    async def _give(self, exchange: Exchange, answer: Finished) -> None:
        """The finished answer, or 304 where the client has it already."""
        headers = [*answer.headers, *self._finished.age_headers(answer)]
        known = exchange.headers.get(b"if-none-match")
        if known is not None and answer.matches(known):
            headers = [header for header in headers if header[0] not in (b"content-length", b"content-type")]
            await exchange.answer(304, headers, b"")
        else:
            await exchange.answer(200, headers, b"" if exchange.scope["method"] == "HEAD" else answer.body)

    async def _options(self, exchange: Exchange) -> None:
        allowed = allowed_methods(exchange.scope["path"]).encode()
        headers = [*raw_headers("text/plain")[1:], (b"allow", allowed), (b"content-length", b"0")]
        if any(name == b"access-control-allow-origin" for name, _ in exchange.extra):
            headers += [
                (b"access-control-allow-methods", allowed),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        await exchange.answer(204, headers, b"")

    async def _by_app(self, exchange: Exchange) -> None:
        path = exchange.scope["path"]
        try:
            with self._reports.trace(self._route(path)):
                async with asyncio.timeout(self._timeout_s):
                    await self._app(exchange.scope, exchange.receive, exchange.send)
        except TimeoutError:
            log.error("request %s to %s took over %g s", exchange.id.decode(), path[:100], self._timeout_s)
            detail = f"No answer within {self._timeout_s:g} s. Ask again later."
            await exchange.refuse(ProblemError(OVERLOADED, detail))


def allowed_methods(path: str) -> str:
    """The methods that a path answers, as the Allow header lists them."""
    return "POST, OPTIONS" if path.startswith(ADMIN_PREFIX) else "GET, HEAD, OPTIONS"
