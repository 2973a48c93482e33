"""A receiver of notices over a real socket: takes them, refuses them, or keeps them waiting."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptocast.workflows.context import Context
from tests.registry.registry_fits import NOW
from tests.workflows.backtesting.small_runs import context

FOREVER_S = 120.0


class LocalReceiver:
    """What came: paths, headers, bodies. status: of the answers. goes_on: cleared, answers wait until it is set."""

    def __init__(self) -> None:
        self.status = 200
        self.refuses = ""  # the coin whose notices are answered with 400
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.came = threading.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cret?token=s3cret"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self.came:
            self.paths.append(path)
            self.headers.append(headers)
            self.bodies.append(json.loads(body))
            self.came.notify_all()
        self.goes_on.wait(FOREVER_S)
        return 400 if self.refuses == self.bodies[-1]["facts"].get("coin") else self.status

    def wait_for(self, posts: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.bodies) >= posts, FOREVER_S)


@contextmanager
def listening() -> Iterator[LocalReceiver]:
    receiver = LocalReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            try:
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True  # the sender has gone

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join(FOREVER_S)


def sender(folder: Path, url: str | None, minutes: float = 0.0) -> Context:
    """A context that sends from the store below a folder, so many minutes after the notices came."""
    return replace(context(folder), notify_url=url, wall_clock=lambda: NOW + timedelta(minutes=minutes))
