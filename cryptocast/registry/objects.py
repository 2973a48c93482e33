"""The artefact store: immutable files named by the sha256 of their bytes.

A kill at any moment leaves either no file or the whole one (see files.replace_file), and at most a temporary file that
nothing refers to.
"""

import os
import re
import stat
from collections.abc import Container
from pathlib import Path

from cryptocast.errors import RegistryError
from cryptocast.files import TEMPORARY, replace_file
from cryptocast.registry.manifest import sha256_hex

SHA256 = re.compile(r"[0-9a-f]{64}")
INCOMING = ".incoming-"  # begins the name of a half-written file of an earlier release
REMEDY = "Restore it from a backup, or train again: cryptocast train."


class Objects:
    """Bytes by their hash, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the bytes with this hash lie. Raises RegistryError if it is no hash (so no path can be smuggled in)."""
        if not SHA256.fullmatch(sha256):
            raise RegistryError(f"{sha256[:80]!r} is not a sha256 in hexadecimal. See cryptocast registry verify.")
        return self.folder / sha256

    def put(self, data: bytes) -> str:
        """Store the bytes and return their hash. Storing them again changes nothing, or heals a damaged file."""
        sha256 = sha256_hex(data)
        path = self.path(sha256)
        try:
            if not _holds(path, data):
                replace_file(path, data, read_only=True)
        except OSError as error:
            raise RegistryError(
                f"The artefact cannot be stored as {path}: {error.strerror or error}. Check its rights and space."
            ) from error
        return sha256

    def get(self, sha256: str, size: int) -> bytes:
        """The bytes with this hash and length, both checked; no more than `size` + 1 bytes are ever read.

        Raises RegistryError that names the file if it is missing, is not a plain file, or holds anything else.
        """
        path = self.path(sha256)
        try:
            data = _read(path, size)
        except FileNotFoundError:
            raise RegistryError(f"The artefact {path} is missing. {REMEDY}") from None
        except OSError as error:
            raise RegistryError(f"The artefact {path} cannot be read: {error.strerror or error}. {REMEDY}") from error
        now = sha256_hex(data)
        if now != sha256:
            raise RegistryError(f"The artefact {path} is damaged: its sha256 is now {now[:12]}... {REMEDY}")
        return data

    def strays(self, referenced: Container[str], *, before: float) -> list[tuple[Path, int]]:
        """Files (with their sizes) that are not among these hashes, and half-written ones last touched before
        that moment in seconds since the epoch. Files of other names are not ours and are left alone."""
        strays = []
        try:
            for path in sorted(self.folder.iterdir()):
                status = path.lstat()
                ours = SHA256.fullmatch(path.name) is not None and path.name not in referenced
                half_written = path.name.endswith(TEMPORARY) or path.name.startswith(INCOMING)
                if ours or (half_written and status.st_mtime < before):
                    strays.append((path, status.st_size))
        except FileNotFoundError:  # no folder yet, or somebody else is tidying too
            return strays
        return strays

    def remove(self, path: Path) -> None:
        """Delete one of the strays. RegistryError if the disk refuses."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RegistryError(f"The artefact {path} cannot be deleted: {error.strerror or error}.") from error


def _read(path: Path, size: int) -> bytes:
    # O_NOFOLLOW and O_NONBLOCK (not on Windows): neither a link out of the store nor a pipe is followed or waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RegistryError(f"The artefact {path} is not a plain file. {REMEDY}")
        if status.st_size != size:
            raise RegistryError(f"The artefact {path} has {status.st_size} bytes, expected {size}. {REMEDY}")
        return file.read(size + 1)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return _read(path, len(data)) == data
    except (FileNotFoundError, RegistryError):
        return False
