"""The kinds of the table `cryptocast.kinds`, loaded on demand: a command imports only what it uses."""

from importlib import import_module
from typing import Protocol, cast

from cryptocast.config import Config
from cryptocast.errors import UsageError
from cryptocast.kinds import ALL_KINDS, KINDS
from cryptocast.models.base import Forecaster, Learner


class KindModule(Protocol):
    """What the module of a kind has."""

    @property
    def FORECASTER(self) -> type[Forecaster]:  # noqa: N802 - a constant of the module
        """The class that loads a saved model of the kind."""

    def learner(self, config: Config) -> Learner:
        """The learner with its section of the settings."""


def learner(kind: str, config: Config) -> Learner:
    """The learner of a kind with its section of the settings. Raises UsageError for a kind that is not in the table."""
    return _module(kind).learner(config)


def forecaster_type(kind: str) -> type[Forecaster]:
    """The class that loads a saved model of the kind. Raises as `learner` does."""
    return _module(kind).FORECASTER


def _module(kind: str) -> KindModule:
    if kind not in KINDS:
        raise UsageError(f"There is no model {kind!r}. Choose among {', '.join(ALL_KINDS)}.")
    return cast("KindModule", import_module(f"cryptocast.models.{KINDS[kind].module}"))
