"""What the registry answers, as documents for `--json` and for the screens."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from cryptocast.config import Granularity
from cryptocast.errors import UsageError
from cryptocast.registry import Event, Evidence, Finding, HoldOut, Registry, Version, VersionKey, parse_reference

__all__ = [
    "HistoryDocument",
    "ListedEvent",
    "ListedVersion",
    "Served",
    "VerifyDocument",
    "VersionDocument",
    "VersionsDocument",
    "find_version",
    "history_document",
    "verify_document",
    "version_document",
    "versions_document",
]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""


class ListedVersion(Document, frozen=True, kw_only=True):
    """One version in a list."""

    name: str
    coin: str
    kind: str
    number: int
    source: str
    vs: str
    granularity: str
    aliases: tuple[str, ...]
    fit_id: str
    created_at: datetime
    trained_to: datetime | None  # close of the last bar of the coin that its fit saw
    horizons: tuple[int, ...]
    skill: float | None  # against the baseline, mean over the horizons of the hold-out
    verdicts: tuple[str, ...]  # of the hold-out, in the order of the horizons


class VersionsDocument(Document, frozen=True, kw_only=True):
    """All versions that match."""

    schema: Literal["cryptocast.versions/1"] = "cryptocast.versions/1"
    versions: tuple[ListedVersion, ...]


class VersionDocument(Document, frozen=True, kw_only=True):
    """One version with all that is written down about it."""

    schema: Literal["cryptocast.version/1"] = "cryptocast.version/1"
    version: ListedVersion
    manifest: Mapping[str, Any]
    hold_out: HoldOut
    evidence: Evidence | None  # the newest walk forward of its recipe on its coin; null: not backtested
    calibration: Mapping[str, Any]


class ListedEvent(Document, frozen=True, kw_only=True):
    """One row of the history."""

    id: int
    at: datetime
    who: str
    action: str
    coin: str
    kind: str
    source: str
    vs: str
    granularity: str
    alias: str
    number: int
    previous: int | None
    why: str
    evidence: Mapping[str, Any]


class Served(Document, frozen=True, kw_only=True):
    """What was in production at a moment."""

    coin: str
    kind: str
    source: str
    vs: str
    granularity: str
    number: int | None


class HistoryDocument(Document, frozen=True, kw_only=True):
    """What moved, oldest first; with a moment asked for, what served then."""

    schema: Literal["cryptocast.history/1"] = "cryptocast.history/1"
    at: datetime | None
    serving: tuple[Served, ...]
    events: tuple[ListedEvent, ...]


class VerifyDocument(Document, frozen=True, kw_only=True):
    """What is wrong in the registry; no findings: every hash was counted again and every reference leads somewhere."""

    schema: Literal["cryptocast.verify/1"] = "cryptocast.verify/1"
    path: str
    versions: int
    findings: tuple[Finding, ...]


def versions_document(versions: Iterable[Version]) -> VersionsDocument:
    """The list."""
    return VersionsDocument(versions=tuple(_listed(version) for version in versions))


def version_document(registry: Registry, version: Version) -> VersionDocument:
    """Everything about one, and what a walk forward found about its recipe."""
    return VersionDocument(
        version=_listed(version),
        manifest=msgspec.to_builtins(version.manifest),
        hold_out=version.hold_out,
        evidence=registry.evidence_for(version.key, version.manifest.recipe),
        calibration=msgspec.to_builtins(version.calibration),
    )


def history_document(registry: Registry, events: Iterable[Event], at: datetime | None) -> HistoryDocument:
    """The events, and what they had led to by the moment `at`."""
    listed = tuple(events)
    keys = sorted({event.key for event in listed}) if at is not None else []
    return HistoryDocument(
        at=at,
        serving=tuple(_served(key, registry.production_at(key, at)) for key in keys) if at is not None else (),
        events=tuple(_event(event) for event in listed),
    )


def verify_document(registry: Registry, path: str) -> VerifyDocument:
    """The registry checked."""
    findings = registry.verify()
    return VerifyDocument(path=path, versions=0 if findings else len(registry.versions()), findings=findings)


def find_version(
    registry: Registry, reference: str, *, source: str | None, vs: str, granularity: Granularity
) -> Version:
    """The version that a person means. Without a source: the only one that the coin has versions on.

    Raises UsageError if there are several, RegistryError if there is no such version.
    """
    parsed = parse_reference(reference)
    bars = parsed.granularity or granularity
    if source is None:
        keys = registry.keys(coin=parsed.coin, kind=parsed.kind, vs=vs, granularity=bars)
        found = sorted({key.source for key in keys})
        if len(found) > 1:
            raise UsageError(f"There are versions of {reference!a} on {' and on '.join(found)} bars. Set --source.")
        source = found[0] if found else "sample"
    return registry.get(parsed, source=source, vs=vs, granularity=bars)


def _listed(version: Version) -> ListedVersion:
    data = version.manifest.data(version.key.coin)
    scores = version.hold_out.horizons
    skills = [score.skill["baseline"] for score in scores if "baseline" in score.skill]
    return ListedVersion(
        name=version.name,
        coin=version.key.coin,
        kind=version.key.kind,
        number=version.number,
        source=version.key.source,
        vs=version.key.vs,
        granularity=version.key.granularity,
        aliases=version.aliases,
        fit_id=version.fit_id,
        created_at=version.created_at,
        trained_to=data.last if data else None,
        horizons=version.manifest.horizons,
        skill=sum(skills) / len(skills) if skills else None,
        verdicts=tuple(score.verdict for score in scores),
    )


def _event(event: Event) -> ListedEvent:
    return ListedEvent(
        id=event.id,
        at=event.at,
        who=event.who,
        action=event.action,
        coin=event.key.coin,
        kind=event.key.kind,
        source=event.key.source,
        vs=event.key.vs,
        granularity=event.key.granularity,
        alias=event.alias,
        number=event.number,
        previous=event.previous,
        why=event.why,
        evidence=event.evidence,
    )


def _served(key: VersionKey, number: int | None) -> Served:
    return Served(
        coin=key.coin, kind=key.kind, source=key.source, vs=key.vs, granularity=key.granularity, number=number
    )
