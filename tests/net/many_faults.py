"""Hundreds of requests with every fault mixed in, in a process of its own: prints how many descriptors it had when."""

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cryptocast.net import NetSettings
from cryptocast.net.answer import CallFailed
from cryptocast.net.pool import Pool
from tests.net.local_upstream import FAULTS, LocalUpstream, serving, until


def descriptors() -> int:
    """All of this process: sockets, files, pipes."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def outcome(pool: Pool, url: str, deadline_s: float = 0.3) -> int | str:
    try:
        return (await pool.tasks.result(pool.tasks.start(pool.get(url, None, {}, deadline_s=deadline_s)))).status
    except CallFailed as failure:
        return failure.reason


async def work() -> dict[str, Any]:
    rng = random.Random(3)
    settings = NetSettings(
        connect_timeout_s=1.0, read_timeout_s=0.1, max_connections=50, keepalive_s=0.3, reap_every_s=0.1
    )
    outcomes: Counter[str] = Counter()
    async with serving(LocalUpstream()) as upstream:
        at_start = descriptors()
        pool = Pool(settings, trust_env=False)
        await outcome(pool, upstream.url + "/ok", 5.0)
        await until(lambda: pool.metrics().open == 0 and not upstream.open)
        before = descriptors()
        paths = [rng.choice(("/ok", *FAULTS)) for _ in range(400)]
        for wave in range(0, 400, 50):
            urls = [upstream.url + path for path in paths[wave : wave + 50]]
            outcomes.update(str(each) for each in await asyncio.gather(*(outcome(pool, url) for url in urls)))
        await until(lambda: descriptors() <= before)
        after = descriptors()
        good: int | str = 0
        for _ in range(20):  # the read timeout is short, for the faults: a machine that is busy may take longer
            if good != 200:
                good = await outcome(pool, upstream.url + "/ok", 5.0)
        metrics = pool.metrics()
        await pool.close()
        await until(lambda: descriptors() <= at_start)
        return {
            "at_start": at_start,
            "before": before,
            "after": after,
            "after_close": descriptors(),
            "good": good,
            "connections": [metrics.open, metrics.idle, metrics.running],
            "outcomes": outcomes,
            "unplayed": sorted(set(paths) - set(upstream.hits)),
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(work())))
