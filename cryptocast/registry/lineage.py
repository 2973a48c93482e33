"""Which versions follow one another: what a refresh takes over from those before it, and when each was in production.

A version whose recipe is that of the production version at its registration, on bars that end no earlier, is a refresh
of it; the versions behind it are its lineage. It is read from versions and history, and nothing that comes later
changes it: neither a promotion nor a rollback gives a version other ancestors.
"""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from cryptocast.registry.database import Connection, Row
from cryptocast.registry.tables import KEY_IS, Member, key_values, read_members
from cryptocast.registry.version import PRODUCTION, VersionKey

__all__ = ["Lineage", "Member", "read_lineage"]

Tenure: TypeAlias = tuple[str, str | None]  # in production from and to, as the history writes times; None: it still is


@dataclass(frozen=True, slots=True)
class Lineage:
    """The versions of one key, by number: what they are, of which each is a refresh, and when each was in production.

    Moments are told by the clock of whoever wrote them. At the very moment of a change both versions are in production.
    """

    members: Mapping[int, Member]
    predecessors: Mapping[int, int]
    tenures: Mapping[int, Sequence[Tenure]]

    def chain(self, number: int) -> tuple[int, ...]:
        """The version, that of which it is a refresh, and so on: the youngest first."""
        chain = [number]
        while (before := self.predecessors.get(chain[-1])) is not None:
            chain.append(before)
        return tuple(chain)

    def in_production(self, number: int, at: str) -> bool:
        """Whether the version was in production when something was written."""
        return any(start <= at and (end is None or at <= end) for start, end in self.tenures.get(number, ()))

    def inherits(self, heir: int, number: int, *, at: str, target: datetime) -> bool:
        """Whether a version learns from the outcome of a forecast by `number`, one of those before it.

        It does if that was production's when it was written, before the heir was registered, and ended after the bars
        that the heir was fitted and calibrated on: what ended earlier is in its calibration already.
        """
        member = self.members[heir]
        return (
            at <= member.created_at
            and member.trained_to is not None
            and member.trained_to < target
            and self.in_production(number, at)
        )

    def heirs(self, number: int, *, at: str, target: datetime) -> tuple[int, ...]:
        """The versions that inherit the outcome of this forecast."""
        return tuple(
            heir
            for heir in self.members
            if self.inherits(heir, number, at=at, target=target) and number in self.chain(heir)[1:]
        )


def read_lineage(connection: Connection, key: VersionKey) -> Lineage:
    """That of a key. A version whose record is damaged has no predecessor and is none."""
    members = {member.number: member for member in read_members(connection, key)}
    moves = connection.execute(
        f"SELECT at, action, alias, number FROM history WHERE {KEY_IS} ORDER BY id", key_values(key)
    ).fetchall()
    return Lineage(members, _predecessors(members, moves), _tenures(moves))


def _predecessors(members: Mapping[int, Member], moves: Iterable[Row]) -> dict[int, int]:
    production: int | None = None
    predecessors = {}
    for move in moves:
        if move["alias"] == PRODUCTION:
            production = move["number"]
        elif move["action"] == "register" and production is not None and production in members:
            version = members.get(move["number"])
            if version is not None and _refreshes(version, members[production]):
                predecessors[version.number] = production
    return predecessors


def _refreshes(version: Member, before: Member) -> bool:
    if version.trained_to is None or before.trained_to is None or before.number >= version.number:
        return False
    # The recipe that an archive names is its own claim.
    claimed = version.foreign or before.foreign
    return not claimed and version.recipe == before.recipe and before.trained_to <= version.trained_to


def _tenures(moves: Iterable[Row]) -> dict[int, list[Tenure]]:
    promotions = [(move["at"], move["number"]) for move in moves if move["alias"] == PRODUCTION]
    tenures: dict[int, list[Tenure]] = {}
    for place, (start, number) in enumerate(promotions, start=1):
        end = promotions[place][0] if place < len(promotions) else None
        tenures.setdefault(number, []).append((start, end))
    return tenures
