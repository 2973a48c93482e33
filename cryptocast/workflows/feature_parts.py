"""A feature table made in parts: each worker takes some coins, and what looks across coins is computed here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.errors import ModelError
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.catalogue import Feature
from cryptocast.features.market import BITCOIN
from cryptocast.features.own import FeatureSet, catalogue_set, with_own
from cryptocast.spread import Spread
from cryptocast.workflows.coin_pool import CoinPool, candles_of, missing_needs
from cryptocast.workflows.context import Progress, steps

KEYS: Final = ["coin", "close_time"]


@dataclass(frozen=True, slots=True)
class Formulas:
    """What all parts need: which features, of which bars, and the file of the user's own.

    digest: of the feature set here. A worker with other formulas refuses.
    """

    names: tuple[str, ...]
    bar_us: int
    without: frozenset[str]
    digest: str
    origin: str
    text: str
    series: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some coins, with their candles and those of bitcoin."""

    candles: pl.DataFrame
    coins: tuple[str, ...]


def spread_table(
    spread: Spread, pool: CoinPool, features: FeatureSet, *, tail: int | None = None, progress: Progress
) -> pl.DataFrame:
    """The same table as `feature_table` makes, to the last bit, with the coins dealt into as many parts as there are
    jobs at once. Raises as the spread does, and ModelError if a worker computes other features.
    """
    candles = candles_of(pool, tail=tail, features=features.features)
    across = [feature for feature in features.features if feature.scope == "moment"]
    parts, tables = list(_parts(pool, candles, spread.width)), list[pl.DataFrame]()
    with steps(progress, "features in parts", len(parts) + 1) as step:
        results = spread(compute_part, _formulas(pool, features), parts)
        for part in parts:
            tables.append(next(results))
            step(", ".join(part.coins[:3]))
        # What compares the coins of a moment needs them all, and is little work beside the rest: done here.
        here = add_features(candles.lazy(), across, bar_us=pool.bar_us, without=missing_needs(pool)).collect()
        step("across coins")
    whole = here.join(pl.concat(tables), on=KEYS, how="left", maintain_order="left")
    inputs = candles.select(*KEYS, *features.series)
    whole = whole.drop(features.series, strict=False).join(inputs, on=KEYS, how="left", maintain_order="left")
    return whole.select(*CANDLE_SCHEMA, *features.series, *features.names)


def _formulas(pool: CoinPool, features: FeatureSet) -> Formulas:
    return Formulas(
        names=tuple(feature.name for feature in features.features if feature.scope != "moment"),
        bar_us=pool.bar_us,
        without=missing_needs(pool),
        digest=features.digest,
        origin=features.origin,
        text=features.text,
        series=features.series,
    )


def _parts(pool: CoinPool, candles: pl.DataFrame, count: int) -> Iterator[Part]:
    count = max(1, min(count, len(pool.coins)))
    for place in range(count):
        coins = pool.coins[place::count]
        # Features of the market read bitcoin's closes beside every coin.
        inputs = [coin for coin in dict.fromkeys((*coins, BITCOIN)) if coin in pool.coins]
        yield Part(candles.filter(pl.col("coin").is_in(inputs)), coins)


def compute_part(formulas: Formulas, part: Part) -> pl.DataFrame:
    """On a worker: coin, close_time and the features of the part's coins."""
    text = formulas.text
    features = with_own(text, formulas.origin, formulas.series) if text else catalogue_set()
    if features.digest != formulas.digest:
        raise ModelError("A worker of the cluster computes other features. Install the same cryptocast on all of them.")
    columns: Sequence[Feature] = select_features(formulas.names, features.features)
    table = add_features(part.candles.lazy(), columns, bar_us=formulas.bar_us, without=formulas.without).collect()
    return table.filter(pl.col("coin").is_in(list(part.coins))).select([*KEYS, *formulas.names])
