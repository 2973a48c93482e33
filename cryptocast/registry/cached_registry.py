"""The registry for a server: what forecasts ask it is remembered until something that they rest on has changed."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

from cryptocast.config import GateConfig
from cryptocast.errors import RegistryError
from cryptocast.registry.database import Database, file_facts
from cryptocast.registry.objects import Objects
from cryptocast.registry.registry import Registry

P = ParamSpec("P")
T = TypeVar("T")

MAX_ANSWERS: Final = 8192
# Readers of a WAL wait for nobody but while it is recovered; whoever asks for a forecast does not wait longer for that.
BUSY_S: Final = 2.0
FILE: Final = Path("registry") / "registry.db"


def registry_stamp(store: Path) -> Callable[[], Hashable]:
    """A function whose answer changes with every commit to the registry of the store; None while there is none."""
    database = str(store / FILE)
    log = database + "-wal"

    def stamp() -> Hashable:
        # A commit grows the write-ahead log, and the database once the last connection has closed. Readers make and
        # remove an empty log, which is no change.
        return file_facts(database), file_facts(log)

    return stamp


class RegistryWatch:
    """A stamp that changes when an alias, a test, evidence or a calibration does; the ledger may grow meanwhile.

    Calling it costs nothing. `look` asks the file system, and the database only where a file has changed.
    """

    def __init__(self, store: Path, gate: GateConfig | None = None) -> None:
        self._store, self._gate = store, gate
        self._files = registry_stamp(store)
        self._facts: Hashable = ()
        self._stamp: Hashable = None

    def __call__(self) -> Hashable:
        """The stamp as it was found last."""
        return self._stamp

    def look(self) -> Hashable:
        """The stamp as it is now. Raises nothing: of a registry that cannot be read the files themselves are it, and it
        is tried again with every look."""
        facts = self._files()
        if facts != self._facts:
            try:
                self._stamp = Registry.open(self._store, create=False, gate=self._gate).served_state()
                self._facts = facts
            except RegistryError:
                self._stamp = facts
        return self._stamp


def _cached(
    ask: Callable[Concatenate[Registry, P], T],
) -> "Callable[Concatenate[CachedRegistry, P], T]":
    """The same question, asked of the database once for each state of the registry. An error is not remembered."""

    def answer(self: "CachedRegistry", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.remembered((ask.__name__, args, *kwargs.items()), lambda: ask(self, *args, **kwargs))

    return answer


class CachedRegistry(Registry):
    """A Registry whose answers to the questions of forecasts are kept for as long as `stamp` gives the same."""

    def __init__(self, database: Database, objects: Objects, gate: GateConfig, stamp: Callable[[], Hashable]) -> None:
        super().__init__(database, objects, gate)
        self._stamp = stamp
        self._at: Hashable = ()
        self._answers: dict[Hashable, Any] = {}
        self._guard = threading.Lock()

    @classmethod
    def over(cls, store: Path, *, gate: GateConfig, stamp: Callable[[], Hashable]) -> Self:
        """That of a store. One that cannot be read raises when it is asked, not here."""
        folder = (store / FILE).parent
        database = Database(store / FILE, busy_timeout_s=BUSY_S)
        return cls(database, Objects(folder / "objects"), gate, stamp)

    best = _cached(Registry.best)
    alias = _cached(Registry.alias)
    get = _cached(Registry.get)
    evidence_for = _cached(Registry.evidence_for)
    calibration_states = _cached(Registry.calibration_states)
    live_mark = _cached(Registry.live_mark)
    ab_tests = _cached(Registry.ab_tests)
    settled_sources = _cached(Registry.settled_sources)

    def remembered(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer to a question in this state of the registry, asked for once."""
        stamp = self._stamp()
        with self._guard:
            if stamp != self._at or len(self._answers) > MAX_ANSWERS:
                self._answers.clear()
                self._at = stamp
            if question in self._answers:
                return cast("T", self._answers[question])
        answer = ask()
        with self._guard:
            if self._at == stamp:
                self._answers[question] = answer
        return answer
