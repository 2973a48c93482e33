"""Answers that are made of forecasts, as finished bytes that are kept for as long as these hold."""

import asyncio
from collections.abc import Hashable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from cryptocast.serving.compression import preferred
from cryptocast.serving.forecast_cache import Outcome
from cryptocast.serving.response_cache import JSON, packed_body
from cryptocast.serving.terms import shortest
from cryptocast.serving.wiring import Server

AT_ONCE: Final = 16 * 1024  # bytes that are compressed in less time than a thread takes to begin


async def finished(
    server: Server,
    request: Request,
    body: bytes,
    outcomes: Sequence[Outcome],
    *,
    state: Hashable,
    may_keep: bool = True,
    headers: Sequence[tuple[bytes, bytes]] = JSON,
) -> Response:
    """The answer, kept for the next to ask the same; state: of the server before it was made.

    Bars that came meanwhile have made it an old one: it is given, and not kept.
    """
    asked_with = dict(request.scope["headers"])
    encoding = preferred(asked_with.get(b"accept-encoding", b""))
    if len(body) > AT_ONCE:
        packed = await asyncio.to_thread(packed_body, body, encoding)
    else:
        packed = packed_body(body, encoding)
    keep = may_keep and state == server.state() and all(server.forecasts.holds(one) for one in outcomes)
    answer = server.answers.finish(
        server.sides.question(request.scope),
        encoding,
        packed,
        term=shortest(one.term for one in outcomes),
        state=state,
        keep=keep,
        headers=headers,
    )
    status, raw_headers, sent = server.answers.to_send(answer, asked_with.get(b"if-none-match"))
    response = Response(b"" if request.method == "HEAD" else sent, status)
    response.raw_headers = raw_headers
    return response
