"""The audit row by row, of the few features that a user wrote and nobody has looked at.

A look one bar ahead shows only on the newest bar of a table. The audit of the whole catalogue cuts the table at some
moments; a formula that looks ahead only on Mondays, or only behind a gap, slips between them. Here every bar is the
newest one once: each coin is laid out as many coins that end at different bars, and all of them are computed together.
And because a formula may remember what an earlier call has shown it, features come fresh from their text for each
check, and see the past before the future.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import polars as pl

from cryptocast.features.audit import AuditCheck, Differences, Values, check_not_run, check_of, compare, feature_values
from cryptocast.features.builder import add_features, required_history
from cryptocast.features.catalogue import Feature
from cryptocast.features.expressions import columns_read
from cryptocast.features.market import BITCOIN, BITCOIN_CLOSE

Fresh: TypeAlias = Callable[[], Sequence[Feature]]

ROW_STEPS: Final = 3  # of `audit_rows`
CUTS: Final = 30
CUT_ROWS: Final = 60_000  # of the candles that are cut again and again
LAID_OUT_ROWS: Final = 1_500_000  # in all; beyond that some bars are drawn
AT_ONCE: Final = 200_000
SUSPECTS: Final = 1_000
VERIFIED: Final = 4  # suspicious rows of each feature that are computed once more from the true past
RTOL: Final = 1e-8
REPEATED: Final = "the same values, to the last bit, when they are computed again"
PAST_FIRST: Final = "the same values when the past is computed before anything shows the future"
ROWS: Final = "every single row made from only the bars up to it"


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    candles: pl.DataFrame  # sorted by coin and time
    fresh: Fresh
    bar_us: int
    without: frozenset[str]

    def values(self, candles: pl.DataFrame, features: Sequence[Feature]) -> Values:
        build = partial(add_features, bar_us=self.bar_us, without=self.without)
        return feature_values(build, candles, features)


def audit_rows(
    candles: pl.DataFrame,
    fresh: Fresh,
    *,
    bar_us: int,
    seed: int,
    without: frozenset[str] = frozenset(),
    step: Callable[[str], None] = lambda _: None,
) -> tuple[AuditCheck, ...]:
    """The checks `repeated`, `past first` and `rows`. step: hears of each.

    candles: CANDLE_SCHEMA, all that a fit will see. fresh: gives the same features again, with nothing remembered.
    without: as in `add_features`. A feature that cannot be computed raises what it raises.
    """
    case = _Case(candles.sort("coin", "close_time"), fresh, bar_us, without)
    rng = np.random.default_rng(seed)
    few = _few_coins(case.candles, rng)
    parts: tuple[Callable[[], AuditCheck], ...] = (
        lambda: _repeated(case, few),
        lambda: _past_first(case, few, rng),
        lambda: _rows(case, rng),
    )
    checks: list[AuditCheck] = []
    for part in parts:
        checks.append(part())
        step(checks[-1].name)
    return tuple(checks)


def _few_coins(candles: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Bitcoin and as many coins, drawn, as are cut again and again in good time."""
    sizes = dict(candles.group_by("coin").len().iter_rows())
    others = sorted(coin for coin in sizes if coin != BITCOIN)
    coins, rows = [coin for coin in sizes if coin == BITCOIN], sizes.get(BITCOIN, 0)
    for coin in [others[place] for place in rng.permutation(len(others))]:
        if not coins or rows + sizes[coin] <= CUT_ROWS:
            coins.append(coin)
            rows += sizes[coin]
    return candles.filter(pl.col("coin").is_in(coins))


def _repeated(case: _Case, candles: pl.DataFrame) -> AuditCheck:
    features = case.fresh()
    first = case.values(candles, features)
    parts = [compare(first, case.values(candles, again), 0.0) for again in (features, case.fresh())]
    return check_of("repeated", REPEATED, parts, ())


