"""The nouns of the registry: which series and kind (a key), which fit of it (a version), what happened (an event)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from cryptocast.config import Granularity
from cryptocast.evaluation.verdicts import VerdictReason, VerdictWord
from cryptocast.market import Market
from cryptocast.registry.manifest import CoinCalibration, FitManifest, HoldOut

__all__ = [
    "CHALLENGER",
    "PRODUCTION",
    "Action",
    "Event",
    "ListedScore",
    "ListedSkill",
    "ListedVerdict",
    "ListedVersion",
    "NewVersion",
    "Version",
    "VersionKey",
    "version_name",
]

PRODUCTION = "production"
CHALLENGER = "challenger"

# What moved an alias: a fit was registered; the gate let a version through; a version with production's own recipe on
# newer bars; a person against the gate; a person back to an earlier version.
Action: TypeAlias = Literal["register", "promote", "refresh", "force", "rollback"]


class VersionKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Versions are numbered, and aliases unique, within one of these. A key never forecasts another source's bars."""

    coin: str
    market: Market
    kind: str

    @property
    def source(self) -> str:
        """Of the bars that it forecasts."""
        return self.market.source

    @property
    def vs(self) -> str:
        """Of the bars that it forecasts."""
        return self.market.vs

    @property
    def granularity(self) -> Granularity:
        """Of the bars that it forecasts."""
        return self.market.granularity

    def facts(self) -> dict[str, Any]:
        """Its parts as a record names them: coin, kind, source, vs, granularity."""
        return {"coin": self.coin, "kind": self.kind, **msgspec.structs.asdict(self.market)}

    def __str__(self) -> str:
        return f"{self.coin}/{self.kind} ({self.market})"


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a fit says about one coin of its pool when it is registered; with a foreign hold-out by an archive."""

    coin: str
    calibration: CoinCalibration
    hold_out: HoldOut


@dataclass(frozen=True, slots=True)
class Version:
    """One coin's forecaster: a fit, the coin's initial calibration and the scores it was registered with, or those that
    were made here in the place of foreign ones."""

    key: VersionKey
    number: int
    fit_id: str
    manifest: FitManifest
    hold_out: HoldOut
    calibration: CoinCalibration
    aliases: tuple[str, ...]
    created_at: datetime  # UTC

    @property
    def name(self) -> str:
        """The reference that always means this version: bitcoin/lightgbm:3, with #hourly on hourly bars."""
        return version_name(self.key.coin, self.key.kind, self.number, self.key.granularity)


# gc=False: thousands of these are made at once, and hold nothing that could hold them.
class ListedSkill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the references that a version was scored against, the one that a list shows; None: not scored against it."""

    baseline: float | None = None


class ListedVerdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of a verdict, what a list shows: see Verdict."""

    word: VerdictWord | None
    reason: VerdictReason | None


class ListedScore(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a list shows of the hold-out at one horizon: see HorizonScore."""

    horizon: int
    skill: ListedSkill
    verdict: ListedVerdict


class ListedVersion(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version without its manifest, calibration and most of its scores: quick to read, to be shown in lists."""

    key: VersionKey
    number: int
    fit_id: str
    aliases: tuple[str, ...]
    created_at: datetime  # UTC
    trained_to: datetime | None  # close of the last bar of the coin that its fit saw
    scores: tuple[ListedScore, ...]  # of the hold-out
    foreign: bool = False  # the scores came with an archive and weigh nothing here

    @property
    def name(self) -> str:
        """The reference that always means this version: bitcoin/lightgbm:3, with #hourly on hourly bars."""
        return version_name(self.key.coin, self.key.kind, self.number, self.key.granularity)


def version_name(coin: str, kind: str, number: int, granularity: str) -> str:
    """What is printed of a version: bitcoin/lightgbm:3, with #hourly on hourly bars."""
    return f"{coin}/{kind}:{number}" + ("" if granularity == "daily" else f"#{granularity}")


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the history: an alias of a key moved to a version."""

    id: int
    at: datetime  # UTC
    who: str
    action: Action
    key: VersionKey
    alias: str
    number: int
    previous: int | None  # where the alias stood before
    why: str
    evidence: dict[str, Any]
