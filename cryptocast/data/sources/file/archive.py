"""The files of an import: plain, gzip or zip, named one by one or by their folder, each as a bounded stream of bytes.

Nothing is unpacked to the disk, and the name of a member never becomes a path.
"""

import gzip
import hashlib
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, cast

from cryptocast.errors import DataError

TABLES: Final = (".csv", ".tsv", ".txt", ".json", ".feather", ".parquet", ".pq")
ARCHIVES: Final = (".zip", ".gz")
FOREIGN: Final = (".7z", ".bz2", ".rar", ".tar", ".tgz", ".xz")  # refused inside a zip, as are ours
MOST_TIMES, MOST_BYTES = 200, 4 << 30  # of the compressed size; however large that is
MOST_IN_MEMORY: Final = 128 << 20  # what is not read piece by piece, and lies in an archive
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
UNREADABLE: Final = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError, ValueError),  # of zipfile: a password, a method, a name that it cannot handle
)


@dataclass(frozen=True, slots=True)
class PriceFile:
    """One file of an import. label and name are safe to print; `inside` is its place in a zip; content: what it holds
    where it lies on no disk."""

    label: str
    name: str
    path: Path
    inside: zipfile.ZipInfo | None = None
    content: bytes | None = None

    @property
    def short_label(self) -> str:
        """Without the folder."""
        return self.label.removeprefix(f"{printable(self.path.parent)}{os.sep}")

    @contextmanager
    def open(self) -> "Iterator[PriceStream]":
        """Its bytes, inflated. DataError if they are damaged, too many, or an archive once more."""
        if self.content is not None:
            yield PriceStream(BytesIO(self.content), None, self.label)
            return
        with ExitStack() as stack:
            with refused(self.label):
                file = stack.enter_context(self.path.open("rb"))
                stream: BufferedIOBase = file
                compressed = None
                if self.inside is not None:
                    compressed = self.inside.compress_size
                    archive = stack.enter_context(zipfile.ZipFile(file))
                    stream = cast("BufferedIOBase", stack.enter_context(archive.open(self.inside)))
                elif file.peek(2)[:2] == GZIP:
                    compressed = self.path.stat().st_size
                    stream = stack.enter_context(gzip.GzipFile(fileobj=file))
            yield PriceStream(stream, compressed, self.label)


class PriceStream:
    """A stream that ends in a DataError where it is damaged, or inflates beyond all reason.

    compressed: the size of what is inflated; None if it is read as it lies on the disk.
    """

    def __init__(self, stream: BufferedIOBase, compressed: int | None, label: str) -> None:
        self._stream, self._label = stream, label
        self._limit = None if compressed is None else min(compressed * MOST_TIMES, MOST_BYTES)
        self._count = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end."""
        with refused(self._label):
            content = self._stream.read(size)
        if self._limit is None:
            return content
        if not self._count and content.startswith((ZIP, GZIP)):
            raise DataError(f"{self._label} is an archive within an archive. Unpack the outer one first.")
        self._count += len(content)
        if self._count > self._limit:
            raise DataError(
                f"{self._label} inflates to more than {self._limit:,} bytes ({MOST_TIMES} times its size, 4 GB at"
                " most). If that is right, unpack it first."
            )
        return content

    def from_start(self, first: bytes) -> BinaryIO:
        """All of it, to be read in any order: the file, or what it inflates to, of which `first` has been read."""
        if self._limit is None:
            self._stream.seek(0)
            return cast("BinaryIO", self._stream)
        content = first + self.read(MOST_IN_MEMORY)
        if len(content) > MOST_IN_MEMORY:
            raise DataError(f"{self._label} inflates to more than {MOST_IN_MEMORY >> 20} MB. Unpack it first.")
        return BytesIO(content)


def price_files(paths: Sequence[Path]) -> list[PriceFile]:
    """Every file with prices: folders with all they hold, in the order of their names, and the members of zip files.

    In a folder and in a zip only files with a usual ending count. A `.CHECKSUM` beside a file is held against it.
    """
    return list(dict.fromkeys(member for path in paths for file in _files(path) for member in _members(file)))


def printable(path: Path | str) -> str:
    """A path on one line of printable characters: those that are none, and bytes that are not UTF-8, are escaped."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@contextmanager
def refused(label: str) -> Iterator[None]:
    """What the system and the libraries say of a file that cannot be read, as a DataError in one line."""
    try:
        yield
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{label} cannot be read: {printable(reason).rstrip('.')[:120]}.") from error


def _files(path: Path) -> list[Path]:
    with refused(printable(path)):
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise DataError(f"There is no file {printable(path)}.")
        inside = sorted(path.rglob("*"))
        files = [file for file in inside if file.suffix.lower() in (*TABLES, *ARCHIVES) and _is_visible(file, path)]
    if not files:
        raise DataError(f"There is no file of prices in the folder {printable(path)}.")
    return files


def _is_visible(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _members(path: Path) -> list[PriceFile]:
    label = printable(path)
    with refused(label):
        _check_sum(path, label)
        with path.open("rb") as file:
            if file.read(4) != ZIP:
                return [PriceFile(label, printable(path.stem if path.suffix.lower() == ".gz" else path.name), path)]
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    if sum(info.compress_size for info in infos) > path.stat().st_size:  # the bound of each member rests on it
        raise DataError(f"{label} is damaged: its members claim to be larger than it is.")
    inside = []
    for info in infos:
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.suffix.lower() in (*ARCHIVES, *FOREIGN):
            raise DataError(f"{label} holds the archive {printable(info.filename)}. Unpack {label} first.")
        if name.suffix.lower() in TABLES and not name.name.startswith(".") and "__MACOSX" not in name.parts:
            inside.append(PriceFile(f"{label}: {printable(info.filename)}", printable(name.name), path, info))
    if not inside:
        raise DataError(f"{label} holds no file of prices ({', '.join(TABLES)}).")
    return sorted(inside, key=lambda member: member.label)


def _check_sum(path: Path, label: str) -> None:
    """Hold the file against the line `SHA256  NAME` in the `.CHECKSUM` beside it, where there is one."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.is_file():
        return
    expected = beside.read_bytes()[:64].decode("ascii", "replace").lower()
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if expected != actual:
        raise DataError(
            f"{label} does not match the checksum beside it: its sha256 begins with {actual[:12]},"
            f" {printable(beside.name)} says {printable(expected[:12])}. Download both again."
        )