def _past_first(case: _Case, candles: pl.DataFrame, rng: np.random.Generator) -> AuditCheck:
    """Longer and longer prefixes, and the whole table last."""
    moments = candles["close_time"].unique().sort()
    if len(moments) < 2:
        return check_not_run("past first", PAST_FIRST, f"{len(moments)} moments leave nothing to cut")
    drawn = rng.choice(len(moments) - 1, size=min(CUTS, len(moments) - 1), replace=False)
    features = case.fresh()
    parts = [
        case.values(candles.filter(pl.col("close_time") <= moments[place]), features)
        for place in sorted({*drawn.tolist(), len(moments) - 2})
    ]
    whole = case.values(candles, features)
    return check_of("past first", PAST_FIRST, [compare(whole, part, RTOL) for part in parts], ())


def _rows(case: _Case, rng: np.random.Generator) -> AuditCheck:
    features = case.fresh()
    alone = [feature for feature in features if _is_alone(feature)]
    beside = tuple(f"{f.name}: it looks at other coins" for f in features if not _is_alone(f))
    if not alone:
        return check_not_run("rows", ROWS, "; ".join(beside)) if not beside else check_of("rows", ROWS, [], beside)
    need = required_history(alone)
    ends = np.arange(case.candles.height)
    most = max(1, LAID_OUT_ROWS // need)
    if len(ends) > most:
        ends = np.sort(rng.choice(ends, size=most, replace=False))
        beside = (*beside, f"{case.candles.height - most:,} of {case.candles.height:,} bars: {most:,} were drawn")
    last = [case.values(laid_out, alone) for laid_out in _laid_out(case.candles, ends, need)]
    whole = case.values(case.candles, alone)
    keys = case.candles.select("coin", "close_time")[ends]
    newest = _newest(last, keys, whole.names)
    suspicious = compare(whole, newest, RTOL, least=1.0, most=SUSPECTS)
    parts = [Differences(suspicious.cells, 0, ()), *_verified(case, whole, suspicious)]
    return check_of("rows", ROWS, parts, beside)


def _is_alone(feature: Feature) -> bool:
    """Whether a coin's values follow from its own bars."""
    return feature.scope != "moment" and not {BITCOIN_CLOSE, "coin"} & columns_read(feature.expr)


def _laid_out(candles: pl.DataFrame, ends: np.ndarray, need: int) -> Iterator[pl.DataFrame]:
    """For each end a coin of its own: the last `need` bars up to it. In the order of time within each coin."""
    coin = candles["coin"].rle_id().to_numpy()
    begin = np.searchsorted(coin, coin, side="left")
    for some in np.array_split(ends, max(1, -(-len(ends) * need // AT_ONCE))):
        first = np.maximum(begin[some], some - need + 1)
        size = some - first + 1
        behind = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        index = np.repeat(first, size) + behind
        name = pl.Series(np.repeat(some, size)).cast(pl.String).str.zfill(12)
        yield candles[index].with_columns(coin=name)


def _newest(tables: Sequence[Values], keys: pl.DataFrame, names: tuple[str, ...]) -> Values:
    """The newest row of each laid-out coin, under the coin's true name."""
    parts = []
    for table in tables:
        coin = table.keys["coin"]
        parts.append(table.numbers[(coin != coin.shift(-1)).fill_null(value=True).to_numpy()])
    return Values(keys, names, np.concatenate(parts))


def _verified(case: _Case, whole: Values, suspicious: Differences) -> Iterator[Differences]:
    """A few suspicious rows of each feature, from all candles up to them: else it may only remember for longer."""
    by_feature: dict[str, list[datetime]] = {}
    for finding in suspicious.findings:
        by_feature.setdefault(finding.feature, []).append(finding.close_time)
    for name, moments in by_feature.items():
        places = np.unique(np.linspace(0, len(moments) - 1, VERIFIED).round().astype(int))
        for moment in sorted({moments[place] for place in places}):
            features = [feature for feature in case.fresh() if feature.name == name]
            past = case.values(case.candles.filter(pl.col("close_time") <= moment), features)
            yield compare(whole.only([name]), past.at(moment), RTOL)
