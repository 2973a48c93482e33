"""An HTTP/1.1 server on 127.0.0.1 whose paths are faults, and what the system says about sockets and descriptors.

/ok            200 with a body             /status/N      status N
/later/S       200 after S seconds         /hang          never answers
/closing       200, then closes            /silent        closes without a byte
/reset         resets the connection       /cut           half of the body that was announced, then closes
/drip          a body without end          /drip-head     headers without end
/garbage       no HTTP at all              /html429       429 with a page
/redirect      302 to /ok                  /gzip          a body that is not the gzip it claims to be
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import psutil

STATUSES = ("/status/500", "/status/503", "/status/429", "/status/404", "/status/408", "/html429", "/redirect")
BROKEN = ("/hang", "/silent", "/reset", "/cut", "/drip", "/drip-head", "/garbage", "/gzip")
FAULTS = (*STATUSES, *BROKEN, "/closing", "/later/0.02")


class LocalUpstream:
    """Counts requests by path, and connections. `answer` may decide the path that is played, by the path asked."""

    def __init__(self, answer: Callable[[str], str] = lambda path: path, delay_s: float = 0.0) -> None:
        self.answer, self.delay_s = answer, delay_s
        self.hits: Counter[str] = Counter()
        self.request_lines: list[str] = []
        self.connections = 0
        self.open: set[Connection] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close_idle(self) -> None:
        for connection in self.open:
            connection.transport.close()


class Connection(asyncio.Protocol):
    """One client. Requests are small and come one by one, so a blank line ends each."""

    transport: asyncio.Transport

    def __init__(self, upstream: LocalUpstream) -> None:
        self.upstream = upstream
        self.head = b""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none, and does the same
        self.upstream.connections += 1
        self.upstream.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.open.discard(self)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.head += data
        if b"\r\n\r\n" not in self.head:
            return
        line, self.head = self.head.split(b"\r\n", 1)[0].decode(), b""
        self.upstream.request_lines.append(line)
        path = self.upstream.answer(line.split()[1].partition("?")[0])
        self.upstream.hits[path] += 1
        if path == "/ok" and not self.upstream.delay_s:
            self.reply()  # without a task: ten thousand of them should be quick
        else:
            self.task = asyncio.ensure_future(self.play(path))

    async def play(self, path: str) -> None:
        kind, _, detail = path.strip("/").partition("/")
        await asyncio.sleep(float(detail) if kind == "later" else self.upstream.delay_s)
        if kind == "hang":
            await asyncio.sleep(3600)
        elif kind in ("drip", "drip-head"):
            await self.drip(whole_head=kind == "drip")
        else:
            self.play_at_once(kind, int(detail) if kind == "status" else 200)

    def play_at_once(self, kind: str, status: int) -> None:
        if kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif kind == "cut":
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 50)
        elif kind == "garbage":
            self.transport.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        elif kind == "html429":
            self.reply(429, b"<html>slow down</html>", b"content-type: text/html\r\n")
        elif kind == "redirect":
            self.reply(302, b"", b"location: /ok\r\n")
        elif kind == "gzip":
            self.reply(200, b"not gzip", b"content-encoding: gzip\r\n")
        elif kind != "silent":
            self.reply(status)
        if kind in ("reset", "cut", "garbage", "closing", "silent"):
            self.transport.close()

    async def drip(self, *, whole_head: bool) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\n" + (b"content-length: 100000\r\n\r\n" if whole_head else b"x-a: "))
        while True:
            self.transport.write(b"x")
            await asyncio.sleep(0.02)

    def reply(self, status: int = 200, body: bytes = b'{"a": 1}', headers: bytes = b"") -> None:
        self.transport.write(b"HTTP/1.1 %d X\r\n%scontent-length: %d\r\n\r\n%s" % (status, headers, len(body), body))


@asynccontextmanager
async def serving(upstream: LocalUpstream) -> AsyncIterator[LocalUpstream]:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0, backlog=512)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for connection in list(upstream.open):
            connection.transport.abort()
        await asyncio.sleep(0)


def client_sockets(port: int) -> Counter[str]:
    """States of this process's sockets whose other end is the port."""
    ours = psutil.Process().net_connections("tcp4")
    return Counter(c.status for c in ours if c.raddr and c.raddr.port == port)


def descriptors() -> int:
    """Open sockets of this process. Not all its files: other tests in it may leave a log or a cache open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed while we looked
            found += str(descriptor.readlink()).startswith("socket:")
    return found


async def until(true: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """Whether it became true in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.02)
    return true()
