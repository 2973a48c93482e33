"""One pooled HTTP client: a timeout on every phase, a deadline on the whole, retries with full jitter, a limiter.

The only module that imports the HTTP library.
"""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Self

import httpx

from cryptocast.errors import ConfigError, UpstreamError
from cryptocast.net.limiter import Limiter

__all__ = ["Answer", "ApiClient", "NetSettings", "Unreachable"]

log = logging.getLogger(__name__)

RETRIED: Final = frozenset({408, 429, *range(500, 600)})
BACKOFF_S: Final = 0.5  # upper end of the first pause; doubles with each retry
BACKOFF_CAP_S: Final = 8.0
BLIND_PAUSE_S: Final = 20.0  # after a 429 that does not say how long
MAX_BODY_BYTES: Final = 32 * 1024 * 1024


class Unreachable(UpstreamError):  # noqa: N818 - reads as what it says
    """No answer came: no name, no connection, or nothing in time."""


@dataclass(frozen=True, slots=True)
class NetSettings:
    """How long to wait for what, and how often to try."""

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    deadline_s: float = 60.0  # for a call with its retries; waiting for the limiter comes on top
    max_connections: int = 100
    keepalive_s: float = 30.0
    max_retries: int = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    def retry_after_s(self, now: datetime) -> float | None:
        """How long the upstream asks to wait: seconds or a date (RFC 9110, section 10.2.3). None if it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


class ApiClient:
    """GET below one base address. Open it once and share it; all methods belong to one event loop.

    `headers` may hold a key: they are sent and never logged or put into a message. `transport`, `clock`, `sleep` and
    `rng` are there for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        limiter: Limiter,
        settings: NetSettings | None = None,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        trust_env: bool = True,  # proxies and certificates of the machine
    ) -> None:
        self._name, self._limiter, self._clock, self._sleep = name, limiter, clock, sleep
        self._settings = settings or NetSettings()
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, no secret depends on it
        chosen = self._settings
        self._http = httpx.AsyncClient(
            base_url=_checked(base_url),
            headers={"accept": "application/json", **(headers or {})},
            timeout=httpx.Timeout(chosen.read_timeout_s, connect=chosen.connect_timeout_s),
            limits=httpx.Limits(
                max_connections=chosen.max_connections,
                max_keepalive_connections=chosen.max_connections,
                keepalive_expiry=chosen.keepalive_s,
            ),
            transport=transport,
            trust_env=trust_env,
        )

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """The answer to one GET, after retries on 408, 429, 5xx and lost connections.

        When the retries or the deadline are used up, the last answer is returned for the caller to read. Raises
        Unreachable when there was none.
        """
        left = self._settings.deadline_s
        attempts = self._settings.max_retries + 1
        for attempt in range(1, attempts + 1):
            await self._limiter.acquire()
            started = self._clock()
            outcome = await self._attempt(path, params, left)
            left -= self._clock() - started
            if isinstance(outcome, Answer) and outcome.status not in RETRIED:
                return outcome
            log.info("%s: attempt %d of %d: %s", self._name, attempt, attempts, _reason(outcome))
            pause = self._pause(attempt, outcome)
            if attempt == attempts or pause >= left or _is_hopeless(outcome):
                break
            await self._sleep(pause)
            left -= pause
        if isinstance(outcome, Answer):
            return outcome
        raise self._unreachable(outcome, attempt) from outcome

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _attempt(self, path: str, params: Mapping[str, str] | None, left: float) -> Answer | Exception:
        try:
            async with asyncio.timeout(left):
                return await self._exchange(path, params)
        except (httpx.HTTPError, TimeoutError) as error:
            return error

    async def _exchange(self, path: str, params: Mapping[str, str] | None) -> Answer:
        body = bytearray()
        async with self._http.stream("GET", path, params=params) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise httpx.DecodingError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
            return Answer(response.status_code, bytes(body), dict(response.headers))

    def _pause(self, attempt: int, outcome: Answer | Exception) -> float:
        """Seconds before the next attempt. What a 429 asks for holds for everybody who uses the limiter.

        Full jitter: uniform between nothing and the doubled step. Source: M. Brooker, Exponential Backoff and Jitter
        (AWS Architecture Blog, 2015).
        """
        asked = 0.0
        if isinstance(outcome, Answer) and outcome.status in (429, 503):
            stated = outcome.retry_after_s(datetime.now(UTC))
            asked = stated if stated is not None else BLIND_PAUSE_S if outcome.status == 429 else 0.0
            if outcome.status == 429:
                self._limiter.pause(asked)
        return asked + self._rng.uniform(0.0, min(BACKOFF_CAP_S, BACKOFF_S * 2 ** (attempt - 1)))

    def _unreachable(self, error: Exception, attempts: int) -> Unreachable:
        tries = "once" if attempts == 1 else f"{attempts} times"
        return Unreachable(
            f"{self._name} could not be reached at {self._http.base_url.host} (tried {tries}: {_reason(error)})."
            " Check the network, or use --source sample or --source file."
        )


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"The upstream address {base_url!r} is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"The upstream address {base_url!r} must start with https:// (or http://) and name a host.")
    return base_url


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_hopeless(outcome: Answer | Exception) -> bool:
    """A name that does not resolve, or nothing that answers a connect, means no network: another try would only make
    the user wait longer for what comes instead."""
    return isinstance(outcome, httpx.ConnectTimeout) or _is_name_error(outcome)


def _is_name_error(outcome: Answer | Exception) -> bool:
    return isinstance(outcome, Exception) and any(isinstance(error, socket.gaierror) for error in _causes(outcome))


def _reason(outcome: Answer | Exception) -> str:
    if isinstance(outcome, Answer):
        return f"status {outcome.status}"
    if _is_name_error(outcome):
        return "its name cannot be resolved"
    if isinstance(outcome, httpx.TimeoutException | TimeoutError):
        return "no answer in time"
    return (str(outcome) or type(outcome).__name__).splitlines()[0][:120].rstrip(".")
