"""Clients that ask while the upstream goes through all of its faults, dies and comes back: what holds meanwhile."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest

from cryptocast.rehearsal import FakeUpstream
from cryptocast.rehearsal.faults import CYCLE, Cycle, Script
from tests.serving.running import Running, Start, bare_server, eventually
from tests.serving.serving_app import MIDNIGHT

CLIENTS = 50
# Asked for again and again: after the first time they are in memory, whatever the upstream does.
FROM_MEMORY = (
    "/forecasts?ids=bitcoin",
    "/forecasts?ids=bitcoin,ethereum,litecoin&levels=80",
    "/prices?ids=bitcoin,ethereum",
    "/ready",
    "/health",
    "/health/detailed",
    "/health/trends",
    "/models",
    "/metrics",
    "/",
)
# So few that their candles are all in memory in the first half of the time: what grows after that is no new coin.
COINS = 100
SPARE = 100  # that only the trial calls after the restart ask for: a coin that is in the store needs no call
SELDOM = 0.05  # of the requests: for what has to be fetched first, and to the bare server
# Of the p99 of an answer from memory to that of the bare server: 1.3 beside other work, 3 on a quiet machine.
MOST_RATIO = 20.0
CLOSED = {"closed"}


@dataclass
class Seen:
    """What the clients heard."""

    statuses: Counter[str] = field(default_factory=Counter)
    took: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    rests_on: Counter[str] = field(default_factory=Counter)
    bare: str = ""  # the address of the bare server

    def heard(self, path: str, answer: httpx.Response, took: float) -> None:
        self.statuses[f"{answer.status_code} {path.partition('?')[0]}"] += 1
        self.took[path].append(took)
        if answer.status_code >= 500:
            is_marked = answer.status_code == 503 and "retry-after" in answer.headers
            is_said = answer.headers["content-type"] in ("application/problem+json", "application/health+json")
            if not (is_marked and is_said):
                self.wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")
        elif answer.status_code == 200 and path.startswith("/forecasts"):
            for made in answer.json()["forecasts"]:
                self.rests(made["source"] in ("coingecko", "sample") and made["as_of"] and made["model_used"], made)
                self.rests(made["fallback_reason"] or made["version"], made)
                self.rests(isinstance(made["stale"], bool) and made["stale_after"], made)
        elif answer.status_code == 200 and path.startswith("/prices"):
            for row in answer.json()["prices"]:
                self.rests(row["fetched_at"] and isinstance(row["stale"], bool) and "age" in answer.headers, row)
                self.rests_on["old price" if row["stale"] else "price"] += 1
        elif answer.status_code not in (200, 404):
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")

    def rests(self, holds: object, made: dict[str, Any]) -> None:
        if not holds:
            self.wrong.append(f"it does not say what it rests on: {made}")

    def p99_s(self, paths: Sequence[str] = ()) -> float:
        took = sorted(one for path, times in self.took.items() if not paths or path in paths for one in times)
        return took[int(0.99 * len(took))]


@dataclass
class Watch:
    """The server's descriptors and memory, once a second."""

    process: psutil.Process
    at: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            self.at.append(time.monotonic())
            self.descriptors.append(self.process.num_fds())
            self.rss_mb.append(self.process.memory_info().rss / 2**20)
            await asyncio.sleep(1.0)

    def growth(self, values: Sequence[float]) -> tuple[float, float]:
        """By how much the second half of the time grew along its line, and the standard deviation around that line."""
        half = len(values) // 2
        at, after = np.array(self.at[half:]), np.array(values[half:], dtype=float)
        slope, level = np.polyfit(at - at[0], after, 1)
        noise = float(np.std(after - slope * (at - at[0]) - level))
        return float(slope * (at[-1] - at[0])), noise


async def ask_until(client: httpx.AsyncClient, bare: str, number: int, goes_on: Callable[[], bool], seen: Seen) -> None:
    rng = random.Random(number)
    while goes_on():
        if rng.random() < SELDOM:
            began = time.monotonic()
            await client.get(bare)
            seen.took[bare].append(time.monotonic() - began)
        # Some ask for what has to be fetched first; some of these coins there are, and some there are not.
        other = (f"/forecasts?ids=coin-{rng.randrange(COINS):03}", f"/prices?ids=coin-{rng.randrange(2 * COINS):03}")
        path = rng.choice(other) if rng.random() < SELDOM else rng.choice(FROM_MEMORY)
        began = time.monotonic()
        answer = await client.get(path)
        seen.heard(path, answer, time.monotonic() - began)
        await asyncio.sleep(rng.uniform(0.05, 0.5))


async def ask_for(server: Running, seconds: float, seen: Seen, watch: Watch) -> None:
    ends = time.monotonic() + seconds
    watching = asyncio.create_task(watch.run())
    async with httpx.AsyncClient(base_url=server.address, timeout=120) as client:
        await asyncio.gather(
            *(ask_until(client, seen.bare, number, lambda: time.monotonic() < ends, seen) for number in range(CLIENTS))
        )
    watching.cancel()


def breakers(server: Running) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = server.get("/health/components/breakers").json()["values"]
    return found


def recovers(server: Running, seen: Seen, watch: Watch) -> None:
    """Nobody touches the breakers: each lets calls through again when the time is over that it states, and closes."""
    stated = max((one["retry_after_s"] for one in breakers(server).values()), default=0.0)
    ends = time.monotonic() + stated + 120.0  # trial calls come with the traffic, and a failed renewal waits a moment
    spare = iter(range(COINS, COINS + SPARE))
    while any(one["state"] not in CLOSED for one in breakers(server).values()):
        assert time.monotonic() < ends, breakers(server)
        server.get(f"/forecasts?ids=coin-{next(spare):03}")
        asyncio.run(ask_for(server, 2.0, seen, watch))
    # An old price is given once more, and renewed behind that answer.
    while (row := server.get("/prices?ids=bitcoin").json()["prices"][0])["stale"]:
        assert time.monotonic() < ends, row
        time.sleep(0.2)


