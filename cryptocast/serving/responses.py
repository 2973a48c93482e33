"""Answers and the headers that each of them carries."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from cryptocast.serving.compression import IDENTITY, MIN_BYTES, packed, preferred

# The answers are data: a browser is to guess nothing, run nothing and frame nothing.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def respond(
    body: bytes,
    *,
    status: int = 200,
    media_type: str = "application/json",
    cache: str = "no-store",
    headers: Mapping[str, str] | None = None,
    request: Request | None = None,
) -> Response:
    """Finished bytes with the security headers and a Cache-Control; compressed as the request, if given, prefers."""
    every = {"Cache-Control": cache, **SECURITY_HEADERS, **(headers or {})}
    if request is not None:
        encoding = preferred(request.headers.get("accept-encoding", "").encode("latin-1"))
        every["Vary"] = "Accept-Encoding"
        if encoding != IDENTITY and len(body) >= MIN_BYTES:
            body = packed(body, encoding)
            every["Content-Encoding"] = encoding
    return Response(body, status_code=status, media_type=media_type, headers=every)


def raw_headers(media_type: str) -> tuple[tuple[bytes, bytes], ...]:
    """The content type and the security headers as ASGI has them."""
    headers = {"content-type": media_type, **SECURITY_HEADERS}
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
