"""The pooled HTTP client: every connection of the process, each call bounded in time, idle connections looked after.

The only module that imports the HTTP library, and the only one that looks inside it (`_pools`, `_unusable`), because
httpx 0.28 does not do four things by itself. It closes connections that have idled too long, or
that the other side closed, only when the next request passes. It loses the place of a request that is cancelled (and a
deadline is a cancellation) between getting a connection and using it, or while it gives it back. It forgets the
connections that a cancelled request was just about to close, and one whose TLS handshake is broken off: their
descriptors stay until the garbage is collected. And it does not repeat a request that met a connection which was closed
a moment before.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import httpcore
import httpx

from cryptocast.addresses import shown_address, without_logins
from cryptocast.errors import ConfigError
from cryptocast.net.answer import Answer, CallFailed, Unreachable
from cryptocast.net.semaphore import Gate
from cryptocast.net.settings import NetSettings
from cryptocast.net.tasks import Tasks

log = logging.getLogger(__name__)

Transport: TypeAlias = httpx.AsyncBaseTransport
Send: TypeAlias = Callable[..., AbstractAsyncContextManager[httpx.Response]]
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
# One layer of gzip makes a piece of 64 KiB at most a thousand times longer. Two layers, or the other codings that the
# library knows where their packages are installed, have no such bound: a bomb would fill the memory in one piece.
CODINGS: Final = ("", "identity", "gzip", "x-gzip", "deflate")
CLOSE_S: Final = 0.3  # for the connections themselves, after their calls have ended


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """Connections now, and counts since the start."""

    open: int
    idle: int
    waiting: int  # calls without a connection
    running: int  # calls, those that wait among them
    waited_s: float
    longest_wait_s: float
    turned_away: int
    reaped: int  # idle connections closed without traffic
    reclaimed: int  # places that the library had lost
    repeated: int  # calls that met a connection closed a moment before


class Pool:
    """One for the process; give it to each `ApiClient`. All methods belong to one event loop; close it at the end.
    Raises ConfigError where the machine's proxies or certificates are none (`trust_env`)."""

    def __init__(
        self,
        settings: NetSettings | None = None,
        *,
        transport: Transport | None = None,
        trust_env: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings = settings or NetSettings()
        self._clock = clock
        self._http = _http(settings, transport, trust_env=trust_env)
        for pool in _pools(self._http):
            pool._close_connections = self._close_apart
        # Calls queue here and not inside the library, where a call that leaves the queue may take a place with it.
        self._gate = Gate(settings.max_connections, settings.max_waiting, clock=clock)
        self.tasks = Tasks(settings.max_connections + settings.max_waiting)
        self._reaper: asyncio.Task[None] | None = None
        self._live: set[object] = set()  # the requests under way, by what stands for them in the library
        self._closing: set[asyncio.Task[None]] = set()
        self._reaped = self._reclaimed = self._repeated = 0
        self._closed = False

    async def get(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str], *, deadline_s: float
    ) -> Answer:
        """The answer to one GET, whatever its status. Call it from a task that nobody cancels: `tasks.start`.

        Raises CallFailed when none came within `deadline_s`, Overloaded when no connection became free, Unreachable
        after `close`.
        """
        return await self._call("GET", url, {"params": params or None}, headers, deadline_s)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> Answer:
        """The answer to one POST, as `get`. What met a connection that had just been closed is sent again, once, so
        the receiver must know it by its contents."""
        return await self._call("POST", url, {"content": body}, headers, deadline_s)

    async def _call(
        self, method: str, url: str, contents: Mapping[str, Any], headers: Mapping[str, str], deadline_s: float
    ) -> Answer:
        if self._closed:
            raise Unreachable("The connections are already closed.")
        send = partial(
            self._http.stream,
            method,
            url,
            **contents,
            headers={"accept-encoding": "gzip", **headers},
            timeout=self._timeouts(deadline_s),
        )
        ends = asyncio.get_running_loop().time() + deadline_s
        try:
            # The queue has a timeout of its own, so that waiting here is never taken for a failure of the upstream.
            async with self._gate.place(min(self._settings.pool_timeout_s, deadline_s)), asyncio.timeout_at(ends):
                return await self._exchange(send)
        except (httpx.HTTPError, OSError) as error:  # TimeoutError is an OSError
            await self.reap()
            raise _failed(error) from error
        except asyncio.CancelledError:
            await self.reap()
            raise
        finally:
            self._look_after_idle()

    def metrics(self) -> PoolMetrics:
        """Cheap: counts what the library holds."""
        states = [connection for pool in _pools(self._http) for connection in pool.connections]
        return PoolMetrics(
            open=sum(not connection.is_closed() for connection in states),
            idle=sum(connection.is_idle() and not connection.is_closed() for connection in states),
            waiting=self._gate.waiting,
            running=len(self.tasks),
            waited_s=self._gate.waited_s,
            longest_wait_s=self._gate.longest_wait_s,
            turned_away=self._gate.turned_away,
            reaped=self._reaped,
            reclaimed=self._reclaimed,
            repeated=self._repeated,
        )

    async def reap(self) -> None:
        """Close the connections that no call may use any more: idle too long, closed by the other side, or lost."""
        for pool in _pools(self._http):
            unusable = _unusable(pool, self._live)
            for connection in unusable:
                self._reaped += connection.is_idle()
                self._reclaimed += not (connection.is_idle() or connection.is_closed())
                pool._connections.remove(connection)
            # Who queues inside the library (only after a place was lost) would otherwise not hear of the free places.
            surplus = pool._assign_requests_to_connections() if unusable else []
            await self._close_apart([*unusable, *surplus])

    async def _close_apart(self, connections: Sequence[Any]) -> None:
        """Close them in a task of its own: they are in no list any more, who is cancelled here would lose them."""
        if connections:
            task = asyncio.create_task(_close_each(connections))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            await asyncio.shield(task)

    async def close(self) -> None:
        """Close every connection, within a second: calls under way get 0.3 s to end by themselves."""
        self._closed = True
        await self.tasks.close()
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait({self._reaper})
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._http.aclose()
        except TimeoutError:
            log.warning("connections did not close within %.1f s", CLOSE_S)

    def _timeouts(self, deadline_s: float) -> httpx.Timeout:
        phases = ("connect", "read", "write", "pool")
        return httpx.Timeout(
            **{phase: min(getattr(self._settings, f"{phase}_timeout_s"), deadline_s) for phase in phases}
        )

    async def _exchange(self, send: Send) -> Answer:
        """A connection that idled may be closed by the other side just as we use it. Then nobody has read the request,
        and it is sent again, once."""
        progress = _Progress()
        try:
            return await self._send(send, progress)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if not progress.met_a_closed_connection:
                raise
            self._repeated += 1
            await self.reap()
            return await self._send(send, _Progress())

    async def _send(self, send: Send, progress: "_Progress") -> Answer:
        self._live.add(progress)
        try:
            return await self._receive(send, progress)
        finally:
            self._live.discard(progress)
            if progress.handshaking is not None:  # broken off: nobody else would close what is below it
                await progress.handshaking.aclose()

    async def _receive(self, send: Send, progress: "_Progress") -> Answer:
        started = self._clock()
        body = bytearray()
        async with send(extensions={"trace": progress}) as response:
            coding = response.headers.get("content-encoding", "").strip().lower()
            if coding not in CODINGS:
                raise httpx.DecodingError(f"the answer is packed as {coding[:40]!a}, asked for was gzip")
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise httpx.DecodingError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
            return Answer(response.status_code, bytes(body), dict(response.headers), self._clock() - started)

    def _look_after_idle(self) -> None:
        if not self._closed and (self._reaper is None or self._reaper.done()):
            self._reaper = asyncio.create_task(self._reap_while_open())

    async def _reap_while_open(self) -> None:
        """Ends with the last connection, so that a quiet process is not woken each second for nothing."""
        while any(pool.connections for pool in _pools(self._http)):
            await asyncio.sleep(self._settings.reap_every_s)
            await self.reap()


