"""The user's own prices: files of any usual layout made into candles, or refused in one line that names the place.

Each file arrives in pieces of raw cells (`pieces`) and becomes typed columns of ours (`columns`). Here its bars are put
on their grid, joined to those of the other files and, if they are finer, resampled. Whatever is changed or assumed on
the way stands in the notes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from cryptocast.choices import Granularity
from cryptocast.data import parquet
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, TIME
from cryptocast.data.sources.file.archive import PriceFile, price_files
from cryptocast.data.sources.file.columns import FileOptions, Notes, TypedColumns
from cryptocast.data.sources.file.layouts import DATE_FIRST, TIME_FIRST, Layout, Stamp
from cryptocast.data.sources.file.pieces import ROW, open_table
from cryptocast.data.sources.file.resample import LENGTHS, MINUTE, bar_length, in_words, length_in, resample
from cryptocast.data.sources.file.symbols import RankedSymbol, Target, named_symbol, symbol_in
from cryptocast.errors import DataError
from cryptocast.number_format import count
from cryptocast.times import as_microseconds, minute_text

__all__ = ["FileOptions", "Imported", "coins_of", "read_file", "read_frame"]

SECOND: Final = 1_000_000
UNIQUE_ID: Final = "unique_id"
RUN: Final = 5  # so many bars in a row are no gaps


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """Closed bars of one coin in CANDLE_SCHEMA, their granularity, and what was changed on the way, in words."""

    frame: pl.DataFrame
    granularity: Granularity
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of one file as they stand there, and which end of a bar their time names, None: it is not said."""

    label: str
    frame: pl.DataFrame
    stamp: Stamp | None
    layout: Layout


def read_file(
    path: Path | Sequence[Path],
    coin: str,
    *,
    now: datetime,
    vs: str = "usd",
    granularity: Granularity | None = None,
    options: FileOptions | None = None,
    names_coins: bool = False,
) -> Imported:
    """The closed bars in one or several files and folders, read as one series.

    Layouts are recognised by their first lines (docs/data.md). Finer bars are resampled to `granularity`, without one
    to days; hours stay hours. Bars not closed at `now` and rows without a price are left out. Without open, high and
    low the bars are close-only. names_coins: every row must say of which coin it is. Raises DataError in one line with
    file, row and value.
    """
    paths = [path] if isinstance(path, Path) else path
    target = Target(coin, vs, names_coins=names_coins)
    return _read(price_files(paths), paths, target, now, granularity, options or FileOptions())


def read_frame(
    frame: pl.DataFrame, coin: str, *, now: datetime, vs: str = "usd", granularity: Granularity | None = None
) -> Imported:
    """The same of a table in memory, whose rows say of which coin they are, such as unique_id, ds and y.

    `ds` is the moment at which a bar opens.
    """
    content = parquet.encode(frame)
    table = PriceFile("The table", "table", Path(), content=content)
    return _read([table], (), Target(coin, vs, names_coins=True), now, granularity, FileOptions())


def coins_of(frame: pl.DataFrame) -> tuple[str, ...]:
    """The coins that a table names, in the order in which it does: their ids, where a table of symbols knows them.

    DataError if it has no column unique_id.
    """
    if UNIQUE_ID not in frame.columns:
        raise DataError(f"The table has no column {UNIQUE_ID}: it has {', '.join(frame.columns)[:200]}.")
    names = frame[UNIQUE_ID].cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
    return tuple(dict.fromkeys(symbol_in(name).coin or name for name in names))


def _read(
    files: list[PriceFile],
    paths: Sequence[Path],
    target: Target,
    now: datetime,
    granularity: Granularity | None,
    options: FileOptions,
) -> Imported:
    coin, notes = target.coin, Notes()
    files = _named_after(files, paths, target, notes)
    files, named_length = _of_one_length(files, paths, granularity, notes)
    first = files[0].label
    others = f" to {files[-1].short_label}, {len(files)} files" if len(files) > 1 else ""
    notes.add(f"imported from {files[0].short_label}{others}")
    tables = [_rounded(rows, notes) for rows in _read_all(files, target, options, notes)]
    if not tables:
        raise DataError(f"{first} has no rows with a price.")
    sparse = any(rows.layout.sparse for rows in tables)
    length = _common_length(tables, sparse=sparse)
    if named_length not in (None, length):
        raise DataError(f"{first} has {in_words(length)} bars, and is named as if it had other ones. Rename it.")
    grain = _granularity(length, granularity, first)
    bars = _closed(_joined([_on_grid(rows, length, notes) for rows in tables], notes), length, now, notes)
    if BAR_US[grain] != length and len(bars):
        bars = _resampled(bars, length, grain, first, notes, sparse=sparse)
        bars = _closed(bars, BAR_US[grain], now, notes)
    if bars.is_empty():
        raise DataError(f"{first} has no bar that was closed at {now:%Y-%m-%dT%H:%MZ}.")
    close_time = (pl.col("opened") + BAR_US[grain]).cast(TIME)
    frame = bars.select(coin=pl.lit(coin), close_time=close_time, **{name: name for name in CANDLE_SCHEMA.names()[2:]})
    return Imported(frame.cast(CANDLE_SCHEMA), grain, notes.in_words())


