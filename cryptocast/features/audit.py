"""The leakage audit: recompute features where the future is missing or different, and require the same past.

What a feature says of a bar must follow from that bar and those before it. The audit does not look at formulas nor at
correlations with the target; it changes the data and compares every row and column.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby, pairwise
from typing import TypeAlias

import msgspec
import numpy as np
import polars as pl

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.features.builder import add_features, outside_columns, required_history, with_waves
from cryptocast.features.catalogue import Feature
from cryptocast.features.market import BITCOIN
from cryptocast.features.matrix import COLUMNS_AT_ONCE, Matrix, build_matrix
from cryptocast.times import as_microseconds

FeatureBuilder: TypeAlias = Callable[[pl.LazyFrame, Sequence[Feature]], pl.LazyFrame]
LabelBuilder: TypeAlias = Callable[[pl.DataFrame], Matrix]

KEYS = ["coin", "close_time"]
STREAMED_BARS = 3
STREAMED_RTOL = 1e-8  # what `memory` promises
AUDIT_STEPS = 7  # of `audit`: that of targets has no check where there are no horizons
FINDINGS_KEPT = 5  # of each feature and check; all are counted
CLEAN_COINS = (BITCOIN, "walk-a", "walk-b", "walk-c")
CLEAN_EXTRA_BARS = 60
# What a finding of these checks means.
LEAKING = frozenset(
    {
        "prefix",
        "perturbation",
        "coins",
        "targets",
        "fitted",
        "folds",
        "repeated",
        "past first",
        "rows",
        "known",
        "foresight",
    }
)
MISDECLARED = frozenset({"streaming", "warmup", "memory"})


class AuditFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One value that moved.

    value_with: from all candles; value_without: from the cut or changed ones (null in the warm-up check). Null where
    the table has null; NaN and infinite values are null here too.
    """

    feature: str
    coin: str
    close_time: datetime
    value_with: float | None
    value_without: float | None


class AuditCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What one check did.

    cells: values compared; found: how many of them differ; findings: the first of these, a few of each feature.
    """

    name: str
    what: str
    ran: bool
    runs: int
    cells: int
    found: int
    findings: tuple[AuditFinding, ...]
    not_run: tuple[str, ...]  # what this check could not look at, and why


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole audit.

    leaks: features whose past depends on the future or on the order of coins, labels that are known too early, and fits
    that saw more than their training rows. misdeclared: features whose warm-up or memory is not what the catalogue
    says, or that are NaN or infinite somewhere.
    """

    schema: str = "cryptocast.audit/1"
    bars: int
    coins: tuple[str, ...]
    features: tuple[str, ...]
    cuts: int
    seed: int
    rtol: float
    checks: tuple[AuditCheck, ...]
    leaks: tuple[str, ...]
    misdeclared: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if every check ran and none found anything."""
        return all(check.ran for check in self.checks) and not self.leaks and not self.misdeclared


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """A feature table as keys and numbers."""

    keys: pl.DataFrame  # coin, close_time; the rows in the order of the table
    names: tuple[str, ...]
    numbers: FloatArray  # (rows, features): NaN where null, infinite where NaN

    def only(self, names: Sequence[str]) -> "Values":
        """The columns of some features."""
        return Values(self.keys, tuple(names), self.numbers[:, [self.names.index(name) for name in names]])

    def at(self, moment: datetime) -> "Values":
        """The rows of one close time."""
        return self.where((self.keys["close_time"] == moment).to_numpy())

    def where(self, keep: BoolArray) -> "Values":
        """The rows of a mask."""
        return Values(self.keys.filter(pl.Series(keep)), self.names, self.numbers[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is audited: candles, features, how they are built, and the values that this gives."""

    candles: pl.DataFrame
    features: tuple[Feature, ...]
    bar_us: int
    build: FeatureBuilder
    values: Values

    @property
    def moments(self) -> pl.Series:
        return self.values.keys["close_time"].unique().sort()

    def rebuilt(self, candles: pl.DataFrame) -> Values:
        """The values that other candles give."""
        return feature_values(self.build, candles, self.features)


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Values compared, and where they differ: findings hold at most FINDINGS_KEPT of each feature."""

    cells: int
    count: int
    findings: tuple[AuditFinding, ...]


def audit(
    candles: pl.DataFrame,
    features: Sequence[Feature],
    *,
    bar_us: int,
    cuts: int,
    seed: int,
    rtol: float = 1e-9,
    without: frozenset[str] = frozenset(),
    build: FeatureBuilder | None = None,
    horizons: Sequence[int] = (),
    labels: LabelBuilder | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Look for features that know the future. Raises nothing of its own: a feature that cannot be computed is reported.

    candles: CANDLE_SCHEMA. cuts: moments at which the future is taken away, and changed. seed: chooses them and the
    noise. rtol: tolerance where data are cut (none where they only differ behind the cut). without: as in
    `add_features`. build: the builder on trial, `add_features` unless given. horizons: of the labels that a model will
    learn from, in bars; none: they are not looked at. labels: what makes them, `build_matrix` unless given.

    Checks: prefix (candles cut at random moments: all rows before must stay), perturbation (candles behind the cut
    replaced by noise: all rows before must stay to the last bit), streaming (rows one at a time, each from only the
    bars that serving keeps), coins (rows shuffled, coins renamed), targets (a label is there when its interval has
    ended, and not before), and on clean walks made here warm-up and memory as declared. step: hears of each of the
    AUDIT_STEPS that is done.
    """
    maker = build or partial(add_features, bar_us=bar_us, without=without)
    try:
        subject = _subject(candles, tuple(features), bar_us, maker)
        rng = np.random.default_rng(seed)
        moments = _cut_moments(subject.moments, cuts, rng)
        maker_of_labels = labels or partial(_labels, horizons=horizons, bar_us=bar_us)
        parts: tuple[Callable[[], Iterable[AuditCheck]], ...] = (
            lambda: [_prefix(subject, moments, rtol)],
            lambda: [_perturbation(subject, moments, rng)],
            lambda: [_streaming(subject, moments[1:])],
            lambda: [_coins(subject, rng, rtol)],
            lambda: [_warmup(subject, rng, without)],
            lambda: [_memory(subject, rng, without)],
            lambda: _targets(candles, moments, maker_of_labels, horizons),
        )
        checks: tuple[AuditCheck, ...] = ()
        for part in parts:
            checks += tuple(part())
            step(checks[-1].name)
    except Exception as error:  # noqa: BLE001 - a formula of the user's own may fail in any way
        line = " ".join(f"{type(error).__name__}: {error}".split())
        checks = (check_not_run("build", "features are computed", line[:500]),)
    report = AuditReport(
        bars=candles.height,
        coins=tuple(candles["coin"].unique().sort()) if "coin" in candles.columns else (),
        features=tuple(f.name for f in features),
        cuts=cuts,
        seed=seed,
        rtol=rtol,
        checks=(),
        leaks=(),
        misdeclared=(),
    )
    return with_checks(report, checks)


def with_checks(report: AuditReport, more: Sequence[AuditCheck]) -> AuditReport:
    """The report with further checks behind its own, and what they found among its leaks."""
    checks = (*report.checks, *more)
    leaks, misdeclared = _named(checks, LEAKING), _named(checks, MISDECLARED)
    return msgspec.structs.replace(report, checks=checks, leaks=leaks, misdeclared=misdeclared)


def _subject(candles: pl.DataFrame, features: tuple[Feature, ...], bar_us: int, build: FeatureBuilder) -> Subject:
    candles = candles.select(*CANDLE_SCHEMA, *outside_columns(features))
    return Subject(candles, features, bar_us, build, feature_values(build, candles, features))


