"""What to train where a release, or the user's file, computes features differently than a version in use learned them.

Such a version cannot be asked any more (`feature_sets.is_outdated`). It is fitted anew as it was: its kind, its
horizons, its pool.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from cryptocast.config import Config
from cryptocast.kinds import KINDS, in_order
from cryptocast.market import Market
from cryptocast.registry import Registry, Version, VersionKey
from cryptocast.workflows.feature_sets import outdated_versions
from cryptocast.workflows.own_models import names_of_own

NAMED: Final = 10  # coins that a note names


@dataclass(frozen=True, slots=True)
class Refit:
    """Coins whose versions of these kinds are to be fitted anew together, on the bars and with the pool of then."""

    market: Market
    horizons: tuple[int, ...]
    pool: tuple[str, ...]
    kinds: tuple[str, ...]
    coins: tuple[str, ...]

    def in_words(self) -> str:
        """bitcoin/lightgbm and ethereum/lightgbm, as a note says it."""
        names = ", ".join(f"{coin}/{kind}" for coin in self.coins[:NAMED] for kind in self.kinds)
        names += f" and those of {len(self.coins) - NAMED:,} more coins" if len(self.coins) > NAMED else ""
        return f"trained anew, because outdated: {names} ({self.market})"


def outdated_fits(registry: Registry, config: Config) -> tuple[Refit, ...]:
    """The fits that bring back every outdated version in production or challenger role. Production goes before.

    Left out are models of the user's own whose file is not here: nobody can fit them, and the others go on.
    """
    versions: dict[VersionKey, Version] = {}
    for version in outdated_versions(registry, config):
        if version.key.kind in KINDS or version.key.kind in names_of_own(config):
            versions.setdefault(version.key, version)
    kinds: defaultdict[tuple[Market, tuple[int, ...], tuple[str, ...], str], list[str]] = defaultdict(list)
    for key, version in versions.items():
        pool = tuple(data.coin for data in version.manifest.coins)
        kinds[key.market, version.manifest.horizons, pool, key.coin].append(key.kind)
    coins: defaultdict[tuple[Market, tuple[int, ...], tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (market, horizons, pool, coin), names in kinds.items():
        coins[market, horizons, pool, in_order(names)].append(coin)
    return tuple(Refit(*fit, tuple(names)) for fit, names in coins.items())
