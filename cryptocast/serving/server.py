"""uvicorn around the app, with what it lacks: a deadline for receiving a request, a lame-duck time, exit code 0.

uvicorn and not granian (both measured, `benchmarks/servers.py`): granian closes slow clients and ends with 0, uvicorn
does neither, and neither of them goes on accepting for a while after SIGTERM. What uvicorn lacks can be given to its
connections and its end in this one module; it takes half the memory, in one process, and hardly more processor time.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, ClassVar, Final

import httptools
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import cryptocast
from cryptocast.errors import UsageError
from cryptocast.serving.access import Proxies, check_exposure, counted_as, plain_address
from cryptocast.serving.access_log import AccessLog
from cryptocast.serving.app import create_app
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.rate_limit import Connections
from cryptocast.serving.telemetry import Telemetry
from cryptocast.serving.wiring import Server
from cryptocast.workflows.context import Context

log = logging.getLogger(__name__)

BACKLOG: Final = 2048
DESCRIPTORS: Final = 8192
MAX_HEADERS_READ: Final = 1000
SWEEP_S: Final = 1.0
# For the request of who has connected and not yet sent it: at least, and at most.
LAST_REQUESTS_S: Final = (0.2, 1.0)
STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
# What other servers take for an order to read their settings or their log anew; unheeded it would kill.
HANG_UP: Final[signal.Signals | None] = getattr(signal, "SIGHUP", None)  # Windows has none of them
IGNORED: Final = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
IS_IGNORED: Final = "%s is ignored: settings are read at the start only"
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104 - where nobody can ask, and where anybody can


def run(
    context: Context,
    *,
    host: str | None = None,
    port: int | None = None,
    token: str | None = None,
    admin_token: str | None = None,
    insecure: bool = False,
    access_log: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM (at a terminal SIGHUP too); what was accepted is answered first, for as long as the
    settings say.

    host and port default to the settings; port 0 takes a free one. announce hears the address once it answers.
    access_log: write a line for each request to standard output, also where the settings do not say so. Logging
    is the caller's to set up: uvicorn's loggers follow the root's level and handlers. Raises UsageError if the address
    cannot be listened on, or is open to other machines with neither a token nor `insecure`.
    """
    host = context.config.serve.host if host is None else host
    port = context.config.serve.port if port is None else port
    _allow_descriptors()
    check_exposure(host, token=token, admin=admin_token, insecure=insecure)
    listener = listen(host, port)
    secrets = (token, admin_token, context.api_key, context.notify_url)
    reports = Reports(
        os.environ.get("SENTRY_DSN") or None,
        environment=os.environ.get("SENTRY_ENVIRONMENT", "production"),
        release=f"cryptocast@{cryptocast.__version__}",
        secrets=[one for secret in secrets if secret for one in secret.split(",")],
        traces_rate=_traces_rate(os.environ.get("SENTRY_TRACES_SAMPLE_RATE", "0")),
    )
    lines = AccessLog(sys.stdout) if access_log or context.config.serve.access_log else None
    app = create_app(context, token=token, admin_token=admin_token, reports=reports, access_log=lines)
    serve(app, listener, announce=announce or partial(log.info, "serving on %s"))


def _allow_descriptors() -> None:
    """Each connection takes a descriptor, and the usual limit of 1,024 is less than a server may need. What the system
    does not allow is not asked for."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


def _traces_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0.0 <= rate <= 1.0:
        raise UsageError(f"SENTRY_TRACES_SAMPLE_RATE is {text!a}, expected a share from 0 to 1.")
    return rate


def serve(app: Starlette, listener: socket.socket, *, announce: Callable[[str], None]) -> None:
    """Answer on a socket that listens, until it is told to stop, and close it. A second signal kills.

    announce hears an address that can be asked, also where the socket listens on all.
    """
    server: Server = app.state.server
    settings, address = server.config.serve, _asked_at(listener)
    config = uvicorn.Config(
        app,
        http=_protocol(server),
        workers=1,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=round(settings.keep_alive_s),
        timeout_graceful_shutdown=int(settings.drain_s) or 1,
    )
    with contextlib.closing(listener):
        _Uvicorn(config, server, ready=lambda: announce(address)).run([listener])
    log.info("stopped serving %s", address)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; on `::`, all addresses, for both versions. Raises UsageError that says why it cannot."""
    if not 0 <= port <= 65_535:
        raise UsageError(f"There is no port {port}: they go from 0, which takes a free one, to 65535.")
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost has both; most clients that are given 127.0.0.1 try nothing else.
        family, *_, address = min(addresses, key=lambda entry: entry[0] != socket.AF_INET)
        both = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        raise UsageError(_cannot_listen(host, port, error)) from error


def _cannot_listen(host: str, port: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use by another program. Choose another; --port 0 takes a free one."
    if number == errno.EACCES:
        return f"Port {port} of {host} needs rights that this user lacks. Choose one above 1023."
    if isinstance(error, (socket.gaierror, UnicodeError)) or number == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host!a} to listen on. Try 127.0.0.1."
    return f"Cannot listen on port {port} of {host}: {error}."


