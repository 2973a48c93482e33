"""The artefact store: immutable files named by the sha256 of their bytes.

A file is written under a temporary name, flushed to the disk and renamed, so that a kill at any moment leaves either no
file or the whole one; what it may leave besides is a temporary file that nothing refers to.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Container
from pathlib import Path

from cryptocast.errors import RegistryError
from cryptocast.files import make_own_folder, open_own_file
from cryptocast.registry.manifest import sha256_hex

__all__ = ["Objects"]

SHA256 = re.compile(r"[0-9a-f]{64}")
TEMPORARY = ".incoming-"
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
                make_own_folder(self.folder)
                _write(path, data)
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
        found = sha256_hex(data)
        if found != sha256:
            raise RegistryError(f"The artefact {path} is damaged: its sha256 is now {found[:12]}... {REMEDY}")
        return data

    def strays(self, wanted: Container[str], *, before: float) -> list[tuple[Path, int]]:
        """Files (with their sizes) that are not among the hashes wanted, and half-written ones last touched before
        that moment in seconds since the epoch. Files of other names are not ours and are left alone."""
        found = []
        try:
            for path in sorted(self.folder.iterdir()):
                status = path.lstat()
                ours = SHA256.fullmatch(path.name) is not None and path.name not in wanted
                if ours or (path.name.startswith(TEMPORARY) and status.st_mtime < before):
                    found.append((path, status.st_size))
        except FileNotFoundError:  # no folder yet, or somebody else is tidying too
            return found
        return found

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


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=open_own_file) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name == "posix":  # elsewhere a read-only file could not be replaced when it needs healing
            temporary.chmod(0o400)
        temporary.replace(path)
    except BaseException:  # Ctrl-C too: leave nothing half-written behind
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut. Windows cannot open folders and does this by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
