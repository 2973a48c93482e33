"""Times that the server promises while something goes wrong, each beside its bound.

    python benchmarks/serving_times.py [--seconds 20]

A real server on a stand-in upstream, asked over sockets by 50 clients in this process: the p99 of answers from memory
and of all answers, with an upstream that works and with one that hangs (a lone client beside them shows how long the
queue of this process itself is); what an answer that is shed costs; health and scrapes, the latter with 1,000 forecasts
in memory; closing the upstream's connections. Prints Markdown. What a call and a breaker cost stands in net.py, what
an answer costs the processor in serving.py.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from cryptocast.net import ApiClient, Limiter, NetSettings
from cryptocast.net.pool import Pool
from cryptocast.rehearsal import FakeUpstream, Rule

CLIENTS = 50
ROUNDS = 200
COINS = 2000
FORECASTS = 1000
FROM_MEMORY = (
    "/forecasts?ids=bitcoin",
    "/forecasts?ids=bitcoin,ethereum,litecoin",
    "/prices?ids=bitcoin",
    "/health",
    "/ready",
    "/metrics",
)
# One request in a hundred asks for what has to be brought first.
SELDOM = 0.01
Row = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeUpstream(coins=COINS) as fake,
        server(Path(folder), fake.url) as port,
    ):
        warm(port)
        coins = [f"coin-{number:03}" for number in range(1, COINS - 100)]
        rows += asyncio.run(answers(port, seconds, "upstream works", coins[::2]))
        fake.script([Rule(fault="hang", seconds=30.0)])
        rows += asyncio.run(answers(port, seconds, "upstream hangs", coins[1::2]))
        fake.script()
        rows += asyncio.run(health(port))
    with tempfile.TemporaryDirectory() as folder:
        rows.append(scrape(Path(folder)))
        rows.append(shed(Path(folder)))
    rows.append(closing())
    print("| what | time | bound |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


@contextmanager
def server(folder: Path, upstream: str, *options: str) -> Iterator[int]:
    """A server of its own process on this upstream; its port."""
    settings = [
        f'[store]\npath = "{folder / "data"}"',
        f'[coingecko]\nbase_url = "{upstream}"\ncalls_per_minute = 100000\nread_timeout_s = 5.0\ndeadline_s = 10.0',
        # All of these coins are the server's own: for others it asks seldom.
        f"[train]\npool = {json.dumps([f'coin-{number:03}' for number in range(COINS)])}",
        "[serve]\nport = 0\nclient_rate_per_s = 0.0\nprices_fresh_s = 1.0",
        *options,
    ]
    (folder / "config.toml").write_text("\n".join(settings) + "\n")
    command = [sys.executable, "-m", "cryptocast", "serve", "--config", str(folder / "config.toml")]
    process = subprocess.Popen(
        [*command, "--log-level", "error"], stderr=subprocess.PIPE, text=True, cwd=folder, env=dict(os.environ)
    )
    try:
        assert process.stderr is not None
        line = next(text for text in process.stderr if "Serving http://" in text)
        yield int(line.split(":")[2].split("/")[0])
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes, float]:
        """Status, body and seconds."""
        began = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
        body = await reader.readexactly(length)
        return int(head.split()[1]), body, time.perf_counter() - began

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def warm(port: int) -> None:
    async def asked() -> None:
        client = Client(port)
        ends = time.monotonic() + 60.0
        for path in FROM_MEMORY:
            while (await client.get(path))[0] != 200:
                assert time.monotonic() < ends, path
                await asyncio.sleep(0.2)
        client.close()

    asyncio.run(asked())


async def answers(port: int, seconds: float, when: str, coins: Sequence[str]) -> list[Row]:
    memory: list[float] = []
    every: list[float] = []
    statuses: dict[int, int] = {}
    new = iter(coins)
    ends = time.monotonic() + seconds

    async def one(number: int) -> None:
        rng, client = random.Random(number), Client(port)  # noqa: S311 - no secret
        while time.monotonic() < ends:
            is_new = rng.random() < SELDOM
            path = f"/prices?ids={next(new)}" if is_new else rng.choice(FROM_MEMORY)
            status, _, took = await client.get(path)
            statuses[status] = statuses.get(status, 0) + 1
            every.append(took)
            if not is_new:
                memory.append(took)
            await asyncio.sleep(rng.uniform(0.02, 0.2))
        client.close()

    lone: list[float] = []
    late: list[float] = []

    async def beside() -> None:
        client = Client(port)
        while time.monotonic() < ends:
            lone.append((await client.get("/health"))[2])
            began = time.perf_counter()
            await asyncio.sleep(0.05)
            late.append(time.perf_counter() - began - 0.05)
        client.close()

    await asyncio.gather(beside(), *(one(number) for number in range(CLIENTS)))
    told = ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
    return [
        (f"{when}: from memory, p50 / p99", f"{ms(memory, 0.5)} / {ms(memory, 0.99)}", "p99 500 ms"),
        (f"{when}: all answers ({told}), p50 / p99", f"{ms(every, 0.5)} / {ms(every, 0.99)}", "p99 500 ms"),
        (f"{when}: /health beside them, p99; this process late by, p99", f"{ms(lone, 0.99)}; {ms(late, 0.99)}", ""),
    ]


async def health(port: int) -> list[Row]:
    client, rows = Client(port), list[Row]()
    for path in ("/health", "/ready", "/health/detailed", "/health/trends"):
        took = [(await client.get(path))[2] for _ in range(ROUNDS)]
        rows.append((f"{path}, alone, p50 / p99", f"{ms(took, 0.5)} / {ms(took, 0.99)}", "5 ms"))
    client.close()
    return rows


def scrape(folder: Path) -> Row:
    """With so many forecasts in memory; a scrape is kept for a second, so each of these is made anew."""
    coins = [f"sim-{number:04}" for number in range(1, FORECASTS + 1)]
    data = f'[data]\nsource = "simulated"\ncoins = {json.dumps(coins[:20])}\n[simulated]\nbars = 400'
    with server(folder, "http://127.0.0.1:9/api/v3", data) as port:

        async def asked() -> list[float]:
            client = Client(port)
            for first in range(0, FORECASTS, 50):
                path = "/forecasts?model=baseline&ids=" + ",".join(coins[first : first + 50])
                while b'"errors":[]' not in (await client.get(path))[1]:
                    await asyncio.sleep(0.2)
            took = []
            for _ in range(5):
                await asyncio.sleep(1.2)
                took.append((await client.get("/metrics"))[2])
            client.close()
            return took

        took = asyncio.run(asked())
    return (f"a scrape with {FORECASTS:,} forecasts in memory, median", ms(took, 0.5), "10 ms")


def shed(folder: Path) -> Row:
    """More is under way than may be: two requests hang on the upstream, and all others are turned away."""

    async def asked(port: int) -> list[float]:
        holding = [Client(port) for _ in range(2)]
        held = [asyncio.create_task(one.get(f"/prices?ids=coin-00{number}")) for number, one in enumerate(holding)]
        await asyncio.sleep(0.5)
        client, took = Client(port), list[float]()
        for _ in range(ROUNDS):
            status, body, seconds = await client.get("/forecasts?ids=bitcoin")
            assert status == 503, body
            took.append(seconds)
        for task in held:
            task.cancel()
        for one in (client, *holding):
            one.close()
        return took

    hanging = FakeUpstream(coins=60, faults=[Rule(fault="hang", seconds=30.0)])
    with hanging as fake, server(folder, fake.url, "max_concurrency = 2") as port:
        took = asyncio.run(asked(port))
    return ("a request that is shed, p50 / p99", f"{ms(took, 0.5)} / {ms(took, 0.99)}", "1 ms")


def closing() -> Row:
    """The pool of the upstream with 20 calls under way, and the descriptors that are left."""

    async def closed(url: str) -> float:
        pool = Pool(NetSettings(), trust_env=False)
        client = ApiClient(url, name="closing", limiter=Limiter(10**6), pool=pool)
        tasks = [asyncio.create_task(client.get("/ping", deadline_s=20.0)) for _ in range(20)]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        await pool.close()
        took = time.perf_counter() - began
        await asyncio.gather(*tasks, return_exceptions=True)
        return took

    before = psutil.Process().num_fds()
    with FakeUpstream(coins=5, faults=[Rule(fault="hang", seconds=30.0)]) as fake:  # in this process too
        took = asyncio.run(closed(fake.url))
    left = psutil.Process().num_fds() - before
    return ("closing 20 calls under way", f"{took * 1e3:.0f} ms, {left} descriptors left", "1 s, 0 left")


def ms(took: Sequence[float], share: float) -> str:
    if share == 0.5:
        return f"{statistics.median(took) * 1e3:.2f} ms"
    return f"{sorted(took)[min(len(took) - 1, int(share * len(took)))] * 1e3:.2f} ms"


if __name__ == "__main__":
    main()
