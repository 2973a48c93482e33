"""One thread for the arithmetic, which would hold up the event loop, with a bounded queue before it."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from cryptocast.serving.problems import OverloadError

log = logging.getLogger(__name__)

T = TypeVar("T")

LEAVE_S: Final = 5.0


class Worker:
    """Runs calls one after the other, because a Forecaster is not for several threads.

    A daemon thread and not an executor: Python waits for an executor's threads when it exits, and a call that hangs in
    the network would keep a stopped server alive.
    """

    def __init__(self, *, max_waiting: int) -> None:
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]] | None] = queue.Queue(max_waiting)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._work, name="forecasts", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """The call's result, in time. Raises OverloadError if too many wait already."""
        future: Future[T] = Future()
        try:
            self._jobs.put_nowait((future, call))
        except queue.Full:
            raise OverloadError(
                f"{self._jobs.maxsize} forecasts are waiting to be computed. Ask again later."
            ) from None
        return asyncio.wrap_future(future)

    async def close(self) -> None:
        """Drop what waits, and give the call that runs a moment to end."""
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                job[0].cancel()
        self._jobs.put_nowait(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, LEAVE_S)
            if self._thread.is_alive():
                log.warning("a forecast was still being computed %.0f s after the server stopped; left behind", LEAVE_S)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits, not to this thread
                future.set_exception(error)
            else:
                future.set_result(result)