def _named_after(files: list[PriceFile], paths: Sequence[Path], target: Target, notes: Notes) -> list[PriceFile]:
    """The files whose names, or those of their archives, tell the coin and the currency; all, where none tells any.

    In an archive of all coins a name that tells nothing is that of a coin that no table knows.
    """
    texts = {file: named_symbol(file.name) or named_symbol(file.path.name) for file in files}
    ranks = {file: target.rank(text) for file, text in texts.items() if text is not None}
    if not ranks:
        return files
    best, note = target.choose({str(texts[file]): (rank, f"{file.label}: its name") for file, rank in ranks.items()})
    notes.add(note)
    own = [file for file in files if ranks.get(file, best if _is_named(file, paths) else None) == best]
    notes.count(len(files) - len(own), "file", "of other coins or currencies left out")
    return own


def _of_one_length(
    files: list[PriceFile], paths: Sequence[Path], option: Granularity | None, notes: Notes
) -> tuple[list[PriceFile], int | None]:
    """Of an archive or folder in which a series stands several times, in bars of several lengths: the files with the
    bars that are wanted, else with the finest, and the length that their names say. Else all, and None."""
    lengths = {file: length_in(file.name) for file in files}
    target = BAR_US[option or "daily"]
    usable = {length for length in lengths.values() if length is not None and target % length == 0}
    if None in lengths.values() or len(set(lengths.values())) < 2 or not usable:
        return files, None
    best = target if target in usable else min(usable)
    own = [file for file in files if lengths[file] == best or _is_named(file, paths)]
    notes.count(len(files) - len(own), "file", f"with bars of other lengths than {in_words(best)} left out")
    return own, best


def _is_named(file: PriceFile, paths: Sequence[Path]) -> bool:
    """Whether the user named this very file, and so wants it, not a folder or archive that has it."""
    return file.path in paths and file.inside is None


def _read_all(files: Sequence[PriceFile], target: Target, options: FileOptions, notes: Notes) -> list[Rows]:
    """The rows of each file that has any, of the symbol that fits best."""
    symbols: dict[str, RankedSymbol] = {}
    tables: list[Rows] = []
    for file in files:
        with file.open() as stream:
            table = open_table(file, stream)
            layout = table.shape.layout
            columns = TypedColumns(table, file.label, target, options, notes, symbols)
            tables.append(Rows(file.label, columns.frame(), columns.stamp or options.stamp, layout))
            notes.add(f"read as {layout.name}")
    if target.names_coins and not symbols:
        raise DataError(
            f"{files[0].label} does not say of which coin its rows are, in a column such as unique_id or symbol. Import"
            " one coin at a time."
        )
    if symbols:
        best, note = target.choose(symbols)
        notes.add(note)
        for at, rows in enumerate(tables):
            own = rows.frame.filter(pl.col("rank") == best)
            notes.count(len(rows.frame) - len(own), "row", "of other symbols left out")
            tables[at] = replace(rows, frame=own)
    own_tables = [rows for rows in tables if len(rows.frame)]
    notes.count(len(tables) - len(own_tables), "file", "without a price of the coin left out")
    return own_tables


# --- one file


