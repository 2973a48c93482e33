"""A pool too large to be held at once: read, learned from and scored some coins at a time, here or on a cluster.

Three passes over the coins. The first looks at their bars. The second draws an even share of each coin's rows, at most
`[train] max_rows` in all, which come together and are fitted on like those of any other pool. The third asks the fits
about every coin. What a pass makes of a part depends on its coins alone, so the numbers are the same wherever it is
done. Features that compare the coins of a moment are left out: a forecast of one coin would have to read all others.
"""

import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import SEEK_END
from typing import Final

import msgspec
import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.data.quality import is_stablecoin
from cryptocast.data.sources.table import AUTO, SOURCES, is_real
from cryptocast.errors import CryptocastError, DataError, TooFewBarsError
from cryptocast.evaluation.records import HoldOut, PooledAnswers
from cryptocast.features.builder import outside_columns
from cryptocast.features.market import BITCOIN
from cryptocast.features.matrix import Matrix
from cryptocast.features.own import FeatureSet
from cryptocast.features.stacked import stacked
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster, fallback_reason
from cryptocast.models.selective import thin
from cryptocast.spread import Spread
from cryptocast.workflows.clean_candles import clean_frame
from cryptocast.workflows.coin_pool import (
    CoinPool,
    PoolRows,
    choice_of,
    gather,
    has_bar_volume,
    has_last_row,
    moment,
    pool_rows,
)
from cryptocast.workflows.context import Context, Resolved, steps
from cryptocast.workflows.forecast import model_forecast
from cryptocast.workflows.market_data.outside_shelf import OutsideShelf
from cryptocast.workflows.market_data.resolve import CoinCandles
from cryptocast.workflows.reports import CoinError
from cryptocast.workflows.training.hold_out import coin_hold_outs, judged

MOST_TOGETHER: Final = 100  # coins that are held at once
SURVEYED: Final = 25  # coins that are looked at together
# Bars of a part: with all features about 100 MB while they are computed. One coin may have more.
PART_BARS: Final = 60_000
# Bars of the coins that teach. Each keeps 44 bytes, as what its rows look back on; beyond, an even share of the parts.
LESSON_BARS: Final = 4_000_000
UNTESTED: Final = "none of its bars is in the hold-out"


@dataclass(frozen=True, slots=True)
class At:
    """A clock that stands: every part of a training is of the same moment."""

    moment: datetime

    def __call__(self) -> datetime:
        """That moment."""
        return self.moment


@dataclass(frozen=True, slots=True, eq=False)
class PartReader:
    """Where the bars of a part are read. fetch_allowed: whether those that are out of date may be fetched."""

    context: Context
    request: Resolved
    fetch_allowed: bool

    @classmethod
    def of(cls, context: Context, request: Resolved, *, fetch_allowed: bool) -> "PartReader":
        """What can be sent elsewhere: without secrets, open files and whatever shows progress."""
        plain = Context(context.config, wall_clock=At(context.wall_clock()), who=context.who)
        if fetch_allowed:
            plain = replace(plain, api_key=context.api_key, candles=context.candles)
        return cls(plain, request, fetch_allowed)

    def stored(self) -> "PartReader":
        """The same, as the store has them now."""
        return replace(self, request=replace(self.request, stored=True), fetch_allowed=False)


@dataclass(frozen=True, slots=True, eq=False)
class PoolPart:
    """Some coins of the pool. bars: theirs and bitcoin's, for whoever cannot see the store; None: read them there."""

    coins: tuple[str, ...]
    bars: tuple[CoinPool, ...] | None = None

    def pools(self, bars: PartReader, more: Sequence[str] = ()) -> tuple[CoinPool, ...]:
        """By source, with more coins to help; raises as `gather` does."""
        if self.bars is not None:
            return self.bars
        request = replace(bars.request, coins=tuple(dict.fromkeys((*self.coins, *more))))
        return gather(bars.context, request, pool=(), fetch_allowed=bars.fetch_allowed)


@dataclass(frozen=True, slots=True, eq=False)
class CoinFacts:
    """What the first pass saw of a coin. bars: without their frame; count: how many of them count."""

    bars: CoinCandles
    count: int
    is_stablecoin: bool


@dataclass(frozen=True, slots=True, eq=False)
class PartSurvey:
    """Of a part: the coins that there are, as pools without their bars, and by coin what was seen."""

    pools: tuple[CoinPool, ...]
    facts: Mapping[str, CoinFacts]
    left_out: tuple[CoinError, ...]


