"""Many small questions made into few large ones, without making a lone question wait.

The first call goes at once. Ids that arrive for the same key while it is under way are asked together when it ends, or
when the oldest of them has waited `window_s`, or when they fill a call. While the rate limiter holds the next call
back, ids still join it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net.answer import Overloaded, Unreachable
from cryptocast.net.limiter import Place
from cryptocast.net.tasks import Tasks

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
COMMA_CHARS: Final = 3  # a comma in a query is sent as %2C


@dataclass(frozen=True, slots=True)
class Parts(Generic[V]):
    """What one caller gets: each of its ids is in one of the two."""

    values: dict[str, V]
    errors: dict[str, CryptocastError]

    def only(self) -> V:
        """The value of a caller who asked for one id. Raises that id's error."""
        for error in self.errors.values():
            raise error
        (value,) = self.values.values()
        return value


@dataclass(slots=True)
class _Ask(Generic[V]):
    """One id that somebody waits for. `wanted_by` callers are still there."""

    answer: "asyncio.Future[V | CryptocastError]"
    arrived_at: float
    chars: int
    wanted_by: int = 0


@dataclass(slots=True)
class _Group(Generic[V]):
    """The ids of one key: `open` may still be joined and dropped, `sent` are under way."""

    open: dict[str, _Ask[V]] = field(default_factory=dict)
    sent: dict[str, _Ask[V]] = field(default_factory=dict)
    calls: int = 0  # under way
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    sender: "asyncio.Task[None] | None" = None


Fetch: TypeAlias = Callable[[K, Sequence[str], Place | None], Awaitable[Mapping[str, V]]]


