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
START_S = 30.0
# Reading the certificates of the machine for each request takes longer than the request, which needs none.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Running:
    process: subprocess.Popen[str]
    address: str
    log: Path

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=30, verify=NO_TLS, **options)

    def end(self, *numbers: signal.Signals, pause_s: float = 0.2) -> tuple[int, float]:
        """The exit code after these signals, and the seconds that it took from the last of them."""
        for number in numbers:
            time.sleep(pause_s)
            self.process.send_signal(number)
        began = time.monotonic()
        return self.process.wait(timeout=30), time.monotonic() - began


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
