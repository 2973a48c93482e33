"""The model that came with the package, or from `cryptocast pretrain`: it answers for coins without one of their own.

It is `COIN/lightgbm@shipped`. Until it is needed in the registry it is nowhere but in its file; where something is
written anyway, it becomes the coin's first version, so that what is fitted later is its challenger.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from cryptocast.config import Config
from cryptocast.errors import ConfigError, RegistryError
from cryptocast.evaluation.records import HoldOut
from cryptocast.kinds import SHIPPED
from cryptocast.market import Market
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.pretrained import PretrainedForecaster, PretrainedLearner
from cryptocast.registry import CHALLENGER, PRODUCTION, CoinCalibration, NewVersion, Registry, Version, VersionKey
from cryptocast.registry.archive import Archive, read_archive, unpack
from cryptocast.registry.manifest import FitManifest, canonical_json, sha256_hex
from cryptocast.registry.references import VersionReference, parse_reference
from cryptocast.registry.registry import ProductionMovedError, Promotion

KIND: Final = "lightgbm"
NONE: Final = "none"
NO_MODEL: Final = f'[train] pretrained is "{NONE}". Set it to "{SHIPPED}", or name a file.'
LIMITS: Final = "the shipped model forecasts daily bars, and none that closed before the last one that it learned from"
# Made by `cryptocast pretrain`; its card says from what.
SHIPPED_FILE: Final = Path(__file__).parent.parent / "models" / "shipped.zip"


def pretrained(config: Config) -> Archive | None:
    """What `[train] pretrained` names; None where nothing shall answer for coins without a version.

    Raises ConfigError if that file cannot be read or is no pretrained model.
    """
    path = _path(config)
    if path is None:
        return None
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except (OSError, RegistryError) as error:
        raise ConfigError(f"[train] pretrained: {error}") from error


def pretrained_bytes(config: Config) -> bytes:
    """Its file, which is an archive. ConfigError where there is none, RegistryError if it cannot be read."""
    path = _path(config)
    if path is None:
        raise ConfigError(NO_MODEL)
    return read_archive(path)


def _path(config: Config) -> Path | None:
    name = config.train.pretrained
    if name == NONE:
        return None
    return SHIPPED_FILE if name == SHIPPED else Path(name)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> Archive:
    archive = unpack(read_archive(path), str(path))
    if not archive.manifest.is_pretrained:
        raise RegistryError(f"{path} holds versions of {archive.manifest.source} coins, not a model for every coin.")
    return archive


def learner(config: Config) -> PretrainedLearner:
    """The model as a contender of a backtest. Raises ConfigError where there is none."""
    archive = pretrained(config)
    if archive is None:
        raise ConfigError(NO_MODEL)
    return PretrainedLearner(CalibratedForecaster.load(archive.files, PretrainedForecaster))


def pretrained_fit(config: Config) -> FitManifest | None:
    """What is written down about the model; None where there is none."""
    archive = pretrained(config)
    return None if archive is None else archive.manifest


def knowledge_date(fit: FitManifest) -> datetime | None:
    """The last close that anything in a pretrained model was learned from; None: the fit is an ordinary one."""
    return None if fit.knowledge_date is msgspec.UNSET else fit.knowledge_date


def shipped_version(config: Config, key: VersionKey, last_bar: datetime) -> Version | None:
    """The model as the version of a coin that no registry has; None on bars that it does not forecast, or before its
    knowledge date."""
    archive = pretrained(config)
    if archive is None or not _answers(archive.manifest, key.market, last_bar):
        return None
    fit = _of_market(archive.manifest, key.market)
    return Version(
        key=msgspec.structs.replace(key, kind=KIND),
        number=0,
        fit_id=archive.fit_id,
        manifest=fit,
        hold_out=_nothing_scored(fit, key.coin),
        calibration=CoinCalibration(coin=key.coin, state={}),
        aliases=(SHIPPED,),
        created_at=fit.trained_at,
    )


def as_registered(registry: Registry, shipped: Version | None) -> Version | None:
    """The same model where the registry has it: with its live forecasts, and what it has learned from them."""
    own = None if shipped is None else registry.alias(shipped.key, SHIPPED)
    is_same = own is not None and shipped is not None and own.manifest == shipped.manifest
    return own if is_same else shipped


def adopt(
    config: Config, registry: Registry, market: Market, last_bars: Mapping[str, datetime], *, now: datetime, who: str
) -> None:
    """Make the model the first version, in production, of the coins that have none of its kind there.

    Where an earlier one is in production, that of another release or file, it becomes the challenger, unless one of the
    coin's own waits: the gate decides. last_bars: by coin, its last close.
    """
    archive = pretrained(config)
    if archive is None:
        return
    fit = _of_market(archive.manifest, market)
    fit_id = sha256_hex(canonical_json(fit))
    keys = {coin: VersionKey(coin, market, KIND) for coin, last in last_bars.items() if _answers(fit, market, last)}
    free = [coin for coin, key in keys.items() if _is_free(registry, key, fit_id)]
    coins = [*free, *(coin for coin, key in keys.items() if _may_contend(registry, key, fit_id))]
    if not coins:
        return
    versions = [NewVersion(coin, CoinCalibration(coin=coin, state={}), _nothing_scored(fit, coin)) for coin in coins]
    adopted = registry.register(fit, archive.files, versions, now=now, who=who)
    why = "it came with cryptocast, and answers until a version of the coin's own is shown to be better"
    moves = [
        Promotion(key=one.key, number=one.number, why=why, expected=None) for one in adopted if one.key.coin in free
    ]
    try:
        registry.promote_all(moves, now=now, who=who)
    except ProductionMovedError:
        for move in moves:  # what somebody else has put there since stays
            with suppress(ProductionMovedError):
                registry.promote_all([move], now=now, who=who)


def incumbent(registry: Registry, key: VersionKey) -> Version | None:
    """What a version of a kind that has no production has to beat: the pretrained model where that answers."""
    production = registry.alias(msgspec.structs.replace(key, kind=KIND), PRODUCTION)
    return production if production is not None and production.manifest.is_pretrained else None


def _is_free(registry: Registry, key: VersionKey, fit_id: str) -> bool:
    """Whether nothing of the key is in production, and nothing was registered but this very model."""
    versions = registry.versions(**key.columns)
    return registry.alias(key, PRODUCTION) is None and all(version.fit_id == fit_id for version in versions)


def _may_contend(registry: Registry, key: VersionKey, fit_id: str) -> bool:
    """Whether another pretrained model is in production, and no version of the coin's own waits behind it."""
    production, challenger = (registry.alias(key, alias) for alias in (PRODUCTION, CHALLENGER))
    if production is None or not production.manifest.is_pretrained:
        return False
    is_first = challenger is None or challenger.manifest.is_pretrained
    return is_first and all(version.fit_id != fit_id for version in registry.versions(**key.columns))


