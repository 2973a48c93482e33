"""Equal calls at the same time are one call."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from cryptocast.net.tasks import Tasks

__all__ = ["SingleFlight"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """While the work of a key is under way, who asks for the same key gets its result, or its error.

    The work belongs to `tasks`: it goes on when all who asked have gone, so that a cache behind it is filled. Nothing
    is kept once it has ended; a failure is not remembered.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._flights: dict[K, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def do(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `work`, begun now or already under way. Raises what it raises."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = self._tasks.start(work())
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await self._tasks.result(flight)
