"""What the registry and the settings answer, as documents for `--json` and for the screens."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import asdict, fields

from cryptocast.addresses import without_logins
from cryptocast.config import SECRET_NAMES, Config, Origin, Section, origins, settings_file
from cryptocast.market import Market
from cryptocast.registry import (
    Event,
    Evidence,
    HoldOut,
    LiveMark,
    Reason,
    Registry,
    SourceMove,
    Version,
    VersionKey,
    VersionSummary,
)
from cryptocast.registry.gate import Standing
from cryptocast.registry.retention import Deletion
from cryptocast.registry.verify import RegistryFault
from cryptocast.registry.version import version_name
from cryptocast.workflows.context import Progress, each
from cryptocast.workflows.reports import AnswerWord, Document, KeyRow, MarketRow, Question


# gc=False: thousands are made at once, and hold nothing that could hold them.
class VersionRow(KeyRow, frozen=True, kw_only=True, gc=False):
    """One version in a list."""

    name: str
    number: int
    aliases: tuple[str, ...]
    fit_id: str
    created_at: datetime
    trained_to: datetime | None  # close of the last bar of the coin that its fit saw
    horizons: tuple[int, ...]
    skill: float | None  # against the baseline, mean over the horizons of the hold-out
    answers: tuple[dict[Question, AnswerWord], ...]  # of the hold-out, in the order of the horizons
    foreign: bool  # skill and answers came with an archive, were not made here and weigh nothing


class VersionsDocument(Document, frozen=True, kw_only=True):
    """All versions that match."""

    schema: Literal["cryptocast.versions/3"] = "cryptocast.versions/3"
    versions: tuple[VersionRow, ...]


class VersionDocument(Document, frozen=True, kw_only=True):
    """One version with all that is written down about it."""

    schema: Literal["cryptocast.version/3"] = "cryptocast.version/3"
    version: VersionRow
    manifest: Mapping[str, Any]
    hold_out: HoldOut
    evidence: Evidence | None  # the newest walk forward of its recipe on its coin; null: not backtested
    live: LiveMark | None  # how it stood when it was last scored; null: it never was
    calibration: Mapping[str, Any]


class HistoryRow(KeyRow, frozen=True, kw_only=True):
    """One row of the history."""

    id: int
    at: datetime
    who: str
    action: str
    alias: str
    number: int
    previous: int | None
    why: str  # in a row of an earlier release with the gate's reasons in it
    reasons: tuple[Reason, ...]  # the gate's, where it decided
    evidence: Mapping[str, Any]


class ProductionRow(KeyRow, frozen=True, kw_only=True):
    """What was in production at a moment."""

    number: int | None


class HistoryDocument(Document, frozen=True, kw_only=True):
    """What moved, oldest first; with a moment asked for, what served then."""

    schema: Literal["cryptocast.history/2"] = "cryptocast.history/2"
    at: datetime | None
    serving: tuple[ProductionRow, ...]
    events: tuple[HistoryRow, ...]
    moves: tuple[SourceMove, ...] = ()  # of coins from source to source


class VerifyDocument(Document, frozen=True, kw_only=True):
    """What is wrong in the registry; no findings: every hash was counted again and every reference leads somewhere."""

    schema: Literal["cryptocast.verify/1"] = "cryptocast.verify/1"
    path: str
    versions: int
    findings: tuple[RegistryFault, ...]


class BestDocument(MarketRow, frozen=True, kw_only=True):
    """The production versions of a coin, best first, and the one that answers; null: the baseline."""

    schema: Literal["cryptocast.best/2"] = "cryptocast.best/2"
    coin: str
    best: str | None
    standings: tuple[Standing, ...]


class SettingsFile(Document, frozen=True, kw_only=True):
    """A file of settings that was written."""

    schema: Literal["cryptocast.settings-file/1"] = "cryptocast.settings-file/1"
    path: str


class SettingRow(Document, frozen=True, kw_only=True):
    """One setting. value: in force, without the logins in addresses. default: without a file."""

    section: str
    key: str
    value: Any
    default: Any
    origin: Origin


class SecretRow(Document, frozen=True, kw_only=True):
    """A secret of the environment, of which nothing is shown but whether it is there."""

    name: str
    is_set: bool


class SettingsDocument(Document, frozen=True, kw_only=True):
    """The settings in force. file: the one that was read; null: none."""

    schema: Literal["cryptocast.settings/1"] = "cryptocast.settings/1"
    file: str | None
    settings: tuple[SettingRow, ...]
    secrets: tuple[SecretRow, ...]


class GcVersion(MarketRow, frozen=True, kw_only=True):
    """A version that went."""

    name: str


class GcDocument(Document, frozen=True, kw_only=True):
    """What was deleted, or would be."""

    schema: Literal["cryptocast.gc/1"] = "cryptocast.gc/1"
    dry_run: bool
    keep: int
    versions: tuple[GcVersion, ...]
    fits: int
    objects: int
    bytes: int


def settings_document(config: Config, path: Path | None, environ: Mapping[str, str]) -> SettingsDocument:
    """Every setting in force, in the order of config.toml, and where it comes from."""
    file = settings_file(path, Path.cwd())
    named = origins(file, environ=environ)
    rows = [
        SettingRow(
            section=title,
            key=key,
            value=_shown(value),
            default=_shown(defaults[key]),
            origin=named.get((title, key), "default"),
        )
        for title, section in _sections(config)
        for defaults in (_defaults(type(section)),)
        for key, value in asdict(section).items()
    ]
    return SettingsDocument(
        file=None if file is None else str(file),
        settings=tuple(rows),
        secrets=tuple(SecretRow(name=name, is_set=bool(environ.get(name, "").strip())) for name in SECRET_NAMES),
    )


def _sections(config: Config) -> Iterator[tuple[str, Section]]:
    """Each with its title."""
    for name, section in asdict(config).items():
        if isinstance(section, Section):
            yield name, section
        else:
            yield from ((f"{name}.{own}", one) for own, one in section.items())


def _defaults(kind: type[Section]) -> dict[str, Any]:
    """By key. Not by making one: a section of one's own may be nothing without a value."""
    return {
        field.name: field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        for field in fields(kind)
    }


