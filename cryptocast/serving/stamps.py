"""Whether the registry changed, asked of the file system: two look-ups, cheap enough for every request."""

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["Stamp", "registry_stamp"]

Stamp: TypeAlias = Callable[[], Hashable]

FILE: Final = "registry/registry.db"


def registry_stamp(store: Path) -> Stamp:
    """A function whose answer changes with every commit to the registry of the store; None while there is none."""
    database = str(store / FILE)
    log = database + "-wal"

    def stamp() -> Hashable:
        # A commit grows the write-ahead log, and the database once the last connection has closed. Readers make and
        # remove an empty log, which is no change.
        return _facts(database), _facts(log)

    return stamp


def _facts(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - Path.stat takes three times as long, with every request
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