def feature_values(build: FeatureBuilder, candles: pl.DataFrame, features: Sequence[Feature]) -> Values:
    """What the builder gives."""
    names = tuple(f.name for f in features)
    table = build(candles.lazy(), features).collect()
    numbers = np.empty((table.height, len(names)), order="F")
    for columns in _some_at_once(len(names)):
        known = pl.col(names[columns]).cast(pl.Float64).fill_nan(math.inf).fill_null(math.nan)
        numbers[:, columns] = table.select(known).to_numpy()
    return Values(table.select(KEYS), names, numbers)


def _some_at_once(columns: int) -> list[slice]:
    """The columns in parts: what is made of all of them at once is several times their size."""
    return [slice(begin, begin + COLUMNS_AT_ONCE) for begin in range(0, columns, COLUMNS_AT_ONCE)]


def _cut_moments(moments: pl.Series, cuts: int, rng: "np.random.Generator") -> list[datetime]:
    """The first moment, a random one from each of `cuts` equal stretches of the last three quarters, the last but one.

    The first, because what is filled backwards into a warm-up is seen only there. The last but one, because a feature
    with a long warm-up may have its first values there, and a look one bar ahead shows on the newest bars at least. The
    last moment is no cut.
    """
    edges = np.linspace(len(moments) // 4, len(moments) - 1, cuts + 1)
    places = {0, len(moments) - 2} | {int(low + rng.random() * (high - low)) for low, high in pairwise(edges)}
    return [moments[i] for i in sorted(places) if 0 <= i < len(moments) - 1]


def _prefix(subject: Subject, moments: list[datetime], rtol: float) -> AuditCheck:
    what = "the same values before a cut when all candles behind it are missing"
    if not moments:
        return check_not_run("prefix", what, f"{len(subject.moments)} moments leave nothing to cut")
    parts = []
    for moment in moments:
        past = subject.candles.filter(pl.col("close_time") <= moment)
        parts.append(compare(subject.values, subject.rebuilt(past), rtol))
    return check_of("prefix", what, parts, _all_null(subject))


def _perturbation(subject: Subject, moments: list[datetime], rng: "np.random.Generator") -> AuditCheck:
    what = "the same values before a cut, to the last bit, when the candles behind it are noise"
    if not moments:
        return check_not_run("perturbation", what, f"{len(subject.moments)} moments leave nothing to cut")
    parts = []
    for moment in moments:
        changed = subject.rebuilt(_with_noise_after(subject.candles, moment, rng))
        parts.append(compare(subject.values, changed, 0.0, until=moment))
    return check_of("perturbation", what, parts, _all_null(subject))


def _with_noise_after(candles: pl.DataFrame, moment: datetime, rng: "np.random.Generator") -> pl.DataFrame:
    """Prices of each later bar times one random factor, volume, market cap and outside series times others: still valid
    candles."""
    later = pl.col("close_time") > moment
    price, volume, capital = (pl.Series(np.exp(rng.normal(0.0, 1.0, candles.height))) for _ in range(3))
    changes = {"open": price, "high": price, "low": price, "close": price, "volume": volume, "market_cap": capital}
    changes |= {name: pl.Series(np.exp(rng.normal(0.0, 1.0, candles.height))) for name in _outside(candles)}
    return candles.with_columns(
        pl.when(later).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
        for name, factor in changes.items()
    )


def _outside(candles: pl.DataFrame) -> list[str]:
    return [name for name in candles.columns if name not in CANDLE_SCHEMA]


def _streaming(subject: Subject, moments: Sequence[datetime]) -> AuditCheck:
    what = "rows made one at a time, each from only the bars that serving keeps"
    need = required_history(subject.features)
    # Where all bars are kept a row in the middle is the last one of its prefix, which has been compared.
    within = [
        moment for moment in moments if (moment - subject.moments[0]).total_seconds() * 1e6 > need * subject.bar_us
    ]
    parts = []
    for moment in (*within, *subject.moments.tail(STREAMED_BARS)):
        tail = _tail(subject.candles, moment, need, subject.bar_us)
        parts.append(compare(subject.values, subject.rebuilt(tail).at(moment), STREAMED_RTOL, least=1.0))
    if not parts:
        return check_not_run("streaming", what, "there are no candles")
    long = len(subject.moments)
    short = () if long > need else (f"memory on these candles: {long} moments, {need} are needed to cut any off",)
    return check_of("streaming", what, parts, short)


def _targets(
    candles: pl.DataFrame, moments: Sequence[datetime], labels: LabelBuilder, horizons: Sequence[int]
) -> Iterator[AuditCheck]:
    """At each cut the labels that have ended are those of all candles, and the others are not there."""
    what = "a label is there once its interval has ended, and not before"
    if not horizons:
        return
    matrix = labels(candles)
    whole = _label_values(matrix)
    parts = []
    for moment in moments:
        cut = _label_values(labels(candles.filter(pl.col("close_time") <= moment)))
        now = as_microseconds(moment)
        ended = Values(whole.keys, whole.names, np.where(matrix.label_end <= now, whole.numbers, math.nan))
        parts.append(compare(ended.where(matrix.issued_at <= now), cut, 0.0))
    yield check_of("targets", what, parts, ()) if parts else check_not_run("targets", what, "nothing to cut")


def _labels(candles: pl.DataFrame, *, horizons: Sequence[int], bar_us: int) -> Matrix:
    table = add_features(candles.lazy(), (), bar_us=bar_us).collect()
    return build_matrix(table, (), horizons=sorted(horizons), bar_us=bar_us)


def _label_values(matrix: Matrix) -> Values:
    keys = pl.DataFrame({"coin": matrix.coin_names, "close_time": matrix.issued_at}).with_columns(
        pl.col("coin").cast(pl.String), pl.col("close_time").cast(CANDLE_SCHEMA["close_time"])
    )
    return Values(keys, tuple(f"return over {h} bars" for h in matrix.horizons.tolist()), matrix.returns)


def _tail(candles: pl.DataFrame, moment: datetime, bars: int, bar_us: int) -> pl.DataFrame:
    until = pl.col("close_time") <= moment
    return candles.filter(until & ((moment - pl.col("close_time")).dt.total_microseconds() < bars * bar_us))


def _coins(subject: Subject, rng: "np.random.Generator", rtol: float) -> AuditCheck:
    what = "the same values when rows are shuffled and coins are renamed so that their order turns around"
    order = rng.permutation(subject.candles.height)
    parts = [compare(subject.values, subject.rebuilt(subject.candles[order]), 0.0)]
    others = [coin for coin in subject.candles["coin"].unique().sort() if coin != BITCOIN]
    if len(others) < 2:
        return check_of("coins", what, parts, ("order of coins: fewer than two beside bitcoin",))
    renamed = {coin: f"coin-{len(others) - i:09d}" for i, coin in enumerate(others)}
    other = subject.rebuilt(subject.candles.with_columns(pl.col("coin").replace(renamed)))
    back = other.keys.with_columns(pl.col("coin").replace({new: old for old, new in renamed.items()}))
    parts.append(compare(subject.values, Values(back, other.names, other.numbers), rtol))
    return check_of("coins", what, parts, ())


def _warmup(subject: Subject, rng: "np.random.Generator", without: frozenset[str]) -> AuditCheck:
    """Leading nulls on clean walks are as many as declared, all later rows finite; on the candles never fewer."""
    what = "leading nulls as declared, every later value finite, on clean random walks; never fewer on these candles"
    longest = max((f.warmup for f in subject.features), default=0)
    clean = _clean_walks(longest + CLEAN_EXTRA_BARS, subject.bar_us, rng)
    walks = subject.rebuilt(with_waves(clean, subject.features))
    declared = np.array([f.warmup for f in subject.features])[None, :]
    computed = np.array([not f.needs & without for f in subject.features])[None, :]
    parts = []
    for values in (walks, subject.values):
        early = _bar_numbers(values)[:, None] < declared
        wrong = early & ~np.isnan(values.numbers)
        if values is walks:
            wrong |= ~early & ~np.isfinite(values.numbers) & computed
        wrong |= np.isinf(values.numbers)
        parts.append(_collect(values, np.full_like(values.numbers, np.nan), wrong))
    return check_of("warmup", what, parts, ())


def _bar_numbers(values: Values) -> Int64Array:
    """(rows,) the number of the bar in its coin, from 0."""
    return values.keys.select(pl.int_range(pl.len()).over("coin")).to_series().to_numpy()


def _memory(subject: Subject, rng: "np.random.Generator", without: frozenset[str]) -> AuditCheck:
    """The last row of clean walks from `required_history` of each feature alone equals that of the whole walk."""
    what = "the last row of clean random walks from exactly the declared bars"
    computed = sorted((f for f in subject.features if not f.needs & without), key=_history)
    need = required_history(computed)
    walks = with_waves(_clean_walks(need + CLEAN_EXTRA_BARS, subject.bar_us, rng), subject.features)
    last = walks["close_time"].max()
    if not computed or not isinstance(last, datetime):
        return check_not_run("memory", what, "there are no features")
    whole = subject.rebuilt(walks).at(last)
    parts = []
    for bars, group in groupby(computed, key=_history):
        some = list(group)
        tail = feature_values(subject.build, _tail(walks, last, bars, subject.bar_us), some).at(last)
        parts.append(compare(whole.only(tail.names), tail, STREAMED_RTOL, least=1.0))
    return check_of("memory", what, parts, ())


def _history(feature: Feature) -> int:
    return required_history((feature,))


def _clean_walks(bars: int, bar_us: int, rng: "np.random.Generator") -> pl.DataFrame:
    """Four coins, `bars` bars each, without gaps: random walks with changing volatility and everything known."""
    frames = []
    stamps = np.datetime64("2020-01-01T00:00:00", "us") + (1 + np.arange(bars)) * np.timedelta64(bar_us, "us")
    for coin in CLEAN_COINS:
        deviation = 0.02 * np.exp(0.5 * np.sin(np.arange(bars) / 40.0 + rng.uniform(0, 2 * math.pi)))
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, bars) * deviation))
        start = close * np.exp(rng.normal(0.0, 1.0, bars) * deviation)
        high = np.maximum(start, close) * np.exp(np.abs(rng.normal(0.0, 0.3, bars)) * deviation)
        low = np.minimum(start, close) * np.exp(-np.abs(rng.normal(0.0, 0.3, bars)) * deviation)
        volume = np.exp(rng.normal(15.0, 0.5, bars))
        columns = {"open": start, "high": high, "low": low, "close": close, "volume": volume, "market_cap": close * 1e6}
        frames.append(pl.DataFrame({"close_time": stamps, **columns}).with_columns(coin=pl.lit(coin)))
    walks = pl.concat(frames).with_columns(pl.col("close_time").dt.replace_time_zone("UTC"), range_known=pl.lit(True))  # noqa: FBT003
    return walks.select(list(CANDLE_SCHEMA))


