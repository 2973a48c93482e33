"""The user's own prices: a Parquet or CSV file made into candles, or refused in one line that names the place.

Three steps: a table of cells with the row numbers of the file (`_read_cells`), typed columns of ours (`_to_columns`),
closed bars on the grid (`_to_bars`). Whatever is changed on the way is counted in the notes.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Final, Literal, TypeAlias

import polars as pl

from cryptocast.config import Granularity
from cryptocast.data import parquet
from cryptocast.data.coins import shown
from cryptocast.data.quality import broken_range
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, TIME
from cryptocast.errors import DataError
from cryptocast.times import as_datetime, as_microseconds, minute_text

Stamp: TypeAlias = Literal["open", "close"]
VolumeUnit: TypeAlias = Literal["coin", "quote"]
Cell: TypeAlias = str | float | int | bool | datetime | date | None

# Our column and the names it goes by, best first, in lower case with _ for what is neither letter nor digit.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "open_time": ("open_time", "opentime", "open_timestamp"),
    "close_time": ("close_time", "closetime", "close_timestamp", "snapped_at"),
    "time": ("timestamp", "datetime", "date", "time", "day", "unix", "__index_level_0__"),
    "open": ("open", "open_price"),
    "high": ("high", "high_price"),
    "low": ("low", "low_price"),
    "close": ("close", "close_price", "price"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "volume_quote"),
    "volume": ("volume", "total_volume"),
    "market_cap": ("market_cap", "marketcap"),
    "coin": ("coin",),
}
KLINE: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume"),
    *("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
UNKNOWN: Final = frozenset({"", "null", "nan", "none", "na", "n/a"})
EARLIEST, LATEST = datetime(2009, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """Closed bars of one coin in CANDLE_SCHEMA, their granularity, and what was changed on the way, in words."""

    frame: pl.DataFrame
    granularity: Granularity
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A table as it stands in the file: columns by name, and for each row its number there (CSV: the line)."""

    origin: str
    columns: Mapping[str, Sequence[Cell]]
    rows: Sequence[int]

    def fail(self, index: int, column: str, why: str) -> DataError:
        value = shown(self.columns[column][index])
        return DataError(f"{self.origin}, row {self.rows[index]}: {column} is {value}, {why}.")


def read_file(
    path: Path,
    coin: str,
    *,
    now: datetime,
    vs: str = "usd",
    granularity: Granularity | None = None,
    stamp: Stamp | None = None,
    volume_unit: VolumeUnit | None = None,
) -> Imported:
    """The closed bars in a Parquet or CSV file (by its content, not its suffix).

    Columns are found by name in any case. `stamp` says which end of a bar the time column names: by default its open,
    unless the column is called close time. `volume_unit`: quote currency by default, for Binance klines the column of
    quote volume; volume in coins is converted at the close. The granularity is read from the spacing and, if given,
    must agree. Bars not closed at `now` are left out. Without open, high and low the bars are close-only. Raises
    DataError in one line with file, row and value.
    """
    cells = _read_cells(path)
    notes = [f"imported from {path.name}"]
    cells = _only_coin(cells, coin, notes)
    roles = _roles(cells)
    frame, stamped = _to_columns(cells, roles, stamp, notes)
    frame = _without_duplicates(frame, cells, roles, notes)
    found = _granularity(frame, cells.origin, granularity)
    frame = _to_bars(frame, cells, found, stamped, now, notes)
    frame = _with_volume(frame, roles, volume_unit, vs, notes)
    frame = _with_sound_ranges(frame, notes)
    frame = frame.with_columns(coin=pl.lit(coin)).select(CANDLE_SCHEMA.names()).cast(CANDLE_SCHEMA)
    return Imported(frame=frame, granularity=found, notes=tuple(notes))


# --- the file as a table of cells


def _read_cells(path: Path) -> Cells:
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    content = parquet.read_bytes(path)
    if not content.strip():
        raise DataError(f"{path} is empty.")
    if content[:4] == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        return _parquet_cells(content, path)
    return _csv_cells(content, path)


