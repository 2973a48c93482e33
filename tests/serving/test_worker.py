import asyncio
import threading

import pytest

from cryptocast.serving.problems import OverloadError
from cryptocast.serving.worker import Worker


def test_calls_are_made_one_after_the_other_in_one_thread_and_their_errors_are_raised() -> None:
    async def submitted() -> list[object]:
        worker = Worker(max_waiting=10)
        worker.start()
        calls = [worker.submit(threading.get_ident) for _ in range(5)] + [worker.submit(lambda: 1 // 0)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await worker.close()
        return list(outcomes)

    *threads, error = asyncio.run(submitted())
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert isinstance(error, ZeroDivisionError)


def test_more_than_may_wait_is_refused_and_what_waits_is_dropped_at_the_end() -> None:
    async def submitted() -> bool:
        worker = Worker(max_waiting=1)
        first = worker.submit(lambda: 1)
        with pytest.raises(OverloadError, match="1 forecasts are waiting"):
            worker.submit(lambda: 2)
        await worker.close()
        await asyncio.sleep(0)  # the loop hears of it
        return first.cancelled()

    assert asyncio.run(submitted())
