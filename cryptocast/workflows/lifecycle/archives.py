"""Versions as files: out of one registry and into another."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from cryptocast.config import Config
from cryptocast.data.parquet import write_atomically
from cryptocast.errors import ModelError, RegistryError, UsageError
from cryptocast.evaluation.records import HoldOut
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.registry import Registry, Version, sha256_hex
from cryptocast.registry.archive import Archive, pack, read_archive, unpack
from cryptocast.workflows.context import Context, NoProgress, Progress, steps
from cryptocast.workflows.lifecycle.local_hold_out import local_hold_outs
from cryptocast.workflows.own_models import loader_of
from cryptocast.workflows.pretrained import pretrained_bytes

NOTHING_SHOWN: Final = NoProgress()


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    schema: Literal["cryptocast.export/1"] = "cryptocast.export/1"
    path: str
    fit_id: str
    bytes: int
    sha256: str
    versions: tuple[str, ...]


class ImportedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it is called here.

    foreign: its scores are those of the archive and weigh nothing here. scored: bars of this store that it was scored
    on just now, at the horizon with most; not_scored: why it was not, where that was asked for.
    """

    name: str
    source: str
    aliases: tuple[str, ...]
    was_there: bool
    foreign: bool
    scored: int | None = None
    not_scored: str | None = None


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken in. With `dry_run` versions are named as they would be found, without numbers."""

    schema: Literal["cryptocast.import/1"] = "cryptocast.import/1"
    path: str
    dry_run: bool
    fit_id: str
    kind: str
    artefacts: int
    coins: tuple[str, ...]
    versions: tuple[ImportedVersion, ...]

    @property
    def unscored(self) -> str | None:
        """Why no version was scored, where that was asked for; None: one was, or nobody asked."""
        reasons = [f"{version.name}: {version.not_scored}" for version in self.versions if version.not_scored]
        return reasons[0] if reasons and all(version.scored is None for version in self.versions) else None


def export_version(
    registry: Registry,
    version: Version,
    path: Path,
    *,
    whole_fit: bool,
    overwrite: bool,
    config: Config | None = None,
    progress: Progress = NOTHING_SHOWN,
) -> ExportReport:
    """Write a version, or all versions of its fit, as one archive, whole or not at all.

    The shipped model that no registry has yet is in an archive already, that of the settings (config), which is copied.
    UsageError if the file is there already and may not be replaced. RegistryError if an artefact is damaged.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already. Name another file, or add --overwrite.")
    versions: tuple[Version, ...] = (version,)
    with steps(progress, "export", 2) as step:
        if version.number == 0:
            data = pretrained_bytes(config or Config())
        else:
            versions = registry.versions(fit_id=version.fit_id) if whole_fit else versions
            data = pack(versions, registry.load_files(version.fit_id))
        step("artefacts")
        write_atomically(path, data, own=False)
        step("file")
    return ExportReport(
        path=str(path),
        fit_id=version.fit_id,
        bytes=len(data),
        sha256=sha256_hex(data),
        versions=tuple(one.name for one in versions),
    )


def import_archive(
    registry: Registry,
    path: Path,
    *,
    config: Config | None = None,
    dry_run: bool,
    who: str,
    now: datetime,
    scoring: Context | None = None,
    progress: Progress = NOTHING_SHOWN,
) -> ImportReport:
    """Register what an archive holds: each version becomes the challenger of its key, with the next number here.

    Never production: the scores that an archive brings are foreign and weigh nothing. scoring: make the hold-outs again
    on the bars here, which then count; it may be done later too, when more bars have closed. The model is loaded once
    before anything is kept, so that one which cannot answer stays out: the code of a model of somebody's own is in no
    archive, and has to be in the file that the settings (config) name. Importing it again changes nothing else.
    RegistryError says why an archive is refused.
    """
    with steps(progress, "import", 2) as step:
        archive = unpack(read_archive(path), str(path))
        loaded = _loaded(archive, path, config or Config())
        step("hashes")
        before = {version.key for version in registry.versions(fit_id=archive.fit_id)}
        versions = () if dry_run else _registered(registry, archive, path, now, who)
        step("versions")
    scores, why_not = local_hold_outs(scoring, loaded, versions) if scoring is not None and versions else ({}, {})
    for version in versions:
        coin = version.key.coin
        if coin in scores and not registry.score_again(version.key, version.number, scores[coin]):
            del scores[coin]
            why_not[coin] = "it was trained here, and has the scores of its training"
    return ImportReport(
        path=str(path),
        dry_run=dry_run,
        fit_id=archive.fit_id,
        kind=archive.manifest.kind,
        artefacts=len(archive.files),
        coins=tuple(version.coin for version in archive.versions),
        versions=tuple(_imported(version, scores, why_not, was_there=version.key in before) for version in versions),
    )


def _loaded(archive: Archive, path: Path, config: Config) -> CalibratedForecaster:
    """Its model. Raises RegistryError where that cannot answer as the archive says, or is no coin's own."""
    manifest = archive.manifest
    if manifest.is_pretrained:
        raise RegistryError(
            f"The archive {path} is refused: it holds a model for every coin, which is no version of any. Name the file"
            " in config.toml: [train] pretrained."
        )
    try:
        model = CalibratedForecaster.load(archive.files, loader_of(manifest, config))
    except (ModelError, ValueError) as error:
        raise RegistryError(f"The archive {path} is refused: {error}") from error
    if tuple(model.horizons.tolist()) != manifest.horizons:
        raise RegistryError(
            f"The archive {path} is refused: its model forecasts other horizons than its manifest says."
        )
    return model


def _registered(registry: Registry, archive: Archive, path: Path, now: datetime, who: str) -> tuple[Version, ...]:
    try:
        return registry.register(archive.manifest, archive.files, archive.versions, now=now, who=f"{who} (import)")
    except ValueError as error:
        raise RegistryError(f"The archive {path} is refused: {error}.") from error


def _imported(
    version: Version, scores: Mapping[str, HoldOut], why_not: Mapping[str, str], *, was_there: bool
) -> ImportedVersion:
    own = scores.get(version.key.coin)
    return ImportedVersion(
        name=version.name,
        source=version.key.source,
        aliases=version.aliases,
        was_there=was_there,
        foreign=version.hold_out.foreign and own is None,
        scored=None if own is None else max(score.dates for score in own.horizons),
        not_scored=why_not.get(version.key.coin),
    )
