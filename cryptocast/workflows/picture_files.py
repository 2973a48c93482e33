"""Pictures as files: the suffix says the format."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptocast.data.parquet import write_atomically
from cryptocast.errors import UsageError
from cryptocast.extras import REPORT, check_installed

if TYPE_CHECKING:
    from cryptocast.evaluation.report import Picture

PICTURE_SUFFIXES: Final = (".png", ".svg", ".html")


def check_picture_path(path: Path) -> None:
    """UsageError unless `write_picture` could choose a format for this path, NotInstalledError where nothing can be
    drawn: ask before long work, not after it."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"{path} does not say its format: end it in {', '.join(PICTURE_SUFFIXES)}.")
    check_drawing()


def check_drawing() -> None:
    """NotInstalledError without the extra that draws."""
    check_installed(REPORT, "Reports and pictures are drawn with")


def write_picture(picture: "Picture", path: Path) -> None:
    """Write it whole or not at all. UsageError for an unknown suffix, DataError when the disk refuses."""
    check_picture_path(path)
    suffix = path.suffix.lower()
    content = picture.png() if suffix == ".png" else (picture.svg() if suffix == ".svg" else picture.html()).encode()
    write_atomically(path, content, own=False)
