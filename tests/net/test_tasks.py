import asyncio
import logging

import pytest

from cryptocast.net import Overloaded, Unreachable
from cryptocast.net.tasks import Tasks
from tests.net.local_upstream import until


async def value(result: int, after_s: float = 0.01) -> int:
    await asyncio.sleep(after_s)
    return result


def test_work_goes_on_when_its_caller_has_gone() -> None:
    done: list[int] = []

    async def job() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    async def work() -> None:
        tasks = Tasks(10)
        caller = asyncio.ensure_future(tasks.result(tasks.start(job())))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await until(lambda: bool(done) and len(tasks) == 0)

    asyncio.run(work())


def test_an_error_reaches_the_caller_and_one_that_nobody_waits_for_is_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def work() -> None:
        tasks = Tasks(10)
        with pytest.raises(KeyError):
            await tasks.result(tasks.start(fail()))
        caller = asyncio.ensure_future(tasks.result(tasks.start(fail())))
        await asyncio.sleep(0)
        caller.cancel()
        await until(lambda: len(tasks) == 0)

    asyncio.run(work(), debug=True)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_more_tasks_than_allowed_are_turned_away() -> None:
    async def work() -> None:
        tasks = Tasks(2)
        running = [tasks.start(value(n)) for n in (1, 2)]
        with pytest.raises(Overloaded, match="2 calls are under way"):
            await tasks.result(tasks.start(value(3)))
        assert await asyncio.gather(*running) == [1, 2]
        assert await tasks.result(tasks.start(value(3))) == 3

    asyncio.run(work())


def test_closing_ends_what_does_not_end_by_itself_and_begins_nothing_more() -> None:
    async def work() -> None:
        tasks = Tasks(10)
        short, long = (asyncio.ensure_future(tasks.result(tasks.start(value(1, after_s)))) for after_s in (0.0, 3600))
        await asyncio.sleep(0)
        await tasks.close(grace_s=0.1)
        assert await short == 1
        with pytest.raises(Unreachable, match="being closed"):
            await long
        with pytest.raises(Unreachable, match="already closed"):
            await tasks.result(tasks.start(value(2)))

    asyncio.run(work())
