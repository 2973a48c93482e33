"""HTTP/1.1 over a real socket, by hand: faults of the connection need the socket, which no HTTP library gives away.

Loopback only. Knows requests, answers and where an answer is to break; not what they say.
"""

import asyncio
import contextlib
import gzip
import itertools
import logging
import os
import socket
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptocast.rehearsal.calls import ConnectionCounts
from cryptocast.rehearsal.faults import Rule
from cryptocast.rehearsal.messages import HttpRequest, Reply

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 1024 * 1024
GZIP_FROM_BYTES: Final = 1400
CHUNK_BYTES: Final = 700
DRIP_EVERY_S: Final = 0.05
STOP_S: Final = 5.0
GARBAGE: Final = b"\x16\x03\x01\x02\x00\x01\x00 this is no HTTP\r\n\r\n"


@dataclass(frozen=True, slots=True)
class TimedReply:
    """An answer, after how long it comes, and the rule by which it breaks."""

    reply: Reply
    latency_s: float = 0.0
    rule: Rule | None = None


class Gone(Exception):  # noqa: N818 - the client went away
    """The client closed the connection."""


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_timeout_s: float
    idle: bool = True

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client goes away: then raise Gone. No client sends the next request before the answer."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), seconds)
            raise Gone

    async def send(self, message: bytes) -> None:
        self.writer.write(message)
        await self.writer.drain()

    def reset(self) -> None:
        """End it by RST instead of FIN: what was not sent is lost, and the client's next read fails."""
        at_once = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.writer.transport.abort()


class Wire:
    """A server for one event loop. respond: an answer for a request and the number of its connection."""

    def __init__(
        self, respond: Callable[[HttpRequest, int], TimedReply], *, idle_timeout_s: float, compress: bool
    ) -> None:
        self._respond = respond
        self.idle_timeout_s = idle_timeout_s
        self._compress = compress
        self._numbers = itertools.count(1)
        self._accepted = 0
        self._open: dict[Connection, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen; 0 takes a free port. Returns the port."""
        self._server = await asyncio.start_server(self._accept, HOST, port, limit=MAX_HEAD_BYTES, backlog=1024)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        """Stop listening and drop every connection, as the end of the process would."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = [task for task in self._open.values() if task is not None]
        for connection in list(self._open):
            connection.writer.transport.abort()  # whoever reads, waits or writes there ends by it
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)

    async def close_idle(self) -> int:
        """End the connections that wait for a request. Returns how many."""
        idle = [connection for connection in self._open if connection.idle]
        for connection in idle:
            connection.writer.close()
        return len(idle)

    def connections(self) -> ConnectionCounts:
        """Counts of this moment."""
        idle = sum(connection.idle for connection in list(self._open))
        return ConnectionCounts(open=len(self._open), idle=idle, accepted=self._accepted)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        connection = Connection(next(self._numbers), reader, writer, self.idle_timeout_s)
        self._open[connection] = asyncio.current_task()
        try:
            while await self._serve_one(connection):
                connection.idle = True
        except (Gone, OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as end:
            log.debug("connection %d ended: %s", connection.number, type(end).__name__)
        finally:
            self._open.pop(connection, None)
            writer.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Read and answer one request. Returns whether the connection stays."""
        # Raises TimeoutError when it was idle for too long, EOFError when the client closed it.
        head = await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), connection.idle_timeout_s)
        connection.idle = False
        try:
            request = _parsed(head)
            length = int(request.headers.get("content-length", "0"))
        except ValueError as error:
            await connection.send(_message(Reply(400, str(error).encode(), {"connection": "close"})))
            return False
        if not 0 <= length <= MAX_BODY_BYTES:
            await connection.send(_message(Reply(413, b"", {"connection": "close"})))
            return False
        if length:
            body = await asyncio.wait_for(connection.reader.readexactly(length), connection.idle_timeout_s)
            request = replace(request, body=body)
        answer = self._respond(request, connection.number)
        await connection.pause(answer.latency_s)
        compress = self._compress and "gzip" in request.headers.get("accept-encoding", "")
        reply = _gzipped(answer.reply) if compress else answer.reply
        chunked = answer.rule is not None and answer.rule.fault == "chunked"
        message = _chunked_message(reply) if chunked else _message(reply)
        stays = await self._deliver(connection, message, answer.rule)
        return stays and request.headers.get("connection", "").lower() != "close"

    async def _deliver(self, connection: Connection, message: bytes, rule: Rule | None) -> bool:
        fault = None if rule is None else rule.fault
        seconds = 0.0 if rule is None else rule.duration_s
        half = message[: (message.index(b"\r\n\r\n") + 4 + len(message)) // 2]
        match fault:
            case "close":
                return False
            case "reset":
                connection.reset()
                return False
            case "garbage":
                await connection.send(GARBAGE)
                return False
            case "hang":
                await connection.pause(seconds)
                return False
            case "truncated" | "hang_body" | "reset_body":
                await connection.send(half)
                await connection.pause(seconds if fault == "hang_body" else 0.05 if fault == "reset_body" else 0.0)
                if fault == "reset_body":
                    connection.reset()
                return False
            case "drip":
                await self._drip(connection, message, seconds)
                return True
            case "slow":
                await connection.pause(seconds)
            case "idle_close":
                connection.idle_timeout_s = seconds
        await connection.send(message)
        return fault != "close_after"

    async def _drip(self, connection: Connection, message: bytes, seconds: float) -> None:
        pieces = max(1, int(seconds / DRIP_EVERY_S))
        size = -(-len(message) // pieces)
        for begin in range(0, len(message), size):
            await connection.send(message[begin : begin + size])
            await connection.pause(seconds / pieces)


def _parsed(head: bytes) -> HttpRequest:
    """The request of these lines. Raises ValueError."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise ValueError("not a request of HTTP/1.1")
    method, target, version = parts
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    address = urlsplit(target)
    params = dict(parse_qsl(address.query, keep_blank_values=True))
    return HttpRequest(method, unquote(address.path), params, headers, target_bytes=len(target))


def _gzipped(reply: Reply) -> Reply:
    if len(reply.body) < GZIP_FROM_BYTES:
        return reply
    headers = {**reply.headers, "content-encoding": "gzip", "vary": "Accept-Encoding"}
    return Reply(reply.status, gzip.compress(reply.body, 1, mtime=0), headers)


def _message(reply: Reply) -> bytes:
    return _head(reply, {"content-length": str(len(reply.body))}) + reply.body


def _chunked_message(reply: Reply) -> bytes:
    body = reply.body
    pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return _head(reply, {"transfer-encoding": "chunked"}) + chunks + b"0\r\n\r\n"


def _head(reply: Reply, framing: Mapping[str, str]) -> bytes:
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = "Unknown"  # such as 524, which is no standard
    headers = {
        "date": format_datetime(datetime.now(UTC), usegmt=True),
        "server": "cloudflare",
        "cf-cache-status": "MISS",
        "x-request-id": str(uuid.uuid4()),
        "connection": "keep-alive",
        **reply.headers,
        **framing,
    }
    lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
