"""What an answer costs the server, beside a bare Starlette route on the same uvicorn in the same rounds.

    python benchmarks/serving.py [--rounds 3] [--seconds 2] [--peers-python PYTHON] [--inside]

--peers-python: a Python that has FastAPI, measured with its defaults on the same bodies. --inside: also what a cold
forecast costs inside the server, and its memory with models (serving_inside.py). Needs wrk (Debian's package); the bare
routes use orjson where it is installed, else msgspec. One wrk thread and 32 connections; processor time is the
server's, user and system, over the requests it answered. Limits, request ids, metrics and compression are on. Candles
are simulated, nothing is trained: a warm answer costs the same whatever made it. Also start-up until the first
forecast, memory, and scrapes. Prints Markdown.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CONNECTIONS = 32
COINS = ",".join(f"sim-{number:04}" for number in range(1, 51))
SMALL = "/forecasts?ids=bitcoin&model=ml_ensemble"
PAGE = "/?coin=bitcoin"
LARGE = f"/forecasts?ids={COINS}"
BARE = """
import sys, uvicorn, urllib.request
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
try:
    from orjson import dumps, loads
except ImportError:
    from msgspec.json import encode as dumps, decode as loads
small = loads(sys.stdin.buffer.read())
row = lambda i: {"coin": f"coin-{i}", "price": 65123.456789012345 / (i + 1), "lower": 1 / 3 + i, "upper": 2 / 3 + i}
large = {"rows": [row(i) for i in range(520)]}
async def give_small(request): return Response(dumps(small), media_type="application/json")
async def give_large(request): return Response(dumps(large), media_type="application/json")
app = Starlette(routes=[Route("/small", give_small), Route("/large", give_large)])
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning", server_header=False, backlog=2048)
"""


FASTAPI = """
import sys, json, uvicorn
from fastapi import FastAPI
small = json.loads(sys.stdin.buffer.read())
row = lambda i: {"coin": f"coin-{i}", "price": 65123.456789012345 / (i + 1), "lower": 1 / 3 + i, "upper": 2 / 3 + i}
large = {"rows": [row(i) for i in range(520)]}
app = FastAPI()
@app.get("/small")
async def give_small(): return small
@app.get("/large")
async def give_large(): return large
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning", server_header=False, backlog=2048)
"""


@dataclass
class Target:
    """One line of the table."""

    name: str
    port: int
    process: psutil.Process
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    cpu_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--peers-python", default="")
    parser.add_argument("--inside", action="store_true")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as (port, process, startup_s):
        body = get(port, SMALL)
        tag = tag_of(port, SMALL)
        wait(port, LARGE, b'"errors":[]')
        get(port, PAGE, {"Accept-Encoding": "gzip"})  # made once for each encoding
        with ExitStack() as stack:
            bare_port, bare_process = stack.enter_context(routes(sys.executable, BARE, body))
            gzip = {"Accept-Encoding": "gzip"}
            targets = [
                Target("bare Starlette, small body", bare_port, bare_process, "/small"),
                Target("bare Starlette, 47.5 kB", bare_port, bare_process, "/large"),
                Target("one coin, warm", port, process, SMALL),
                Target("one coin, warm, gzip", port, process, SMALL, gzip),
                Target("one coin, 304", port, process, SMALL, {"If-None-Match": tag}),
                Target("fifty coins, gzip", port, process, LARGE, gzip),
                Target("the page, gzip", port, process, PAGE, gzip),
                Target("the page, 304", port, process, PAGE, {"If-None-Match": tag_of(port, PAGE)}),
                Target("/health", port, process, "/health"),
            ]
            if chosen.peers_python:
                peer_port, peer_process = stack.enter_context(routes(chosen.peers_python, FASTAPI, body))
                targets += [
                    Target("FastAPI, small body", peer_port, peer_process, "/small"),
                    Target("FastAPI, 47.5 kB", peer_port, peer_process, "/large"),
                ]
            for _ in range(chosen.rounds):
                for target in targets:
                    measure(target, chosen.seconds)
            print_table(targets)
            print_page_ratio(targets)
        print(
            f"\nStart until the first forecast: {startup_s:.2f} s. Memory: {process.memory_info().rss / 2**20:.0f} MB."
        )
        print(f"A scrape: {statistics.median(scrapes(port)) * 1e3:.1f} ms.")
    if chosen.inside:
        print(flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name("serving_inside.py")], check=True)


@contextmanager
def ours(folder: Path) -> Iterator[tuple[int, psutil.Process, float]]:
    port = free_port()
    (folder / "config.toml").write_text('[store]\npath = "data"\n[data]\nsource = "simulated"\ncoins = ["bitcoin"]\n')
    environment = {**os.environ, "CRYPTOCAST_SERVE__CLIENT_RATE_PER_S": "1000000.0"}
    began = time.monotonic()
    command = [sys.executable, "-m", "cryptocast", "serve", "--port", str(port), "--log-level", "error"]
    with running(command, environment, folder) as process:
        wait(port, SMALL)
        yield port, psutil.Process(process.pid), time.monotonic() - began


@contextmanager
def routes(python: str, program: str, body: bytes) -> Iterator[tuple[int, psutil.Process]]:
    """A server of the two bodies."""
    port = free_port()
    with running([python, "-c", program, str(port)], dict(os.environ), Path.cwd(), body) as process:
        wait(port, "/small")
        yield port, psutil.Process(process.pid)


@contextmanager
def running(
    command: list[str], environment: dict[str, str], folder: Path, given: bytes = b""
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(target: Target, seconds: int) -> None:
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *headers, target.url()]
    before = cpu_s(target.process)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_s(target.process) - before
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    assert "Non-2xx" not in said, said
    target.cpu_us.append(used / int(found[1]) * 1e6)
    target.rates.append(int(found[1]) / seconds)
    target.p50_ms.append(latency_ms(said, "50%"))
    target.p99_ms.append(latency_ms(said, "99%"))


def latency_ms(said: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", said)
    assert found is not None, said
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def print_table(targets: list[Target]) -> None:
    print("| answer | CPU us | against bare | requests/s | p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    small, large = (statistics.median(target.cpu_us) for target in targets[:2])
    for target in targets:
        cpu = statistics.median(target.cpu_us)
        base = large if "kB" in target.name or "fifty" in target.name else small
        rate, p50, p99 = (statistics.median(values) for values in (target.rates, target.p50_ms, target.p99_ms))
        print(f"| {target.name} | {cpu:.1f} | {cpu / base:.2f} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |")


def print_page_ratio(targets: list[Target]) -> None:
    cpu = {target.name: statistics.median(target.cpu_us) for target in targets}
    ratio = cpu["the page, gzip"] / cpu["one coin, warm, gzip"]
    print(f"\nA hit of the page costs {ratio:.2f} times a warm forecast of one coin (at most 1.3).")


def cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        body: bytes = answer.read()
    return body


def tag_of(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.headers["ETag"])


def scrapes(port: int) -> Iterator[float]:
    for _ in range(3):
        time.sleep(1.1)  # an answer is kept for a second
        began = time.perf_counter()
        get(port, "/metrics")
        yield time.perf_counter() - began


def wait(port: int, path: str, whole: bytes = b"") -> None:
    ends = time.monotonic() + 90.0
    while time.monotonic() < ends:
        try:
            if whole in get(port, path):
                return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"no answer to {path[:40]}")


if __name__ == "__main__":
    main()
