"""A file as a table of raw cells that arrives in pieces, each row with its number in the file (text: the line)."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Final

import polars as pl
import polars.selectors as cs

from cryptocast.data import parquet
from cryptocast.data.sources.file.archive import PriceFile, PriceStream
from cryptocast.data.sources.file.layouts import FileShape, is_read, recognise
from cryptocast.errors import DataError

ROW: Final = "row"
PIECE: Final = 4 << 20  # bytes of text at a time
HEAD: Final = 40  # lines that are looked at to recognise a layout
SEPARATORS: Final = ",;\t|"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """pieces: frames with the columns "0", "1", ... as they stand in the file, and the number of each row in ROW.

    point_is_decimal: a point alone is never between thousands here, as cells are separated by commas or are typed.
    """

    shape: FileShape
    pieces: Iterator[pl.DataFrame]
    point_is_decimal: bool = True


def open_table(member: PriceFile, stream: PriceStream, *, piece: int = PIECE) -> Table:
    """The table in a CSV, JSON, Parquet or feather file, by its content. DataError in one line if it is none."""
    first = stream.read(piece).removeprefix(b"\xef\xbb\xbf")
    if not first.strip():
        raise DataError(f"{member.label} is empty.")
    if parquet.is_table(first) or member.name.lower().endswith((".parquet", ".pq", ".feather")):
        return _typed(stream.from_start(first), member.label, is_feather=first.startswith(parquet.FEATHER))
    json = re.match(rb"\s*[\[{]", first) is not None
    if json and not re.match(rb"\s*\[\s*\[", first):
        raise DataError(f"{member.label} is JSON, but no list of bars such as [[1704067200000, 1, 2, 1, 2, 5], ...].")
    blocks = _blocks(first, stream, piece, member.label, json=json)
    return _text(next(blocks), blocks, member.label, json=json)


def _typed(file: BinaryIO, origin: str, *, is_feather: bool) -> Table:
    names = parquet.column_names(file, origin)
    shape = recognise([names], origin, feather=is_feather)
    columns = {name: str(at) for at, (name, plain) in enumerate(zip(names, shape.names, strict=True)) if is_read(plain)}
    words = cs.string() | cs.categorical() | cs.enum()

    def pieces() -> Iterator[pl.DataFrame]:
        row = 1
        for frame in parquet.pieces(file, origin, list(columns)):
            yield frame.with_columns(words.cast(pl.String)).rename(columns).with_row_index(ROW, offset=row)
            row += len(frame)

    return Table(shape, pieces())


def _text(block: bytes, others: Iterator[bytes], origin: str, *, json: bool) -> Table:
    lines = _decoded(block, origin).split("\n", HEAD)[:HEAD]
    sample = next((line for line in lines if any(mark in line for mark in SEPARATORS)), "")
    separator = max(SEPARATORS, key=sample.count)
    head = [_cells(line, separator, f"{origin}, row {number}") for number, line in enumerate(lines, start=1)]
    if not any(head):
        raise DataError(f"{origin} is empty in its first {len(head)} lines.")
    shape = recognise(head, origin, json=json)
    body = block.split(b"\n", shape.above)[shape.above :]

    def pieces() -> Iterator[pl.DataFrame]:
        row = shape.above + 1
        for text in chain(body, others):
            frame = _parse(text, separator, len(shape.names), origin, row)
            if len(frame):
                yield frame
            row += text.count(b"\n")

    return Table(shape, pieces(), point_is_decimal=separator == "," and b'"' not in block)


def _blocks(first: bytes, stream: PriceStream, piece: int, origin: str, *, json: bool) -> Iterator[bytes]:
    """Whole lines, as many as come at a time. Bars in JSON become lines of text."""
    end = b"]" if json else b"\n"
    rest, content = b"", first
    while content:
        whole, cut, rest = (rest + content).rpartition(end)
        if len(rest) > piece:
            raise DataError(f"{origin} has no end of line within {piece:,} bytes: it is no table of bars.")
        if cut:
            yield _lines(whole + cut, json=json)
        content = stream.read(piece)
    if rest.strip():
        yield _lines(rest, json=json)


def _lines(block: bytes, *, json: bool) -> bytes:
    if json:
        return block.translate(None, b"[ \t\r\n").replace(b"],", b"\n").replace(b"]", b"\n").lstrip(b",")
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _decoded(block: bytes, origin: str) -> str:
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{origin} is neither Parquet nor a CSV file in UTF-8 (byte {error.start}).") from error


def _cells(line: str, separator: str, place: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), []) if line.strip() else []
    except csv.Error as error:
        raise DataError(f"{place}: {error}.") from error


def _parse(block: bytes, separator: str, width: int, origin: str, row: int) -> pl.DataFrame:
    """The rows of whole lines, all of them of the same width; blank lines are none. row: the number of the first."""
    lines = [line if line.strip() else "" for line in _decoded(block, origin).split("\n")]
    for number, line in enumerate(lines, start=row):
        cells = (
            line.count(separator) + 1 if '"' not in line else len(_cells(line, separator, f"{origin}, row {number}"))
        )
        if line and cells != width:
            raise DataError(f"{origin}, row {number}: {cells} columns instead of {width}; is the file cut off?")
    text = "\n".join(lines)
    start = text.lstrip("\n")  # a blank line at the start would be taken for a table of one column
    schema = {str(at): pl.String() for at in range(width)}
    try:
        frame = pl.read_csv(start.encode(), has_header=False, separator=separator, schema=schema, raise_if_empty=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{origin}, row {row} or below: {str(error).splitlines()[0][:120]}.") from error
    blank = pl.all_horizontal(pl.exclude(ROW).is_null())
    return frame.with_row_index(ROW, offset=row + len(text) - len(start)).filter(~blank)