class _Progress:
    """How far a request got, as the library's trace extension tells it."""

    def __init__(self) -> None:
        self._connected = self._sent = self._answered = False
        self._stream: httpcore.AsyncNetworkStream | None = None
        self.handshaking: httpcore.AsyncNetworkStream | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif event.endswith("start_tls.started"):
            self.handshaking = self._stream
        elif event.endswith("start_tls.complete"):
            self.handshaking = None
        self._connected |= event == "connection.connect_tcp.started"
        self._sent |= event == "http11.send_request_headers.started"
        self._answered |= event == "http11.receive_response_headers.complete"

    @property
    def met_a_closed_connection(self) -> bool:
        return self._sent and not self._connected and not self._answered


def _http(settings: NetSettings, transport: Transport | None, *, trust_env: bool) -> httpx.AsyncClient:
    """The library's client. ConfigError where the machine's proxies or certificates are none."""
    try:
        return httpx.AsyncClient(
            http1=True,
            http2=False,
            limits=httpx.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=settings.max_connections,
                keepalive_expiry=settings.keepalive_s,
            ),
            follow_redirects=False,
            transport=transport,
            trust_env=trust_env,
        )
    except httpx.InvalidURL:  # its message may quote a part of a password that was not escaped
        raise _unusable_surroundings("the address of a proxy is malformed") from None
    except (ValueError, ImportError, OSError) as error:  # ImportError: SOCKS needs another package
        reason = (without_logins(str(error)) or type(error).__name__).splitlines()[0].rstrip(".")
        raise _unusable_surroundings(reason) from error


