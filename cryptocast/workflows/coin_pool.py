"""From candles to the rows that models see: one path for training, backtest, forecast and serving."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import cast

import msgspec
import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.choices import Granularity
from cryptocast.config import Config, SourceChoice
from cryptocast.data.quality import is_stablecoin
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.table import AUTO, SOURCES, is_real
from cryptocast.errors import CryptocastError, DataError, ModelError, TooFewBarsError
from cryptocast.features.as_known import as_known, with_paid, without_labels
from cryptocast.features.builder import last_features, outside_columns, with_features
from cryptocast.features.catalogue import FEATURES, Feature
from cryptocast.features.grid import microseconds
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.features.own import FeatureSet
from cryptocast.market import Market, OfMarket
from cryptocast.registry import CoinData, SeriesData
from cryptocast.times import as_datetime, as_microseconds
from cryptocast.workflows.clean_candles import clean_frame, pending_times, with_notice
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.market_data.outside_shelf import OutsideShelf
from cryptocast.workflows.market_data.resolve import CoinCandles, obtain
from cryptocast.workflows.reports import CoinError, CoinForecast, DataUsed


@dataclass(frozen=True, slots=True, eq=False)
class CoinPool(OfMarket):
    """Coins that are learned from together: the named ones of one source, and others that help, of any real source.

    market: of the named. Prices of the sample and of the simulated market are never joined to those of another source.
    """

    market: Market
    named: tuple[str, ...]
    bars: Mapping[str, CoinCandles]
    left_out: tuple[CoinError, ...]
    outside: OutsideShelf = field(default_factory=OutsideShelf)

    @property
    def coins(self) -> tuple[str, ...]:
        """All of them, the named first."""
        return tuple(self.bars)

    @property
    def bar_us(self) -> int:
        """Microseconds in a bar."""
        return BAR_US[self.granularity]

    @property
    def last(self) -> datetime:
        """The newest close of all."""
        return max(bars.candles.provenance.last for bars in self.bars.values())

    @property
    def last_bars(self) -> Mapping[str, datetime]:
        """Of each named coin the last close."""
        return {coin: self.bars[coin].candles.provenance.last for coin in self.named}

    @property
    def notices(self) -> tuple[str, ...]:
        """What must be known about the candles."""
        return (*(bars.notice for bars in self.bars.values() if bars.notice), *self.outside.notices)

    def series(self, coin: str) -> str:
        """The name under which the trials on a coin's bars are recorded."""
        return f"{self.source}/{self.vs}/{self.granularity}/{coin}"


def recent_closes(context: Context, forecast: CoinForecast, bars: int) -> tuple[tuple[datetime, float], ...]:
    """Close times and closes of the last bars before a forecast, oldest first, from the store alone.

    Raises DataError if its candles are no longer there.
    """
    source, granularity = forecast.source, cast("Granularity", forecast.granularity)
    selection = Selection((forecast.coin,), source, forecast.vs, granularity, forecast.as_of)
    (pool,) = gather(context, selection.resolved(context.config), pool=(), fetch_allowed=False)
    frame = clean_frame(pool.bars[forecast.coin]).tail(bars)
    return tuple(zip(frame["close_time"].to_list(), frame["close"].to_list(), strict=True))


def gather(
    context: Context, request: Resolved, *, pool: Sequence[str], fetch_allowed: bool = True
) -> tuple[CoinPool, ...]:
    """The named coins and their pool, grouped by the source that each named coin resolves to.

    A pool coin that cannot be had, is not of a real source like the others, or is a stablecoin is left out and named.
    Raises the error of a named coin that cannot be had, if none of the named ones can.
    """
    coins = tuple(dict.fromkeys((*request.coins, *pool)))
    bars, missing = _obtain(context, replace(request, coins=coins), fetch_allowed=fetch_allowed)
    available = [coin for coin in request.coins if coin in bars]
    if not available:
        raise missing[request.coins[0]]
    sources = dict.fromkeys(_source(bars[coin]) for coin in available)
    pools = [_group(context.config, request, bars, missing, source, available) for source in sources]
    is_online = fetch_allowed and request.as_of is None and not request.stored
    is_online &= not all(bars[coin].stale for coin in available)  # a dead network is waited for once
    return tuple(replace(pool, outside=OutsideShelf(context, pool.last, is_online=is_online)) for pool in pools)


