"""The store for a process that reads the same series again and again: what it has read stays in memory while its file
stays as it was."""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.store import CandleStore, Finding, StoredSeries

__all__ = ["AnnouncedCandles", "Facts", "KeptCandles"]

MAX_SERIES: Final = 256  # a year of days takes 40 kB, a year of hours 1 MB
Facts: TypeAlias = tuple[int, int, int]  # number, size and time of a file


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    facts: Facts
    stored: StoredSeries
    candles: Candles


class KeptCandles(CandleStore):
    """A CandleStore whose `read` of an unchanged series is one look at the file's size, time and number.

    Every write replaces a file, so a changed series is another file. Safe for several threads and processes. `verify`
    still reads everything anew.
    """

    def __init__(self, root: Path, *, lock_timeout_s: float, most: int = MAX_SERIES) -> None:
        super().__init__(root, lock_timeout_s=lock_timeout_s)
        self._most = most
        self._entries: OrderedDict[SeriesKey, _Entry] = OrderedDict()
        self._places: dict[SeriesKey, str] = {}
        self._guard = threading.Lock()

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's; an unchanged series is not hashed again."""
        if as_of is not None:
            return super().read(key, as_of)
        entry = self._current(key)
        return None if entry is None else entry.candles

    def facts(self, key: SeriesKey) -> Facts | None:
        """What tells one state of the series from another, without reading it; None where there is none."""
        try:
            file = os.stat(self._place(key))  # noqa: PTH116 - Path.stat takes three times as long
        except OSError:
            return None
        return file.st_ino, file.st_size, file.st_mtime_ns

    def _load(self, key: SeriesKey) -> StoredSeries | None:
        entry = self._current(key)
        return None if entry is None else entry.stored

    def verify(self) -> list[Finding]:
        """As CandleStore's; every file is read anew."""
        with self._guard:
            self._entries.clear()
        return super().verify()

    def _current(self, key: SeriesKey) -> _Entry | None:
        facts = self.facts(key)
        with self._guard:
            entry = self._entries.get(key)
            if entry is not None and entry.facts == facts:
                self._entries.move_to_end(key)
                return entry
        stored = super()._load(key)  # also where there is nothing: it tells a missing file from a broken link
        if stored is None or facts is None:
            with self._guard:
                self._entries.pop(key, None)
            return None
        entry = _Entry(facts, stored, stored.candles)
        with self._guard:
            self._entries[key] = entry
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return entry

    def _place(self, key: SeriesKey) -> str:
        place = self._places.get(key)
        if place is None:
            place = str(self.path(key))  # checks the key
            if len(self._places) > 16 * self._most:  # clients may ask for any name
                self._places = {}
            self._places[key] = place
        return place


class AnnouncedCandles(CandleStore):
    """What a KeptCandles read when each series was asked for first, until `announce` says that it may be seen anew.

    So that whoever takes over new bars can do with them what must be done before a forecast is made of them.
    """

    def __init__(self, root: Path, fresh: KeptCandles, *, lock_timeout_s: float, most: int = MAX_SERIES) -> None:
        super().__init__(root, lock_timeout_s=lock_timeout_s)
        self._fresh, self._most = fresh, most
        self._shown: OrderedDict[SeriesKey, Candles] = OrderedDict()
        self._facts: dict[SeriesKey, Facts | None] = {}  # of the files that were read first, or announced last
        self._guard = threading.Lock()

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's, but for what is not announced yet. A series that was not there is looked for each time."""
        if as_of is not None:
            return super().read(key, as_of)
        with self._guard:
            shown = self._shown.get(key)
        if shown is not None:
            return shown
        facts = self._fresh.facts(key)
        with self._guard:
            self._facts.setdefault(key, facts)
        return self._show(key, self._fresh.read(key))

    def announce(self, key: SeriesKey, facts: Facts | None) -> None:
        """`read` gives the series as it is now from now on; facts: of its file, as `changed` found it."""
        self._show(key, self._fresh.read(key))
        with self._guard:
            self._facts[key] = facts

    def changed(self) -> dict[SeriesKey, Facts | None]:
        """The series that were read here and whose files are others by now, with the facts of these."""
        with self._guard:
            if len(self._facts) > 16 * self._most:  # clients may ask for any name
                self._facts = {key: facts for key, facts in self._facts.items() if facts is not None}
            before = list(self._facts.items())
        return {key: now for key, facts in before if (now := self._fresh.facts(key)) != facts}

    def _show(self, key: SeriesKey, candles: Candles | None) -> Candles | None:
        with self._guard:
            self._shown.pop(key, None)
            if candles is not None:
                self._shown[key] = candles
                while len(self._shown) > self._most:
                    self._shown.popitem(last=False)
        return candles
