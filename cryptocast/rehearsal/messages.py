"""Requests as the stand-in reads them, answers as it writes them, and the shapes in which the upstream says no."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Literal, TypeAlias

import msgspec

Endpoint: TypeAlias = Literal[
    "ping",
    "price",
    "list",
    "market_chart",
    "range",
    "key",
    "exchange_bars",
    "exchange_markets",
    "volatility_index",
    "unknown",
]
# The path below /api/v3; {} stands for a coin's id.
ENDPOINTS: Final[Mapping[tuple[str, ...], Endpoint]] = {
    ("ping",): "ping",
    ("simple", "price"): "price",
    ("coins", "list"): "list",
    ("coins", "{}", "market_chart"): "market_chart",
    ("coins", "{}", "market_chart", "range"): "range",
    ("key",): "key",
}

Shape: TypeAlias = Literal["error", "status", "nested", "flat", "html", "empty"]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. Header names are in lower case; of a parameter that comes twice the last counts."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    target_bytes: int = 0  # length of path and query as they came

    @property
    def route(self) -> tuple[Endpoint, str | None]:
        """The endpoint and, where the path holds one, the coin."""
        parts = tuple(self.path.strip("/").split("/"))
        if parts[:2] != ("api", "v3"):
            return "unknown", None
        parts = parts[2:]
        if parts in ENDPOINTS:
            return ENDPOINTS[parts], None
        if len(parts) >= 2 and parts[0] == "coins":
            return ENDPOINTS.get(("coins", "{}", *parts[2:]), "unknown"), parts[1]
        return "unknown", None

    @property
    def ids(self) -> tuple[str, ...]:
        """The coins that are asked for by id, in the path or in the parameter."""
        coin = self.route[1]
        return (coin,) if coin is not None else self.names("ids")

    def names(self, name: str) -> tuple[str, ...]:
        """A list parameter: separated by commas."""
        return tuple(part for part in self.params.get(name, "").split(",") if part)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 - not a failure of ours: it is the answer
    """The upstream says no; carries the answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class ErrorCode(enum.IntEnum):
    """The upstream's own error codes."""

    NO_KEY = 10002
    NOT_IN_PLAN = 10005
    PRO_KEY_ON_PUBLIC_HOST = 10010
    DEMO_KEY_ON_PRO_HOST = 10011
    BEYOND_RANGE = 10012  # beyond 365 days, or too many items


def json_reply(document: object, *, status: int = 200, cache_s: int = 30) -> Reply:
    """JSON with the headers that the upstream sends."""
    headers = {"content-type": "application/json; charset=utf-8", "cache-control": f"max-age={cache_s}, public"}
    return Reply(status, msgspec.json.encode(document), headers)


def error_body(shape: Shape, status: int, message: str, *, code: int | None = None, timestamp: str = "") -> bytes:
    """An error in one of the four JSON shapes, as an HTML page, or empty."""
    code = status if code is None else code
    if shape == "html":
        return html_page(status, message)
    if shape == "empty":
        return b""
    documents: dict[str, object] = {
        "error": {"error": message},
        "status": {"status": {"error_code": code, "error_message": message}},
        "nested": {"error": {"status": {"timestamp": timestamp, "error_code": code, "error_message": message}}},
        "flat": {"timestamp": timestamp, "error_code": code, "status": {"error_message": message}},
    }
    return msgspec.json.encode(documents[shape])


def refusal(
    status: int,
    message: str,
    *,
    shape: Shape = "error",
    code: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """An answer that says no."""
    body = error_body(shape, status, message, code=code, timestamp="2026-01-01T00:00:00.000+00:00")
    kind = "text/html; charset=UTF-8" if shape == "html" else "application/json; charset=utf-8"
    return Refusal(Reply(status, body, {"content-type": kind, "cache-control": "no-cache", **(headers or {})}))


def html_page(status: int, message: str) -> bytes:
    """What the network in front of the upstream answers in its place."""
    return (
        f"<!DOCTYPE html>\n<html lang='en-US'><head><title>{message} | api.coingecko.com | Cloudflare</title></head>"
        f"<body><h1>Error <span>{status}</span></h1><p>{message}</p><p>Ray ID: 8f3a1c2b4d5e6f70</p></body></html>\n"
    ).encode()


def retry_after(form: str, wait_s: float, now_s: float) -> dict[str, str]:
    """The header: seconds, an HTTP date, or none at all. Never shorter than the wait."""
    if form == "none":
        return {}
    if form == "seconds":
        return {"retry-after": str(math.ceil(wait_s))}
    return {"retry-after": format_datetime(datetime.fromtimestamp(math.ceil(now_s + wait_s), UTC), usegmt=True)}