def survey(bars: PartReader, part: PoolPart) -> PartSurvey:
    """The first pass: which coins of a part there are, and how many bars they have. Fetches what may be fetched."""
    try:
        pools = part.pools(bars)
    except CryptocastError as error:
        return PartSurvey((), {}, tuple(CoinError(coin=coin, error=str(error)) for coin in part.coins))
    facts = {coin: _facts(bars.context, one) for pool in pools for coin, one in pool.bars.items() if coin in part.coins}
    bare = tuple(replace(pool, bars={coin: facts[coin].bars for coin in pool.named}) for pool in pools)
    missing = {error.coin: error for pool in pools for error in pool.left_out if error.coin not in facts}
    return PartSurvey(bare, facts, tuple(missing.values()))


def _facts(context: Context, bars: CoinCandles) -> CoinFacts:
    frame = clean_frame(bars)
    bare = replace(bars, candles=replace(bars.candles, frame=bars.candles.frame.clear()))
    return CoinFacts(bare, frame.height, is_stablecoin(frame, context.config.quality))


def parts_of(counts: Mapping[str, int], most: int = PART_BARS) -> tuple[tuple[str, ...], ...]:
    """The coins in their order, dealt into parts of at most so many bars. counts: by coin, its bars."""
    parts, own, bars = list[tuple[str, ...]](), list[str](), 0
    for coin, count in counts.items():
        if own and bars + count > most:
            parts.append(tuple(own))
            own, bars = [], 0
        own.append(coin)
        bars += count
    return (*parts, tuple(own)) if own else tuple(parts)


@dataclass(frozen=True, slots=True, eq=False)
class LessonPlan:
    """What the second pass does with each part. share: of each coin's rows that are drawn; outside: the series that
    features read, which were read once for all parts."""

    bars: PartReader
    features: FeatureSet
    horizons: tuple[int, ...]
    share: float
    seed: int
    outside: OutsideShelf


def rows_of(plan: LessonPlan, part: PoolPart) -> PoolRows:
    """All rows of a part's own coins, with the features. Raises as `gather` and `pool_rows` do."""
    pools = part.pools(plan.bars, (BITCOIN,))
    if not pools:
        raise DataError("its bars can no longer be read")
    own = tuple(coin for coin in part.coins if any(coin in pool.bars for pool in pools))
    bars = {coin: pool.bars[coin] for pool in pools for coin in pool.bars if coin in {*own, BITCOIN}}
    members = {coin: bars[coin] for coin in dict.fromkeys((*own, *bars))}
    pool = replace(pools[0], named=own, bars=members, outside=plan.outside)
    rows = pool_rows(pool, plan.features, plan.horizons)
    return replace(rows, matrix=rows.matrix.rows(np.isin(rows.matrix.coin_names, own)))


