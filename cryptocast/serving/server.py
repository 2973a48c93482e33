"""uvicorn around the app: an address of our own to announce, and a clean end at SIGTERM."""

import contextlib
import errno
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from cryptocast.errors import UsageError
from cryptocast.serving.access import check_exposure
from cryptocast.serving.app import create_app
from cryptocast.workflows.context import Context

__all__ = ["listen", "run", "serve"]

log = logging.getLogger(__name__)

DRAIN_S: Final = 10
BACKLOG: Final = 2048
STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    context: Context,
    *,
    host: str | None = None,
    port: int | None = None,
    token: str | None = None,
    insecure: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that were accepted are answered first, for at most 10 s.

    host and port default to the settings; port 0 takes a free one. announce hears the address once it answers. Logging
    is the caller's to set up: uvicorn's loggers follow the root's level and handlers. Raises UsageError if the address
    cannot be listened on, or is open to other machines with neither a token nor `insecure`.
    """
    host = context.config.serve.host if host is None else host
    port = context.config.serve.port if port is None else port
    check_exposure(host, token=token, insecure=insecure)
    serve(create_app(context, token=token), listen(host, port), announce=announce or _log_address)


def serve(app: ASGIApp, listener: socket.socket, *, announce: Callable[[str], None]) -> None:
    """Answer on a socket that listens, until SIGINT or SIGTERM, and close it. A second signal kills."""
    name, number = listener.getsockname()[:2]
    address = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
    config = uvicorn.Config(
        app,
        workers=1,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_S,
    )
    with contextlib.closing(listener):
        _Server(config, ready=lambda: announce(address)).run([listener])
    log.info("stopped serving %s", address)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError that says why it cannot."""
    if not 0 <= port <= 65_535:
        raise UsageError(f"There is no port {port}: they go from 0, which takes a free one, to 65535.")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost has both; most clients that are given 127.0.0.1 try nothing else.
        family = min((entry[0] for entry in found), key=lambda family: family != socket.AF_INET)
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
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


def _log_address(address: str) -> None:
    log.info("serving on %s", address)


class _Server(uvicorn.Server):
    """uvicorn's server, but that it says when it is ready and ends by returning.

    uvicorn raises the signal again once it has stopped and dies by it, which a supervisor counts as a failure.
    """

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as Python calls it
        if self.should_exit:
            # Asked again while accepted requests are being answered: now, and the exit code says that some were not.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True
