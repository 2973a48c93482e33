"""Which server to run Starlette on: uvicorn or granian, by what the bare ones do. Ours is `cryptocast serve`'s.

    python benchmarks/servers.py [--python PYTHON] [--seconds 3] [--slow 50]

--python: one that has uvicorn, granian, starlette, uvloop and httptools. Each server runs the same app in one process:
processor time a request (wrk, 32 connections), memory of the whole process tree, how many of the slow clients that send
a header byte every two seconds are still there after 40 s, what SIGTERM does to requests of a second that are under
way, how soon new connections are refused after it, and the exit code. Needs wrk (Debian's package). Prints Markdown.
"""

import argparse
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

APP: Final = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def quick(request): return Response(b"x" * 1000)
async def slow(request):
    await asyncio.sleep(1.0)
    return Response(b"done")
app = Starlette(routes=[Route("/", quick), Route("/slow", slow)])
"""
COMMANDS: Final = {
    "uvicorn": ["-m", "uvicorn", "app:app", "--no-access-log", "--log-level", "warning", "--port"],
    "granian": [
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--no-access-log",
        "--log-level",
        "warning",
        "app:app",
        "--port",
    ],
}
UNDER_WAY: Final = 20
SLOW_FOR_S: Final = 40.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--slow", type=int, default=50, help="clients that trickle")
    options = parser.parse_args()
    print(
        f"| server | CPU us a request | memory MB | of {options.slow} slow clients kept after {SLOW_FOR_S:.0f} s |",
        end="",
    )
    print(f" of {UNDER_WAY} requests answered after SIGTERM | refuses after s | exit code |")
    print("| --- |" + " --- |" * 6)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_text(APP, encoding="utf-8")
        for name, command in COMMANDS.items():
            print(f"| {name} | {' | '.join(measured(options, command, folder))} |", flush=True)


def measured(options: argparse.Namespace, command: Sequence[str], folder: str) -> Iterator[str]:
    """The cells of a server's line."""
    with running([str(options.python), *command], folder) as (process, port):
        cost = cpu_us(process, port, options.seconds)
        yield f"{cost:.0f}"
        yield f"{sum(one.memory_info().rss for one in tree(process)) / 1e6:.0f}"
        yield str(kept_slow_clients(port, options.slow))
        answered, refused_after = ended(process, port)
        yield str(answered)
        yield f"{refused_after:.1f}"
        yield str(process.wait(timeout=30))


@contextmanager
def running(command: Sequence[str], folder: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server, once it answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    process = subprocess.Popen([*command, str(port)], cwd=folder)
    try:
        ends = time.monotonic() + 20
        while time.monotonic() < ends and not connects(port):
            time.sleep(0.05)
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    one = psutil.Process(process.pid)
    return [one, *one.children(recursive=True)]


def cpu_us(process: subprocess.Popen[bytes], port: int, seconds: int) -> float:
    """User and system time of the server over the requests that it answered."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    subprocess.run(command, check=True, capture_output=True)  # warms up
    before = sum(sum(one.cpu_times()[:2]) for one in tree(process))
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = sum(sum(one.cpu_times()[:2]) for one in tree(process))
    answered = re.search(r"(\d+) requests in", said)
    return (after - before) * 1e6 / int(answered[1]) if answered else float("nan")


def kept_slow_clients(port: int, count: int) -> int:
    """How many of these connections are open after a header byte every two seconds."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        ends = time.monotonic() + SLOW_FOR_S
        while time.monotonic() < ends:
            time.sleep(2.0)
            clients = [client for client in clients if trickles(client)]
        return len(clients)


def trickles(client: socket.socket) -> bool:
    """Whether the connection takes another byte and has not been closed."""
    try:
        client.sendall(b"a")
        client.settimeout(0.0)
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        client.settimeout(None)


def ended(process: subprocess.Popen[bytes], port: int) -> tuple[int, float]:
    """Requests that were under way at SIGTERM and were answered; seconds until a new connection was refused."""
    answers: list[bytes] = []

    def ask() -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answers.append(client.recv(4096))
        except OSError:
            answers.append(b"")

    asking = [threading.Thread(target=ask) for _ in range(UNDER_WAY)]
    for one in asking:
        one.start()
    time.sleep(0.4)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while connects(port) and time.monotonic() < began + 15:
        time.sleep(0.02)
    refused_after = time.monotonic() - began
    for one in asking:
        one.join()
    return sum(answer.startswith(b"HTTP/1.1 200") for answer in answers), refused_after


if __name__ == "__main__":
    main()