def lessons_of(plan: LessonPlan, part: PoolPart) -> Matrix | None:
    """The second pass: the rows of a part that teach, from every part of each coin's time; None if there are none."""
    try:
        matrix = rows_of(plan, part).matrix
    except DataError:
        return None
    drawn = [
        own[thin(len(own), max(1, round(plan.share * len(own))), zlib.crc32(f"{plan.seed} {coin}".encode()))]
        for number, coin in enumerate(matrix.panel.coins)
        if len(own := np.flatnonzero(matrix.coin == number))
    ]
    return stacked([matrix.rows(np.concatenate(drawn))]) if drawn else None


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """What the third pass asks of each part.

    fits: by kind, the model of the first part of the time and that of all of it. test_start: when the hold-out begins
    (microseconds); pooled: by kind, the answers of all coins together, the baseline's among them.
    """

    plan: LessonPlan
    fits: Mapping[str, tuple[CalibratedForecaster, CalibratedForecaster]]
    test_start: int
    pooled: Mapping[str, tuple[PooledAnswers, ...]]
    least_blocks: int


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Of one coin: its scores by kind, as compressed JSON; quantiles (H, q) of its baseline; the horizons that the
    baseline answers, and why."""

    hold_outs: Mapping[str, bytes]
    quantiles: FloatArray
    fallbacks: Mapping[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class PartMarks:
    """Of the coins of a part that can be forecast, and why the others cannot."""

    marks: Mapping[str, Marks]
    left_out: tuple[CoinError, ...]


def examine(exam: Exam, part: PoolPart) -> PartMarks:
    """The third pass: what the fits are worth on each coin of a part, and its own baseline."""
    try:
        rows = rows_of(exam.plan, part)
    except CryptocastError as error:
        return PartMarks({}, tuple(CoinError(coin=coin, error=str(error)) for coin in part.coins))
    matrix, pool = rows.matrix, rows.pool
    fallbacks = {coin: _fallbacks(clean_frame(pool.bars[coin]).height, rows.horizons, exam) for coin in pool.named}
    then = BaselineLearner().fit(matrix.bare().known_at(exam.test_start))
    now = BaselineLearner().fit(matrix.bare().lessons())
    test = matrix.issued_at >= exam.test_start
    asked = matrix.rows(test)
    finals = {kind: replace(final, baseline=now) for kind, (_, final) in exam.fits.items()}
    left_out = dict(_unanswered(rows, finals, fallbacks))
    tested = set(asked.coin_names.tolist())
    left_out = {coin: UNTESTED for coin in pool.named if coin not in tested} | left_out
    able = [coin for coin in pool.named if coin not in left_out]
    scores: Mapping[tuple[str, str | None], HoldOut] = {}
    if able:
        forecasts = {kind: replace(first, baseline=then).predict(asked) for kind, (first, _) in exam.fits.items()}
        sheet = judged(matrix, test, exam.test_start, forecasts)
        scores = coin_hold_outs(sheet, able, exam.pooled, fallbacks)
    marks = {
        coin: Marks(
            {kind: _compressed(_of_own_time(scores[kind, coin], asked)) for kind in exam.pooled},
            now.quantiles[now.coins.index(coin)],
            fallbacks[coin],
        )
        for coin in able
    }
    return PartMarks(marks, tuple(CoinError(coin=coin, error=error) for coin, error in left_out.items()))


def _compressed(hold_out: HoldOut) -> bytes:
    return zlib.compress(msgspec.json.encode(hold_out), 1)


def _of_own_time(hold_out: HoldOut, rows: Matrix) -> HoldOut:
    """With the first and the last bar of the coin itself: those of its part depend on who is in it."""
    own = rows.issued_at[rows.coin_names == hold_out.coins[0]]
    return msgspec.structs.replace(hold_out, start=moment(int(own.min())), end=moment(int(own.max())))


def _fallbacks(bars: int, horizons: Sequence[int], exam: Exam) -> dict[int, str]:
    reasons = {horizon: fallback_reason(bars, horizon, exam.least_blocks) for horizon in horizons}
    return {horizon: reason for horizon, reason in reasons.items() if reason is not None}


def _unanswered(
    rows: PoolRows, finals: Mapping[str, CalibratedForecaster], fallbacks: Mapping[str, Mapping[int, str]]
) -> Iterator[tuple[str, str]]:
    """The coins that could not be forecast now, and why: what cannot forecast must not become a version."""
    for coin in rows.pool.named:
        if not has_last_row(rows.matrix, rows.pool, coin):
            yield coin, "it has too few bars to state a volatility"
            continue
        try:
            for final in finals.values():
                model_forecast(final, rows.matrix, coin, rows.horizons, baseline_at=tuple(fallbacks[coin]))
        except CryptocastError as error:
            yield coin, str(error)


class PoolMarks:
    """The marks of all coins. Their scores lie in a file that goes with this: memory would grow by 14 kB a coin."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as this
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        self._quantiles: dict[str, FloatArray] = {}
        self.fallbacks: dict[str, Mapping[int, str]] = {}

    def __contains__(self, coin: str) -> bool:
        return coin in self._quantiles

    def __len__(self) -> int:
        return len(self._quantiles)

    def add(self, coin: str, marks: Marks) -> None:
        """Keep those of one more coin."""
        self._quantiles[coin], self.fallbacks[coin] = marks.quantiles, marks.fallbacks
        for kind, scores in marks.hold_outs.items():
            self._places[kind, coin] = self._file.seek(0, SEEK_END), self._file.write(scores)

    def hold_outs(self, kind: str, coins: Iterable[str]) -> dict[tuple[str, str | None], HoldOut]:
        """The scores of one kind on these coins."""
        return {(kind, coin): self._hold_out(*self._places[kind, coin]) for coin in coins}

    def _hold_out(self, begin: int, length: int) -> HoldOut:
        self._file.seek(begin)
        return msgspec.json.decode(zlib.decompress(self._file.read(length)), type=HoldOut)

    def with_baselines(self, fit: CalibratedForecaster) -> CalibratedForecaster:
        """The fit with the baseline of each of these coins."""
        coins, quantiles = tuple(self._quantiles), np.stack([*self._quantiles.values()])
        return replace(fit, baseline=msgspec.structs.replace(fit.baseline, coins=coins, quantiles=quantiles))