def _parquet_cells(content: bytes, path: Path) -> Cells:
    frame, _ = parquet.decode(content, str(path))
    if frame.is_empty():
        raise DataError(f"{path} has no rows.")
    columns: dict[str, Sequence[Cell]] = {}
    for series in frame:
        plain = series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype in (pl.String(), pl.Boolean())
        if _plain(series.name) not in columns and plain:
            columns[_plain(series.name)] = series.to_list()
    return Cells(str(path), columns, range(1, len(frame) + 1))


def _csv_cells(content: bytes, path: Path) -> Cells:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is neither Parquet nor a CSV file in UTF-8 (byte {error.start}).") from error
    delimiter = max(",;\t", key=text[: text.find("\n")].count)
    reader = csv.reader(StringIO(text), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader if any(field.strip() for field in line)]
    except csv.Error as error:
        raise DataError(f"{path}, row {reader.line_num}: {error}.") from error
    if not lines:
        raise DataError(f"{path} is empty.")
    names, body = _header(lines, path)
    for number, line in body:
        if len(line) != len(names):
            raise DataError(f"{path}, row {number}: {len(line)} columns instead of {len(names)}; is the file cut off?")
    if not body:
        raise DataError(f"{path} has a header but no rows.")
    columns: dict[str, Sequence[Cell]] = {}
    for name, values in zip(names, zip(*(line for _, line in body), strict=True), strict=True):
        columns.setdefault(name, values)
    return Cells(str(path), columns, [number for number, _ in body])


