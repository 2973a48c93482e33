"""The nouns of the registry: which series and kind (a key), which fit of it (a version), what happened (an event)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from cryptocast.choices import Granularity
from cryptocast.evaluation.answers import AnswerWord, Question, Unanswered
from cryptocast.evaluation.records import HoldOut, Record
from cryptocast.kinds import SHIPPED
from cryptocast.market import Market, OfMarket
from cryptocast.registry.manifest import CoinCalibration, CoinId, FitManifest, QuoteCurrency, Word
from cryptocast.registry.reasons import Reason

PRODUCTION = "production"
CHALLENGER = "challenger"

# What moved an alias: a fit was registered; the gate let a version through; a version with production's own recipe on
# newer bars; a person against the gate; a person back to an earlier version.
Action: TypeAlias = Literal["register", "promote", "refresh", "force", "rollback"]


class KeyColumns(TypedDict):
    """A key, spread out: as the columns of a table, the fields of a document, or the arguments that choose by it."""

    coin: str
    source: str
    vs: str
    granularity: Granularity
    kind: str


class KeyFilter(TypedDict, total=False):
    """Which keys are meant: those with these values; None, or left out: any value."""

    coin: str | None
    source: str | None
    vs: str | None
    granularity: Granularity | None
    kind: str | None


class VersionKey(OfMarket, msgspec.Struct, frozen=True, order=True, gc=False):
    """Versions are numbered, and aliases unique, within one of these. A key never forecasts another source's bars."""

    coin: str
    market: Market
    kind: str

    @property
    def columns(self) -> KeyColumns:
        """The key, spread out."""
        source, vs, granularity = msgspec.structs.astuple(self.market)
        return {"coin": self.coin, "source": source, "vs": vs, "granularity": granularity, "kind": self.kind}

    def __str__(self) -> str:
        return f"{self.coin}/{self.kind} ({self.market})"


class KeyedRecord(Record, frozen=True, kw_only=True):
    """A stored record of one key."""

    coin: CoinId
    source: Word
    vs: QuoteCurrency
    granularity: Granularity
    kind: Word

    @property
    def key(self) -> VersionKey:
        """The key that it belongs to."""
        return VersionKey(self.coin, Market(self.source, self.vs, self.granularity), self.kind)

    @property
    def columns(self) -> KeyColumns:
        """The key, spread out."""
        return {
            "coin": self.coin,
            "source": self.source,
            "vs": self.vs,
            "granularity": self.granularity,
            "kind": self.kind,
        }


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
        """The reference that always means this version: bitcoin/lightgbm:3, with #hourly on hourly bars; of the model
        that answers for every coin bitcoin/lightgbm@shipped, while there is no newer one."""
        if self.is_shipped:
            return f"{self.key.coin}/{self.key.kind}@{SHIPPED}"
        return version_name(self.key.coin, self.key.kind, self.number, self.key.granularity)

    @property
    def mark(self) -> int | str:
        """What tells it from the others of its key: the number, or `shipped`."""
        return SHIPPED if self.is_shipped else self.number

    @property
    def is_shipped(self) -> bool:
        """Whether it is the model for every coin, and no newer one was registered."""
        return self.manifest.is_pretrained and SHIPPED in self.aliases

    @property
    def contender(self) -> str:
        """What a walk forward calls its recipe."""
        return SHIPPED if self.manifest.is_pretrained else self.key.kind

    def summary(self) -> "VersionSummary":
        """What a list shows of it."""
        pool = self.manifest.data(self.key.coin)
        scores = tuple(
            ScoreSummary(
                horizon=score.horizon,
                skill=SkillSummary(baseline=score.skill.get("baseline")),
                answers={one.question: one.answer for one in score.answers},
                unanswered=score.unanswered,
            )
            for score in self.hold_out.horizons
        )
        return VersionSummary(
            key=self.key,
            number=self.number,
            fit_id=self.fit_id,
            aliases=self.aliases,
            created_at=self.created_at,
            trained_to=pool.last if pool else None,
            scores=scores,
            foreign=self.hold_out.foreign,
        )


# gc=False: thousands of these are made at once, and hold nothing that could hold them.
class SkillSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Of the references that a version was scored against, the one that a list shows; None: not scored against it."""

    baseline: float | None = None


class ScoreSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a list shows of the hold-out at one horizon: see HorizonScore."""

    horizon: int
    skill: SkillSummary
    answers: dict[Question, AnswerWord]
    unanswered: Unanswered | None


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version without its manifest, calibration and most of its scores: quick to read, to be shown in lists."""

    key: VersionKey
    number: int
    fit_id: str
    aliases: tuple[str, ...]
    created_at: datetime  # UTC
    trained_to: datetime | None  # close of the last bar of the coin that its fit saw
    scores: tuple[ScoreSummary, ...]  # of the hold-out
    foreign: bool = False  # the scores came with an archive and weigh nothing here

    @property
    def name(self) -> str:
        """As `Version.name`."""
        if SHIPPED in self.aliases:
            return f"{self.key.coin}/{self.key.kind}@{SHIPPED}"
        return version_name(self.key.coin, self.key.kind, self.number, self.key.granularity)


def version_name(coin: str, kind: str, number: int, granularity: str) -> str:
    """What is printed of a version: bitcoin/lightgbm:3, with #hourly on hourly bars."""
    return f"{coin}/{kind}:{number}" + ("" if granularity == "daily" else f"#{granularity}")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the history: an alias of a key moved to a version."""

    id: int = 0  # by the registry
    at: datetime  # UTC
    who: str
    action: Action
    key: VersionKey
    alias: str
    number: int
    previous: int | None = None  # where the alias stood before
    why: str
    evidence: dict[str, Any]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The gate's, where it decided; earlier releases wrote them into `why`."""
        decision = self.evidence.get("decision")
        if decision is None or (self.action == "register" and decision["accepted"]):
            return ()
        reasons = msgspec.convert(decision["reasons"], tuple[Reason | str, ...])
        return tuple(reason for reason in reasons if isinstance(reason, Reason))