@dataclass(frozen=True, slots=True, eq=False)
class LargePool:
    """A pool after its first pass, without its bars. counts: by coin, the bars that count. is_seen: whether whoever
    works sees the store; else each is sent the bars of its part."""

    bars: PartReader
    pool: CoinPool
    counts: Mapping[str, int]
    is_seen: bool = True

    def parts(self, coins: Iterable[str]) -> tuple[PoolPart, ...]:
        """These coins, dealt in alphabetical order; those whose bars have a volume of their own by themselves, since
        features of the volume are left out wherever one coin has none."""
        alike: dict[bool, dict[str, int]] = {True: {}, False: {}}
        for coin in sorted(coins):
            alike[has_bar_volume(self.pool.bars[coin])][coin] = self.counts[coin]
        return tuple(PoolPart(some) for counts in alike.values() for some in parts_of(counts))

    def jobs(self, parts: Sequence[PoolPart]) -> Iterator[PoolPart]:
        """What is sent to whoever works: one part after the other is read here where the store is not seen there."""
        for part in parts:
            yield part if self.is_seen else replace(part, bars=_read_here(self.bars, part))


def _read_here(bars: PartReader, part: PoolPart) -> tuple[CoinPool, ...]:
    try:
        return part.pools(bars, (BITCOIN,))
    except CryptocastError:
        return ()  # the part will say that it has none


def read_pool(
    context: Context, request: Resolved, helpers: Sequence[str], spread: Spread, *, is_here: bool
) -> tuple[LargePool, ...]:
    """The first pass over the named coins and those that help: a pool for each source that the named have.

    As `gather` does; stablecoins are left out. is_here: on this machine, where bars may be fetched. Raises DataError if
    no named coin is left.
    """
    if not is_here:
        request = replace(request, stored=True)
    is_seen = is_here or spread.sees(context.config.store.path)
    bars = PartReader.of(context, request, fetch_allowed=is_here)
    coins = tuple(dict.fromkeys((*request.coins, *helpers)))
    jobs = [PoolPart(coins[begin : begin + SURVEYED]) for begin in range(0, len(coins), SURVEYED)]
    facts, left_out, pools = dict[str, CoinFacts](), list[CoinError](), list[CoinPool]()
    with steps(context.progress, "bars", len(jobs)) as step:
        # Bars are fetched here: a dead network is waited for once, not once in each process.
        fetches = request.source == AUTO or SOURCES[request.source].is_fetched
        is_spread = is_seen and not (is_here and fetches and not request.stored and request.as_of is None)
        for seen in spread(survey, bars, jobs) if is_spread else _in_turn(bars, jobs):
            facts |= seen.facts
            left_out += seen.left_out
            pools += seen.pools
            step(f"{len(facts)} coins")
    pegged = [coin for coin, one in facts.items() if one.is_stablecoin]
    left_out += [CoinError(coin=coin, error="it is a stablecoin, and its returns are noise") for coin in pegged]
    facts = {coin: one for coin, one in facts.items() if not one.is_stablecoin}
    by_source = {pool.source: pool for pool in reversed(pools)}
    sources = dict.fromkeys(_source(facts[coin]) for coin in request.coins if coin in facts)
    if not sources:
        raise DataError(f"{left_out[0].coin}: {left_out[0].error}" if left_out else "There is no coin to learn from.")
    is_online = is_here and request.as_of is None and not request.stored
    is_online &= not all(facts[coin].bars.stale for coin in request.coins if coin in facts)
    large = (_of_source(bars.stored(), by_source[source], request, facts, left_out) for source in sources)
    return tuple(
        replace(one, is_seen=is_seen, pool=replace(one.pool, outside=OutsideShelf(context, one.pool.last, is_online)))
        for one in large
    )


def _in_turn(bars: PartReader, jobs: Sequence[PoolPart]) -> Iterator[PartSurvey]:
    """Here, one after the other; where nobody has answered for any coin of a part, nobody is asked for the next."""
    for job in jobs:
        seen = survey(bars, job)
        if seen.facts and all(one.bars.age.failed for one in seen.facts.values()):
            bars = replace(bars, fetch_allowed=False)
        yield seen


