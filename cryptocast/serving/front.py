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
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cryptocast.serving.access import KEY_NAME, Headers, Origins, Proxies
from cryptocast.serving.access_log import MOST_TEXT, AccessEntry, without_secrets
from cryptocast.serving.admission import Admission
from cryptocast.serving.compression import preferred
from cryptocast.serving.login import asks_for_form, login_form, own_address
from cryptocast.serving.paths import Paths
from cryptocast.serving.problems import ProblemError, ProblemKind, problem_of, problem_response
from cryptocast.serving.response_cache import EncodedResponse
from cryptocast.serving.responses import raw_headers
from cryptocast.serving.wiring import Server

log = logging.getLogger(__name__)

VALID_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# The headers of requests that docs/serving.md offers, and the one that clients send out of habit.
REQUEST_HEADERS: Final = b"authorization, content-type, if-none-match, prefer, x-client-id, x-request-id"
GONE: Final = 499  # the client has left before its answer began
SLACK_S: Final = 1.0  # the handlers have the deadline of the settings themselves; this one is for what they overlook


class Exchange:
    """One request and its answer.

    id: of the request. route, endpoint: what its path leads to. extra: headers that every answer to it has. status: of
    the answer, 0 until it has begun. sent: bytes of its body.
    """

    __slots__ = ("_send", "endpoint", "extra", "headers", "id", "receive", "route", "scope", "sent", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: bytes, paths: Paths) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.headers: Headers = dict(scope["headers"])
        self.id = self.headers.get(b"x-request-id", b"")
        if not VALID_ID.fullmatch(self.id):
            self.id = request_id
        self.route, self.endpoint = paths.find(scope["path"])
        self.extra: list[tuple[bytes, bytes]] = [(b"x-request-id", self.id)]
        self.status = self.sent = 0

    async def send(self, message: Message) -> None:
        """Send a part of the answer; its first one with the extra headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self.extra]
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        self.sent = len(body)
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, error: ProblemError) -> None:
        """Send a problem. Where an answer has begun its end is missing, and the server closes the connection."""
        if not self.status:
            await problem_response(error)(self.scope, self.receive, self.send)


class Front:
    """The app behind it is asked for what it does not answer by itself."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        serve = server.config.serve
        self._app, self._server = app, server
        self._telemetry, self._answers, self._reports = server.telemetry, server.answers, server.reports
        self._admission = Admission(serve, server.keys, server.telemetry, server.context.wall_clock)
        self._access_log = server.access_log
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
        exchange = Exchange(scope, receive, send, b"%s-%d" % (self._boot, next(self._numbers)), self._server.paths)
        exchange.extra += self._origins.headers(exchange.headers.get(b"origin", b""))
        if self._server.health.draining:
            exchange.extra.append((b"connection", b"close"))  # the client's next request finds another server
        return exchange

    async def _counted(self, exchange: Exchange, forwarded: str | None) -> None:
        telemetry, scope = self._telemetry, exchange.scope
        telemetry.in_flight += 1
        began = time.perf_counter()
        try:
            await self._answer(exchange, forwarded)
        except Exception as error:
            log.exception("request %s to %s failed", exchange.id.decode(), scope["path"][:100])
            self._reports.error(error)
            await exchange.refuse(problem_of(error))
        finally:
            telemetry.in_flight -= 1
            seconds = time.perf_counter() - began
            telemetry.answered(scope["method"], exchange.route, exchange.status or GONE, seconds)
            if self._access_log is not None:
                self._access_log.write(self._entry(exchange, seconds))

    def _entry(self, exchange: Exchange, seconds: float) -> AccessEntry:
        scope, client = exchange.scope, exchange.scope.get("client")
        return AccessEntry(
            at=self._server.context.wall_clock(),
            id=exchange.id.decode(),
            client=client[0] if client else "",
            key=scope.get(KEY_NAME),
            method=scope["method"][:MOST_TEXT],
            path=scope["path"][:MOST_TEXT],
            query=without_secrets(scope["query_string"].decode("latin-1")),
            route=exchange.route,
            status=exchange.status or GONE,
            bytes=0 if scope["method"] == "HEAD" else exchange.sent,
            ms=round(seconds * 1e3, 3),
            agent=exchange.headers.get(b"user-agent", b"")[:MOST_TEXT].decode("latin-1"),
        )

    async def _answer(self, exchange: Exchange, forwarded: str | None) -> None:
        if (refusal := self._admission.refusal(exchange.scope, exchange.headers, exchange.endpoint)) is not None:
            await self._refuse(exchange, refusal)
            return
        if (answer := self._cached(exchange)) is not None:
            status, headers, body = self._answers.to_send(answer, exchange.headers.get(b"if-none-match"))
            await exchange.answer(status, headers, b"" if exchange.scope["method"] == "HEAD" else body)
            return
        if exchange.scope["method"] == "OPTIONS":
            await self._options(exchange)
            return
        with self._admission.place(exchange.endpoint, forwarded) as problem:
            if problem is None:
                await self._by_app(exchange)
            else:
                await exchange.refuse(problem)

    async def _refuse(self, exchange: Exchange, refusal: ProblemError) -> None:
        scope, request = exchange.scope, Request(exchange.scope)
        if not asks_for_form(refusal, request):
            await exchange.refuse(refusal)
            return
        query = scope["query_string"].decode("latin-1")  # whatever bytes a client has put there
        address = f"{scope['path']}?{query}" if query else scope["path"]
        form = login_form(request, own_address(self._server.paths, address))
        await form(exchange.scope, exchange.receive, exchange.send)

    def _cached(self, exchange: Exchange) -> EncodedResponse | None:
        scope, endpoint = exchange.scope, exchange.endpoint
        if endpoint is None or not endpoint.is_cached or scope["method"] not in ("GET", "HEAD"):
            return None
        encoding = preferred(exchange.headers.get(b"accept-encoding", b""))
        return self._answers.find(self._server.sides.question(scope), encoding)

    async def _options(self, exchange: Exchange) -> None:
        allowed = b"GET, HEAD, OPTIONS" if exchange.endpoint is None else exchange.endpoint.allowed.encode()
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
            with self._reports.trace(exchange.route):
                async with asyncio.timeout(self._timeout_s):
                    await self._app(exchange.scope, exchange.receive, exchange.send)
        except TimeoutError:
            log.error("request %s to %s took over %g s", exchange.id.decode(), path[:100], self._timeout_s)
            detail = f"No answer within {self._timeout_s:g} s. Ask again later."
            await exchange.refuse(ProblemError(ProblemKind.OVERLOADED, detail))
