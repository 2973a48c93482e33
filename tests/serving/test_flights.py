import asyncio
from collections import Counter

import pytest

from cryptocast.serving.flights import Flights


def test_who_asks_for_the_same_at_once_gets_one_piece_of_work_and_the_next_a_new_one() -> None:
    counts, flights = Counter[str](), Flights[int]()

    async def work(name: str) -> int:
        counts[name] += 1
        await asyncio.sleep(0)
        return counts.total()

    async def ask() -> None:
        same = await asyncio.gather(*(flights.of("a", lambda: work("a")) for _ in range(50)))
        assert set(same) == {1}
        others = await asyncio.gather(flights.of("a", lambda: work("a")), flights.of("b", lambda: work("b")))
        assert list(others) == [3, 3]

    asyncio.run(ask())
    assert counts == {"a": 2, "b": 1}


def test_who_leaves_ends_nothing_for_the_others_and_a_failure_is_everybodys() -> None:
    flights = Flights[int]()

    async def fails() -> int:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    async def ask() -> None:
        leaves, stays = (asyncio.create_task(flights.of("a", fails)) for _ in range(2))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(ValueError, match="no"):
            await stays

    asyncio.run(ask())