def _shown(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, str | Path | date):
        return without_logins(str(value))
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, tuple) else value


def best_document(registry: Registry, coin: str, market: Market) -> BestDocument:
    """The standings of a coin."""
    rows = registry.standings(coin, market)
    first = next((version_name(coin, row.kind, row.number, market.granularity) for row in rows if row.passes), None)
    return BestDocument(coin=coin, **asdict(market), best=first, standings=rows)


def gc_document(deletion: Deletion, keep: int, *, dry_run: bool) -> GcDocument:
    """What went."""
    versions = tuple(
        GcVersion(name=version_name(key.coin, key.kind, number, key.granularity), **asdict(key.market))
        for key, number in deletion.versions
    )
    return GcDocument(**{**asdict(deletion), "versions": versions}, dry_run=dry_run, keep=keep)


def versions_document(versions: Iterable[VersionSummary]) -> VersionsDocument:
    """The list."""
    return VersionsDocument(versions=tuple([_version(version) for version in versions]))


def version_document(registry: Registry, version: Version) -> VersionDocument:
    """Everything about one, and what a walk forward found about its recipe."""
    return VersionDocument(
        version=_version(version.summary()),
        manifest=msgspec.to_builtins(version.manifest),
        hold_out=version.hold_out,
        evidence=registry.evidence_for(version.key, version.manifest.evidence_recipe),
        live=registry.live_mark(version.key, version.number),
        calibration=msgspec.to_builtins(version.calibration),
    )


def history_document(
    registry: Registry, events: Iterable[Event], moves: tuple[SourceMove, ...], at: datetime | None
) -> HistoryDocument:
    """The events, and what they had led to by the moment `at`."""
    rows = tuple(events)
    keys = sorted({event.key for event in rows}) if at is not None else []
    return HistoryDocument(
        at=at,
        serving=tuple(_production(registry, key, at) for key in keys) if at is not None else (),
        events=tuple(_event(event) for event in rows),
        moves=moves,
    )


def verify_document(registry: Registry, path: str, progress: Progress) -> VerifyDocument:
    """The registry checked."""
    faults = registry.verify(lambda files: each(progress, "verify", files, lambda file: f"file {file[0][:12]}"))
    return VerifyDocument(path=path, versions=0 if faults else len(registry.listing()), findings=faults)


def _version(version: VersionSummary) -> VersionRow:
    skills = [score.skill.baseline for score in version.scores if score.skill.baseline is not None]
    return VersionRow(
        name=version.name,
        **version.key.columns,
        number=version.number,
        aliases=version.aliases,
        fit_id=version.fit_id,
        created_at=version.created_at,
        trained_to=version.trained_to,
        horizons=tuple([score.horizon for score in version.scores]),
        skill=sum(skills) / len(skills) if skills else None,
        answers=tuple([score.answers for score in version.scores]),
        foreign=version.foreign,
    )


def _event(event: Event) -> HistoryRow:
    fields = asdict(event)
    del fields["key"]
    return HistoryRow(**fields, **event.key.columns, reasons=event.reasons)


def _production(registry: Registry, key: VersionKey, at: datetime) -> ProductionRow:
    return ProductionRow(**key.columns, number=registry.production_at(key, at))