def _asked_at(listener: socket.socket) -> str:
    name, number = listener.getsockname()[:2]
    name = ANYWHERE.get(name, name)
    return f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, which also knows since when it waits for the rest of a request, answers clients that have
    said all they will say, and reads on after an Upgrade, which is never followed."""

    most_unread: int = 0
    by_address: ClassVar[Connections]  # `_protocol` gives each server its own
    proxies: ClassVar[Proxies]
    telemetry: ClassVar[Telemetry]
    client_address: str | None = None  # that the connection counts for
    reads_on: bool = True
    receiving_since: float | None = None
    unread_since: float | None = None
    unread: int = 0  # bytes of answers that the client has not taken

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.receiving_since = time.monotonic()
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        address = self.client[0] if self.client else ""
        if self.proxies.trusts(address):
            return  # its connections serve all its clients; the `Front` counts their requests
        self.client_address = counted_as(address)
        if not self.by_address.came(self.client_address):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.client_address is not None:
            self.by_address.went(self.client_address)

    def data_received(self, data: bytes) -> None:
        # uvicorn's own warns of every bad request and every Upgrade, so that any client could fill the log, drops what
        # came with an Upgrade in one piece, and takes the body of one for the next request.
        if self.receiving_since is None:
            self.receiving_since = time.monotonic()
        self._unset_keepalive_if_required()
        while data and self.reads_on:
            data = self._parsed(data)

    def _parsed(self, data: bytes) -> bytes:
        """What is left to be parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
            if self.cycle is not None and has_body:
                # It is left unparsed, so nobody knows where the next request begins.
                self.reads_on = self.cycle.keep_alive = False
            return data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self.telemetry.count("malformed_request")
            self.send_400_response("Invalid HTTP request received.")
        return b""

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays, for the answer to a request that came whole: a client may close its side once
        it has asked, and asyncio would close the other one too."""
        is_asked = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if is_asked:
            self.cycle.keep_alive = False
        return is_asked

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._bounded(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS_READ:
            self._bounded(self.most_unread + 1)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle is not None:
            self._bounded(len(self.cycle.body))

    def on_message_complete(self) -> None:
        self.receiving_since = None
        super().on_message_complete()

    def _bounded(self, size: int) -> None:
        # The app answers what is a little too large; this is for what has no end.
        if size > self.most_unread and not self.transport.is_closing():
            self.transport.abort()

    def overdue(self, now: float, limit_s: float) -> bool:
        """Whether the client has been too slow to send its request, or to read the answer."""
        if self.receiving_since is not None and now - self.receiving_since > limit_s:
            return True
        unread = 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()
        if unread == 0 or unread < self.unread:
            self.unread_since = None  # everything is sent, or some of it
        elif self.unread_since is None:
            self.unread_since = now
        self.unread = unread
        return self.unread_since is not None and now - self.unread_since > limit_s


def _protocol(server: Server) -> type[asyncio.Protocol]:
    serve = server.config.serve
    on_refused = partial(server.telemetry.count, "connection_refused")
    own = {
        "most_unread": 4 * (serve.max_header_bytes + serve.max_body_bytes),
        "by_address": Connections(serve.client_connections, on_refused),
        "proxies": Proxies(serve.trusted_proxies),
        "telemetry": server.telemetry,
    }
    return type("Connection", (_Connection,), own)


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, but that it says when it is ready, closes slow clients, drains, ends by returning, and outlives
    signals that mean nothing to it.

    uvicorn closes its listener with the first signal, raises the signal again once it has stopped and dies by it, which
    a supervisor counts as a failure.
    """

    def __init__(self, config: uvicorn.Config, server: Server, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._server, self._settings = ready, server, server.config.serve
        self._sweeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = self._ends_with_terminal = False

    @property
    def _connections(self) -> list[_Connection]:
        return [one for one in self.server_state.connections if isinstance(one, _Connection)]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._sweeper = asyncio.create_task(self._sweep())
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Closing the listener resets connections that the system has made and that nobody has taken yet: the fewer, the
        # longer clients have known that this server leaves. The event loop takes all that are waiting at once.
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        await self._hear_last_requests()
        await super().shutdown(sockets)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _hear_last_requests(self) -> None:
        """Who has connected is about to send a request; who does not for a while is closed."""
        least_s, most_s = LAST_REQUESTS_S
        ends = time.monotonic() + most_s
        await asyncio.sleep(least_s)
        while time.monotonic() < ends and any(one.receiving_since for one in self._connections):
            await asyncio.sleep(0.02)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            late = [one for one in self._connections if one.overdue(now, self._settings.receive_timeout_s)]
            for connection in late:
                connection.transport.abort()
            if late:
                self._server.telemetry.count("slow_client_closed", number=len(late))
                log.info("closed %d connections of clients that were too slow", len(late))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._ends_with_terminal = _ends_with_terminal()
        before: dict[int, Any] = {number: signal.signal(number, self.handle_exit) for number in STOPPING}
        before |= {number: signal.signal(number, self._handle_other) for number in IGNORED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as Python calls it
        if self._is_stopping:
            # Asked again while accepted requests are being answered: now, and the exit code says that some were not.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            os._exit(128 + sig)  # the first process of a container is not killed by a signal of its own
        self._is_stopping = True
        self._server.drain()
        # Whoever presses Ctrl-C waits for no load balancer to notice.
        wait = self._settings.lame_duck_s if sig == signal.SIGTERM and self.started else 0.0
        if self._loop is None or wait == 0.0:
            self.should_exit = True
        else:
            log.info("not ready from now on; accepting for %g s more", wait)
            self._loop.call_soon_threadsafe(self._loop.call_later, wait, self._stop)

    def _stop(self) -> None:
        self.should_exit = True

    def _handle_other(self, sig: int, frame: FrameType | None) -> None:
        if sig == HANG_UP and self._ends_with_terminal:
            if not self._is_stopping:  # a shell that goes may send a second one
                self.handle_exit(sig, frame)
        elif self._loop is not None:  # not in here, where a line of the log may be half written
            self._loop.call_soon_threadsafe(log.warning, IS_IGNORED, signal.Signals(sig).name)


def _ends_with_terminal() -> bool:
    """Whether somebody watches at a terminal, and has not said (nohup) that the server is to outlive it."""
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    return HANG_UP is not None and at_terminal and signal.getsignal(HANG_UP) != signal.SIG_IGN