def _source(facts: CoinFacts) -> str:
    return facts.bars.candles.provenance.key.source


def _of_source(
    bars: PartReader, pool: CoinPool, request: Resolved, facts: Mapping[str, CoinFacts], left_out: Sequence[CoinError]
) -> LargePool:
    own = {
        coin: one
        for coin, one in facts.items()
        if _source(one) == pool.source or (is_real(pool.source) and is_real(_source(one)))
    }
    named = tuple(coin for coin in request.coins if coin in own and _source(own[coin]) == pool.source)
    members = {coin: own[coin].bars for coin in dict.fromkeys((*named, *own))}
    whole = replace(pool, named=named, bars=members, left_out=tuple(left_out))
    if not is_real(pool.source):  # bars that stood in for others are no bars of the store
        bars = replace(bars, request=replace(bars.request, source=choice_of(pool.source)))
    return LargePool(bars, whole, {coin: own[coin].count for coin in members})


def draw_lessons(
    context: Context, large: LargePool, features: FeatureSet, horizons: tuple[int, ...], spread: Spread
) -> tuple[LessonPlan, PoolRows]:
    """The second pass: the rows that teach. Raises TooFewBarsError if no coin has one."""
    train = context.config.train
    parts = large.parts(large.counts)
    bars = [sum(large.counts[coin] for coin in part.coins) for part in parts]
    few = max(1, min(len(parts), len(parts) * LESSON_BARS // max(1, sum(bars))))
    teaching = np.linspace(0, len(parts) - 1, few).round().astype(int).tolist()
    share = min(1.0, train.max_rows / max(1, sum(bars[one] for one in teaching)))
    outside = large.pool.outside
    outside.series(outside_columns(features.features))  # once, before anything is learned, and where its file is
    shelf = replace(outside, context=None, is_online=False)
    plan = LessonPlan(large.bars, features, horizons, share, train.seed, shelf)
    matrices = []
    with steps(context.progress, "features", few) as step:
        for matrix in spread(lessons_of, plan, large.jobs([parts[one] for one in teaching])):
            if matrix is not None:
                matrices.append(matrix)
            step(f"{sum(map(len, matrices)):,} rows")
    if not matrices:
        raise TooFewBarsError("No coin has bars enough to state a volatility (21 are needed). Fetch more of them.")
    return plan, PoolRows(large.pool, features, stacked(matrices))


def audited_rows(plan: LessonPlan, large: LargePool) -> PoolRows:
    """All rows of the part with most bars that has any: what the audit of the features looks at."""
    for part in sorted(large.parts(large.counts), key=lambda part: -sum(large.counts[coin] for coin in part.coins)):
        try:
            rows = rows_of(plan, part)
        except DataError:
            continue
        if len(rows.matrix):
            return rows
    raise TooFewBarsError("No coin has bars enough to audit the features on. Fetch more of them.")


def examine_all(
    context: Context, large: LargePool, exam: Exam, spread: Spread
) -> tuple[PoolMarks, tuple[CoinError, ...]]:
    """The third pass over the named coins: their marks, and why some have none."""
    marks, left_out = PoolMarks(), list[CoinError]()
    parts = large.parts(large.pool.named)
    with steps(context.progress, "scores", len(parts)) as step:
        for part in spread(examine, exam, large.jobs(parts)):
            for coin, own in part.marks.items():
                marks.add(coin, own)
            left_out += part.left_out
            step(f"{len(marks)} coins")
    if not marks:
        raise DataError(f"{left_out[0].coin}: {left_out[0].error}" if left_out else "No coin could be scored.")
    return marks, tuple(left_out)


def large_notes(rows: PoolRows, pool: CoinPool, *, has_fits: bool) -> tuple[str, ...]:
    """What must be known of a training in parts. pool: with the coins that became versions, where there are fits."""
    taught = len(rows.matrix.panel.coins)
    read = f"{len(pool.coins):,} coins were read in parts"
    if not has_fits:
        return (f"{read}, and {len(pool.named):,} of them were scored",)
    return (
        f"{read}: {len(rows.matrix):,} bars of {taught:,} taught the models,"
        " which look at no feature that compares the coins of a moment",
        f"{len(pool.named):,} coins have a new version of each model; for all of them: cryptocast registry list",
    )
