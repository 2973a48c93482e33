"""Live scoring: the forecast of now into the ledger, outcomes beside what was forecast, drift, and what is degraded."""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
import polars as pl

from cryptocast.data.bad_prints import find_jumps
from cryptocast.errors import CryptocastError, ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.registry import (
    CHALLENGER,
    PRODUCTION,
    Condition,
    LedgerRow,
    LiveMark,
    Registry,
    Version,
    VersionKey,
)
from cryptocast.registry.ledger import LedgerOutcome
from cryptocast.registry.live import LiveScore, matured_outcome
from cryptocast.registry.live_status import Drift
from cryptocast.registry.reasons import Reason
from cryptocast.times import as_datetime
from cryptocast.workflows.coin_pool import CoinPool, gather, moment
from cryptocast.workflows.context import Context, Resolved, Selection, steps
from cryptocast.workflows.forecast import ForecastMaker, baseline_forecast, learned_later
from cryptocast.workflows.lifecycle.conditions import degraded, stale, unusual_width
from cryptocast.workflows.lifecycle.feature_drift import drift_of
from cryptocast.workflows.lifecycle.model_card import live_of
from cryptocast.workflows.online_calibration import LiveForecast, learn, recalibrated, state_of
from cryptocast.workflows.pretrained import adopt
from cryptocast.workflows.reports import KeyRow

log = logging.getLogger(__name__)


class ScoreRow(KeyRow, frozen=True, kw_only=True):
    """One version live."""

    name: str
    number: int
    aliases: tuple[str, ...]
    scores: tuple[LiveScore, ...]
    drift: tuple[Drift, ...]  # see feature_drift, worst first
    degraded: tuple[Reason, ...]


class LedgerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the bars brought into the ledger. written, matured: rows that are new; waiting: forecasts whose
    bar has not closed; errors: what could not be had or made."""

    written: int
    matured: int
    waiting: int
    errors: tuple[str, ...]


class ScoreReport(LedgerUpdate, frozen=True, kw_only=True):
    """What was written, what matured, and how the versions do."""

    schema: Literal["cryptocast.score/1"] = "cryptocast.score/1"
    rows: tuple[ScoreRow, ...]


def score(context: Context, selection: Selection) -> ScoreReport:
    """Bring the ledger up to date (see `record`), and judge production and challenger live.

    A coin whose candles cannot be had, or a version that cannot answer, stands in `errors` beside the others.
    """
    request = selection.resolved(context.config)
    with steps(context.progress, "scoring", len(request.coins)) as step:
        pools = gather(context, request, pool=())
        registry = context.registry()
        with registry.held():
            update = _record(ForecastMaker(context), registry, request, pools)
            if request.now is None:
                late = [one for pool in pools for coin in pool.named for one in _staleness(request, pool, coin)]
                registry.observe(late, context.wall_clock())
            rows = _judge(context, registry, request, pools, step)
    return ScoreReport(**msgspec.structs.asdict(update), rows=rows)


def _staleness(request: Resolved, pool: CoinPool, coin: str) -> tuple[Condition, ...]:
    age = pool.bars[coin].age
    return stale(coin, pool.market, request.source, is_stale=age.stale, last=age.last)


def judge(context: Context, selection: Selection) -> tuple[ScoreRow, ...]:
    """How production and challenger do live, by what has matured: the second half of `score`. Leaves a mark of each.

    Raises as `record` does.
    """
    request = selection.resolved(context.config)
    pools = gather(context, request, pool=())
    registry = context.registry()
    with registry.held():
        return _judge(context, registry, request, pools, lambda _: None)


def record(context: Context, selection: Selection, *, forecaster: ForecastMaker | None = None) -> LedgerUpdate:
    """Bring the ledger up to date with the bars: a server's duty once a bar, and the first half of `score`.

    Outcomes of forecasts whose bar has closed are written first, and the online calibration learns from them in the
    same transaction; then the forecasts of each coin's last bar by production, challenger and baseline, as they are
    served. Doing it twice at the same bar changes nothing. forecaster: one whose loaded models are used, in the thread
    that it belongs to. Raises the error of a coin whose candles cannot be had, if none of them can.
    """
    request = selection.resolved(context.config)
    pools = gather(context, request, pool=())  # before a registry is made for nothing
    return _record(forecaster or ForecastMaker(context), context.registry(), request, pools)


def _judge(
    context: Context, registry: Registry, request: Resolved, pools: Sequence[CoinPool], step: Callable[[str], None]
) -> tuple[ScoreRow, ...]:
    rows, marks, conditions = list[ScoreRow](), list[tuple[VersionKey, LiveMark]](), list[Condition]()
    matrices = dict[Hashable, Matrix]()
    for pool in pools:
        for coin in pool.named:
            for version in _versions(registry, pool, coin):
                row, mark = _judged(context, registry, request, pool, version, matrices)
                rows.append(row)
                marks.append((version.key, mark))
                conditions += degraded(version, row.degraded)
            conditions += unusual_width(registry, coin, pool.market)
            step(coin)
    registry.write_marks(marks)
    if request.now is None:  # of a time in the past nobody needs to be told
        registry.observe(conditions, context.wall_clock())
    return tuple(rows)


def _record(
    forecaster: ForecastMaker, registry: Registry, request: Resolved, pools: Sequence[CoinPool]
) -> LedgerUpdate:
    context, errors, new, matured = forecaster.context, list[str](), list[LedgerRow](), 0
    for pool in pools:
        errors += [f"{error.coin}: {error.error}" for error in pool.left_out]
        matured += registry.write_outcomes(list(_outcomes(registry, pool, context.wall_clock())), learn)
        adopt(context.config, registry, pool.market, pool.last_bars, now=context.wall_clock(), who=context.who)
        for coin in pool.named:
            versions = _versions(registry, pool, coin)
            errors += _recounted(registry, versions)
            rows, failures = _ledger_rows(forecaster, registry, request, pool, coin, versions)
            new += rows
            errors += failures
    written = registry.write_ledger(new)
    return LedgerUpdate(written=written, matured=matured, waiting=registry.count_waiting(), errors=tuple(errors))


def _recounted(registry: Registry, versions: Iterable[Version]) -> Iterator[str]:
    """Count states that cannot be read anew, and say so."""
    for version in versions:
        try:
            for state in registry.calibration_states(version.key, version.number).values():
                state_of(state)
        except CryptocastError as error:
            registry.recount_states(version.key, version.number, learn)
            yield f"{version.name}: {error} That was done now."


def _ledger_rows(
    forecaster: ForecastMaker,
    registry: Registry,
    request: Resolved,
    pool: CoinPool,
    coin: str,
    versions: Iterable[Version],
) -> tuple[list[LedgerRow], list[str]]:
    """The forecasts of the coin's last bar by each version and by the baseline, and what could not be made."""
    rows, errors = list[LedgerRow](), list[str]()
    age = pool.bars[coin].age
    horizons = forecaster.context.config.horizons(request.granularity)
    if age.has_ended and age.stale:  # to forecast what has happened is not to forecast live
        horizons = tuple(horizon for horizon in horizons if age.is_ahead(horizon, pool.granularity))
    if not horizons:
        return [], [f"{coin}: its bars end {age.last:%Y-%m-%d %H:%M} UTC, and all target dates have passed"]
    now = forecaster.context.wall_clock()
    try:
        baseline = recalibrated(baseline_forecast(pool, coin, horizons), (), ())
        rows += _as_rows(VersionKey(coin, pool.market, "baseline"), 0, baseline, pool.bar_us, now)
    except CryptocastError as error:
        return [], [f"{coin}: {error}"]
    for version in versions:
        own = tuple(sorted(set(horizons) & set(version.manifest.horizons)))
        try:
            if not own:
                horizons_of_fit = ", ".join(map(str, version.manifest.horizons))
                raise ModelError(f"it forecasts {horizons_of_fit} bars ahead, none of which is to be recorded")
            if (later := learned_later(version, pool.bars[coin], 0)) is not None:
                raise ModelError(f"{later}: what it says of that time is no live forecast")
            live, _ = forecaster.by_version(registry, version, request, pool)
            rows += [r for r in _as_rows(version.key, version.number, live, pool.bar_us, now) if r.horizon in own]
        except CryptocastError as error:
            errors.append(f"{version.name}: {error}")
    return rows, errors


