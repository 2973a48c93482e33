"""Work that goes on when the caller who asked for it has gone."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from cryptocast.net.answer import Overloaded, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")


class Tasks:
    """At most `most` tasks, each owned here and not by who waits for it.

    A cancelled request inside the HTTP library can lose its place in the pool for ever (encode/httpcore#1093), and a
    call that several wait for must not end with the first who leaves. So a cancelled caller only stops to wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    async def result(self, task: asyncio.Task[T]) -> T:
        """What came of work that `start` began. A cancelled caller only stops to wait. Raises what the work raises, and
        Unreachable if `close` ended it."""
        await asyncio.wait({task})
        if task.cancelled():
            raise Unreachable("The call was cancelled because its connections are being closed.")
        return task.result()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin the work. Raises Overloaded when `most` tasks are running, Unreachable after `close`."""
        if self._closed or len(self._running) >= self._most:
            work.close()
            if self._closed:
                raise Unreachable("The connections are already closed.")
            raise Overloaded(f"{self._most} calls are under way, no more are started. Try again.", retry_after_s=1.0)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self, grace_s: float = 0.3, within_s: float = 0.3) -> None:
        """Begin nothing more, let the rest end by itself for `grace_s`, cancel it, and wait `within_s` for that."""
        self._closed = True
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running), timeout=within_s)
        if self._running:
            log.warning("%d calls did not end within %.1f s", len(self._running), grace_s + within_s)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        # Read here, for a caller who left does not, and asyncio reports errors that nobody read.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("a call ended with %r", error)
