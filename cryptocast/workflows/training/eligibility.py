"""Which coins of a pool are trained now, and what is said of the others and of those with few bars."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np

from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.calibrated import fallback_reason, independent_blocks
from cryptocast.registry import CHALLENGER, PRODUCTION, Registry, Version, VersionKey
from cryptocast.workflows.clean_candles import clean_frame
from cryptocast.workflows.coin_pool import CoinPool, has_last_row
from cryptocast.workflows.context import Context
from cryptocast.workflows.pretrained import incumbent
from cryptocast.workflows.reports import CoinError

# How much younger than `older_than` a version may be and still be due. A training that is run every Monday ends some
# minutes after it began, so that by the clock its version is never quite a week old on the next one.
AGE_TOLERANCE: Final = 0.1
# Below this many bars a training says what so little data cannot show.
FEW_BARS: Final = 2 * 365


def due(
    context: Context, pool: CoinPool, kinds: Sequence[str], horizons: Sequence[int], older_than: timedelta
) -> tuple[CoinPool, list[str]]:
    """The pool without the named coins whose own versions are all young enough, and why."""
    registry, now = context.registry(create=False), context.wall_clock()
    coins, notes = [], []
    for coin in pool.named:
        ages = []
        for kind in kinds:
            version = _own_version(registry, VersionKey(coin, pool.market, kind))
            if version is not None and set(horizons) <= set(version.manifest.horizons):
                ages.append(now - version.manifest.trained_at)
        trainable = [kind for kind in kinds if kind != "baseline"]
        if len(ages) == len(trainable) and ages and max(ages) < (1.0 - AGE_TOLERANCE) * older_than:
            notes.append(f"{coin} was left alone: its versions are at most {max(ages)} old")
        else:
            coins.append(coin)
    return replace(pool, named=tuple(coins)), notes


def _own_version(registry: Registry, key: VersionKey) -> Version | None:
    """The version in production; where a model for every coin answers instead, the challenger that waits behind it."""
    production = registry.alias(key, PRODUCTION)
    if production is not None and not production.manifest.is_pretrained:
        return production
    challenger = registry.alias(key, CHALLENGER)
    is_waiting = (
        challenger is not None and not challenger.manifest.is_pretrained and incumbent(registry, key) is not None
    )
    return challenger if is_waiting else None


def with_last_rows(pool: CoinPool, matrix: Matrix) -> CoinPool:
    """The pool without the named coins that could not be forecast now; they are left out before anything is fitted."""
    able = [coin for coin in pool.named if has_last_row(matrix, pool, coin)]
    short = [coin for coin in pool.named if coin not in able]
    if short and not able:
        raise DataError(f"{short[0]} has too few bars, or none that moves: a volatility needs 20 returns.")
    left_out = tuple(CoinError(coin=coin, error="it has too few bars to state a volatility") for coin in short)
    return replace(pool, named=tuple(able), left_out=(*pool.left_out, *left_out))


def few_bars_notes(pool: CoinPool, horizons: Sequence[int], least: int) -> list[str]:
    """What so little data can and cannot show, coin by coin. least: independent blocks that a horizon needs."""
    notes = []
    for coin in pool.named:
        bars = clean_frame(pool.bars[coin]).height
        if pool.granularity == "daily" and bars < FEW_BARS:
            detectable = 50 + 100 * 1.2430 / np.sqrt(bars)
            notes.append(
                f"{coin} has {bars} daily bars: enough to state its volatility, and with the help of the pool how it "
                f"will change. They cannot show a skill in direction below {detectable:.1f} % right, nor judge "
                f"{max(horizons)}-day forecasts: only {independent_blocks(bars, max(horizons))} do not overlap."
            )
        reasons = (fallback_reason(bars, horizon, least) for horizon in horizons)
        notes += [f"{coin}: {reason}." for reason in reasons if reason is not None]
    return notes
