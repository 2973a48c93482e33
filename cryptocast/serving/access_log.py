"""The access log: one JSON object a line for each request, written by a thread of its own.

A reader of the output that does not read would hold up every answer; here it costs lines, which are counted.
"""

import json
import logging
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TextIO
from urllib.parse import unquote

import msgspec

from cryptocast.serving.error_reporting import GONE, SECRET_NAMES

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
MOST_TEXT: Final = 500  # of a path, a query or the name of a program, which clients make up
LEAVE_S: Final = 2.0


class AccessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request. client: address; key: place of its token in the settings, None without one; route: the path as the
    endpoints have it; bytes: of the body that was sent; ms: until the answer was sent."""

    at: datetime
    id: str
    client: str
    key: str | None
    method: str
    path: str
    query: str
    route: str
    status: int
    bytes: int
    ms: float
    agent: str


class AccessLog:
    """`write` never waits. Lines that find no room are lost, and `on_lost` hears of them."""

    def __init__(self, stream: TextIO, on_lost: Callable[[], Any] = lambda: None, *, most: int = MOST_WAITING) -> None:
        self._stream, self.on_lost = stream, on_lost
        self._entries: queue.Queue[AccessEntry | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._work, name="access log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, entry: AccessEntry) -> None:
        """Have the entry written."""
        try:
            self._entries.put_nowait(entry)
        except queue.Full:
            self.on_lost()

    def close(self) -> None:
        """Write what waits, for a moment."""
        try:
            self._entries.put(None, timeout=LEAVE_S)
        except queue.Full:
            return  # nobody reads
        self._thread.join(LEAVE_S)

    def _work(self) -> None:
        while (entry := self._entries.get()) is not None:
            try:
                self._stream.write(f"{_line(entry)}\n")
                if self._entries.empty():
                    self._stream.flush()
            except (OSError, ValueError) as error:  # the reader has gone, or the stream is closed
                log.warning("the access log cannot be written any more: %s", error)
                return


def _line(entry: AccessEntry) -> str:
    """In ASCII: a stream in whose encoding a path or an agent cannot be written would end the log."""
    line = msgspec.json.encode(entry)
    return line.decode() if line.isascii() else json.dumps(msgspec.json.decode(line))


def without_secrets(query: str) -> str:
    """The query string, unless somebody has put into it what belongs into a header."""
    return GONE if SECRET_NAMES.search(unquote(query)) else query[:MOST_TEXT]
