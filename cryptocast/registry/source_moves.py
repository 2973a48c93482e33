"""From which source each coin's candles come: what a person decided, and what the versions in production rest on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from msgspec import Meta

from cryptocast.choices import Granularity
from cryptocast.config import CoinId, QuoteCurrency
from cryptocast.evaluation.records import Record
from cryptocast.registry.append_only import Journal
from cryptocast.registry.database import Connection
from cryptocast.registry.tables import time_text
from cryptocast.registry.version import PRODUCTION
from cryptocast.times import Moment


class SourceMove(Record, frozen=True, kw_only=True):
    """A coin was moved from one source to another; null: it had none."""

    schema: Literal["cryptocast.move/1"] = "cryptocast.move/1"
    coin: CoinId
    vs: QuoteCurrency
    source: str
    previous: str | None
    at: Moment
    who: Annotated[str, Meta(max_length=200)]


def _columns(move: SourceMove) -> dict[str, object]:
    return {"coin": move.coin, "vs": move.vs, "at": time_text(move.at)}


SOURCE_MOVES: Final = Journal("source_moves", SourceMove, _columns, ("coin", "vs", "at"), "at")


@dataclass(frozen=True, slots=True)
class SettledSources:
    """What the registry says of the sources of coins. moved: by the last move. promoted: of the versions in production,
    those of the bars in question first, then by age."""

    moved: Mapping[str, str] = field(default_factory=dict)
    promoted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def settled_sources(connection: Connection, vs: str, granularity: Granularity) -> SettledSources:
    """See `SettledSources`."""
    moved = {move.coin: move.source for move in SOURCE_MOVES.matching(connection, {"vs": vs})}
    # Production is moved, never taken away, so its history is that of every version that was ever in use.
    rows = connection.execute(
        "SELECT coin, source FROM history WHERE alias = ? AND vs = ? GROUP BY coin, source"
        " ORDER BY min(granularity != ?), min(id)",
        (PRODUCTION, vs, granularity),
    )
    promoted: dict[str, tuple[str, ...]] = {}
    for row in rows:
        promoted[row["coin"]] = (*promoted.get(row["coin"], ()), row["source"])
    return SettledSources(moved, promoted)
