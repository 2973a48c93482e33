"""Parquet and feather files as bytes, and files that appear whole or not at all. Nothing else names their library."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cryptocast.errors import DataError
from cryptocast.files import replace_file

FEATHER: Final = b"ARROW1"
METADATA_KEY: Final = b"cryptocast"
BUFFER: Final = "Could not open Parquet input source '<Buffer>': "


def encode(frame: pl.DataFrame, metadata: bytes | None = None) -> bytes:
    """The frame as a Parquet file (zstd), with our metadata in its schema."""
    table = frame.to_arrow()
    if metadata is not None:
        table = table.replace_schema_metadata({METADATA_KEY: metadata})
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9, write_page_checksum=True)
    return buffer.getvalue()


def is_table(content: bytes) -> bool:
    """Whether these first bytes are those of a file that `decode` reads."""
    return content.startswith((b"PAR1", FEATHER))


def decode(content: bytes, origin: str) -> tuple[pl.DataFrame, bytes | None]:
    """The frame and our metadata (None where absent). DataError naming `origin` if this is no whole Parquet file, nor
    an Arrow file as feather writes it."""
    try:
        if content.startswith(FEATHER):
            table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        else:
            # Not pq.read_table, which loads the datasets of pyarrow and pandas with them: 70 MB of every server.
            with pq.ParquetFile(BytesIO(content), page_checksum_verification=True) as file:
                table = file.read()
        table.validate(full=True)  # polars trusts buffers and names, and panics over bad ones
        str(table.schema)
        frame = pl.from_arrow(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise _not_parquet(origin, error) from error
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{origin} does not contain a table.")
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    return frame, metadata.get(METADATA_KEY)


def read_metadata(path: Path) -> bytes | None:
    """Our metadata, without reading the rows; None where the file has none."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _not_parquet(str(path), error) from error
    metadata: Mapping[bytes, bytes] = schema.metadata or {}
    return metadata.get(METADATA_KEY)


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


def _not_parquet(origin: str, error: BaseException) -> DataError:
    # Only the first sentence: the rest guesses, and names a buffer that the user never saw.
    sentence = str(error).partition("\n")[0].partition(". ")[0].removeprefix(BUFFER)[:120].rstrip(".")
    return DataError(f"{origin} is not a whole Parquet file: {sentence or type(error).__name__}.")