def _rounded(rows: Rows, notes: Notes) -> Rows:
    """With the last second of a bar as its end; the share of such times tells which end of a bar the times name."""
    time, stamp = rows.frame["time"], rows.stamp
    late = time % MINUTE >= MINUTE - SECOND  # 23:59:59.999: the last moment of a bar
    share = late.sum() / len(late)
    if stamp == "open" and share == 1:
        raise DataError(f"{rows.label} stamps the last second of each bar: import it with --stamp close.")
    if stamp is None and 0 < share < 0.5:
        raise DataError(
            f"{rows.label} has {share:.0%} of its times in the last second of a bar, the others not: say which end of"
            " the bar a time names with --stamp open or --stamp close."
        )
    if stamp is None and share:
        notes.add("times are the last second of a bar, so its close")
    elif stamp is None and rows.layout in (TIME_FIRST, DATE_FIRST):
        notes.add("times taken to be the opens of their bars; if they are the closes, add --stamp close")
    if not share:
        return replace(rows, stamp=stamp or "open")
    minutes = pl.when(late).then((time // MINUTE + 1) * MINUTE).otherwise(time)
    return replace(rows, frame=rows.frame.with_columns(time=minutes), stamp=stamp or "close")


def _length(rows: Rows, *, sparse: bool) -> int | None:
    """How long its bars are, None if there is one only. DataError for a spacing of no use, and for two."""
    spacings = rows.frame["time"].diff().drop_nulls()
    spacings = spacings.filter(spacings > 0)
    if spacings.is_empty():
        return None
    spacing = float(spacings.median())  # type: ignore[arg-type]
    length = bar_length(rows.frame["time"], spacing, sparse=sparse)
    if length is None:
        raise DataError(
            f"{rows.label} has a bar every {spacing / MINUTE:,.6g} minutes; only bars of 1, 3, 5, 15 or 30 minutes,"
            " 1, 2, 3, 4, 6, 8 or 12 hours or a day can be used."
        )
    runs = spacings.rle().struct.unnest()
    other = runs.filter((pl.col("len") >= RUN) & pl.col("value").is_in(LENGTHS) & (pl.col("value") != length))
    if len(other) and not sparse:
        raise DataError(
            f"{rows.label} mixes {in_words(length)} and {in_words(other['value'][0])} bars. Split it, and import one"
            " kind at a time."
        )
    return length


def _on_grid(rows: Rows, length: int, notes: Notes) -> pl.DataFrame:
    """By the moment at which each bar opens. An unfinished last bar goes; DataError for others off the grid."""
    frame = rows.frame
    misplaced = frame["time"] % length != 0
    off = frame.filter(misplaced) if misplaced.any() else frame.clear()  # to filter 2 million rows takes 100 MB
    if len(off) == 1 and len(frame) > 1 and off["time"][0] == frame["time"][-1]:
        frame = frame.filter(pl.col("time") % length == 0)
        notes.count(1, "unfinished last row", "off the grid left out")
    elif len(off):
        raise DataError(
            f"{rows.label}, row {off[ROW][0]}: {minute_text(off['time'][0])} is off the {in_words(length)} grid of UTC"
            f" ({len(off)} such rows). If the times are not in UTC, name their zone with --timezone."
        )
    if rows.stamp == "close":
        frame = frame.with_columns(pl.col("time") - length)
    return frame.rename({"time": "opened"})


# --- all files


def _common_length(tables: Sequence[Rows], *, sparse: bool) -> int:
    lengths = {length: rows.label for rows in reversed(tables) if (length := _length(rows, sparse=sparse)) is not None}
    if len(lengths) > 1:
        (one, first), (other, second), *_ = reversed(lengths.items())
        raise DataError(
            f"{first} has {in_words(one)} bars, {second} has {in_words(other)} bars. Import one kind at a time."
        )
    if not lengths:
        bars = count(sum(len(rows.frame) for rows in tables), "bar")
        raise DataError(f"{tables[0].label} has {bars}; at least 2 are needed to see their spacing.")
    return next(iter(lengths))


def _joined(tables: Sequence[pl.DataFrame], notes: Notes) -> pl.DataFrame:
    """Sorted by time. Rows that repeat another exactly are dropped; DataError for rows that contradict another."""
    frame = pl.concat(tables)
    if not frame["opened"].is_sorted():
        frame = frame.sort("opened", maintain_order=True)
    again = frame["opened"].filter(frame["opened"].diff() == 0).implode()
    twice = frame.filter(pl.col("opened").is_in(again))
    if twice.is_empty():
        return frame
    contents = [name for name in twice.columns if name not in (ROW, "file")]
    single = twice.unique(contents, keep="first", maintain_order=True)
    clash = single.filter(pl.col("opened").is_duplicated())
    if len(clash):
        places = (f"{file}, row {row} (close {close:.10g})" for file, row, close in clash["file", ROW, "close"].rows())
        raise DataError(
            f"There are two different bars for {minute_text(clash['opened'][0])}: {next(places)}, and {next(places)}."
            " Keep one of them."
        )
    notes.count(len(twice) - len(single), "exact duplicate", "dropped")
    return pl.concat([frame.filter(~pl.col("opened").is_in(again)), single]).sort("opened")


def _closed(frame: pl.DataFrame, length: int, now: datetime, notes: Notes) -> pl.DataFrame:
    closed = frame.head(int((frame["opened"] <= as_microseconds(now) - length).sum()))
    notes.count(len(frame) - len(closed), "bar", "not closed yet left out")
    return closed


def _granularity(length: int, option: Granularity | None, origin: str) -> Granularity:
    """What the bars are or become: what was asked for, else hours stay hours and all others are or become days."""
    grain = option or ("hourly" if length == BAR_US["hourly"] else "daily")
    if BAR_US[grain] % length:
        raise DataError(
            f"{origin} has {in_words(length)} bars, which make no {grain} ones: import it with --granularity daily."
        )
    return grain


def _resampled(
    frame: pl.DataFrame, length: int, grain: Granularity, origin: str, notes: Notes, *, sparse: bool
) -> pl.DataFrame:
    whole, missing = resample(frame, length, BAR_US[grain], sparse=sparse)
    if len(missing):
        notes.add(
            f"left out, because more than 10 % of their time is missing: {len(missing):,} {grain} bars, the first opens"
            f" at {minute_text(missing[0])}"
        )
    if whole.is_empty():
        raise DataError(
            f"{origin} has no whole {grain} bar: more than 10 % of the time of each is missing from its"
            f" {in_words(length)} bars."
        )
    notes.add(f"{in_words(length)} bars joined to {grain} ones")
    return whole