def _unusable_surroundings(reason: str) -> ConfigError:
    return ConfigError(
        f"The proxy or the certificates of this machine cannot be used: {reason}. Check the environment variables"
        " HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR."
    )


def checked_url(base_url: str) -> str:
    """The address without a slash at its end. Raises ConfigError for what is no http or https address."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        why = "" if "@" in base_url else f": {error}"  # which may quote a part of a password that was not escaped
        raise ConfigError(f"The upstream address {shown_address(base_url)!r} is not a URL{why}.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(
            f"The upstream address {shown_address(base_url)!r} must start with https:// (or http://) and name a host."
        )
    return base_url.rstrip("/")


def host(url: str) -> str:
    """The host's name, for messages."""
    return httpx.URL(url).host


async def _close_each(connections: Sequence[Any]) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            await connection.aclose()


def _pools(client: httpx.AsyncClient) -> list[Any]:
    """The httpcore pools of a client: one for direct connections, one for each proxy of the machine."""
    transports = (client._transport, *client._mounts.values())
    return [transport._pool for transport in transports if isinstance(transport, httpx.AsyncHTTPTransport)]


def _unusable(pool: Any, live: set[object]) -> list[Any]:
    """Connections that belong to no live request, and are closed, expired, readable though idle (the other side closed
    them), or neither idle nor closed: then nothing will ever end them. Forgets the requests that are not live."""
    pool._requests[:] = [each for each in pool._requests if each.request.extensions.get("trace") in live]
    owned = {id(each.connection) for each in pool._requests}
    return [
        connection
        for connection in pool.connections
        if id(connection) not in owned
        and (connection.is_closed() or connection.has_expired() or not connection.is_idle())
    ]


def _failed(error: Exception) -> CallFailed:
    """A name that does not resolve, or nothing that answers a connect, means no network: another try would only make
    the user wait longer for what comes instead."""
    if any(isinstance(cause, socket.gaierror) for cause in _causes(error)):
        return CallFailed("its name cannot be resolved", hopeless=True, unsent=True)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        unconnected = isinstance(error, httpx.ConnectTimeout)
        return CallFailed("no answer in time", hopeless=unconnected, unsent=unconnected)
    reason = (without_logins(str(error)) or "the connection was lost").splitlines()[0][:120].rstrip(".")
    return CallFailed(reason, unsent=isinstance(error, httpx.ConnectError | httpx.ProxyError))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
