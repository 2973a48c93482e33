"""Back to the version that was in production before, or to an earlier one that is named."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from cryptocast.choices import Granularity
from cryptocast.errors import GateError, RegistryError, UsageError
from cryptocast.registry import PRODUCTION, Event, Registry, VersionKey, VersionReference
from cryptocast.registry.gate import FOREIGN
from cryptocast.workflows.lifecycle.promote import as_production_stands
from cryptocast.workflows.reports import KeyRow


class RollbackRow(KeyRow, frozen=True, kw_only=True):
    """Where production of one key stood and stands."""

    from_number: int = msgspec.field(name="from")
    to_number: int = msgspec.field(name="to")
    moved: bool
    why: str


class RollbackReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback did."""

    schema: Literal["cryptocast.rollback/1"] = "cryptocast.rollback/1"
    dry_run: bool
    row: RollbackRow


def rollback(
    registry: Registry,
    key: VersionKey,
    *,
    to: int | None = None,
    reason: str | None = None,
    dry_run: bool = False,
    who: str,
    now: datetime,
) -> RollbackReport:
    """Make an earlier version production again: `to`, or the one that was production before the one that is now.

    Two rollbacks in a row go two steps back. RegistryError if there is nothing to go back to or no such version,
    GateError if it was never in production and its scores are foreign.
    """
    row = as_production_stands(lambda: _rollback(registry, key, to, reason, who, now, dry_run=dry_run))
    return RollbackReport(dry_run=dry_run, row=row)


def _rollback(
    registry: Registry, key: VersionKey, to: int | None, reason: str | None, who: str, now: datetime, *, dry_run: bool
) -> RollbackRow:
    production = registry.alias(key, PRODUCTION)
    if production is None:
        raise RegistryError(f"Nothing of {key} is in production. See cryptocast registry list {key.coin}.")
    moves = registry.history(**key.columns, alias=PRODUCTION)
    current, target = production.number, to if to is not None else earlier_production(moves)
    if target is None:
        raise RegistryError(
            f"Version {current} is the first that was in production of {key}: there is nothing to go back to. "
            "Name a version: --to NUMBER."
        )
    version = registry.version(key, target)
    if version.hold_out.foreign and target not in {event.number for event in moves}:
        raise GateError(
            f"{version.name} was never in production, and {FOREIGN}. To promote it all the same: cryptocast registry "
            f"promote {key.coin} {key.kind} {target} --force --reason TEXT."
        )
    why = f"rolled back from {current}" + (f": {reason}" if reason else "")
    if target != current and not dry_run:
        registry.promote(key, target, now=now, who=who, why=why, action="rollback", expected=current)
    return RollbackRow(**key.columns, from_number=current, to_number=target, moved=target != current, why=why)


def earlier_production(events: Sequence[Event]) -> int | None:
    """The version to go back to, from the moves of production, oldest first; None: there is none.

    A rollback takes away what it went back over, so that the next one goes further back and not forth again.
    """
    stack: list[int] = []
    for event in events:
        if event.action == "rollback" and event.number in stack:
            while stack[-1] != event.number:
                stack.pop()
        else:
            stack.append(event.number)
    return stack[-2] if len(stack) > 1 else None


def one_key(
    registry: Registry, coin: str, kind: str | None, *, source: str | None, vs: str, granularity: Granularity
) -> VersionKey:
    """The one key that is meant. UsageError if several could be, RegistryError if there is none."""
    keys = registry.keys(coin=coin, kind=kind, source=source, vs=vs, granularity=granularity)
    if not keys:
        raise registry.no_such(VersionReference(coin, kind), source=source, vs=vs, granularity=granularity)
    if len(keys) > 1:
        raise UsageError(f"That could be {', '.join(map(str, keys))}. Name the kind, and the source with --source.")
    return keys[0]
