"""What goes wrong, as problem documents (RFC 9457), and the one table from our errors to status codes."""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

import msgspec
from starlette.responses import Response

from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.errors import UnknownCurrency
from cryptocast.errors import (
    ConfigError,
    CryptocastError,
    DataError,
    ModelError,
    RegistryError,
    UpstreamError,
    UsageError,
)
from cryptocast.serving.responses import respond
from cryptocast.workflows.reports import CoinError

# An absolute path of two parts or more, at the start of a word; the last part is kept. An address such as
# https://host/path, or a path of the API with one part, is none.
PATH: Final = re.compile(r"(?<![\w:/\\.])(?:[A-Za-z]:[\\/]|/)(?:[^\s/\\'\"]+[\\/])+([^\s/\\'\"]*)")
# Said with every 503; failures are also remembered for that long, so that coming back earlier changes nothing.
RETRY_AFTER_S: Final = 5
LATER: Final = {"Retry-After": str(RETRY_AFTER_S)}
CLOSE: Final = {"Connection": "close"}
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
OURS: Final = 500  # statuses from here on are not the client's fault
INTERNAL: Final = "The server failed. The cause stands in its log."


class OverloadError(CryptocastError):
    """More is asked than can be computed in time."""


class ProblemKind(Enum):
    """Each kind of problem: the end of its type, its title, its status, and the headers that go with it."""

    UNKNOWN_PARAMETER = "unknown-parameter", "There is no such query parameter", 400
    INVALID_PARAMETER = "invalid-parameter", "A query parameter has a value that is not allowed", 400
    MALFORMED_QUERY = "malformed-query", "The query string cannot be read", 400
    QUERY_TOO_LONG = "query-too-long", "The query string is too long", 414
    UNAUTHORIZED = "unauthorized", "A token is needed", 401, {"WWW-Authenticate": "Bearer"}
    FORBIDDEN = "forbidden", "The token may not do this", 403
    CROSS_ORIGIN = "cross-origin", "Only pages of this server may ask this", 403
    NOT_FOUND = "not-found", "There is nothing at this path", 404
    METHOD_NOT_ALLOWED = "method-not-allowed", "The path does not answer this method", 405
    URL_TOO_LONG = "url-too-long", "The address is too long", 414, CLOSE
    TOO_LARGE = "body-too-large", "The body is too large", 413, CLOSE
    LENGTH_REQUIRED = "length-required", "The body has no length", 411, CLOSE
    HEADERS_TOO_LARGE = "headers-too-large", "The headers are too large", 431, CLOSE
    TOO_MANY_REQUESTS = "too-many-requests", "This client asks too often", 429
    CREDITS_KEPT = "credits-kept", "The server is not set up for this, and asks for it only now and then", 429
    OVERLOADED = "overloaded", "The server cannot compute this in time", 503, LATER
    INTERNAL_ERROR = "internal-error", "The server failed", 500
    UNKNOWN_CURRENCY = "unknown-currency", "The source has no prices in this currency", 404
    BAD_REQUEST = "bad-request", "The request cannot be answered as it stands", 400
    MISCONFIGURED = "misconfigured", "A setting of the server is wrong", 500
    NO_DATA = "no-data", "There are no candles to forecast from", 404
    UPSTREAM_UNAVAILABLE = "upstream-unavailable", "The source of prices does not answer", 503, LATER
    MODEL_UNAVAILABLE = "model-unavailable", "The model cannot answer", 503, LATER
    REGISTRY_UNAVAILABLE = "registry-unavailable", "The registry cannot be used", 503, LATER

    def __init__(self, slug: str, title: str, status: int, headers: Mapping[str, str] = NO_HEADERS) -> None:
        self.uri = f"urn:cryptocast:problem:{slug}"  # an identifier; there is nothing to fetch behind it
        self.title, self.status, self.headers = title, status, headers


# Looked up along the classes that an error inherits from, so a subclass of a later day has its parent's answer.
OF_ERROR: Final[Mapping[type[BaseException], ProblemKind]] = {
    UnknownCurrency: ProblemKind.UNKNOWN_CURRENCY,
    UsageError: ProblemKind.BAD_REQUEST,
    ConfigError: ProblemKind.MISCONFIGURED,
    DataError: ProblemKind.NO_DATA,
    UpstreamError: ProblemKind.UPSTREAM_UNAVAILABLE,
    ModelError: ProblemKind.MODEL_UNAVAILABLE,
    RegistryError: ProblemKind.REGISTRY_UNAVAILABLE,
    OverloadError: ProblemKind.OVERLOADED,
    CryptocastError: ProblemKind.INTERNAL_ERROR,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that is not a success; the last three only where they help."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None  # the query parameter that is at fault
    allowed: str | None = None  # what it may be
    errors: tuple[CoinError, ...] = ()


class ProblemError(Exception):
    """Ends a request with this problem. headers: of its answer, beside those of the kind. more: fields of `Problem`."""

    def __init__(
        self, kind: ProblemKind, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(type=kind.uri, title=kind.title, status=kind.status, detail=detail, **more)
        self.headers = {**kind.headers, **(headers or {})}


def kind_of(error: CryptocastError) -> ProblemKind:
    """The kind of problem that one of our errors is."""
    return next(OF_ERROR[cls] for cls in type(error).__mro__ if cls in OF_ERROR)


def problem_of(error: Exception) -> ProblemError:
    """An error as a problem; what we did not foresee says no more than that."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, CryptocastError):
        return ProblemError(kind_of(error), without_folders(str(error)))
    return ProblemError(ProblemKind.INTERNAL_ERROR, INTERNAL)


def coin_error(coin: str, error: CryptocastError) -> CoinError:
    """Why a coin could not be answered for."""
    return CoinError(coin=coin, error=without_folders(str(error)))


def not_one(failures: Sequence[tuple[str, CryptocastError]]) -> ProblemError:
    """Not one coin could be answered for: the worst of their problems, so that what may pass is asked again at the
    soonest that could bring anything. Where that is up to the client alone, it is a 429."""
    errors = tuple(coin_error(*failure) for failure in failures)
    refusals = [error for _, error in failures if isinstance(error, CreditsKept)]
    others = [error for _, error in failures if not isinstance(error, CreditsKept)]
    worst = max(others, key=lambda error: kind_of(error).status, default=None)
    if worst is not None and (not refusals or kind_of(worst).status >= OURS):
        return ProblemError(kind_of(worst), without_folders(str(worst)), errors=errors)
    first = min(refusals, key=lambda error: error.retry_after_s)
    headers = {"Retry-After": str(math.ceil(first.retry_after_s))}
    return ProblemError(ProblemKind.CREDITS_KEPT, str(first), headers=headers, errors=errors)


def without_folders(text: str) -> str:
    """The text with the last part alone of every absolute path in it: the places of this machine's disk are for the
    terminal and the log, not for clients."""
    return PATH.sub(lambda path: path[1] or "a folder", text)


def problem_response(error: ProblemError) -> Response:
    """The problem as an answer."""
    body, status = msgspec.json.encode(error.problem), error.problem.status
    return respond(body, status=status, media_type="application/problem+json", headers=error.headers)
