import asyncio
import logging

import pytest

from cryptocast.net import Overloaded, SingleFlight, Tasks, Unreachable
from cryptocast.net.semaphore import Gate
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
        caller = asyncio.ensure_future(tasks.run(job()))
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
            await tasks.run(fail())
        caller = asyncio.ensure_future(tasks.run(fail()))
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
            await tasks.run(value(3))
        assert await asyncio.gather(*running) == [1, 2]
        assert await tasks.run(value(3)) == 3

    asyncio.run(work())


def test_closing_ends_what_does_not_end_by_itself_and_begins_nothing_more() -> None:
    async def work() -> None:
        tasks = Tasks(10)
        short, long = (asyncio.ensure_future(tasks.run(value(1, after_s))) for after_s in (0.0, 3600))
        await asyncio.sleep(0)
        await tasks.close(grace_s=0.1)
        assert await short == 1
        with pytest.raises(Unreachable, match="being closed"):
            await long
        with pytest.raises(Unreachable, match="closed already"):
            await tasks.run(value(2))

    asyncio.run(work())


def test_fifty_callers_of_one_key_are_one_call_and_other_keys_are_their_own() -> None:
    calls: list[str] = []

    async def work() -> None:
        flight: SingleFlight[str, str] = SingleFlight(Tasks(100))

        async def fetch(key: str) -> str:
            calls.append(key)
            await asyncio.sleep(0.02)
            return key.upper()

        asked = [flight.do(key, lambda key=key: fetch(key)) for key in "ab" * 50]  # type: ignore[misc]
        assert await asyncio.gather(*asked) == ["A", "B"] * 50
        assert (sorted(calls), len(flight)) == (["a", "b"], 0)
        await flight.do("a", lambda: fetch("a"))
        assert sorted(calls) == ["a", "a", "b"]

    asyncio.run(work())


def test_in_a_flight_all_get_the_error_and_the_next_caller_a_new_call() -> None:
    calls: list[int] = []

    async def work() -> None:
        flight: SingleFlight[str, int] = SingleFlight(Tasks(100))

        async def fetch() -> int:
            calls.append(1)
            await asyncio.sleep(0.01)
            if len(calls) == 1:
                raise Unreachable("no")
            return 7

        outcomes = await asyncio.gather(*(flight.do("a", fetch) for _ in range(3)), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no"] * 3
        assert await flight.do("a", fetch) == 7

    asyncio.run(work())


def test_who_leaves_a_flight_does_not_end_it_for_the_others() -> None:
    async def work() -> None:
        flight: SingleFlight[str, int] = SingleFlight(Tasks(100))
        callers = [asyncio.ensure_future(flight.do("a", lambda: value(5, 0.05))) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1:] == [5, 5]

    asyncio.run(work())


def test_a_gate_lets_in_so_many_in_the_order_of_their_arrival() -> None:
    entered: list[int] = []

    async def work() -> None:
        gate = Gate(2, 100)
        most = 0

        async def visit(number: int) -> None:
            nonlocal most
            async with gate.place(5.0):
                entered.append(number)
                most = max(most, gate.inside)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(visit(number) for number in range(20)))
        assert (most, gate.inside, gate.waiting) == (2, 0, 0)
        assert gate.waited_s > 0

    asyncio.run(work())
    assert entered == list(range(20))


def test_a_gate_gets_every_place_back_from_visitors_who_leave_at_any_moment() -> None:
    async def work() -> None:
        gate = Gate(3, 1000)

        async def visit() -> None:
            async with gate.place(5.0):
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        for ticks in range(12):
            visitors = [asyncio.ensure_future(visit()) for _ in range(30)]
            for _ in range(ticks):
                await asyncio.sleep(0)
            for visitor in visitors[::2]:
                visitor.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
            assert (gate.inside, gate.waiting) == (0, 0)

    asyncio.run(work())