def widen(context: Context, request: Resolved, pool: CoinPool, coins: Iterable[str]) -> CoinPool:
    """The pool with more coins, of the sources that they have; those that cannot be had are left out and named.

    The upstream is asked for them only if it has just answered for the pool: a dead network is waited for once.
    """
    more = tuple(coin for coin in dict.fromkeys(coins) if coin not in pool.bars)
    if not more:
        return pool
    own = pool.source if request.source == AUTO and not is_real(pool.source) else request.source
    wider = replace(request, coins=more, source=choice_of(own))
    bars, missing = _obtain(context, wider, fetch_allowed=not any(bars.age.failed for bars in pool.bars.values()))
    bars, others = _joinable(bars, pool.source)
    return replace(pool, bars={**pool.bars, **bars}, left_out=(*pool.left_out, *_left_out(missing), *others))


def _joinable(bars: Mapping[str, CoinCandles], source: str) -> tuple[dict[str, CoinCandles], tuple[CoinError, ...]]:
    """Those that may help coins of a source, and the others, with why not. Features are free of scale, so that prices
    of exchanges, CoinGecko and files go together; whatever is not kept in the store stays by itself."""
    joinable = {
        coin: one for coin, one in bars.items() if _source(one) == source or (is_real(source) and is_real(_source(one)))
    }
    others = [
        CoinError(coin=coin, error=f"its candles come from {_source(one)}, which is not mixed with {source}")
        for coin, one in bars.items()
        if coin not in joinable
    ]
    return joinable, tuple(others)


def _obtain(
    context: Context, request: Resolved, *, fetch_allowed: bool
) -> tuple[dict[str, CoinCandles], dict[str, CryptocastError]]:
    outcomes = obtain(context, request, fetch_allowed=fetch_allowed)
    bars = {coin: with_notice(one) for coin, one in outcomes.items() if isinstance(one, CoinCandles)}
    return bars, {coin: one for coin, one in outcomes.items() if not isinstance(one, CoinCandles)}


def choice_of(source: str) -> SourceChoice:
    """The source of a series, as one asks for it."""
    choice: SourceChoice = msgspec.convert(source, SourceChoice)
    return choice


def _group(
    config: Config,
    request: Resolved,
    bars: Mapping[str, CoinCandles],
    missing: Mapping[str, CryptocastError],
    source: str,
    available: Sequence[str],
) -> CoinPool:
    named = tuple(coin for coin in available if _source(bars[coin]) == source)
    joinable, others = _joinable({coin: one for coin, one in bars.items() if coin not in named}, source)
    # Pegged coins would teach the pool that nothing ever moves. One that was named is learned from all the same.
    pegged = [coin for coin, one in joinable.items() if is_stablecoin(clean_frame(one), config.quality)]
    helpers = {coin: one for coin, one in joinable.items() if coin not in pegged}
    return CoinPool(
        Market(source, request.vs, request.granularity),
        named,
        {**{coin: bars[coin] for coin in named}, **helpers},
        (*_left_out(missing), *(one for one in others if one.coin not in available), *_noise(pegged)),
    )


def _source(bars: CoinCandles) -> str:
    return bars.candles.provenance.key.source


def without_stablecoins(config: Config, pool: CoinPool) -> CoinPool:
    """The pool without named stablecoins: what never moves teaches nothing, and would be forecast by others' returns.

    They stand among those left out. Raises DataError where nothing else is named.
    """
    pegged = [coin for coin in pool.named if is_stablecoin(clean_frame(pool.bars[coin]), config.quality)]
    if pegged and len(pegged) == len(pool.named):
        raise DataError(f"{pegged[0]} is a stablecoin: its returns are noise around its peg. Ask the baseline for it.")
    return replace(
        pool,
        named=tuple(coin for coin in pool.named if coin not in pegged),
        bars={coin: bars for coin, bars in pool.bars.items() if coin not in pegged},
        left_out=(*pool.left_out, *_noise(pegged)),
    )


def _noise(pegged: Iterable[str]) -> tuple[CoinError, ...]:
    return tuple(CoinError(coin=coin, error="it is a stablecoin, and its returns are noise") for coin in pegged)


@dataclass(slots=True)
class Failures:
    """The errors of single coins, while the others go on: the first of them, and a row for each coin."""

    first: CryptocastError | None = None
    rows: list[CoinError] = field(default_factory=list)

    @contextmanager
    def of(self, coins: Iterable[str]) -> Iterator[None]:
        """What fails in here fails for these coins alone."""
        try:
            yield
        except CryptocastError as error:
            self.first = self.first or error
            self.rows += [CoinError(coin=coin, error=str(error)) for coin in coins]

    def raise_unless(self, answers: Collection[object]) -> None:
        """Raise the first error, unless there are answers beside it."""
        if self.first is not None and not answers:
            raise self.first


