import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any

import pytest

from cryptocast.errors import UpstreamError
from cryptocast.net.loop import LoopThread


def test_the_loop_thread_answers_callers_with_and_without_a_loop() -> None:
    async def answer(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def inside(run: Callable[[Coroutine[Any, Any, int]], int]) -> int:
        return run(answer(2))

    with closing(LoopThread()) as loop:
        assert loop.run(answer(1)) == 1
        assert asyncio.run(inside(loop.run)) == 2
    loop.close()


def test_an_error_in_the_loop_thread_reaches_the_caller() -> None:
    async def fail() -> None:
        raise UpstreamError("no")

    with closing(LoopThread()) as loop, pytest.raises(UpstreamError, match="no"):
        loop.run(fail())
