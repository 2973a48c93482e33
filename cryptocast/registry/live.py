"""How a version does on matured forecasts: CRPS, coverage, PIT, and whether it is degraded. Pure arithmetic."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import numpy as np

from cryptocast.arrays import BoolArray
from cryptocast.config import GateConfig
from cryptocast.models.tails import TAIL_INTERVALS
from cryptocast.registry.contest import LossPairs, contest
from cryptocast.registry.ledger import LedgerOutcome, LedgerRow, MaturedRow
from cryptocast.registry.live_rows import INTERVALS, PERCENTS, LiveRows, live_rows
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.scoring.coverage import coverage
from cryptocast.scoring.dates import overlapping_origins
from cryptocast.scoring.pit import pit_cells, pit_histogram
from cryptocast.scoring.quantiles import LEVELS, crps_relative
from cryptocast.times import Moment, as_datetime


class LiveCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """How often one interval held live. p: that it holds as often as it says."""

    percent: int
    share: float
    se: float
    p: float


class LiveScore(msgspec.Struct, frozen=True, kw_only=True):
    """One version at one horizon, on its matured live forecasts.

    crps, baseline_crps: relative to the price at issue, on the bars that both forecast; None: there are none. pit: the
    shares of ten equal cells. tails: coverage of the intervals beyond the outer levels, which judges nothing.
    """

    horizon: int
    bars: int
    first: Moment
    last: Moment
    crps: float
    baseline_crps: float | None
    skill: float | None
    coverage: tuple[LiveCoverage, ...]
    pit: tuple[float, ...]
    tails: tuple[LiveCoverage, ...] = ()


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """degraded: why the version should not be trusted as it was; empty: nothing speaks against it. versions: whose
    forecasts these are, by number: its own, and those of versions that it refreshes."""

    scores: tuple[LiveScore, ...]
    degraded: tuple[Reason, ...]
    versions: tuple[int, ...]


def matured_outcome(row: LedgerRow, log_return: float, *, now: datetime, paid: bool = True) -> LedgerOutcome:
    """What came of a forecast: its CRPS relative to the price at issue, and where the outcome fell."""
    actual, quantiles = np.array([log_return]), np.array([row.quantiles])
    low, high = pit_cells(actual, quantiles, LEVELS)
    return LedgerOutcome(
        **row.columns,
        number=row.number,
        issued_at=row.issued_at,
        horizon=row.horizon,
        log_return=log_return,
        crps=float(crps_relative(actual, quantiles, LEVELS)[0]),
        pit_low=float(low[0]),
        pit_high=float(high[0]),
        paid=paid,
        recorded_at=now,
    )


def live_score(
    own: Sequence[MaturedRow], baseline: Sequence[MaturedRow], config: GateConfig, *, bar_us: int
) -> LiveReport:
    """As `columns_score`, of forecasts as the ledger has them."""
    return columns_score(live_rows(own), live_rows(baseline), config, bar_us=bar_us)


def columns_score(own: LiveRows, baseline: LiveRows, config: GateConfig, *, bar_us: int) -> LiveReport:
    """The scores by horizon, and whether the version is degraded.

    Degraded: on at least `gate.min_live` bars the baseline is shown to be better than it (the gate's own test, safe to
    be looked at daily), or the coverage of an interval is rejected beyond `gate.coverage_sigmas`.
    """
    beside = {pair.horizon: pair for pair in _pairs(baseline, own, bar_us)}
    scores = tuple(_score(own[own["horizon"] == h], beside.get(h), bar_us) for h in np.unique(own["horizon"]).tolist())
    pairs = [pair for pair in beside.values() if pair.dates.size >= config.min_live]
    degraded = []
    if pairs:
        # The baseline as the challenger: what would let it into production speaks against the version.
        test = contest(pairs, config, rests_on="live bars")
        if test.p <= config.alpha and test.skill is not None and test.skill > 0:
            bars = int(max(pair.dates.size for pair in pairs))
            degraded.append(Reason(ReasonCode.BASELINE_BETTER_LIVE, {"skill": test.skill, "p": test.p, "bars": bars}))
    for score in scores:
        degraded += _coverage_faults(score, config)
    versions = tuple(np.unique(own["number"]).tolist())
    return LiveReport(scores=scores, degraded=tuple(degraded), versions=versions)


def _coverage_faults(score: LiveScore, config: GateConfig) -> list[Reason]:
    if score.bars < config.min_live:
        return []
    least = math.erfc(config.coverage_sigmas / math.sqrt(2.0))
    return [
        Reason(
            ReasonCode.COVERAGE_OFF_LIVE,
            {"horizon": score.horizon, "percent": c.percent, "share": c.share, "bars": score.bars},
        )
        for c in score.coverage
        if c.p < least
    ]


def pair_up(challenger: Sequence[MaturedRow], production: Sequence[MaturedRow], *, bar_us: int) -> list[LossPairs]:
    """The forecasts of both for the same bars, by horizon, in order of issue."""
    return _pairs(live_rows(challenger), live_rows(production), bar_us)


def _pairs(challenger: LiveRows, production: LiveRows, bar_us: int) -> list[LossPairs]:
    shared = np.intersect1d(challenger["horizon"], production["horizon"])
    pairs = (
        _pair(challenger[challenger["horizon"] == h], production[production["horizon"] == h], bar_us) for h in shared
    )
    return [pair for pair in pairs if pair.dates.size]


def _pair(challenger: LiveRows, production: LiveRows, bar_us: int) -> LossPairs:
    """Of one horizon."""
    dates, *places = np.intersect1d(challenger["issued_at"], production["issued_at"], return_indices=True)
    new, old = challenger[places[0]], production[places[1]]
    step = int(np.diff(dates).min() // bar_us) if dates.size > 1 else 1
    return LossPairs(
        horizon=int(challenger["horizon"][0]),
        step=max(1, step),
        dates=dates,
        challenger=new["crps"].copy(),
        production=old["crps"].copy(),
        hits={percent: (_hits(new, percent), _hits(old, percent)) for percent in INTERVALS},
    )


def _score(own: LiveRows, pair: LossPairs | None, bar_us: int) -> LiveScore:
    """Of one horizon. pair: the baseline's losses, and its own on the same bars."""
    dates, horizon = own["issued_at"].copy(), int(own["horizon"][0])
    step = max(1, int(np.diff(np.unique(dates)).min() // bar_us)) if np.unique(dates).size > 1 else 1
    theirs = None if pair is None else float(pair.challenger.mean())
    k = overlapping_origins(horizon, step)

    def covers(percents: Iterable[int]) -> tuple[LiveCoverage, ...]:
        results = ((p, coverage(_hits(own, p), dates, nominal=p / 100, k=k)) for p in percents)
        return tuple(LiveCoverage(percent=p, share=c.share, se=c.se, p=c.p) for p, c in results)

    return LiveScore(
        horizon=horizon,
        bars=len(own),
        first=as_datetime(int(dates[0])),
        last=as_datetime(int(dates[-1])),
        crps=float(own["crps"].copy().mean()),
        baseline_crps=theirs,
        skill=None if pair is None or not theirs else 1.0 - float(pair.production.mean()) / theirs,
        coverage=covers(INTERVALS),
        pit=tuple(pit_histogram(own["pit_low"].copy(), own["pit_high"].copy(), 10).tolist()),
        tails=covers(TAIL_INTERVALS),
    )


def _hits(rows: LiveRows, percent: int) -> BoolArray:
    return np.asarray(rows["hits"][:, PERCENTS.index(percent)].copy())