def _as_rows(key: VersionKey, number: int, live: LiveForecast, bar_us: int, now: datetime) -> list[LedgerRow]:
    forecast = live.forecast
    issued = int(forecast.issued_at[0])
    return [
        LedgerRow(
            **key.columns,
            number=number,
            issued_at=as_datetime(issued),
            horizon=horizon,
            target_at=moment(issued + horizon * bar_us),
            price=float(forecast.price[0]),
            volatility=float(forecast.volatility[0, column]),
            p_up=float(forecast.p_up[0, column]),
            quantiles=tuple(forecast.values[0, column].tolist()),
            base=tuple(live.base.values[0, column].tolist()) if horizon in live.outcomes else None,
            by_baseline=horizon in live.by_baseline,
            written_at=now,
        )
        for column, horizon in enumerate(forecast.horizons.tolist())
    ]


def _versions(registry: Registry, pool: CoinPool, coin: str) -> list[Version]:
    """Production and challenger of every kind, and both sides of running A/B tests, each once."""
    in_use = [
        version
        for alias in (PRODUCTION, CHALLENGER)
        for version in registry.versions(coin=coin, **msgspec.structs.asdict(pool.market), alias=alias)
    ]
    versions = {(version.key, version.number): version for version in in_use}
    for test in registry.ab_tests():
        key = test.start.key
        if test.end is None and (key.coin, key.market) == (coin, pool.market):
            for number in (test.start.production, test.start.challenger):
                if (key, number) not in versions:
                    versions[key, number] = registry.version(key, number)
    return list(versions.values())


def _outcomes(registry: Registry, pool: CoinPool, now: datetime) -> Iterator[LedgerOutcome]:
    """What came of forecasts whose target bar has closed. A bar that is missing leaves its forecasts unscored, and one
    that may yet show to be no price lets them wait."""
    closes: dict[str, _Closes] = {}
    for row in registry.unscored():
        if row.key.market != pool.market or row.coin not in pool.bars:
            continue
        if row.coin not in closes:
            closes[row.coin] = _closes(pool.bars[row.coin].candles.frame)
        series = closes[row.coin]
        close = series.close.get(row.target_at)
        if close is not None and not {row.issued_at, row.target_at} & series.undecided:
            yield matured_outcome(row, math.log(close / row.price), now=now, paid=series.is_paid(row))


@dataclass(frozen=True, slots=True, eq=False)
class _Closes:
    """A coin's closes by close time; those at which something was wrong, those of which that may yet show, and the
    first of each new unit."""

    close: Mapping[datetime, float]
    pending: AbstractSet[datetime]
    undecided: AbstractSet[datetime]
    units: tuple[datetime, ...]

    def is_paid(self, row: LedgerRow) -> bool:
        """Whether the forecast and its outcome rest on prices of one unit that somebody paid."""
        across = any(row.issued_at < unit <= row.target_at for unit in self.units)
        return not across and not {row.issued_at, row.target_at} & self.pending


def _closes(frame: pl.DataFrame) -> _Closes:
    times, jumps = frame["close_time"].to_list(), find_jumps(frame["close"].to_numpy())
    return _Closes(
        dict(zip(times, frame["close"].to_list(), strict=True)),
        {times[bar] for bar in jumps.pending.tolist()},
        {times[bar] for bar in jumps.undecided.tolist()},
        tuple(times[first] for first, _ in jumps.units),
    )


def _judged(
    context: Context,
    registry: Registry,
    request: Resolved,
    pool: CoinPool,
    version: Version,
    matrices: dict[Hashable, Matrix],
) -> tuple[ScoreRow, LiveMark]:
    """How the version does on what has matured, and the mark that forecasts and the card read."""
    live = live_of(registry, context.config.gate, version)
    drift = drift_of(context, registry, request, pool, version, matrices)
    mark = LiveMark(
        number=version.number,
        at=pool.bars[version.key.coin].candles.provenance.last,
        bars=max((score.bars for score in live.scores), default=0),
        degraded=live.degraded,
        drift=drift.features,
        drift_bars=drift.bars,
    )
    row = ScoreRow(
        **version.key.columns,
        name=version.name,
        number=version.number,
        aliases=version.aliases,
        scores=live.scores,
        drift=drift.features,
        degraded=live.degraded,
    )
    return row, mark
