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

__all__ = ["AnnouncedCandles", "KeptCandles"]

MAX_SERIES: Final = 256  # a year of days takes 40 kB, a year of hours 1 MB
Facts: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
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
        self._kept: OrderedDict[SeriesKey, _Kept] = OrderedDict()
        self._places: dict[SeriesKey, str] = {}
        self._first: dict[SeriesKey, Facts | None] = {}
        self._guard = threading.Lock()

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's; an unchanged series is not hashed again."""
        if as_of is not None:
            return super().read(key, as_of)
        if key not in self._first:
            facts = self.facts(key)
            with self._guard:
                self._first.setdefault(key, facts)
        found = self._current(key)
        return None if found is None else found.candles

    def facts(self, key: SeriesKey) -> Facts | None:
        """What tells one state of the series from another, without reading it; None where there is none."""
        try:
            found = os.stat(self._place(key))  # noqa: PTH116 - Path.stat takes three times as long
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def facts_at_first(self, key: SeriesKey) -> Facts | None:
        """What `facts` gave when the series was read first; as it is now, if it never was."""
        return self._first[key] if key in self._first else self.facts(key)

    def load(self, key: SeriesKey) -> StoredSeries | None:
        found = self._current(key)
        return None if found is None else found.stored

    def verify(self) -> list[Finding]:
        """As CandleStore's; every file is read anew."""
        with self._guard:
            self._kept.clear()
        return super().verify()

    def forget(self, key: SeriesKey) -> None:
        """Read the series anew next time."""
        with self._guard:
            self._kept.pop(key, None)

    def _current(self, key: SeriesKey) -> _Kept | None:
        facts = self.facts(key)
        with self._guard:
            known = self._kept.get(key)
            if known is not None and known.facts == facts:
                self._kept.move_to_end(key)
                return known
        stored = super().load(key)  # also where there is nothing: it tells a missing file from a broken link
        if stored is None or facts is None:
            self.forget(key)
            return None
        made = _Kept(facts, stored, stored.candles)
        with self._guard:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def _place(self, key: SeriesKey) -> str:
        place = self._places.get(key)
        if place is None:
            place = str(self.path(key))  # checks the key
            if len(self._places) > 16 * self._most:  # clients may ask for any name
                with self._guard:
                    self._places, self._first = {}, {}
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
        self._guard = threading.Lock()

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's, but for what is not announced yet. A series that was not there is looked for each time."""
        if as_of is not None:
            return super().read(key, as_of)
        with self._guard:
            shown = self._shown.get(key)
        return shown if shown is not None else self.announce(key)

    def announce(self, key: SeriesKey) -> Candles | None:
        """The series as it is now, which is what `read` gives from now on."""
        found = self._fresh.read(key)
        with self._guard:
            if found is None:
                self._shown.pop(key, None)
            else:
                self._shown[key] = found
                self._shown.move_to_end(key)
                while len(self._shown) > self._most:
                    self._shown.popitem(last=False)
        return found
