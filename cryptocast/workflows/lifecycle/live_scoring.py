"""Live scoring: the forecast of now into the ledger, outcomes beside what was forecast, drift, and what is degraded."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from cryptocast.errors import CryptocastError, ModelError
from cryptocast.registry import (
    CHALLENGER,
    PRODUCTION,
    Drift,
    LedgerRow,
    LiveMark,
    Outcome,
    Registry,
    Version,
    VersionKey,
)
from cryptocast.registry.live import LiveScore, matured_outcome
from cryptocast.workflows.coin_pool import CoinPool, gather, moment
from cryptocast.workflows.context import Context, Resolved, Selection
from cryptocast.workflows.forecast import ForecastMaker, baseline_forecast, learned_later
from cryptocast.workflows.lifecycle.feature_drift import drift_of
from cryptocast.workflows.lifecycle.model_card import live_of
from cryptocast.workflows.online_calibration import LiveForecast, learn, recalibrated, state_of

__all__ = [
    "LedgerUpdate",
    "ScoreReport",
    "ScoreRow",
    "judge",
    "ledger_rows",
    "record",
    "score",
]

log = logging.getLogger(__name__)


class ScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version live."""

    name: str
    coin: str
    kind: str
    source: str
    vs: str
    granularity: str
    number: int
    aliases: tuple[str, ...]
    scores: tuple[LiveScore, ...]
    drift: tuple[Drift, ...]  # see workflows.drift, worst first
    degraded: tuple[str, ...]


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, what matured, and how the versions do."""

    schema: Literal["cryptocast.score/1"] = "cryptocast.score/1"
    written: int
    matured: int
    waiting: int
    rows: tuple[ScoreRow, ...]
    errors: tuple[str, ...]


class LedgerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the bars brought into the ledger. written, matured: rows that are new; waiting: forecasts whose
    bar has not closed; errors: what could not be had or made."""

    written: int
    matured: int
    waiting: int
    errors: tuple[str, ...]


def score(context: Context, selection: Selection) -> ScoreReport:
    """Bring the ledger up to date (see `record`), and judge production and challenger live.

    A coin whose candles cannot be had, or a version that cannot answer, stands in `errors` beside the others.
    """
    asked, registry = selection.resolved(context.config), context.registry()
    context.progress.begin("scoring", len(asked.coins))
    pools = gather(context, asked, pool=())
    noted = _record(ForecastMaker(context), registry, asked, pools)
    rows: list[ScoreRow] = []
    for pool in pools:
        for coin in pool.named:
            rows += [_row(context, registry, asked, pool, version) for version in _versions(registry, pool, coin)]
            context.progress.step(coin)
    context.progress.end()
    return ScoreReport(
        written=noted.written, matured=noted.matured, waiting=noted.waiting, rows=tuple(rows), errors=noted.errors
    )


def judge(context: Context, selection: Selection) -> tuple[ScoreRow, ...]:
    """How production and challenger do live, by what has matured: the second half of `score`. Leaves a mark of each.

    Raises as `record` does.
    """
    asked = selection.resolved(context.config)
    pools = gather(context, asked, pool=())
    registry = context.registry()
    return tuple(
        _row(context, registry, asked, pool, version)
        for pool in pools
        for coin in pool.named
        for version in _versions(registry, pool, coin)
    )


def record(context: Context, selection: Selection, *, forecaster: ForecastMaker | None = None) -> LedgerUpdate:
    """Bring the ledger up to date with the bars: a server's duty once a bar, and the first half of `score`.

    Outcomes of forecasts whose bar has closed are written first, and the online calibration learns from them in the
    same transaction; then the forecasts of each coin's last bar by production, challenger and baseline, as they are
    served. Doing it twice at the same bar changes nothing. forecaster: one whose loaded models are used, in the thread
    that it belongs to. Raises the error of a coin whose candles cannot be had, if none of them can.
    """
    asked = selection.resolved(context.config)
    pools = gather(context, asked, pool=())  # before a registry is made for nothing
    return _record(forecaster or ForecastMaker(context), context.registry(), asked, pools)


def _record(forecaster: ForecastMaker, registry: Registry, asked: Resolved, pools: Sequence[CoinPool]) -> LedgerUpdate:
    context, errors, written, matured = forecaster.context, list[str](), 0, 0
    for pool in pools:
        errors += [f"{error.coin}: {error.error}" for error in pool.left_out]
        matured += registry.write_outcomes(_outcomes(registry, pool, context.wall_clock()), learn)
        for coin in pool.named:
            versions = _versions(registry, pool, coin)
            errors += _mended(registry, versions)
            made, failed = ledger_rows(forecaster, registry, asked, pool, coin, versions)
            written += registry.write_ledger(made)
            errors += failed
    return LedgerUpdate(written=written, matured=matured, waiting=len(registry.unscored()), errors=tuple(errors))


def _mended(registry: Registry, versions: Iterable[Version]) -> Iterator[str]:
    """Count states that cannot be read anew, and say so."""
    for version in versions:
        try:
            for state in registry.calibration_states(version.key, version.number).values():
                state_of(state)
        except CryptocastError as error:
            registry.recount_states(version.key, version.number, learn)
            yield f"{version.name}: {error} That was done now."


