"""From candles to feature columns: the one builder that training, the audit and serving share.

The candles are completed to their grid and cleaned once. Then, for some coins at a time, the shared ingredients are
made in stages, each of what the stages before it made, and all features in one select. Expressions over the rows of a
coin are grouped by its number; where there is one coin nothing is grouped. What compares coins comes last.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.features.catalogue import COINS, FEATURES, RANGE, WITH_BITCOIN, Feature
from cryptocast.features.expressions import INGREDIENTS, ROW_NUMBER, SERIES, columns_read
from cryptocast.features.grid import microseconds, on_grid, starts
from cryptocast.features.market import BITCOIN, BITCOIN_CLOSE, LEAST_COINS

HASH_VERSION: Final = 3  # raise it when the builder's own rules change what a formula gives
PROBE_BARS: Final = 60
SEASON: Final = 640  # bars; nearly all features remember fewer
COINS_AT_ONCE: Final = 25  # whose ingredients are held at a time: as many columns again as there are features

# Columns of the working frame, beside those of `expressions` and `market`.
SEGMENT: Final = "__segment"
RANGE_SEGMENT: Final = "__range_segment"
POSITIVE: Final = ("open", "high", "low", "close", "volume", "market_cap")


def add_features(
    candles: pl.LazyFrame,
    features: Sequence[Feature] | None = None,
    *,
    bar_us: int,
    without: frozenset[str] = frozenset(),
) -> pl.LazyFrame:
    """Candles on their complete grid with one float64 column for each feature, sorted by (coin, close_time).

    candles: CANDLE_SCHEMA and the outside series that features read, any order. features: FEATURES unless given.
    bar_us: microseconds in a bar. without: needs that these candles cannot meet, for example {"bar_volume"} where
    volume is a rolling sum; the features that have them are null. Missing bars stay as rows on which everything is
    null. What is undefined is null, never NaN or infinite. Prices that are not positive and finite count as missing and
    are handed back as they came.
    Raises ValueError if feature names repeat or collide with the candles'. Collecting raises DataError as
    `complete_grid` does.
    """
    features = FEATURES if features is None else features
    _check_names(features)
    outside = outside_columns(tuple(features))
    return candles.select(*CANDLE_SCHEMA, *outside).map_batches(
        partial(with_features, features=tuple(features), bar_us=bar_us, without=without),
        schema={**CANDLE_SCHEMA, **dict.fromkeys((*outside, *(f.name for f in features)), pl.Float64())},
    )


def with_features(
    candles: pl.DataFrame, *, features: Sequence[Feature], bar_us: int, without: frozenset[str] = frozenset()
) -> pl.DataFrame:
    """As `add_features`, at once: what that does to candles that are here already."""
    _check_names(features)
    table = on_grid(candles, bar_us)
    return table.hstack(_columns(table, features, without)) if features else table


def last_features(
    table: pl.DataFrame,
    features: Sequence[Feature],
    *,
    rows: int,
    bar_us: int,
    without: frozenset[str] = frozenset(),
) -> FloatArray:
    """(C, rows, F): the features of each coin's last bars, NaN where undefined; as `add_features` gives them, to 1e-8.

    table: candles on their complete grid, as `with_features` hands them back, with enough bars for what features
    remember. The few that look back further than a season are computed apart, so that the others take a fraction of the
    time. A coin with fewer bars than `rows` begins with NaN.
    """
    start = starts(table["coin"])
    stamps = microseconds(table["close_time"])
    earliest_end = int(stamps[start[1:] - 1].min())
    last = np.full((len(start) - 1, rows, len(features)), np.nan)
    for places in _by_history(tuple(features)):
        some = [features[place] for place in places]
        # From a moment on, not so many bars of each coin: where one ends early the others have to show its last moment.
        recent = stamps > earliest_end - (required_history(some) + rows - 1) * bar_us
        last[:, :, places] = _last_rows(table if recent.all() else table.filter(recent), some, rows, without)
    return last


@lru_cache(maxsize=32)
def _by_history(features: tuple[Feature, ...]) -> list[list[int]]:
    """The places of the features that look back over SEASON bars at most, and of the others."""
    longer = [required_history([feature]) > SEASON for feature in features]
    groups = ([place for place, is_longer in enumerate(longer) if is_longer is kind] for kind in (False, True))
    return [places for places in groups if places]


def _last_rows(table: pl.DataFrame, features: Sequence[Feature], rows: int, without: frozenset[str]) -> FloatArray:
    start = starts(table["coin"])
    row = start[1:, None] + np.arange(-rows, 0)
    there = row >= start[:-1, None]
    last = np.full((*row.shape, len(features)), np.nan)
    last[there] = pl.DataFrame(_columns(table, features, without))[row[there]].to_numpy()
    return last


def evaluate(bars: pl.DataFrame, **formulas: pl.Expr) -> pl.DataFrame:
    """A column for each formula, in the order of the rows: float64, null where not known.

    bars: on their complete time grid, sorted by (coin, close_time) where they have these columns; without `coin` they
    are one series. Nothing is cleaned but NaN, which is not known. Candle columns that the frame lacks are null.
    """
    features = tuple(Feature(name, "price", expr, 0, 0, "-", "-") for name, expr in formulas.items())
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in CANDLE_SCHEMA.items() if name not in bars.columns]
    frame = bars.with_columns(absent).with_columns(pl.col(POSITIVE).fill_nan(None))
    numbered = _numbered(frame, starts(frame["coin"]))
    plan = _plan(features, _grouping(numbered))
    return plan.stage(numbered).select(plan.features).fill_nan(None)


def select_features(names: Iterable[str], features: Sequence[Feature] | None = None) -> tuple[Feature, ...]:
    """The named features, in the given order. Raises ValueError for a name that is not in the catalogue."""
    by_name = {f.name: f for f in (FEATURES if features is None else features)}
    names = list(names)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"unknown features: {', '.join(unknown)}")
    return tuple(by_name[name] for name in names)


@lru_cache(maxsize=64)
def outside_columns(features: tuple[Feature, ...]) -> tuple[str, ...]:
    """The columns that features read and no candle has: outside series, by name."""
    read = {name for feature in features for name in columns_read(feature.expr)}
    return tuple(sorted(name for name in read if name not in CANDLE_SCHEMA and not name.startswith("__")))


def with_waves(candles: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    """With a wave for each outside series that features read: for candles that are made, too."""
    place = candles["close_time"].rank("dense").to_numpy() + 0.0
    return candles.with_columns(
        pl.Series(name, 50.0 * np.exp(0.5 * np.sin(place / 5.3 + number) + 0.1 * np.sin(1.3 * number * place * place)))
        for number, name in enumerate(outside_columns(tuple(features)), 1)
    )


def required_history(features: Sequence[Feature]) -> int:
    """Bars, the last one included, from which the last row equals that of the whole history to 1e-8 max(1, |value|).

    Warm-up, memory and an eighth of it: memory is when a start weighs 1e-8, and a start may be off by ten times what it
    starts (an average after a year in which the price rose tenfold), which takes ln 10 / ln 1e8 = 1/8 longer to fade.
    """
    return max((f.warmup + f.memory + math.ceil(f.memory / 8) for f in features), default=0) + 1


def feature_hash(features: Sequence[Feature]) -> str:
    """SHA-256 (hex) of what decides the values: names, order, facts and formulas. The same in every process.

    A formula enters by what it gives on a few made candles, because Polars may write the same expression differently in
    every release: for each coin how many values are known, their absolute and their weighted sum, to nine digits. Sums,
    because one value among thousands may lie so close to an edge of rounding that another processor is beyond it.
    """
    bars = max((f.warmup for f in features), default=0) + PROBE_BARS
    table = with_features(with_waves(_probe_candles(bars), features), features=features, bar_us=BAR_US["daily"])
    values = table.select(pl.col([f.name for f in features])).fill_null(math.nan).to_numpy()
    facts = [
        [f.name, f.warmup, f.memory, f.scope, sorted(f.needs), *_digest(column, bars)]
        for f, column in zip(features, values.T, strict=True)
    ]
    return hashlib.sha256(json.dumps([HASH_VERSION, facts]).encode()).hexdigest()


def _digest(values: FloatArray, bars: int) -> list[str]:
    by_coin = values.reshape(-1, bars)
    is_known = ~np.isnan(by_coin)
    size = np.where(is_known, np.abs(by_coin), 0.0).sum(axis=1)
    weighted = np.where(is_known, by_coin, 0.0) @ (1.0 + np.arange(bars) % 7)
    shares = weighted / np.maximum(size, 1e-300)
    return [
        f"{count} {total:.9g} {share:.9f}"
        for count, total, share in zip(is_known.sum(axis=1), size, shares, strict=True)
    ]


def _probe_candles(bars: int) -> pl.DataFrame:
    """Three coins, bitcoin among them, on waves that never repeat; without a random generator that may change."""
    day = np.arange(float(bars))
    frames = []
    for number, coin in enumerate(("a", BITCOIN, "c"), 1):
        close = 100.0 * number * np.exp(0.3 * np.sin(day / 7.3 + number) + 0.04 * np.sin(1.7 * number * day * day))
        start = close * np.exp(0.02 * np.sin(2.9 * day + number))
        columns = {
            "close": close,
            "open": start,
            "high": np.maximum(close, start) * (1.01 + 0.01 * np.sin(3.1 * day)),
            "low": np.minimum(close, start) / (1.01 + 0.01 * np.cos(4.3 * day)),
            "volume": 1e6 * np.exp(np.sin(day * 1.1 + number)),
            "market_cap": 1e9 * close,
        }
        stamps = (np.arange(bars) + 18_000) * BAR_US["daily"]
        frames.append(
            pl.DataFrame({"close_time": stamps, **columns}).with_columns(
                coin=pl.lit(coin), range_known=pl.lit(value=True)
            )
        )
    return pl.concat(frames).select(list(CANDLE_SCHEMA)).cast(CANDLE_SCHEMA)


def _check_names(features: Sequence[Feature]) -> None:
    counts = Counter([*CANDLE_SCHEMA, *(f.name for f in features)])
    clashes = sorted(name for name, count in counts.items() if count > 1)
    if clashes:
        raise ValueError(f"feature names repeat, or are those of candle columns: {', '.join(clashes)}")


@dataclass(frozen=True, slots=True)
class Grouping:
    """By which columns rows of each scope are grouped; None where they are one group."""

    coin: str | None
    segment: str | None
    range_segment: str | None

    def over(self, feature: Feature) -> pl.Expr:
        """The feature's expression over the rows of its scope."""
        if feature.scope == "moment":
            return feature.expr.over("close_time")
        key = self.coin
        if feature.scope == "segment":
            key = self.range_segment if RANGE in feature.needs else self.segment
        return feature.expr if key is None else feature.expr.over(key)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnPlan:
    """How columns are made: stages of ingredients, then the features of single coins, then those across coins.

    sources: columns of single coins that are needed when the ingredients have gone.
    """

    stages: tuple[tuple[pl.Expr, ...], ...]
    features: tuple[pl.Expr, ...]
    across: tuple[pl.Expr, ...]
    sources: tuple[str, ...]
    reads_bitcoin: bool

    def stage(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with all ingredients."""
        for stage in self.stages:
            frame = frame.with_columns(stage)
        return frame


@lru_cache(maxsize=64)
def _plan(features: tuple[Feature, ...], grouping: Grouping) -> ColumnPlan:
    stages: dict[int, list[pl.Expr]] = {}
    read = {name for f in features for name in columns_read(f.expr)}
    for name in sorted(read & INGREDIENTS.keys()):
        ingredient = INGREDIENTS[name]
        grouped = ingredient.by_coin and grouping.coin is not None
        expr = ingredient.expr.over(grouping.coin) if grouped else ingredient.expr
        stages.setdefault(_depth(name), []).append(expr.alias(name))
    alone, across = ([f for f in features if (f.scope == "moment") is crossing] for crossing in (False, True))
    compared = {name for f in across for name in f.expr.meta.root_names()}
    return ColumnPlan(
        stages=tuple(tuple(stages[number]) for number in sorted(stages)),
        features=tuple(_named(f, grouping) for f in alone),
        across=tuple(_named(f, grouping) for f in across),
        sources=tuple(sorted({"close", "close_time"} | compared)),
        reads_bitcoin=BITCOIN_CLOSE in read,
    )


def _depth(name: str) -> int:
    """The stage that makes a column: 0 for those of the candles."""
    if name not in INGREDIENTS:
        return 0
    return 1 + max((_depth(root) for root in INGREDIENTS[name].expr.meta.root_names()), default=0)


def _named(feature: Feature, grouping: Grouping) -> pl.Expr:
    return grouping.over(feature).cast(pl.Float64).alias(feature.name)


def _columns(table: pl.DataFrame, features: Sequence[Feature], without: frozenset[str]) -> list[pl.Series]:
    """A column for each feature, in order: null where it is not known or the bar is missing."""
    start = starts(table["coin"])
    lacking = without | _lacking(table["coin"].gather(start[:-1]).to_list() if table.height else [])
    computable = tuple(f for f in features if not f.needs & lacking)
    columns = _computed(table, start, computable) if computable and table.height else {}
    unknown = pl.Series([None], dtype=pl.Float64).new_from_index(0, table.height)
    return [columns.get(f.name, unknown).alias(f.name) for f in features]


def _lacking(coins: Sequence[str]) -> frozenset[str]:
    """The needs that no candles of these coins meet."""
    met = {WITH_BITCOIN: BITCOIN in coins, COINS: len(coins) >= LEAST_COINS}
    return frozenset(need for need, is_met in met.items() if not is_met)


def _computed(table: pl.DataFrame, start: Int64Array, features: tuple[Feature, ...]) -> dict[str, pl.Series]:
    frame = _numbered(_cleaned(table), start)
    plan = _plan(features, _grouping(frame))
    if plan.reads_bitcoin:
        frame = _with_bitcoin(frame)
    parts = []
    for first in range(0, len(start) - 1, COINS_AT_ONCE):
        end = start[min(first + COINS_AT_ONCE, len(start) - 1)]
        block = plan.stage(frame.slice(start[first], end - start[first]))
        parts.append(
            block.select(*plan.sources, *plan.features)
        )  # beside other columns a constant is as long as they are
    whole = pl.concat(parts, rechunk=False) if len(parts) > 1 else parts[0]
    if plan.across:
        whole = whole.with_columns(plan.across)
    return _known(whole, [f.name for f in features])


def _known(table: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.Series]:
    """These columns with null where the bar is missing, and for what is not finite."""
    finite = table.select(pl.col(names).is_finite().all()).row(0)
    gapless = table["close"].null_count() == 0
    broken = [name for name, is_finite in zip(names, finite, strict=True) if not (gapless and is_finite)]
    if broken:
        there = pl.col("close").is_not_null()
        table = table.with_columns(pl.when(there & pl.col(name).is_finite()).then(pl.col(name)) for name in broken)
    return {name: table[name] for name in names}


def _cleaned(table: pl.DataFrame) -> pl.DataFrame:
    """Prices and volumes as formulas see them: positive and finite, or null; those of a range only if that was seen."""
    has_range = pl.col("range_known").fill_null(value=False)
    return table.with_columns(
        *(_positive(name) for name in ("close", "volume", "market_cap")),
        *(pl.when(has_range).then(_positive(name)).alias(name) for name in ("open", "high", "low")),
    )


def _with_bitcoin(frame: pl.DataFrame) -> pl.DataFrame:
    """With bitcoin's close at the same close time beside every bar."""
    if frame[SERIES][-1] == 0 and frame["coin"][0] == BITCOIN:
        return frame.hstack([frame["close"].alias(BITCOIN_CLOSE)])
    bitcoin = frame.filter(pl.col("coin") == BITCOIN).select("close_time", pl.col("close").alias(BITCOIN_CLOSE))
    return frame.join(bitcoin, on="close_time", how="left", maintain_order="left").with_columns(
        pl.col(SERIES, SEGMENT, RANGE_SEGMENT).set_sorted()
    )


def _positive(name: str) -> pl.Expr:
    column = pl.col(name)
    return pl.when(column.is_finite() & (column > 0.0)).then(column).alias(name)


def _numbered(frame: pl.DataFrame, start: Int64Array) -> pl.DataFrame:
    """With the number of the coin and of the row, and numbers for stretches of bars that are all known, or all not."""
    coin = np.repeat(np.arange(len(start) - 1, dtype=np.int32), np.diff(start))
    close, high, low = (~np.isnan(frame[name].to_numpy()) for name in ("close", "high", "low"))
    keys = {SERIES: coin, SEGMENT: _stretches(coin, close), RANGE_SEGMENT: _stretches(coin, close & high & low)}
    sorted_keys = [pl.Series(name, values).set_sorted() for name, values in keys.items()]
    return frame.hstack([*sorted_keys, pl.Series(ROW_NUMBER, np.arange(frame.height))])


def _stretches(coin: npt.NDArray[np.int32], is_known: BoolArray) -> npt.NDArray[np.int32]:
    """Numbers, from 0, of the stretches of rows of one coin that are all known, or all not."""
    numbers = np.zeros_like(coin)
    np.cumsum((coin[1:] != coin[:-1]) | (is_known[1:] != is_known[:-1]), out=numbers[1:])
    return numbers


def _grouping(frame: pl.DataFrame) -> Grouping:
    keys = [key if frame.height and frame[key][-1] else None for key in (SERIES, SEGMENT, RANGE_SEGMENT)]
    return Grouping(*keys)


# What serving keeps of each coin.
LOOKBACK: Final = required_history(FEATURES)
