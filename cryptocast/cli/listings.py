"""What the registry answers, as documents for `--json` and for the screens."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from cryptocast.config import Granularity
from cryptocast.registry import (
    Collected,
    Event,
    Evidence,
    Finding,
    HoldOut,
    HorizonScore,
    ListedScore,
    ListedVerdict,
    LiveMark,
    Registry,
    Standing,
    Version,
    VersionKey,
    version_name,
)
from cryptocast.registry import ListedVersion as Listed

__all__ = [
    "BestDocument",
    "GcDocument",
    "HistoryDocument",
    "ListedEvent",
    "ListedVersion",
    "Served",
    "VerifyDocument",
    "VersionDocument",
    "VersionsDocument",
    "best_document",
    "gc_document",
    "history_document",
    "verify_document",
    "version_document",
    "versions_document",
]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""


# gc=False: thousands are made at once, and hold nothing that could hold them.
class ListedVersion(Document, frozen=True, kw_only=True, gc=False):
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
    verdicts: tuple[ListedVerdict, ...]  # of the hold-out, in the order of the horizons
    foreign: bool  # skill and verdicts came with an archive, were not made here and weigh nothing


class VersionsDocument(Document, frozen=True, kw_only=True):
    """All versions that match."""

    schema: Literal["cryptocast.versions/2"] = "cryptocast.versions/2"
    versions: tuple[ListedVersion, ...]


class VersionDocument(Document, frozen=True, kw_only=True):
    """One version with all that is written down about it."""

    schema: Literal["cryptocast.version/2"] = "cryptocast.version/2"
    version: ListedVersion
    manifest: Mapping[str, Any]
    hold_out: HoldOut
    evidence: Evidence | None  # the newest walk forward of its recipe on its coin; null: not backtested
    live: LiveMark | None  # how it stood when it was last scored; null: it never was
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
    reasons: tuple[str, ...]  # those of the gate one by one, where it decided; else `why` alone
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


class BestDocument(Document, frozen=True, kw_only=True):
    """The production versions of a coin, best first, and the one that answers; null: the baseline."""

    schema: Literal["cryptocast.best/1"] = "cryptocast.best/1"
    coin: str
    source: str
    vs: str
    granularity: str
    best: str | None
    standings: tuple[Standing, ...]


class GcVersion(Document, frozen=True, kw_only=True):
    """A version that went."""

    name: str
    source: str
    vs: str
    granularity: str


class GcDocument(Document, frozen=True, kw_only=True):
    """What was deleted, or would be."""

    schema: Literal["cryptocast.gc/1"] = "cryptocast.gc/1"
    dry_run: bool
    keep: int
    versions: tuple[GcVersion, ...]
    fits: int
    objects: int
    bytes: int


def best_document(registry: Registry, coin: str, *, source: str, vs: str, granularity: Granularity) -> BestDocument:
    """The standings of a coin."""
    rows = registry.standings(coin, source=source, vs=vs, granularity=granularity)
    first = next((version_name(coin, row.kind, row.number, granularity) for row in rows if row.passes), None)
    return BestDocument(coin=coin, source=source, vs=vs, granularity=granularity, best=first, standings=rows)


def gc_document(gone: Collected, keep: int, *, dry_run: bool) -> GcDocument:
    """What went."""
    versions = tuple(
        GcVersion(
            name=version_name(key.coin, key.kind, number, key.granularity),
            source=key.source,
            vs=key.vs,
            granularity=key.granularity,
        )
        for key, number in gone.versions
    )
    return GcDocument(
        dry_run=dry_run, keep=keep, versions=versions, fits=gone.fits, objects=gone.objects, bytes=gone.bytes
    )


def versions_document(versions: Iterable[Listed]) -> VersionsDocument:
    """The list."""
    return VersionsDocument(versions=tuple(_listed(version) for version in versions))


def version_document(registry: Registry, version: Version) -> VersionDocument:
    """Everything about one, and what a walk forward found about its recipe."""
    return VersionDocument(
        version=_listed(version),
        manifest=msgspec.to_builtins(version.manifest),
        hold_out=version.hold_out,
        evidence=registry.evidence_for(version.key, version.manifest.recipe),
        live=registry.live_mark(version.key, version.number),
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
    return VerifyDocument(path=path, versions=0 if findings else len(registry.listing()), findings=findings)


def _listed(version: Version | Listed) -> ListedVersion:
    scores: tuple[HorizonScore | ListedScore, ...]
    if isinstance(version, Version):
        data = version.manifest.data(version.key.coin)
        trained_to, scores = (data.last if data else None), version.hold_out.horizons
        foreign = version.hold_out.foreign
        found = [score.skill.get("baseline") for score in version.hold_out.horizons]
    else:
        trained_to, scores, foreign = version.trained_to, version.scores, version.foreign
        found = [score.skill.baseline for score in version.scores]
    skills = [skill for skill in found if skill is not None]
    key = version.key
    return ListedVersion(
        name=version.name,
        coin=key.coin,
        kind=key.kind,
        number=version.number,
        source=key.source,
        vs=key.vs,
        granularity=key.granularity,
        aliases=version.aliases,
        fit_id=version.fit_id,
        created_at=version.created_at,
        trained_to=trained_to,
        horizons=tuple([score.horizon for score in scores]),
        skill=sum(skills) / len(skills) if skills else None,
        verdicts=tuple([ListedVerdict(word=s.verdict.word, reason=s.verdict.reason) for s in scores]),
        foreign=foreign,
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
        reasons=_reasons(event),
        evidence=event.evidence,
    )


def _reasons(event: Event) -> tuple[str, ...]:
    decision = event.evidence.get("decision")
    if decision is None or event.action == "force":
        return (event.why,)
    if event.action != "register":
        first = ("the first version, and the gate lets it through",) if decision["rule"] == "first" else ()
        return (*first, *decision["reasons"])
    return ("registered",) if decision["accepted"] else ("registered; not fit for production", *decision["reasons"])


def _served(key: VersionKey, number: int | None) -> Served:
    return Served(
        coin=key.coin, kind=key.kind, source=key.source, vs=key.vs, granularity=key.granularity, number=number
    )