def ledger_rows(
    forecaster: ForecastMaker,
    registry: Registry,
    asked: Resolved,
    pool: CoinPool,
    coin: str,
    versions: Iterable[Version],
) -> tuple[list[LedgerRow], list[str]]:
    """The forecasts of the coin's last bar by each version and by the baseline, and what could not be made."""
    rows, errors = list[LedgerRow](), list[str]()
    horizons = forecaster.context.config.horizons(asked.granularity)
    now = forecaster.context.wall_clock()
    try:
        made = baseline_forecast(pool, coin, horizons)
        rows += _as_rows(_baseline_key(pool, coin), 0, recalibrated(made, (), ()), pool.bar_us, now)
    except CryptocastError as error:
        return [], [f"{coin}: {error}"]
    for version in versions:
        own = tuple(sorted(set(horizons) & set(version.manifest.horizons)))
        try:
            if not own:
                told = ", ".join(map(str, version.manifest.horizons))
                raise ModelError(f"it forecasts {told} bars ahead, none of which the settings ask for")
            if (later := learned_later(version, pool.bars[coin], 0)) is not None:
                raise ModelError(f"{later}: what it says of that time is no live forecast")
            served, _ = forecaster.by_version(registry, version, asked, pool)
            made_rows = _as_rows(version.key, version.number, served, pool.bar_us, now)
            rows += [row for row in made_rows if row.horizon in own]
        except CryptocastError as error:
            errors.append(f"{version.name}: {error}")
    return rows, errors


def _baseline_key(pool: CoinPool, coin: str) -> VersionKey:
    return VersionKey(coin, pool.market, "baseline")


def _as_rows(key: VersionKey, number: int, served: LiveForecast, bar_us: int, now: datetime) -> list[LedgerRow]:
    made = served.forecast
    issued = int(made.issued_at[0])
    return [
        LedgerRow(
            coin=key.coin,
            source=key.source,
            vs=key.vs,
            granularity=key.granularity,
            kind=key.kind,
            number=number,
            issued_at=moment(issued),
            horizon=horizon,
            target_at=moment(issued + horizon * bar_us),
            price=float(made.price[0]),
            volatility=float(made.volatility[0, column]),
            p_up=float(made.p_up[0, column]),
            quantiles=tuple(made.values[0, column].tolist()),
            base=tuple(served.fitted.values[0, column].tolist()) if horizon in served.outcomes else None,
            by_baseline=horizon in served.by_baseline,
            written_at=now,
        )
        for column, horizon in enumerate(made.horizons.tolist())
    ]


def _versions(registry: Registry, pool: CoinPool, coin: str) -> list[Version]:
    """Production and challenger of every kind, and both sides of running A/B tests, each once."""
    where = {"coin": coin, "source": pool.source, "vs": pool.vs}
    found = {
        (version.key, version.number): version
        for alias in (PRODUCTION, CHALLENGER)
        for version in registry.versions(**where, granularity=pool.granularity, alias=alias)
    }
    for test in registry.ab_tests():
        key = test.start.key
        if test.end is None and (key.coin, key.market) == (coin, pool.market):
            for number in (test.start.production, test.start.challenger):
                if (key, number) not in found:
                    reference = f"{key.coin}/{key.kind}:{number}"
                    version = registry.get(reference, source=key.source, vs=key.vs, granularity=key.granularity)
                    found[key, number] = version
    return list(found.values())


def _outcomes(registry: Registry, pool: CoinPool, now: datetime) -> list[Outcome]:
    """What came of forecasts whose target bar has closed. A bar that is missing leaves its forecasts unscored."""
    closes: dict[str, dict[datetime, float]] = {}
    found = []
    for row in registry.unscored():
        if row.key.market != pool.market or row.coin not in pool.bars:
            continue
        if row.coin not in closes:
            frame = pool.bars[row.coin].candles.frame
            closes[row.coin] = dict(zip(frame["close_time"].to_list(), frame["close"].to_list(), strict=True))
        close = closes[row.coin].get(row.target_at)
        if close is not None and close > 0:
            found.append(matured_outcome(row, math.log(close / row.price), now=now))
    return found


def _row(context: Context, registry: Registry, asked: Resolved, pool: CoinPool, version: Version) -> ScoreRow:
    """Judge a version on what has matured, and leave the mark that forecasts and the card read."""
    live = live_of(registry, context.config.gate, version)
    drift = drift_of(context, registry, asked, pool, version)
    key = version.key
    at = pool.bars[key.coin].candles.provenance.last
    mark = LiveMark(
        number=version.number,
        at=at,
        bars=max((found.bars for found in live.scores), default=0),
        degraded=live.degraded,
        drift=drift.features,
        drift_bars=drift.bars,
    )
    registry.write_mark(key, mark)
    return ScoreRow(
        name=version.name,
        coin=key.coin,
        kind=key.kind,
        source=key.source,
        vs=key.vs,
        granularity=key.granularity,
        number=version.number,
        aliases=version.aliases,
        scores=live.scores,
        drift=drift.features,
        degraded=live.degraded,
    )
