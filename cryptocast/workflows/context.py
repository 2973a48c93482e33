"""What the edges hand to every use case: settings, clock, upstream, progress, and who asks."""

import getpass
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from cryptocast.choices import Granularity
from cryptocast.config import Config, SourceChoice
from cryptocast.data.store import CandleStore
from cryptocast.registry import Registry

T = TypeVar("T")


class Progress(Protocol):
    """Long work in whole steps. Whoever shows it knows the time left."""

    def begin(self, task: str, total: int) -> None:
        """A piece of work starts; it takes `total` steps."""
        ...

    def step(self, note: str) -> None:
        """One step of it is done."""
        ...

    def tell(self, note: str) -> None:
        """What goes on inside of the step under way."""
        ...

    def say(self, line: str) -> None:
        """What is to be known once, and to stay."""
        ...

    def end(self) -> None:
        """It is over, whether all its steps were needed or not."""
        ...


class NoProgress:
    """For callers that show nothing."""

    def begin(self, task: str, total: int) -> None:
        """Shows nothing."""

    def step(self, note: str) -> None:
        """Shows nothing."""

    def tell(self, note: str) -> None:
        """Shows nothing."""

    def say(self, line: str) -> None:
        """Shows nothing."""

    def end(self) -> None:
        """Shows nothing."""


@contextmanager
def steps(progress: Progress, task: str, total: int) -> Iterator[Callable[[str], None]]:
    """A piece of work of `total` steps; each is noted by calling what this gives."""
    progress.begin(task, total)
    try:
        yield progress.step
    finally:
        progress.end()


def each(progress: Progress, task: str, items: Sequence[T], note: Callable[[T], str]) -> Iterator[T]:
    """The items, each a step of the work, which is done when the next one is asked for."""
    with steps(progress, task, len(items)) as step:
        for item in items:
            yield item
            step(note(item))


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def login_name() -> str:
    """Who the history of the registry names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@dataclass(frozen=True, slots=True)
class Context:
    """What a use case may touch. `api_key` is CoinGecko's; neither it nor `notify_url` is ever logged."""

    config: Config
    wall_clock: Callable[[], datetime] = utc_now
    clock: Callable[[], float] = time.monotonic  # seconds; for what must not depend on a wall clock that is set
    api_key: str | None = field(default=None, repr=False)
    notify_url: str | None = field(default=None, repr=False)  # a secret as a whole; None: nobody is told
    progress: Progress = NoProgress()
    who: str = "library"
    candles: CandleStore | None = None  # that of a server, which keeps what it has read; None: opened for each use
    kept_registry: Registry | None = None  # likewise, for reading

    def registry(self, *, create: bool = True) -> Registry:
        """The registry of the store."""
        if self.kept_registry is not None and not create:
            return self.kept_registry
        return Registry.open(self.config.store.path, create=create, gate=self.config.gate)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which bars a command is about; None takes the setting.

    now: bars that closed later are not looked at. as_of: what the store did not know yet is not either: later bars and
    later corrections; nothing is fetched. stored: what the store has now, fresh or not; nothing is fetched.
    """

    coins: tuple[str, ...] = ()
    source: SourceChoice | None = None
    vs: str | None = None
    granularity: Granularity | None = None
    now: datetime | None = None
    as_of: datetime | None = None
    stored: bool = False

    def resolved(self, config: Config) -> "Resolved":
        """With the settings filled in."""
        return Resolved(
            coins=tuple(dict.fromkeys(self.coins or config.data.coins)),
            # As it stands in paths and keys: a colon is no part of a file name everywhere.
            source=(self.source or config.data.source).replace(":", "-"),
            vs=self.vs or config.data.vs,
            granularity=self.granularity or config.data.granularity,
            now=self.now,
            as_of=self.as_of,
            stored=self.stored,
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """A selection with nothing left open."""

    coins: tuple[str, ...]
    source: SourceChoice
    vs: str
    granularity: Granularity
    now: datetime | None
    as_of: datetime | None = None
    stored: bool = False