def pool_of(config: Config) -> tuple[str, ...]:
    """The coins that help every training: `[train] pool`, else the configured coins."""
    return config.train.pool or config.data.coins


def feature_table(
    pool: CoinPool,
    features: Sequence[Feature],
    coins: Iterable[str] | None = None,
    *,
    tail: int | None = None,
) -> pl.DataFrame:
    """The candles of the pool with the features, on complete time grids; `tail` keeps each coin's last bars first.

    Raises ModelError if a formula of the user's own fails on these candles.
    """
    candles = candles_of(pool, coins, tail=tail, features=features)
    with _own_faults(features):
        return with_features(candles, features=features, bar_us=pool.bar_us, without=missing_needs(pool))


@contextmanager
def _own_faults(features: Sequence[Feature]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        own = [feature.name for feature in features if feature not in FEATURES]
        if not own or isinstance(error, CryptocastError):
            raise
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ModelError(f"{', '.join(own)} of [features] file cannot be computed on these candles: {cause}") from error


def candles_of(
    pool: CoinPool, coins: Iterable[str] | None = None, *, tail: int | None = None, features: Sequence[Feature] = ()
) -> pl.DataFrame:
    """The candles of the pool, or of some of its coins, below each other, as they are known at the last of each: no
    bad print is among them, and no bar before a change of the unit. `tail` keeps the last bars of each. Beside them a
    column for each outside series that features read: at every bar the newest value that was known then."""
    frames = [clean_frame(pool.bars[coin]) for coin in (coins or pool.coins)]
    if tail is not None:
        frames = [frame.tail(tail) for frame in frames]
    candles = frames[0] if len(frames) == 1 else pl.concat(frames)
    outside = pool.outside.series(outside_columns(tuple(features)))
    return candles.with_columns(one.at(candles["close_time"]) for one in outside) if outside else candles


def matrix_of(table: pl.DataFrame, pool: CoinPool, horizons: Sequence[int], features: Sequence[str]) -> Matrix:
    """The rows of a feature table. Raises TooFewBarsError if no coin has enough bars for a single row."""
    matrix = build_matrix(table, features, horizons=horizons, bar_us=pool.bar_us)
    if len(matrix) == 0:
        raise _too_few(pool)
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class PoolRows:
    """The rows of a pool with all of these features: what models learn from."""

    pool: CoinPool
    features: FeatureSet
    matrix: Matrix

    @property
    def horizons(self) -> tuple[int, ...]:
        """Of the labels, in bars."""
        return tuple(self.matrix.horizons.tolist())


def pool_rows(pool: CoinPool, features: FeatureSet, horizons: Sequence[int]) -> PoolRows:
    """Raises as `matrix_of` and `feature_table` do."""
    table = feature_table(pool, features.features)
    matrix = matrix_of(table, pool, horizons, features.names)
    pending = {coin: times for coin, bars in pool.bars.items() if len(times := pending_times(bars))}
    return PoolRows(pool, features, _as_known(matrix, pool, features, pending) if pending else matrix)


def _as_known(matrix: Matrix, pool: CoinPool, features: FeatureSet, pending: Mapping[str, Int64Array]) -> Matrix:
    """The rows at moments when something was wrong, as they were known then; prices as they came score.

    Of a coin whose unit changed the bars before are gone for good, for the other coins' features of the market too.
    """
    frames = {coin: pool.bars[coin].candles.frame for coin in pending}
    closes = {coin: (microseconds(frame["close_time"]), frame["close"].to_numpy()) for coin, frame in frames.items()}
    labelled = without_labels(with_paid(matrix, closes), pending)
    moments = np.intersect1d(np.concatenate(list(pending.values())), matrix.issued_at)
    horizons = matrix.horizons.tolist()
    return as_known(
        labelled,
        (
            (
                rows_at(pool, horizons, features.features, int(at)),
                {coin for coin, times in pending.items() if at in times},
            )
            for at in moments
        ),
    )


def rows_at(pool: CoinPool, horizons: Sequence[int], features: Sequence[Feature], at: int) -> Matrix:
    """The rows issued at a moment (microseconds), of features alone, from the candles up to it."""
    rows = last_rows(pool_at(pool, at), horizons, features)
    return rows.rows(rows.issued_at == at)


def pool_at(pool: CoinPool, at: int, newest: Mapping[str, int] = MappingProxyType({})) -> CoinPool:
    """The pool with the bars that had closed at a moment (microseconds); newest: of these coins only so many."""
    until = pl.col("close_time") <= as_datetime(at)
    frames = {coin: bars.candles.frame.filter(until) for coin, bars in pool.bars.items()}
    frames |= {coin: frames[coin].tail(bars) for coin, bars in newest.items()}
    bars = {
        coin: replace(pool.bars[coin], candles=replace(pool.bars[coin].candles, frame=frame))
        for coin, frame in frames.items()
        if frame.height
    }
    return replace(pool, bars=bars)


def _too_few(pool: CoinPool) -> TooFewBarsError:
    bars = ", ".join(f"{coin} {clean_frame(pool.bars[coin]).height}" for coin in pool.coins)
    return TooFewBarsError(f"There are too few bars to state a volatility (21 are needed): {bars}. Fetch more of them.")


def last_rows(
    pool: CoinPool, horizons: Sequence[int], features: Sequence[Feature], *, tail: int | None = None, rows: int = 1
) -> Matrix:
    """The last rows of each coin, for a forecast: nothing to learn from, `variance` and `freedom` are NaN.

    tail: bars of each coin that are looked at, None: all. Equal to 1e-8 to the same rows of `matrix_of` all candles.
    Raises as that and `feature_table` do.
    """
    candles = candles_of(pool, tail=tail, features=features)
    table = with_features(candles, features=(), bar_us=pool.bar_us)
    recent = build_matrix(table, (), horizons=horizons, bar_us=pool.bar_us, with_variance=False, newest=rows)
    if len(recent) == 0:
        raise _too_few(pool)
    behind = recent.panel.start[1:][recent.coin] - 1 - recent.position  # bars that are missing count
    deep = int(behind.max()) + 1
    with _own_faults(features):
        values = last_features(table, features, rows=deep, bar_us=pool.bar_us, without=missing_needs(pool))
    own = values[recent.coin, deep - 1 - behind]
    return replace(recent, features=own, feature_names=tuple(feature.name for feature in features))


def has_last_row(matrix: Matrix, pool: CoinPool, coin: str) -> bool:
    """Whether the coin's last bar is a row: it has a price and a volatility."""
    last = as_microseconds(pool.bars[coin].candles.provenance.last)
    own = matrix.coin == matrix.panel.coins.index(coin)
    return bool(own.any() and matrix.issued_at[own][-1] == last)


def data_used(pool: CoinPool) -> tuple[DataUsed, ...]:
    """What a report says about the candles."""
    return tuple(_used(coin, bars) for coin, bars in pool.bars.items())


def _used(coin: str, bars: CoinCandles) -> DataUsed:
    facts = bars.candles.provenance
    return DataUsed(
        coin=coin,
        source=facts.key.source,
        market=facts.market,
        rows=facts.rows,
        first=facts.first,
        last=facts.last,
        content_hash=facts.content_hash,
        stale=bars.stale,
        notice=bars.notice,
    )


def coin_data(pool: CoinPool) -> tuple[CoinData, ...]:
    """What a manifest says about the candles of each coin."""
    return tuple(_coin_data(coin, bars) for coin, bars in pool.bars.items())


def series_data(pool: CoinPool, features: FeatureSet) -> dict[str, SeriesData]:
    """What a manifest says about the outside series, as far as they were known at the newest close."""
    known = [one.until(pool.last) for one in pool.outside.series(features.series)]
    return {
        one.name: SeriesData(source=features.series[one.name], rows=len(one.values), content_hash=one.content_hash)
        for one in known
    }


def _coin_data(coin: str, bars: CoinCandles) -> CoinData:
    facts = bars.candles.provenance
    return CoinData(
        coin=coin,
        source=facts.key.source,
        market=facts.market or msgspec.UNSET,
        rows=facts.rows,
        first=facts.first,
        last=facts.last,
        content_hash=facts.content_hash,
    )


def moment(microseconds: int) -> datetime:
    """Microseconds since the epoch as a UTC time."""
    return datetime.fromtimestamp(microseconds // 1_000_000, tz=UTC).replace(microsecond=microseconds % 1_000_000)


def missing_needs(pool: CoinPool) -> frozenset[str]:
    """What these candles cannot give to any feature."""
    # No feature may take a sum over 24 hours for the hour's own volume.
    return frozenset() if all(map(has_bar_volume, pool.bars.values())) else frozenset({"bar_volume"})


def has_bar_volume(bars: CoinCandles) -> bool:
    """Whether the volume of a bar is that of the bar alone."""
    key = bars.candles.provenance.key
    return SOURCES[key.source].volume_unit(key.granularity) == "bar"


def _left_out(missing: Mapping[str, CryptocastError]) -> tuple[CoinError, ...]:
    """The coins that could not be had, as a report names them."""
    return tuple(CoinError(coin=coin, error=str(error)) for coin, error in missing.items())