def states(server: Running) -> Counter[str]:
    return Counter(str(one.status) for one in psutil.Process(server.process.pid).net_connections(kind="tcp"))


def soak(start: Start, folder: Path, seconds: float, *, calm: float = 0.2) -> tuple[Seen, Counter[str], Watch]:
    """Two thirds of the time all faults, one after the other, calm for a share of the time of each; the rest with an
    upstream that has died."""
    each_s = seconds * 2 / 3 / len(CYCLE.rules)
    cycle = Cycle(each_s=(1.0 - calm) * each_s, calm_s=calm * each_s, rules=CYCLE.rules)
    with FakeUpstream(coins=COINS + SPARE, now=MIDNIGHT) as fake, bare_server() as bare:
        settings = '{"client_rate_per_s": 0.0, "prices_fresh_s": 0.5}'
        server = start("upstream", str(folder / "store"), settings, UPSTREAM=fake.url)
        for path in FROM_MEMORY:
            assert server.get(path).status_code in (200, 503)
        seen, watch = Seen(bare=bare), Watch(psutil.Process(server.process.pid))
        asyncio.run(ask_for(server, 3.0, seen, watch))

        fake.script(Script(cycle=cycle))
        asyncio.run(ask_for(server, seconds * 2 / 3, seen, watch))
        met = Counter(str(call.fault) for call in fake.calls.log if call.fault is not None)
        fake.script()
        fake.kill()
        asyncio.run(ask_for(server, seconds / 3, seen, watch))
        fake.restart()
        recovers(server, seen, watch)

        assert eventually(lambda: states(server)["CLOSE_WAIT"] == 0)
        log = server.log.read_text()
        for sign in ("Traceback", "never retrieved", "never awaited"):
            assert sign not in log, log[-3000:]
    assert seen.wrong == []
    assert seen.rests_on["price"] > 0
    assert seen.rests_on["old price"] > 0
    return seen, met, watch


def report(seen: Seen, met: Counter[str], watch: Watch) -> str:
    """For the reader of a failure, and of `pytest -rP`."""
    growth = {name: watch.growth(getattr(watch, name)) for name in ("rss_mb", "descriptors")}
    lines = [f"statuses: {dict(sorted(seen.statuses.items()))}", f"faults met: {dict(met)}"]
    lines += [f"p99 of the bare server {seen.p99_s([seen.bare]) * 1e3:.0f} ms"]
    lines += [f"p99 of all {seen.p99_s() * 1e3:.0f} ms, from memory {seen.p99_s(FROM_MEMORY) * 1e3:.0f} ms"]
    lines += [f"{name}: grew by {value:+.2f}, noise {noise:.2f}" for name, (value, noise) in growth.items()]
    return "\n".join(lines)


def test_through_faults_every_answer_is_one_and_says_what_it_rests_on(start: Start, tmp_path: Path) -> None:
    seen, met, watch = soak(start, tmp_path, 18.0)
    said = report(seen, met, watch)

    assert len(met) >= 3, said  # more on a machine that does nothing else: 20
    growth, noise = watch.growth(watch.descriptors)
    assert growth < max(15.0, 3 * noise), said


@pytest.mark.slow
def test_for_ten_minutes_of_faults_too_and_memory_and_descriptors_stay_flat(start: Start, tmp_path: Path) -> None:
    seen, met, watch = soak(start, tmp_path, 570.0, calm=0.5)
    said = report(seen, met, watch)
    print(said)  # noqa: T201 - for `pytest -rP`

    # Every kind is on offer. A breaker that is open all its time keeps it away, which is its work: 2 and 4 of 20 in two
    # runs with less calm between them.
    assert len({rule.fault for rule in CYCLE.rules} - set(met)) <= 4, said
    # What a bare server takes is the machine's, and what its other programs leave of it.
    assert seen.p99_s(FROM_MEMORY) < MOST_RATIO * seen.p99_s([seen.bare]), said
    growth, noise = watch.growth(watch.rss_mb)
    assert growth < max(10.0, 3 * noise), said
    growth, noise = watch.growth(watch.descriptors)
    assert growth < max(5.0, 3 * noise), said


def test_two_servers_on_one_store_compute_once_each_and_one_leads(start: Start, tmp_path: Path) -> None:
    with FakeUpstream(coins=5, now=MIDNIGHT) as fake:
        servers = [start("upstream", str(tmp_path / "store"), "{}", UPSTREAM=fake.url) for _ in range(2)]

        async def many() -> list[int]:
            async with (
                httpx.AsyncClient(
                    base_url=servers[0].address, timeout=60, limits=httpx.Limits(max_connections=200)
                ) as one,
                httpx.AsyncClient(
                    base_url=servers[1].address, timeout=60, limits=httpx.Limits(max_connections=200)
                ) as two,
            ):
                path = "/forecasts?ids=litecoin&levels=90"
                asked = [client.get(path) for _ in range(60) for client in (one, two)]
                return [answer.status_code for answer in await asyncio.gather(*asked)]

        assert set(asyncio.run(many())) == {200}
        leads = []
        for server in servers:
            said = server.get("/health/components/refresher").json()["values"]
            leads.append(said["last_fetch"] is not None)
            assert said["failures"] == 0
        assert sum(leads) <= 1
        msgspec.json.decode(servers[0].get("/openapi.json").content)