def earlier_models(registry: Registry, config: Config) -> tuple[Version, ...]:
    """What is in production as the model for every coin, and is not the one that the settings name now."""
    archive = pretrained(config)
    if archive is None:
        return ()
    every = (version for version in registry.versions(alias=PRODUCTION) if version.manifest.is_pretrained)
    return tuple(one for one in every if one.manifest != _of_market(archive.manifest, one.key.market))


def _answers(fit: FitManifest, market: Market, last_bar: datetime) -> bool:
    date = knowledge_date(fit)
    return date is not None and fit.granularity == market.granularity and last_bar >= date


def _of_market(fit: FitManifest, market: Market) -> FitManifest:
    return msgspec.structs.replace(fit, source=market.source, vs=market.vs)


def _nothing_scored(fit: FitManifest, coin: str) -> HoldOut:
    """Of the coin itself; how the model did on other coins is in its card."""
    return HoldOut(start=fit.trained_at, end=fit.trained_at, coins=(coin,), horizons=())


def version_of(
    registry: Registry, reference: str | VersionReference, market: Market, shipped: Version | None
) -> Version:
    """The version that a reference means; `@shipped` also where the registry has none, if there is one. Raises as
    `Registry.get`."""
    parsed = parse_reference(reference) if isinstance(reference, str) else reference
    try:
        return registry.get(parsed, market)
    except RegistryError as error:
        if parsed.alias != SHIPPED or parsed.kind not in (None, KIND):
            raise
        if shipped is None or parsed.coin != shipped.key.coin:
            raise RegistryError(f"{parsed} does not answer here: {LIMITS}.") from error
        return shipped


def files_of(registry: Registry, version: Version, config: Config) -> dict[str, bytes]:
    """The artefacts of a version, from the registry or from the file of the pretrained model."""
    archive = pretrained(config) if version.number == 0 else None
    return registry.load_files(version.fit_id) if archive is None else archive.files
