"""The store for a process that reads the same series again and again: what it has read stays in memory while its file
stays as it was."""

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Generic, TypeAlias, TypeVar

from cryptocast.choices import Granularity
from cryptocast.data.schema import Candles, SeriesKey
from cryptocast.data.store import CandleStore, DamagedFile, SeriesFile

MAX_SERIES: Final = 256  # a year of days takes 40 kB, a year of hours 1 MB
Facts: TypeAlias = tuple[int, int, int]  # number, size and time of a file


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most so many values, those that were used last. Safe for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._guard:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: K, value: V | None) -> None:
        """None: forget it."""
        with self._guard:
            self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
                if len(self._values) > self._most:
                    self._values.popitem(last=False)

    def clear(self) -> None:
        with self._guard:
            self._values.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _CachedFile:
    facts: Facts
    series: SeriesFile
    candles: Candles


class CachedCandles(CandleStore):
    """A CandleStore whose `read` of an unchanged series is one look at the file's size, time and number.

    Every write replaces a file, so a changed series is another file. Safe for several threads and processes. `verify`
    still reads everything anew.
    """

    def __init__(self, root: Path, *, lock_timeout_s: float, most: int = MAX_SERIES) -> None:
        super().__init__(root, lock_timeout_s=lock_timeout_s)
        self._most = most
        self._files = LruCache[SeriesKey, _CachedFile](most)
        self._places: dict[SeriesKey, str] = {}

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's; an unchanged series is not hashed again."""
        if as_of is not None:
            return super().read(key, as_of)
        file = self._current(key)
        return None if file is None else file.candles

    def facts(self, key: SeriesKey) -> Facts | None:
        """What tells one state of the series from another, without reading it; None where there is none."""
        try:
            status = os.stat(self._place(key))  # noqa: PTH116 - Path.stat takes three times as long
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def load(self, key: SeriesKey) -> SeriesFile | None:
        file = self._current(key)
        return None if file is None else file.series

    def verify(self) -> list[DamagedFile]:
        """As CandleStore's; every file is read anew."""
        self._files.clear()
        return super().verify()

    def _current(self, key: SeriesKey) -> _CachedFile | None:
        facts = self.facts(key)
        file = self._files.get(key)
        if file is not None and file.facts == facts:
            return file
        series = super().load(key)  # also where there is nothing: it tells a missing file from a broken link
        file = None if series is None or facts is None else _CachedFile(facts, series, series.candles)
        self._files.put(key, file)
        return file

    def _place(self, key: SeriesKey) -> str:
        place = self._places.get(key)
        if place is None:
            place = str(self.path(key))  # checks the key
            if len(self._places) > 16 * self._most:  # clients may ask for any name
                self._places = {}
            self._places[key] = place
        return place


class PublishedCandles(CandleStore):
    """What a CachedCandles read when each series was asked for first, until `publish` says that it may be seen anew.

    So that whoever takes over new bars can do with them what must be done before a forecast is made of them.
    """

    def __init__(self, root: Path, fresh: CachedCandles, *, lock_timeout_s: float, most: int = MAX_SERIES) -> None:
        super().__init__(root, lock_timeout_s=lock_timeout_s)
        self._fresh, self._most = fresh, most
        self._published = LruCache[SeriesKey, Candles](most)
        self._facts: dict[SeriesKey, Facts | None] = {}  # of the files that were read first, or published last

    def read(self, key: SeriesKey, as_of: datetime | None = None) -> Candles | None:
        """As CandleStore's, but for what is not published yet. A series that was not there is looked for each time."""
        if as_of is not None:
            return super().read(key, as_of)
        candles = self._published.get(key)
        if candles is None:
            first = self._facts.setdefault(key, self._fresh.facts(key))
            candles = self._fresh.read(key)
            if self._facts.get(key) == first:  # else newer ones were published meanwhile
                self._published.put(key, candles)
        return candles

    def sources(self, coin: str, vs: str, granularity: Granularity) -> list[str]:
        """As CandleStore's, published or not."""
        return self._fresh.sources(coin, vs, granularity)

    def publish(self, key: SeriesKey, facts: Facts | None) -> None:
        """`read` gives the series as it is now from now on; facts: of its file, as `changed` gave them."""
        self._published.put(key, self._fresh.read(key))
        self._facts[key] = facts

    def changed(self) -> dict[SeriesKey, Facts | None]:
        """The series that were read here and whose files are others by now, with the facts of these."""
        before = dict(self._facts)
        for key in [key for key, facts in before.items() if facts is None][: -16 * self._most]:
            self._facts.pop(key, None)  # clients may ask for any name
        return {key: now for key, facts in before.items() if (now := self._fresh.facts(key)) != facts}