def compare(
    values: Values,
    other: Values,
    rtol: float,
    *,
    least: float = 0.0,
    most: int = FINDINGS_KEPT,
    until: datetime | None = None,
) -> Differences:
    """Every feature in every row that both hold: null equals only null, numbers agree to rtol of their size.

    Size: the larger of the two values, the column's median and `least`, so that a value near 0 is not asked for digits
    that its ingredients do not have. most: findings to keep of each feature. until: rows that close later are
    left out.
    """
    index = pl.int_range(pl.len(), dtype=pl.Int64)
    keys = values.keys.with_columns(here=index)
    keys = keys if until is None else keys.filter(pl.col("close_time") <= until)
    both = keys.join(other.keys.with_columns(there=index), on=KEYS, maintain_order="left")
    here_row, there_row = both["here"].to_numpy(), both["there"].to_numpy()
    parts = []
    for columns in _some_at_once(len(values.names)):
        here, there = values.numbers[here_row, columns], other.numbers[there_row, columns]
        same = (here == there) | (np.isnan(here) & np.isnan(there))
        if rtol > 0.0 and not same.all():
            finite = np.isfinite(here) & np.isfinite(there)
            middle = np.fmax(_middle(values.numbers[:, columns]), least)
            size = np.fmax(np.fmax(np.abs(here), np.abs(there)), middle)
            same |= finite & (np.abs(np.where(finite, here - there, 0.0)) <= rtol * size)
        parts.append(_collect(Values(both.select(KEYS), values.names[columns], here), there, ~same, most))
    findings = tuple(finding for part in parts for finding in part.findings)
    return Differences(sum(part.cells for part in parts), sum(part.count for part in parts), findings)


