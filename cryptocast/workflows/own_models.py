"""The models that the settings know: those of the package, and those of the file that they name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptocast.config import Config
from cryptocast.errors import ConfigError, ModelError, UsageError
from cryptocast.kinds import ALL_KINDS, KINDS, SHIPPED
from cryptocast.models import kinds
from cryptocast.models.base import Forecaster, Learner
from cryptocast.models.own import SETTING, OwnLoader, OwnModels, with_models
from cryptocast.models.pretrained import PretrainedForecaster
from cryptocast.own_code import read_code
from cryptocast.registry import FitManifest
from cryptocast.workflows import pretrained

CODE: Final = "models.code"  # the setting, of a fit by a model of the user's own, that is the hash of its file


def own_models(config: Config) -> OwnModels:
    """What `[models] file` defines; nothing where none is named. Raises ConfigError if it is missing or wrong."""
    if not config.models.file:
        return OwnModels()
    path = Path(config.models.file)
    return with_models(read_code(path, "model", SETTING), str(path))


def learner(kind: str, config: Config) -> Learner:
    """The learner of a kind. Raises UsageError for one that neither the package nor the file has."""
    if kind == SHIPPED:
        return pretrained.learner(config)
    if kind in KINDS:
        return kinds.learner(kind, config)
    check_kind(kind, config)
    return own_models(config).learner(kind)


def check_kind(kind: str, config: Config) -> None:
    """Raise UsageError, naming the choices, for a kind that neither the package nor the file has."""
    own = own_models(config).names
    if kind not in KINDS and kind not in own:
        raise UsageError(f"There is no model {kind!r}. Choose among {', '.join((*ALL_KINDS, *own))}.")


def names_of_own(config: Config) -> tuple[str, ...]:
    """The kinds of the file; none where it cannot be read, which whoever asks one of its models will say."""
    try:
        return own_models(config).names
    except ConfigError:
        return ()


def own_settings(kind: str, config: Config) -> dict[str, str]:
    """What decides a fit of a kind of the file: its code."""
    return {} if kind in KINDS else {CODE: own_models(config).digest}


def code_of(names: Iterable[str], config: Config) -> str:
    """The hashes of the files behind those of the models that are not fitted from the package's own code: of a kind of
    the user's own, and of the shipped model; empty where none is."""
    others = set(names) - KINDS.keys()
    own = own_models(config).digest if others - {SHIPPED} else ""
    archive = pretrained.pretrained(config) if SHIPPED in others else None
    return " ".join(filter(None, (own, archive.fit_id if archive is not None else "")))


def loader_of(manifest: FitManifest, config: Config) -> type[Forecaster] | OwnLoader:
    """What loads the fit's model. Raises ModelError, with the reason, where its code is not here, or another."""
    if manifest.is_pretrained:
        return PretrainedForecaster
    if manifest.kind in KINDS:
        return kinds.forecaster_type(manifest.kind)
    return _own_code(manifest, config).loader(manifest.kind)


def check_code(manifest: FitManifest, config: Config) -> None:
    """Raise ModelError as `loader_of` does; of a kind of the package nothing is loaded."""
    if manifest.kind not in KINDS:
        _own_code(manifest, config)


def _own_code(manifest: FitManifest, config: Config) -> OwnModels:
    words = f"{manifest.kind} is a model of a file of its own"
    anew = "train anew: cryptocast train --outdated"
    if not config.models.file:
        raise ModelError(f"{words}, and {SETTING} names no file now; name it again")
    try:
        own = own_models(config)
    except ConfigError as error:
        raise ModelError(f"{words}, and now: {error}") from error
    if manifest.kind not in own.names:
        raise ModelError(f"{words}, and {own.origin} has no such model; put it back")
    if manifest.settings.get(CODE) != own.digest:
        raise ModelError(f"{words}, and {own.origin} has changed since it was fitted; put it back, or {anew}")
    return own