class Batcher(Generic[K, V]):
    """`fetch(key, ids, place)` makes one call and returns what it found by id.

    `key` stands for everything that calls must have in common: endpoint, currency, options. `admit(key)` waits for the
    limiter (`ApiClient.admit`), its place is handed to `fetch`. `unknown` words the error for an id that the answer
    does not hold. An id that is under way already is not asked again. Calls run in `tasks`, to their own deadline,
    whoever leaves; ids that nobody waits for any more, and that are not yet sent, are dropped.
    """

    def __init__(
        self,
        fetch: Fetch[K, V],
        *,
        tasks: Tasks,
        admit: Callable[[K], Awaitable[Place]] | None = None,
        unknown: Callable[[str], CryptocastError] = lambda name: DataError(f"The answer holds nothing for {name!r}."),
        window_s: float = 0.1,
        max_ids: int = 100,
        max_chars: int = 4000,
        other_chars: int = 400,  # of a URL, for what is not ids
        max_open: int = 10_000,
    ) -> None:
        self._fetch, self._admit, self._unknown, self._tasks = fetch, admit, unknown, tasks
        self._window_s, self._max_ids, self._id_chars = window_s, max_ids, max_chars - other_chars
        self._max_open = max_open
        self._groups: dict[K, _Group[V]] = {}
        self.calls = self.asked = 0  # calls that went out, and ids that callers asked for

    async def get(self, key: K, ids: Iterable[str], *, deadline_s: float | None = None) -> Parts[V]:
        """What the upstream says to these ids, within `deadline_s`; an error in its place for each that it does not.

        Raises Overloaded if too many ids wait already; nothing else.
        """
        names = tuple(dict.fromkeys(ids))
        if not names:
            return Parts({}, {})
        asks = self._join(key, names)
        try:
            await asyncio.wait({ask.answer for ask in asks.values()}, timeout=deadline_s)
        finally:
            for ask in asks.values():
                ask.wanted_by -= 1
        parts: Parts[V] = Parts({}, {})
        for name, ask in asks.items():
            late = Unreachable(f"No answer for {name!r} in {deadline_s} s.")
            answer = ask.answer.result() if ask.answer.done() else late
            if isinstance(answer, CryptocastError):
                parts.errors[name] = answer
            else:
                parts.values[name] = answer
        return parts

    def _join(self, key: K, ids: tuple[str, ...]) -> dict[str, _Ask[V]]:
        self.asked += len(ids)
        group = self._groups.setdefault(key, _Group())
        new = [name for name in ids if name not in group.sent and name not in group.open]
        if len(group.open) + len(new) > self._max_open:
            raise Overloaded(f"{len(group.open)} ids are already waiting to be requested.", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        for name in new:
            group.open[name] = _Ask(loop.create_future(), loop.time(), len(quote(name, safe="")) + COMMA_CHARS)
        asks = {name: group.sent.get(name) or group.open[name] for name in ids}
        for ask in asks.values():
            ask.wanted_by += 1
        if new:
            group.changed.set()
            self._wake_sender(key, group)
        return asks

    def _wake_sender(self, key: K, group: _Group[V]) -> None:
        if group.sender is None:
            try:
                group.sender = self._tasks.start(self._send(key, group))
            except UpstreamError as error:
                _settle(group.open, error)
                group.open.clear()
                self._forget(key, group)

    async def _send(self, key: K, group: _Group[V]) -> None:
        """Send what is open, call by call, until nothing is."""
        try:
            while group.open:
                await self._until_due(group)
                await self._send_one(key, group)
        finally:  # open is empty, unless this task was cancelled
            _settle(group.open, Unreachable("The call was cancelled because its connections are being closed."))
            group.open.clear()
            group.sender = None
            self._forget(key, group)

    async def _until_due(self, group: _Group[V]) -> None:
        """Return when no call is under way, the open ids fill one, or the oldest of them has waited long enough."""
        loop = asyncio.get_running_loop()
        while group.calls and len(group.open) < self._max_ids and _chars(group) < self._id_chars:
            left = next(iter(group.open.values())).arrived_at + self._window_s - loop.time()
            if left <= 0:
                return
            group.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await group.changed.wait()

    async def _send_one(self, key: K, group: _Group[V]) -> None:
        place: Place | None = None
        batch: dict[str, _Ask[V]] = {}
        try:
            if self._admit is not None and any(ask.wanted_by for ask in group.open.values()):
                place = await self._admit(key)  # meanwhile ids still join
            if batch := self._cut(group):
                self._tasks.start(self._call(key, group, batch, place))
                place = None
                group.calls += 1
                group.sent |= batch
        except CryptocastError as error:  # no permit, no place, too many calls: alike for all who wait
            _settle(group.open | batch, error)
            group.open.clear()
        finally:
            if place is not None:
                place.give_back()

    def _cut(self, group: _Group[V]) -> dict[str, _Ask[V]]:
        """Take the oldest open ids that fit into one call. Those that nobody waits for are dropped."""
        batch: dict[str, _Ask[V]] = {}
        chars = 0
        for name, ask in list(group.open.items()):
            if not ask.wanted_by:
                del group.open[name]
                continue
            chars += ask.chars
            if batch and (len(batch) == self._max_ids or chars > self._id_chars):
                break
            batch[name] = group.open.pop(name)
        return batch

    async def _call(self, key: K, group: _Group[V], batch: dict[str, _Ask[V]], place: Place | None) -> None:
        try:
            await self._ask(key, batch, place)
        except Exception as error:  # a mistake in `fetch`: told to those who wait
            for ask in batch.values():
                if not ask.answer.done():
                    ask.answer.set_exception(error)
                    ask.answer.exception()  # read, so that asyncio does not report it when nobody waits
            raise
        finally:
            _settle(batch, Unreachable("The call was cancelled because its connections are being closed."))
            for name in batch:
                del group.sent[name]
            group.calls -= 1
            group.changed.set()
            self._forget(key, group)

    async def _ask(self, key: K, batch: dict[str, _Ask[V]], place: Place | None) -> None:
        self.calls += 1
        try:
            values = await self._fetch(key, tuple(batch), place)
        except CryptocastError as error:
            _settle(batch, error)
        else:
            for name, ask in batch.items():
                if not ask.answer.done():
                    ask.answer.set_result(values[name] if name in values else self._unknown(name))

    def _forget(self, key: K, group: _Group[V]) -> None:
        if not (group.open or group.sent or group.sender) and self._groups.get(key) is group:
            del self._groups[key]


def _chars(group: _Group[V]) -> int:
    return sum(ask.chars for ask in group.open.values())


def _settle(asks: Mapping[str, _Ask[V]], error: CryptocastError) -> None:
    """The error to all who have no answer yet."""
    for ask in asks.values():
        if not ask.answer.done():
            ask.answer.set_result(error)