def _middle(numbers: FloatArray) -> FloatArray:
    """(features,) median size of the known values of each column; 0 where there are none."""
    sizes = np.where(np.isfinite(numbers), np.abs(numbers), np.nan)
    some = np.isfinite(sizes).any(axis=0)
    middle = np.zeros(numbers.shape[1])
    middle[some] = np.nanmedian(sizes[:, some], axis=0)
    return middle


def _collect(values: Values, there: FloatArray, wrong: BoolArray, most: int = FINDINGS_KEPT) -> Differences:
    findings = []
    for column in np.flatnonzero(wrong.any(axis=0)):
        for row in np.flatnonzero(wrong[:, column])[:most]:
            coin, close_time = values.keys.row(int(row))
            findings.append(
                AuditFinding(
                    feature=values.names[column],
                    coin=coin,
                    close_time=close_time,
                    value_with=_number(values.numbers[row, column]),
                    value_without=_number(there[row, column]),
                )
            )
    return Differences(cells=wrong.size, count=int(wrong.sum()), findings=tuple(findings))


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None


def _all_null(subject: Subject) -> tuple[str, ...]:
    """Features that have no value on these candles, so that nothing of them was compared."""
    rows = len(subject.values.numbers)
    empty = [bool(none) for none in np.atleast_1d(np.isnan(subject.values.numbers).all(axis=0))]
    return tuple(
        f"{f.name}: null on all {rows} rows (warm-up {f.warmup}"
        + (f", needs {', '.join(sorted(f.needs))})" if f.needs else ")")
        for f, none in zip(subject.features, empty, strict=True)
        if none
    )


def check_of(name: str, what: str, parts: Sequence[Differences], not_run: tuple[str, ...]) -> AuditCheck:
    """A check from its comparisons."""
    by_feature: dict[str, list[AuditFinding]] = {}
    for finding in (finding for part in parts for finding in part.findings):
        by_feature.setdefault(finding.feature, []).append(finding)
    return AuditCheck(
        name=name,
        what=what,
        ran=True,
        runs=len(parts),
        cells=sum(part.cells for part in parts),
        found=sum(part.count for part in parts),
        findings=tuple(finding for some in by_feature.values() for finding in some[:FINDINGS_KEPT]),
        not_run=not_run,
    )


def check_not_run(name: str, what: str, reason: str) -> AuditCheck:
    """A check that could not be made, and why."""
    return AuditCheck(name=name, what=what, ran=False, runs=0, cells=0, found=0, findings=(), not_run=(reason,))


def _named(checks: Sequence[AuditCheck], names: AbstractSet[str]) -> tuple[str, ...]:
    features = (finding.feature for check in checks if check.name in names for finding in check.findings)
    return tuple(dict.fromkeys(features))
