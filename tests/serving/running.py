"""Servers in processes of their own, for the tests that need a real one."""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0
# Reading the certificates of the machine for each request takes longer than the request, which needs none.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Running:
    process: subprocess.Popen[str]
    address: str
    log: Path

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=120, verify=NO_TLS, **options)

    def end(self, *numbers: signal.Signals, pause_s: float = 0.2) -> int:
        """The exit code after these signals."""
        for number in numbers:
            time.sleep(pause_s)
            self.process.send_signal(number)
        return self.process.wait(timeout=120)


Start = Callable[..., Running]


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Start]:
    """Starts servers whose log lies in the folder, and ends those that are left running."""
    with contextlib.ExitStack() as stack:

        def started(
            kind: str, value: str, settings: str = "{}", *, stdin: int | None = None, **environment: str
        ) -> Running:
            log = folder / "server.log"
            command = [sys.executable, "-m", "tests.serving.server_process", kind, value, settings]
            given = {**os.environ, **environment}
            with log.open("a") as err:
                process = subprocess.Popen(
                    command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=err, text=True, env=given
                )
            stack.callback(stop, process)
            assert process.stdout is not None
            timer = threading.Timer(START_S, process.kill)
            timer.start()
            address = process.stdout.readline().strip()
            timer.cancel()
            assert address, log.read_text()
            return Running(process, address, log)

        yield started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, and ends those that the test left running."""
    with servers(tmp_path) as started:
        yield started


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def eventually(holds: Callable[[], object], within_s: float = 120.0) -> bool:
    """Whether it comes to hold; a connection that is refused is no yet."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        with contextlib.suppress(httpx.TransportError):
            if holds():
                return True
        time.sleep(0.1)
    return False


# The least that a server can be, in a process of its own beside ours: how long an answer takes on this machine now.
BARE = """
import asyncio

async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    """The address of a bare one while this lasts."""
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        stop(process)
