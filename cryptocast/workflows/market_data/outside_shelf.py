"""The outside series of one command: read when a feature first needs them, and brought up to date where that is due."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptocast.data.outside.deribit import StoredIndex
from cryptocast.data.outside.file import read_outside
from cryptocast.data.outside.series import OutsideSeries
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.connect import access_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OutsideShelf:
    """last: the newest close that they stand beside. is_online: whether what is missing by then may be fetched."""

    context: Context | None = None
    last: datetime | None = None
    is_online: bool = False
    _series: dict[str, OutsideSeries] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)

    def series(self, names: Iterable[str]) -> tuple[OutsideSeries, ...]:
        """The named ones. A series that cannot be brought up to date is what the store has of it, with a notice.

        Raises DataError for a file that cannot be read, ConfigError for a section that does not say when its values
        were known.
        """
        for name in names:
            if name not in self._series:
                self._series[name] = self._read(name)
        return tuple(self._series[name] for name in names)

    @property
    def notices(self) -> tuple[str, ...]:
        """What must be said of those that were read."""
        return tuple(notice for one in self._series.values() for notice in self._about(one))

    def _read(self, name: str) -> OutsideSeries:
        if self.context is None or name not in self.context.config.series:
            raise DataError(f"There is no outside series {name}. Add a section [series.{name}].")
        settings = self.context.config.series[name]
        if settings.source != "deribit":
            return read_outside(name, Path(settings.file), settings.delay)
        index = StoredIndex(name, settings, self.context.config.store.path)
        if self.is_online and self.last is not None:
            try:
                index.fetch(access_of(self.context), self.last)
            except UpstreamError as error:
                self._problems[name] = error.what
        return index.series()

    def _about(self, series: OutsideSeries) -> Iterable[str]:
        if self.last is None:
            return
        name, last, problem = series.name, series.last_known(self.last), self._problems.get(series.name)
        reason = f"{problem}: " if problem else ""
        if last is None:
            yield f"{reason}no value of {name} was known by {self.last:%Y-%m-%d %H:%M} UTC"
        elif problem or series.is_late(self.last):
            yield f"{reason}the newest value of {name} came at {last:%Y-%m-%d %H:%M} UTC"


def refresh_outside(context: Context) -> None:
    """Bring what features may read up to date, for a server that goes on whatever fails."""
    config = context.config
    for name, settings in config.series.items() if config.features.file else ():
        if settings.source == "deribit":
            try:
                StoredIndex(name, settings, config.store.path).fetch(access_of(context), context.wall_clock())
            except CryptocastError as error:
                log.warning("%s is not up to date: %s", name, error)