def _header(lines: list[tuple[int, list[str]]], path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns and the rows below. Klines from the exchange's archive come without a header."""
    first = lines[0][1]
    if not any(_is_number(field) for field in first):
        names = [_plain(name) for name in first]
        if len(names) < 2:
            raise DataError(f"{path} has {len(names)} column ({shown(first[0])}); a time and a close are needed.")
        return names, lines[1:]
    if len(first) == len(KLINE):
        return list(KLINE), lines
    raise DataError(
        f"{path} has {len(first)} columns and no header:"
        " name them in a first line such as Date,Open,High,Low,Close,Volume."
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", name.strip().lower()).rstrip("_")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in UNKNOWN


# --- typed columns


def _only_coin(cells: Cells, coin: str, notes: list[str]) -> Cells:
    """A file that names the coin of each row may hold several: only the one asked for is taken."""
    if "coin" not in cells.columns:
        return cells
    names = cells.columns["coin"]
    keep = [index for index, name in enumerate(names) if name == coin]
    if not keep:
        raise DataError(f"{cells.origin} has no rows of {coin}; its first is of {shown(names[0])}.")
    if len(keep) < len(names):
        notes.append(f"{len(names) - len(keep)} rows of other coins left out")
    columns = {name: [values[index] for index in keep] for name, values in cells.columns.items()}
    return Cells(cells.origin, columns, [cells.rows[index] for index in keep])


def _roles(cells: Cells) -> dict[str, str]:
    """Our column -> the file's column."""
    roles = {ours: next((n for n in names if n in cells.columns), "") for ours, names in NAMES.items()}
    roles = {ours: name for ours, name in roles.items() if name}
    if not {"open_time", "close_time", "time"} & roles.keys() or "close" not in roles:
        wanted = "a close" if "close" not in roles else "a time such as timestamp, date, open_time or close_time"
        names = shown(", ".join(cells.columns), 120)
        raise DataError(f"{cells.origin} lacks {wanted}: its columns are {names}.")
    return roles


def _to_columns(
    cells: Cells, roles: Mapping[str, str], stamp: Stamp | None, notes: list[str]
) -> tuple[pl.DataFrame, Stamp]:
    """index, time (microseconds), prices, volume and market cap as they are in the file, sorted by time."""
    time, stamped = _time_column(cells, roles, stamp)
    data: dict[str, Sequence[float | int | None]] = {
        "index": range(len(cells.rows)),
        "time": [_parse(cells, time, index, _micros) for index in range(len(cells.rows))],
        "close": _prices(cells, roles["close"]),
    }
    whole = {"open", "high", "low"} <= roles.keys()
    for name in ("open", "high", "low"):
        data[name] = _prices(cells, roles[name]) if whole else data["close"]
    for name in ("volume", "quote_volume", "market_cap"):
        data[name] = _amounts(cells, roles[name]) if name in roles else [None] * len(cells.rows)
    if not whole:
        present = sorted({"open", "high", "low"} & roles.keys())
        notes.append("close-only bars" + (f": {', '.join(present)} not used alone" if present else ""))
    types = {name: pl.Int64() if name in ("index", "time") else pl.Float64() for name in data}
    frame = pl.DataFrame(data, schema=types).with_columns(range_known=pl.lit(whole))
    if not frame["time"].is_sorted():
        notes.append("rows sorted by time")
    return frame.sort("time", maintain_order=True), stamped


def _time_column(cells: Cells, roles: Mapping[str, str], stamp: Stamp | None) -> tuple[str, Stamp]:
    """The column that dates the bars, and which end of the bar it names."""
    if "open_time" in roles and stamp != "close":
        return roles["open_time"], "open"
    if "close_time" in roles and (stamp == "close" or "time" not in roles):
        if stamp == "open":
            raise DataError(
                f"{cells.origin} has only the close time of its bars ({roles['close_time']}), not --stamp open."
            )
        return roles["close_time"], "close"
    if "time" not in roles:
        raise DataError(f"{cells.origin} has only the open time of its bars ({roles['open_time']}), not --stamp close.")
    return roles["time"], stamp or "open"


def _parse(cells: Cells, column: str, index: int, parse: Callable[[Cell], int | float | None]) -> int | float | None:
    try:
        return parse(cells.columns[column][index])
    except (ValueError, OverflowError) as error:
        raise cells.fail(index, column, str(error)) from None


def _prices(cells: Cells, column: str) -> list[float | int | None]:
    return [_parse(cells, column, index, _price) for index in range(len(cells.rows))]


def _amounts(cells: Cells, column: str) -> list[float | int | None]:
    """Volumes and market caps: what is missing is unknown; a market cap of zero is unknown too."""
    parse = _market_cap if column in NAMES["market_cap"] else _volume
    return [_parse(cells, column, index, parse) for index in range(len(cells.rows))]


def _number(cell: Cell) -> float:
    if isinstance(cell, bool | date):  # a datetime is a date
        raise ValueError("not a number")
    if isinstance(cell, str) and "_" in cell:
        raise ValueError("not a number")
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise ValueError("not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not a finite number")
    return value


def _price(cell: Cell) -> float:
    value = _number(cell)
    if value <= 0:
        raise ValueError("a price must be positive")
    return value


def _is_unknown(cell: Cell) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in UNKNOWN)


def _volume(cell: Cell) -> float | None:
    if _is_unknown(cell):
        return None
    value = _number(cell)
    if value < 0:
        raise ValueError("a volume cannot be negative")
    return value


def _market_cap(cell: Cell) -> float | None:
    return _volume(cell) or None


def _micros(cell: Cell) -> int:
    """A time as microseconds since the epoch: dates and times (UTC unless they say otherwise), epochs by magnitude."""
    if isinstance(cell, str) and not _is_number(cell):
        text = cell.strip()
        text = text.removesuffix(" UTC")
        try:
            cell = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("not a time such as 2020-01-31, 2020-01-31T14:00:00Z or an epoch") from None
    if isinstance(cell, date):
        whole = cell if isinstance(cell, datetime) else datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
        value = whole if whole.tzinfo else whole.replace(tzinfo=UTC)
        micros = as_microseconds(value)
    else:
        number = _number(cell)
        for limit, unit in ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (float("inf"), 1e-3)):
            if abs(number) < limit:
                micros = round(number * unit)
                break
    if not EARLIEST <= as_datetime(micros) < LATEST:
        raise ValueError("not between 2009 and 2100")
    return micros


# --- bars


