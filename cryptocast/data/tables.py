"""Tables of other rooms (features, predictions) as files: the suffix says the format."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from cryptocast.data import parquet
from cryptocast.errors import DataError, NotInstalledError, UsageError
from cryptocast.files import TEMPORARY

TABLE_SUFFIXES: Final = (".csv", ".parquet")


def check_table_path(path: Path) -> None:
    """UsageError unless `write_table` could choose a format for this path: ask before long work, not after it."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(f"{path} does not say its format: end it in {' or '.join(TABLE_SUFFIXES)}.")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a table whole or not at all. UsageError for an unknown suffix, DataError when the disk refuses."""
    check_table_path(path)
    content = frame.write_csv().encode() if path.suffix.lower() == ".csv" else parquet.encode(frame)
    parquet.write_atomically(path, content, own=False)


def write_noted(frame: pl.DataFrame, path: Path, note: bytes) -> None:
    """A Parquet file with a note in its metadata, whole or not at all. DataError when the disk refuses."""
    parquet.write_atomically(path, parquet.encode(frame, note))


def read_noted(path: Path) -> tuple[pl.DataFrame, bytes] | None:
    """What `write_noted` wrote; None if there is no such file. DataError if it is damaged or has no note."""
    if not path.is_file():
        return None
    frame, note = parquet.decode(parquet.read_bytes(path), str(path))
    if note is None:
        raise DataError(f"{path} has no note in its metadata. Delete it.")
    return frame, note


def join_parquet(paths: Sequence[Path], target: Path) -> None:
    """Several Parquet files of the same columns as one, whole or not at all, at no time all of them in memory.

    DataError when the disk refuses.
    """
    temporary = target.with_name(f".{target.name}{TEMPORARY}")
    try:
        pl.scan_parquet(list(paths)).sink_parquet(temporary)
        temporary.replace(target)
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}. Check its rights and space."
        ) from error


def as_pandas(frame: pl.DataFrame) -> Any:
    """The table as a pandas DataFrame. NotInstalledError without pandas, which nothing else here needs."""
    if importlib.util.find_spec("pandas") is None:
        raise NotInstalledError(
            "A pandas frame needs pandas, which is not installed. Install it: pip install pandas; or use to_polars()."
        )
    return frame.to_pandas()
