import asyncio

from cryptocast.net.semaphore import Gate


def test_a_gate_lets_in_so_many_in_the_order_of_their_arrival() -> None:
    entered: list[int] = []

    async def work() -> None:
        gate = Gate(2, 100)
        most = 0

        async def visit(number: int) -> None:
            nonlocal most
            async with gate.place(5.0):
                entered.append(number)
                most = max(most, gate._inside)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(visit(number) for number in range(20)))
        assert (most, gate._inside, gate.waiting) == (2, 0, 0)
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
            assert (gate._inside, gate.waiting) == (0, 0)

    asyncio.run(work())
