"""What goes wrong, as problem documents (RFC 9457), and the one table from our errors to status codes."""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

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
OURS: Final = 500  # statuses from here on are not the client's fault
INTERNAL: Final = "The server failed. The cause stands in its log."


class OverloadError(CryptocastError):
    """More is asked than can be computed in time."""


class ProblemKind(Enum):
    """Each kind of problem: the end of its type, its title, its status."""

    UNKNOWN_PARAMETER = "unknown-parameter", "There is no such query parameter", 400
    INVALID_PARAMETER = "invalid-parameter", "A query parameter has a value that is not allowed", 400
    MALFORMED_QUERY = "malformed-query", "The query string cannot be read", 400
    QUERY_TOO_LONG = "query-too-long", "The query string is too long", 414
    UNAUTHORIZED = "unauthorized", "A token is needed", 401
    FORBIDDEN = "forbidden", "The token may not do this", 403
    NOT_FOUND = "not-found", "There is nothing at this path", 404
    METHOD_NOT_ALLOWED = "method-not-allowed", "The path does not answer this method", 405
    URL_TOO_LONG = "url-too-long", "The address is too long", 414
    TOO_LARGE = "body-too-large", "The body is too large", 413
    LENGTH_REQUIRED = "length-required", "The body has no length", 411
    HEADERS_TOO_LARGE = "headers-too-large", "The headers are too large", 431
    TOO_MANY_REQUESTS = "too-many-requests", "This client asks too often", 429
    CREDITS_KEPT = "credits-kept", "The server is not set up for this, and asks for it only now and then", 429
    OVERLOADED = "overloaded", "The server cannot compute this in time", 503
    INTERNAL_ERROR = "internal-error", "The server failed", 500
    UNKNOWN_CURRENCY = "unknown-currency", "The source has no prices in this currency", 404
    BAD_REQUEST = "bad-request", "The request cannot be answered as it stands", 400
    MISCONFIGURED = "misconfigured", "A setting of the server is wrong", 500
    NO_DATA = "no-data", "There are no candles to forecast from", 404
    UPSTREAM_UNAVAILABLE = "upstream-unavailable", "The source of prices does not answer", 503
    MODEL_UNAVAILABLE = "model-unavailable", "The model cannot answer", 503
    REGISTRY_UNAVAILABLE = "registry-unavailable", "The registry cannot be used", 503

    def __init__(self, slug: str, title: str, status: int) -> None:
        self.uri = f"urn:cryptocast:problem:{slug}"  # an identifier; there is nothing to fetch behind it
        self.title, self.status = title, status


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
    """Ends a request with this problem."""

    def __init__(
        self, kind: ProblemKind, detail: str, *, parameter: str | None = None, allowed: str | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(
            type=kind.uri, title=kind.title, status=kind.status, detail=detail, parameter=parameter, allowed=allowed
        )


def kind_of(error: CryptocastError) -> ProblemKind:
    """The kind of problem that one of our errors is."""
    return next(OF_ERROR[cls] for cls in type(error).__mro__ if cls in OF_ERROR)


def problem_of(error: Exception) -> Problem:
    """One of our errors as a problem."""
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, CryptocastError):
        return ProblemError(kind_of(error), without_folders(str(error))).problem
    return ProblemError(ProblemKind.INTERNAL_ERROR, INTERNAL).problem


def coin_error(coin: str, error: CryptocastError) -> CoinError:
    """Why a coin could not be answered for."""
    return CoinError(coin=coin, error=without_folders(str(error)))


def not_one(failures: Sequence[tuple[str, CryptocastError]]) -> tuple[Problem, dict[str, str]]:
    """Not one coin could be answered for: the worst of their problems, so that what may pass is asked again, with the
    headers that say when: the soonest that could bring anything. Where that is up to the client alone, it is a 429."""
    told = tuple(coin_error(*failure) for failure in failures)
    refused = [error for _, error in failures if isinstance(error, CreditsKept)]
    others = [error for _, error in failures if not isinstance(error, CreditsKept)]
    worst = max(others, key=lambda error: kind_of(error).status, default=None)
    if refused and (worst is None or kind_of(worst).status < OURS):
        first = min(refused, key=lambda error: error.retry_after_s)
        headers = {"Retry-After": str(math.ceil(first.retry_after_s))}
        return msgspec.structs.replace(ProblemError(ProblemKind.CREDITS_KEPT, str(first)).problem, errors=told), headers
    if worst is None:
        raise ValueError("nothing has failed")
    return msgspec.structs.replace(problem_of(worst), errors=told), {}


def without_folders(text: str) -> str:
    """The text with the last part alone of every absolute path in it: the places of this machine's disk are for the
    terminal and the log, not for clients."""
    return PATH.sub(lambda path: path[1] or "a folder", text)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as an answer; one that may pass by itself says when to come back."""
    extra = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else {}
    return respond(
        msgspec.json.encode(problem),
        status=problem.status,
        media_type="application/problem+json",
        headers={**extra, **(headers or {})},
    )
