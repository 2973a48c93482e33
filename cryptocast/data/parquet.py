"""Parquet and feather files as bytes, and files that appear whole or not at all. Nothing else names their library.

Arrow is loaded where files are written, or read that are not ours: a forecast from the store does without its 40 ms and
30 MB.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import polars as pl

from cryptocast.errors import DataError
from cryptocast.files import replace_file

if TYPE_CHECKING:
    import pyarrow as pa

FEATHER: Final = b"ARROW1"
METADATA_KEY: Final = b"cryptocast"
BUFFER: Final = "Could not open Parquet input source '<Buffer>': "


def encode(frame: pl.DataFrame, metadata: bytes | None = None) -> bytes:
    """The frame as a Parquet file (zstd), with our metadata in its schema."""
    import pyarrow.parquet as pq

    table = frame.to_arrow()
    if metadata is not None:
        table = table.replace_schema_metadata({METADATA_KEY: metadata})
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9, write_page_checksum=True)
    return buffer.getvalue()


def is_table(content: bytes) -> bool:
    """Whether these first bytes are those of a file that `decode` reads."""
    return content.startswith((b"PAR1", FEATHER))


def decode_hashed(content: bytes, origin: str) -> tuple[pl.DataFrame, bytes | None]:
    """As `decode`, of a Parquet file of ours whose content the caller checks against a hash: no checksum of a page is
    looked at."""
    with _refused(origin):
        frame = pl.read_parquet(content, parallel="none", use_statistics=False)
        return frame, _metadata(content)


def decode(content: bytes, origin: str) -> tuple[pl.DataFrame, bytes | None]:
    """The frame and our metadata (None where absent). DataError naming `origin` if this is no whole Parquet file, nor
    an Arrow file as feather writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _refused(origin, pa.ArrowException):
        if content.startswith(FEATHER):
            table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        else:
            # Not pq.read_table, which loads the datasets of pyarrow and pandas with them: 70 MB of every server.
            # Nor with threads: a series is small, and each of them would keep memory of its own.
            with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
                table = file.read(use_threads=False)
        frame = _frame(table)
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    return frame, metadata.get(METADATA_KEY)


def column_names(file: BinaryIO, origin: str) -> list[str]:
    """The columns of a Parquet or feather file. DataError naming `origin` if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _refused(origin, pa.ArrowException):
        schema = pa.ipc.open_file(file).schema if _is_feather(file) else pq.read_schema(file)
        return [str(name) for name in schema.names]


def pieces(file: BinaryIO, origin: str, columns: Sequence[str], rows: int = 200_000) -> Iterator[pl.DataFrame]:
    """These columns of a Parquet or feather file, at most so many rows at a time: the whole is never in memory.

    DataError naming `origin` as soon as it turns out to be damaged.
    """
    import pyarrow as pa

    with _refused(origin, pa.ArrowException):
        for batch in _batches(file, columns, rows):
            yield _frame(batch)


def _batches(file: BinaryIO, columns: Sequence[str], rows: int) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not _is_feather(file):
        with pq.ParquetFile(file, page_checksum_verification=True) as whole:
            yield from whole.iter_batches(rows, columns=columns)
        return
    schema = pa.ipc.open_file(file).schema
    fields = [at for at, name in enumerate(schema.names) if name in columns]
    reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))
    for at in range(reader.num_record_batches):
        batch = reader.get_batch(at).select(columns)
        yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _is_feather(file: BinaryIO) -> bool:
    file.seek(0)
    magic = file.read(len(FEATHER))
    file.seek(0)
    return magic == FEATHER


def _frame(table: "pa.Table | pa.RecordBatch") -> pl.DataFrame:
    table.validate(full=True)  # polars trusts buffers and names, and panics over bad ones
    str(table.schema)
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise ValueError("it does not contain a table")
    return frame


@contextmanager
def _refused(origin: str, *more: type[Exception]) -> Iterator[None]:
    """What the libraries say of a damaged file, as a DataError in one line. more: errors of the library that reads."""
    own = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)
    kinds: tuple[type[BaseException], ...] = (*own, *more)
    try:
        yield
    except kinds as error:
        # Only the first sentence: the rest guesses, and names a buffer that the user never saw.
        sentence = str(error).partition("\n")[0].partition(". ")[0].removeprefix(BUFFER)[:120].rstrip(".")
        raise DataError(f"{origin} is not a whole Parquet file: {sentence or type(error).__name__}.") from error


def read_metadata(path: Path) -> bytes | None:
    """Our metadata, without reading the rows; None where the file has none."""
    with _refused(str(path)):
        return _metadata(path)


def _metadata(source: Path | bytes) -> bytes | None:
    metadata = pl.read_parquet_metadata(source).get(METADATA_KEY.decode())
    return None if metadata is None else metadata.encode()


def read_bytes(path: Path) -> bytes:
    """The content of a file; DataError in one line if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check that it is a file and its rights."
        ) from error


def write_atomically(path: Path, content: bytes, *, own: bool = True) -> None:
    """Write a file that a reader sees whole, old or new (see files.replace_file). DataError when the disk refuses."""
    try:
        replace_file(path, content, own=own)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Check the folder and the space left."
        ) from error
