"""The features that models are fitted on: the catalogue, and those of the file that the settings name."""

from functools import lru_cache
from pathlib import Path

from cryptocast.config import Config
from cryptocast.errors import ConfigError, ModelError
from cryptocast.features.builder import select_features
from cryptocast.features.catalogue_hash import catalogue_hash
from cryptocast.features.own import SETTING, FeatureSet, catalogue_set, with_own
from cryptocast.own_code import read_code
from cryptocast.registry import CHALLENGER, PRODUCTION, FitManifest, Registry, Version
from cryptocast.workflows.own_models import check_code

__all__ = [
    "FeatureSet",
    "catalogue_set",
    "columns_set",
    "feature_set",
    "feature_set_of",
    "is_outdated",
    "outdated_versions",
]


def feature_set(config: Config) -> FeatureSet:
    """What models are fitted on by the settings. Raises ConfigError if `[features] file` is missing or wrong."""
    whole = _everything(config)
    return whole if config.features.across_coins else whole.of_single_coins


def _everything(config: Config) -> FeatureSet:
    """The catalogue and what `[features] file` adds to it. Raises as `feature_set` does."""
    if not config.features.file:
        return catalogue_set()
    path = Path(config.features.file)
    return with_own(
        read_code(path, "feature", SETTING), str(path), {name: one.facts for name, one in config.series.items()}
    )


def feature_set_of(version: Version, config: Config) -> FeatureSet:
    """The features that a version was fitted on: the catalogue, or with what the settings add to it now.

    A version of the catalogue alone answers whatever file is configured. Raises ModelError if neither gives the values
    that it learned from, with the reason.
    """
    manifest = version.manifest
    if manifest.is_pretrained:
        return _own_columns(manifest)
    catalogue = catalogue_set()
    if (same := _of_digest(catalogue, manifest.feature_hash)) is not None:
        return same
    own = [name for name in (*manifest.features, *manifest.dropped) if name not in catalogue.names]
    anew = "train anew: cryptocast train --outdated"
    if not own:
        raise ModelError(f"it was fitted on features that this release computes differently; {anew}")
    words = f"it was fitted on {', '.join(own)} beside the catalogue"
    if not config.features.file:
        raise ModelError(f"{words}, and [features] file names no file now; name it again, or {anew}")
    for name, then in (manifest.series or {}).items():
        now = config.series[name].facts if name in config.series else "missing"
        if now != then.source:
            raise ModelError(
                f"{words}, with [series.{name}] ({then.source}), which is {now} now; put it back, or {anew}"
            )
    try:
        features = _everything(config)
    except ConfigError as error:
        raise ModelError(f"{words}, and now: {error}") from error
    same = _of_digest(features, manifest.feature_hash)
    if same is None:
        raise ModelError(f"{words}, and {features.origin} (or this release) has changed since; put it back, or {anew}")
    return same


def _of_digest(features: FeatureSet, digest: str) -> FeatureSet | None:
    """The set, or what it holds of single coins, whichever has the digest."""
    return next((one for one in (features, features.of_single_coins) if one.digest == digest), None)


@lru_cache(maxsize=8)
def columns_set(names: tuple[str, ...]) -> FeatureSet:
    """These features of the catalogue alone: what a pretrained model reads. Raises ValueError for one that is gone."""
    features = select_features(names)
    return FeatureSet(features, catalogue_hash(features), {})


def _own_columns(manifest: FitManifest) -> FeatureSet:
    try:
        columns = columns_set(manifest.features)
    except ValueError as error:
        raise ModelError(f"it came with another release: {error}") from error
    if columns.digest != manifest.feature_hash:
        raise ModelError("it came with another release, which computed its features differently")
    return columns


def is_outdated(version: Version, config: Config) -> bool:
    """Whether nobody can ask it any more, as its features are computed differently now, or its own code is another."""
    try:
        feature_set_of(version, config)
        check_code(version.manifest, config)
    except ModelError:
        return True
    return False


def outdated_versions(registry: Registry, config: Config) -> tuple[Version, ...]:
    """The versions in use, production before challengers, that cannot be asked any more."""
    in_use = [version for alias in (PRODUCTION, CHALLENGER) for version in registry.versions(alias=alias)]
    each = {(version.key, version.number): version for version in in_use}
    own = (version for version in each.values() if not version.manifest.is_pretrained)
    return tuple(version for version in own if is_outdated(version, config))
