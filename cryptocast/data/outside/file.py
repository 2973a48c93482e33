"""An outside series in a file of the user's: CSV or Parquet with the columns time, value and perhaps known_after."""

from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

import polars as pl

from cryptocast.data import parquet
from cryptocast.data.outside.series import OutsideSeries, outside_series
from cryptocast.data.schema import TIME
from cryptocast.data.sources.file.cells import date_order, micros, numbers
from cryptocast.data.sources.file.pieces import SEPARATORS
from cryptocast.errors import ConfigError, DataError

COLUMNS: Final = ("time", "value")
KNOWN_AFTER: Final = "known_after"


def read_outside(name: str, path: Path, delay: timedelta | None) -> OutsideSeries:
    """The series of a section [series.NAME]. delay: how long after its time each value was known, None: the file says.

    Raises DataError with the row for what cannot be read, is not sorted, comes twice or was known before its time,
    ConfigError unless either the section or the file says when values were known.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(
            f"[series.{name}] file: {path} cannot be read: {error.strerror or error}. Put the file there"
            " (paths count from the settings), or name another."
        ) from error
    return _read(name, path, delay, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=16)
def _read(name: str, path: Path, delay: timedelta | None, _changed_ns: int, _size: int) -> OutsideSeries:
    """The same; a file is read again when it has changed."""
    table = _table(path)
    _check_clock(name, path, table.columns, delay)
    line = 1 if parquet.is_table(parquet.read_bytes(path)[:8]) else 2  # that of the first row
    times = _times(table["time"], f"{path}, column time", line)
    values = numbers(table["value"])
    moments = times + delay if delay is not None else _times(table[KNOWN_AFTER], f"{path}, column {KNOWN_AFTER}", line)
    for problem, wrong in _problems(times, values, moments):
        if wrong.any():
            raise DataError(f"{path}, row {line + (wrong.arg_true()[0])}: {problem}.")
    known = values.is_not_null()
    rows = pl.DataFrame({"time": times, "value": values}).filter(known)
    if rows.is_empty():
        raise DataError(f"{path} has no values.")
    return outside_series(name, rows, moments.filter(known))


def _problems(times: pl.Series, values: pl.Series, moments: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    """What may be wrong with a row, and the rows that it is true of."""
    steps = times.diff().dt.total_microseconds()
    yield "the value is no number; leave the cell empty where none is known", ~values.fill_null(0.0).is_finite()
    yield "the time is that of the row before; a series has one value for each time", steps == 0
    yield "the time is before that of the row above; sort the file by time", steps < 0
    yield f"{KNOWN_AFTER} is before time: nothing is known before it has happened", moments < times


def _check_clock(name: str, path: Path, columns: list[str], delay: timedelta | None) -> None:
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]}: it has {', '.join(columns)[:200]}. [series.{name}] needs"
            " time and value."
        )
    if delay is None and KNOWN_AFTER not in columns:
        raise ConfigError(
            f"[series.{name}] does not say when the values of {path} were known, and there is no default: a value that"
            ' is joined by its date alone lets models see the future. Write known_after = "1d" (known a day after its'
            ' time; "0h": at that very time), or add a column known_after with the moment of each row.'
        )
    if delay is not None and KNOWN_AFTER in columns:
        raise ConfigError(
            f"[series.{name}] has known_after, and {path} has a column of that name: leave one of them out."
        )


def _table(path: Path) -> pl.DataFrame:
    """The cells, their columns in lower case."""
    content = parquet.read_bytes(path)
    if parquet.is_table(content):
        table = parquet.decode(content, str(path))[0]
    else:
        head = content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode(errors="replace")
        try:
            table = pl.read_csv(BytesIO(content), separator=max(SEPARATORS, key=head.count), infer_schema=False)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{path} is neither Parquet nor a CSV file: {str(error).splitlines()[0][:160]}.") from error
    names = [column.strip().lower() for column in table.columns]
    if len(set(names)) < len(names):
        raise DataError(f"{path} has two columns of one name: {', '.join(names)[:200]}.")
    table.columns = names
    return table


def _times(cells: pl.Series, place: str, line: int) -> pl.Series:
    """In UTC, which is what times without a zone are in."""
    if date_order(cells) is not None:
        raise DataError(
            f"{place}: write dates with the year first, such as 2024-01-31; {cells[0]} can be read two ways."
        )
    moments, _ = micros(cells)
    if moments.null_count():
        row = moments.is_null().arg_true()[0]
        raise DataError(f"{place}, row {line + row}: {str(cells[row])[:40]!r} is no time, such as 2024-01-31T14:00Z.")
    return moments.cast(TIME)
