"""What an installation may go without: the extras of the package, and what each adds.

It imports nothing but the errors, so that the table of the kinds can read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptocast.errors import NotInstalledError


@dataclass(frozen=True, slots=True)
class Extra:
    """libraries: distributions that it is there with. adds: what can be done with it."""

    name: str
    libraries: tuple[str, ...]
    adds: str

    @property
    def command(self) -> str:
        """How to get it."""
        return f"pip install 'cryptocast[{self.name}]'"

    @property
    def missing(self) -> tuple[str, ...]:
        """The libraries that are not installed."""
        return tuple(library for library in self.libraries if not is_there(library))


LSTM: Final = Extra("lstm", ("torch",), "trains lstm")
REPORT: Final = Extra("report", ("altair", "vl-convert-python"), "draws reports and pictures")
EXTRAS: Final[Mapping[str, Extra]] = {
    extra.name: extra
    for extra in (
        LSTM,
        REPORT,
        Extra("dask", ("distributed",), "works on a cluster"),
        Extra("ccxt", ("ccxt",), "fetches from any exchange of ccxt"),
        Extra("postgres", ("psycopg",), "keeps studies in PostgreSQL"),
        Extra("compress", ("brotli",), "answers in brotli and zstd"),
    )
}


def is_there(distribution: str) -> bool:
    """Whether it is installed; nothing is imported."""
    from importlib import metadata  # takes longer than all of this module, and few ask

    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_installed(extra: Extra, use: str) -> None:
    """Raise NotInstalledError, saying how to get it, where a library of the extra is missing.

    use: the beginning of the sentence, up to the libraries: "lstm learns with".
    """
    if extra.missing:
        libraries = " and ".join(extra.missing)
        raise NotInstalledError(f"{use} {libraries}, not installed here.", f"Get it: {extra.command}.")