def _without_duplicates(frame: pl.DataFrame, cells: Cells, roles: Mapping[str, str], notes: list[str]) -> pl.DataFrame:
    """Rows that repeat another exactly are counted and dropped; rows that contradict another are refused."""
    values = [name for name in frame.columns if name != "index"]
    single = frame.unique(values, keep="first", maintain_order=True)
    if len(single) < len(frame):
        notes.append(f"{len(frame) - len(single)} exact duplicates dropped")
    clash = single.filter(pl.col("time").is_duplicated())
    if len(clash):
        first, second = (int(i) for i in clash.sort("time", maintain_order=True)["index"][:2])
        at = minute_text(int(clash["time"].min()))  # type: ignore[arg-type]
        close = roles["close"]
        raise DataError(
            f"{cells.origin} has two different bars for {at}: row {cells.rows[first]} ({close}"
            f" {shown(cells.columns[close][first])}) and row {cells.rows[second]}"
            f" ({shown(cells.columns[close][second])})."
            " Keep one of them."
        )
    return single


def _granularity(frame: pl.DataFrame, origin: str, wanted: Granularity | None) -> Granularity:
    if len(frame) < 2:
        raise DataError(f"{origin} has {len(frame)} bar; at least 2 are needed to see their spacing.")
    spacing = float(frame["time"].diff().median())  # type: ignore[arg-type]
    for name, bar in BAR_US.items():
        if abs(spacing - bar) <= bar * 0.05:
            if wanted not in (None, name):
                raise DataError(f"{origin} has {name} bars, not {wanted}: import it with --granularity {name}.")
            return name
    raise DataError(f"{origin} has a bar every {spacing / 6e7:,.6g} minutes; only daily and hourly bars can be used.")


def _to_bars(
    frame: pl.DataFrame, cells: Cells, granularity: Granularity, stamp: Stamp, now: datetime, notes: list[str]
) -> pl.DataFrame:
    """close_time on the grid; closed bars only."""
    bar = BAR_US[granularity]
    late = pl.col("time") % bar >= bar - 1_000_000  # 23:59:59 or 23:59:59.999: the last moment of a bar
    if stamp == "open" and frame.select(late.all()).item():
        raise DataError(f"{cells.origin} stamps the last second of each bar: import it with --stamp close.")
    rounded = pl.when(late).then((pl.col("time") // bar + 1) * bar).otherwise(pl.col("time"))
    frame = frame.with_columns(micros=rounded + (bar if stamp == "open" else 0))
    off = frame.filter(pl.col("micros") % bar != 0)
    if len(off):
        row, at = cells.rows[int(off["index"][0])], minute_text(int(off["time"][0]))
        raise DataError(f"{cells.origin}, row {row}: {at} is off the {granularity} grid of UTC ({len(off)} such rows).")
    clash = frame.filter(pl.col("micros").is_duplicated())
    if len(clash):
        first, second = (cells.rows[int(i)] for i in clash["index"][:2])
        raise DataError(
            f"{cells.origin} has two bars for {minute_text(int(clash['micros'][0]))}: rows {first} and {second}."
        )
    closed = frame.with_columns(close_time=pl.col("micros").cast(TIME)).filter(pl.col("close_time") <= now)
    if closed.is_empty():
        raise DataError(f"{cells.origin} has no bar that was closed at {now:%Y-%m-%dT%H:%MZ}.")
    if len(closed) < len(frame):
        notes.append(f"{len(frame) - len(closed)} bars not closed by {now:%Y-%m-%dT%H:%MZ} left out")
    return closed


def _with_volume(
    frame: pl.DataFrame, roles: Mapping[str, str], unit: VolumeUnit | None, vs: str, notes: list[str]
) -> pl.DataFrame:
    if unit != "coin" and "quote_volume" in roles:
        notes.append("volume taken from the column of quote volume")
        return frame.with_columns(volume=pl.col("quote_volume"))
    if unit == "coin" and "volume" in roles:
        notes.append(f"volume converted from coins to {vs} at the close")
        return frame.with_columns(volume=pl.col("volume") * pl.col("close"))
    return frame


def _with_sound_ranges(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """A bar whose high and low contradict its open or close keeps its close and becomes close-only."""
    broken = frame.filter(broken_range())
    if broken.is_empty():
        return frame
    notes.append(
        f"{len(broken)} bars whose high and low contradict open or close made close-only,"
        f" the first at {broken['close_time'][0]:%Y-%m-%dT%H:%MZ}"
    )
    sound = [pl.when(broken_range()).then("close").otherwise(name).alias(name) for name in ("open", "high", "low")]
    return frame.with_columns(*sound, range_known=pl.col("range_known") & ~broken_range())
