"""Folders and files of the store, which belong to the user who runs cryptocast and to nobody else."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"  # the end of the name of a file that is being written

OWN_FILE: Final = 0o600
OWN_FOLDER: Final = 0o700
PROBE_BYTES: Final = 65_536  # a full disk often still takes an empty file


def make_own_folder(path: Path) -> None:
    """Make the folder, and those above it that are missing, open to this user alone. One that is there stays as it is.

    Raises OSError when the system refuses.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_own_folder(path.parent)
    path.mkdir(mode=OWN_FOLDER, exist_ok=True)


def open_own_file(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it makes is readable by this user alone, whatever the umask."""
    return os.open(path, flags, OWN_FILE)


def replace_file(path: Path, content: bytes, *, own: bool = True, read_only: bool = False) -> None:
    """Write a file that a reader sees whole, old or new, whenever the process or the machine stops.

    A temporary file in the same folder, flushed to the disk, renamed over the old one, then the folder flushed. What a
    killed writer leaves ends in `.tmp`. own: only this user may read it, as all of the store; otherwise the umask
    decides, as for a file that the user has named. Raises OSError when the system refuses.
    """
    if own:
        make_own_folder(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with open(temporary, "xb", opener=open_own_file if own else None) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if read_only and os.name == "posix":  # elsewhere a read-only file could not be replaced
            temporary.chmod(0o400)
        temporary.replace(path)
    except BaseException:  # Ctrl-C too: leave nothing half-written behind
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a new name itself survive a power cut. Windows cannot open folders and does this by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_own_file(path: Path) -> None:
    """An empty file for this user alone, unless there is a file already. Raises OSError when the system refuses."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, OWN_FILE))


def nearest_folder(path: Path) -> Path:
    """The path, or the closest one above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def write_refusal(folder: Path) -> str | None:
    """Why nothing can be kept in a folder, or in the one above it where it would be made; None if it can.

    Asked by writing some bytes that nobody else sees: rights alone tell neither of a full disk nor of a read-only one.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder)) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            return None
    except OSError as error:
        return error.strerror or str(error)
