"""One exception hierarchy: a class for each reaction that a caller may have, each with its exit code."""

from typing import Self


class CryptocastError(Exception):
    """Something that the user can act on. The message says what happened, with the numbers, and what to do next.

    what: what happened alone, without advice and full stop, for a place where the sentence goes on.
    """

    exit_code = 1

    def __init__(self, what: str = "", advice: str = "") -> None:
        super().__init__(f"{what} {advice}" if advice else what)
        self.what = what.rstrip(".")

    def saying(self, message: str) -> Self:
        """The same error in other words: of the same class and with all that it knows, whatever that is made from."""
        again = type(self).__new__(type(self), message)
        again.__dict__.update(self.__dict__)
        return again


class UsageError(CryptocastError):
    """A command was asked for something that it cannot mean."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, malformed or out of range."""


class DataError(CryptocastError):
    """Candles are missing, malformed, too short, or cannot be stored."""

    exit_code = 3


class TooFewBarsError(DataError):
    """A coin's history is too short, or too still, to state a volatility; more bars may come with time."""


class UpstreamError(CryptocastError):
    """The upstream API could not be reached or refused to answer."""

    exit_code = 4


class ModelError(CryptocastError):
    """A model cannot be built, fitted, loaded or asked for this forecast."""

    exit_code = 5


class NotInstalledError(ModelError):
    """A library that not everybody needs is not installed: one that a model learns with (what it learned before can be
    used), or that of a table that was asked for."""


class RegistryError(CryptocastError):
    """The registry lacks, contradicts or refuses what was asked."""

    exit_code = 5


class GateError(CryptocastError):
    """The gate refused a promotion that was asked for by name."""

    exit_code = 6
