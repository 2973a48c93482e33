"""What batching saves and costs, and what a circuit breaker costs, against an upstream in a process of its own.

    python benchmarks/net.py [--seconds 5]

The upstream answers after 80 ms and counts. Rate limiter and cache are off. Prints Markdown.
"""

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptocast.net import (
    ApiClient,
    Batcher,
    Breaker,
    BreakerSettings,
    CircuitOpen,
    Limiter,
    NetSettings,
    Place,
)
from cryptocast.net.pool import Pool

ANSWER_S = 0.08
COINS = [f"coin-{number}" for number in range(30)]
RATE = 200  # requests per second
LONE = 25
LOOPS = 200_000

Ask = Callable[[str], Awaitable[object]]


async def serve() -> None:
    """The upstream: `/count` tells how often it was asked, and starts anew."""
    calls = 0

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                url = urlsplit(head.split()[1].decode())
                if url.path == "/count":
                    body, calls = str(calls).encode(), 0
                else:
                    calls += 1
                    await asyncio.sleep(ANSWER_S)
                    (ids,) = parse_qs(url.query)["ids"]
                    body = json.dumps({name: {"usd": 1.5} for name in ids.split(",")}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@asynccontextmanager
async def client() -> AsyncIterator[ApiClient]:
    """A client of a fresh upstream process."""
    upstream = subprocess.Popen([sys.executable, __file__, "--upstream"], stdout=subprocess.PIPE, text=True)
    try:
        assert upstream.stdout is not None
        url = f"http://127.0.0.1:{int(upstream.stdout.readline())}"
        pool = Pool(NetSettings(), trust_env=False)
        yield ApiClient(url, name="Bench", limiter=Limiter(10**9), pool=pool)
        await pool.close()
    finally:
        upstream.kill()
        upstream.wait()


async def prices(api: ApiClient, ids: Sequence[str], place: Place | None = None) -> Mapping[str, float]:
    answer = await api.get("/simple/price", {"ids": ",".join(ids), "vs_currencies": "usd"}, place=place)
    return {name: row["usd"] for name, row in json.loads(answer.body).items()}


async def count(api: ApiClient) -> int:
    return int((await api.get("/count")).body)


async def timed(ask: Ask, coin: str, took_ms: list[float], start_at: float = 0.0) -> None:
    await asyncio.sleep(max(0.0, start_at - time.perf_counter()))
    started = time.perf_counter()
    await ask(coin)
    took_ms.append((time.perf_counter() - started) * 1e3)


async def measure(api: ApiClient, ask: Ask, starts: Sequence[float]) -> tuple[int, list[float]]:
    """Calls of the upstream, and sorted latencies in ms, for a request at each of the times, one coin each in turn."""
    await count(api)
    took_ms: list[float] = []
    begin = time.perf_counter() + 0.05
    jobs = (timed(ask, COINS[n % len(COINS)], took_ms, begin + at) for n, at in enumerate(starts))
    await asyncio.gather(*jobs)
    return await count(api), sorted(took_ms)


async def lone(plain: Ask, batched: Ask) -> tuple[float, float]:
    """Median latency in ms of requests that are alone: unbatched and batched, taking turns."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(LONE):
        for ask, into in zip((plain, batched), took, strict=True):
            await timed(ask, COINS[number % len(COINS)], into)
    return statistics.median(took[0]), statistics.median(took[1])


async def batching(seconds: float) -> None:
    async with client() as api:

        async def fetch(_: str, ids: Sequence[str], place: Place | None) -> Mapping[str, float]:
            return await prices(api, ids, place)

        batcher: Batcher[str, float] = Batcher(fetch, tasks=api.pool.tasks, admit=lambda _: api.admit())

        async def plain(coin: str) -> float:
            return (await prices(api, [coin]))[coin]

        async def batched(coin: str) -> float:
            return (await batcher.get("usd", [coin])).only()

        alone, alone_batched = await lone(plain, batched)
        steady = [number / RATE for number in range(int(RATE * seconds))]
        calls, took_ms = await measure(api, plain, steady)
        batched_calls, batched_ms = await measure(api, batched, steady)
        burst, burst_ms = await measure(api, batched, [0.0] * 100)
    rows = [
        ("lone request, median ms", f"{alone:.1f}", f"{alone_batched:.1f}", "at most 5 ms more"),
        (f"{RATE} requests/s for {seconds:.0f} s: calls", f"{calls}", f"{batched_calls}", "10 times fewer"),
        ("the same: p50 / p99 ms", _latency(took_ms), _latency(batched_ms), ""),
        ("burst of 100 for 30 coins: calls", "100", f"{burst}", "at most 2"),
        ("the same: p50 / p99 ms", "", _latency(burst_ms), ""),
    ]
    print("| upstream answers in 80 ms | unbatched | batched | goal |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def _latency(sorted_ms: Sequence[float]) -> str:
    return f"{statistics.median(sorted_ms):.0f} / {sorted_ms[int(len(sorted_ms) * 0.99) - 1]:.0f}"


def breaker_costs() -> None:
    closed = Breaker("closed", BreakerSettings())
    opened = Breaker("open", BreakerSettings(consecutive=1, open_s=3600.0, open_cap_s=3600.0))
    opened.admit().failed()

    def loop() -> None:
        for _ in range(LOOPS):
            pass

    def passing() -> None:
        for _ in range(LOOPS):
            closed.admit().succeeded(0.1)

    def rejected() -> None:
        for _ in range(LOOPS):
            try:
                opened.admit()
            except CircuitOpen:
                continue

    empty = _us(loop)
    print("\n| breaker | us per call | goal |\n|---|---|---|")
    print(f"| closed: permit and verdict | {_us(passing) - empty:.2f} | below 3 |")
    print(f"| open: rejection | {_us(rejected) - empty:.2f} | below 50 |")


def _us(work: Callable[[], None]) -> float:
    """Microseconds per turn, the best of five runs: the others were disturbed."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best / LOOPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--upstream", action="store_true", help="be the upstream")
    options = parser.parse_args()
    if options.upstream:
        asyncio.run(serve())
        return
    logging.disable()  # of the breaker that is opened on purpose
    asyncio.run(batching(options.seconds))
    breaker_costs()


if __name__ == "__main__":
    main()
