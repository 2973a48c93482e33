"""The registry for a server: what forecasts ask it is remembered until something that they rest on has changed."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from cryptocast.config import GateConfig, Granularity
from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Evidence
from cryptocast.registry.append_only import SeriesLike
from cryptocast.registry.database import Database, file_facts
from cryptocast.registry.experiments import AbTest
from cryptocast.registry.ledger import CalibrationState
from cryptocast.registry.live_status import LiveMark
from cryptocast.registry.objects import Objects
from cryptocast.registry.references import Reference
from cryptocast.registry.registry import Registry
from cryptocast.registry.version import Version, VersionKey

__all__ = ["KeptRegistry", "RegistryWatch", "registry_stamp"]

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


class KeptRegistry(Registry):
    """A Registry whose answers to the questions of forecasts are kept for as long as `stamp` gives the same."""

    def __init__(self, database: Database, objects: Objects, gate: GateConfig, stamp: Callable[[], Hashable]) -> None:
        super().__init__(database, objects, gate)
        self._stamp = stamp
        self._at: Hashable = ()
        self._answers: dict[Hashable, Any] = {}
        self._guard = threading.Lock()

    @classmethod
    def over(cls, store: Path, *, gate: GateConfig, stamp: Callable[[], Hashable]) -> Self:
        """That of a store. A registry that cannot be read is told of when it is asked."""
        folder = (store / FILE).parent
        database = Database(store / FILE, busy_timeout_s=BUSY_S)
        return cls(database, Objects(folder / "objects"), gate, stamp)

    def best(self, coin: str, *, source: str, vs: str = "usd", granularity: Granularity = "daily") -> Version | None:
        """As Registry's."""
        ask = super().best
        return self._remembered(
            ("best", coin, source, vs, granularity),
            lambda: ask(coin, source=source, vs=vs, granularity=granularity),
        )

    def alias(self, key: VersionKey, name: str) -> Version | None:
        """As Registry's."""
        ask = super().alias
        return self._remembered(("alias", key, name), lambda: ask(key, name))

    def get(
        self, reference: str | Reference, *, source: str, vs: str = "usd", granularity: Granularity = "daily"
    ) -> Version:
        """As Registry's."""
        ask = super().get
        return self._remembered(
            ("get", str(reference), source, vs, granularity),
            lambda: ask(reference, source=source, vs=vs, granularity=granularity),
        )

    def evidence_for(self, key: SeriesLike, recipe: str) -> Evidence | None:
        """As Registry's."""
        ask = super().evidence_for
        question = ("evidence", key.coin, key.source, key.vs, key.granularity, recipe)
        return self._remembered(question, lambda: ask(key, recipe))

    def calibration_states(self, key: VersionKey, number: int) -> dict[int, CalibrationState]:
        """As Registry's."""
        ask = super().calibration_states
        return self._remembered(("calibration", key, number), lambda: ask(key, number))

    def live_mark(self, key: VersionKey, number: int) -> LiveMark | None:
        """As Registry's."""
        ask = super().live_mark
        return self._remembered(("mark", key, number), lambda: ask(key, number))

    def ab_tests(self, key: VersionKey | None = None) -> tuple[AbTest, ...]:
        """As Registry's."""
        ask = super().ab_tests
        return self._remembered(("ab", key), lambda: ask(key))

    def _remembered(self, question: Hashable, ask: Callable[[], T]) -> T:
        """An error is not remembered."""
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
