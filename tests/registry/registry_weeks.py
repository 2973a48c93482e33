"""Versions that are refreshed week by week, and what they forecast meanwhile."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from cryptocast.registry import LedgerRow, Registry, VersionKey
from cryptocast.registry.ledger import Learn
from tests.registry.registry_fits import BITCOIN, FILES, manifest, new_version
from tests.registry.registry_ledger import day, row

__all__ = ["HALF_PAST", "refresh", "written"]

HALF_PAST = timedelta(minutes=30)  # when the training of a day is done


def refresh(
    registry: Registry,
    on: int,
    *,
    seen: int | None = None,
    rounds: int = 400,
    coins: Sequence[str] = ("bitcoin",),
    promoted: bool = True,
    learn: Learn | None = None,
    foreign: bool = False,
    **changes: Any,
) -> int:
    """Register a version half an hour after a bar, and promote it a minute later; its number.

    seen: the last bar that it was fitted on, by default that one. Versions with other rounds are of another recipe.
    """
    made = manifest(f"{on} {rounds} {seen}", coins=coins, rounds=rounds, **changes)
    data = tuple(msgspec.structs.replace(one, last=day(on if seen is None else seen)) for one in made.coins)
    made = msgspec.structs.replace(made, coins=data)
    versions = [new_version(coin) for coin in coins]
    versions = [replace(one, hold_out=msgspec.structs.replace(one.hold_out, foreign=foreign)) for one in versions]
    found = registry.register(made, FILES, versions, now=day(on) + HALF_PAST, who="ada", learn=learn)
    for version in found if promoted else ():
        later = day(on) + HALF_PAST + timedelta(minutes=1)
        registry.promote(version.key, version.number, now=later, who="ada", why="a refresh", action="refresh")
    return found[0].number


def written(number: int, issued: int, horizon: int = 1, *, coin: str = "bitcoin", **changes: Any) -> LedgerRow:
    """A forecast that was written ten minutes after its bar, before the training of that day."""
    return row(number, issued, horizon, coin=coin, **{"written_at": day(issued) + timedelta(minutes=10), **changes})


def key_of(coin: str) -> VersionKey:
    return msgspec.structs.replace(BITCOIN, coin=coin)
