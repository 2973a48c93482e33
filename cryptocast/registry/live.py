"""How a version does on matured forecasts: CRPS, coverage, PIT, and whether it is degraded. Pure arithmetic."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.config import GateConfig
from cryptocast.models.tails import TAIL_INTERVALS, interval_ends
from cryptocast.registry.contest import LossPairs, contest
from cryptocast.registry.ledger import LedgerOutcome, LedgerRow, MaturedRow
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.scoring.coverage import coverage
from cryptocast.scoring.dates import overlapping_origins
from cryptocast.scoring.pit import pit_cells, pit_histogram
from cryptocast.scoring.quantiles import LEVELS, crps_relative
from cryptocast.times import Moment, as_microseconds

INTERVALS: Final = (80, 95)


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
    """The scores by horizon, and whether the version is degraded.

    Degraded: on at least `gate.min_live` bars the baseline is shown to be better than it (the gate's own test, safe to
    be looked at daily), or the coverage of an interval is rejected beyond `gate.coverage_sigmas`.
    """
    horizons = sorted({row.horizon for row, _ in own})
    scores = tuple(_score([r for r in own if r[0].horizon == h], baseline, bar_us) for h in horizons)
    pairs = [pair for pair in pair_up(baseline, own, bar_us=bar_us) if pair.dates.size >= config.min_live]
    degraded = []
    if pairs:
        # The baseline as the challenger: what would let it into production speaks against the version.
        test = contest(pairs, config, rests_on="live bars")
        if test.p <= config.alpha and test.skill is not None and test.skill > 0:
            bars = int(max(pair.dates.size for pair in pairs))
            degraded.append(Reason(ReasonCode.BASELINE_BETTER_LIVE, {"skill": test.skill, "p": test.p, "bars": bars}))
    for score in scores:
        degraded += _coverage_faults(score, config)
    versions = tuple(sorted({row.number for row, _ in own}))
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
    one, other = ({(row.horizon, row.issued_at): (row, o) for row, o in side} for side in (challenger, production))
    common = sorted(one.keys() & other.keys())
    pairs = []
    for horizon in sorted({h for h, _ in common}):
        keys = [key for key in common if key[0] == horizon]
        new, old = [one[key] for key in keys], [other[key] for key in keys]
        dates = _dates([row for row, _ in new])
        step = int(np.diff(dates).min() // bar_us) if dates.size > 1 else 1
        pairs.append(
            LossPairs(
                horizon=horizon,
                step=max(1, step),
                dates=dates,
                challenger=np.array([o.crps for _, o in new]),
                production=np.array([o.crps for _, o in old]),
                hits={percent: (_hits(new, percent), _hits(old, percent)) for percent in INTERVALS},
            )
        )
    return pairs


def _score(own: Sequence[MaturedRow], baseline: Sequence[MaturedRow], bar_us: int) -> LiveScore:
    rows, outcomes = [row for row, _ in own], [outcome for _, outcome in own]
    dates = _dates(rows)
    step = max(1, int(np.diff(np.unique(dates)).min() // bar_us)) if np.unique(dates).size > 1 else 1
    (pair,) = pair_up(own, [r for r in baseline if r[0].horizon == rows[0].horizon], bar_us=bar_us) or (None,)
    theirs = None if pair is None else float(pair.production.mean())
    k = overlapping_origins(rows[0].horizon, step)

    def covers(percents: Iterable[int]) -> tuple[LiveCoverage, ...]:
        results = ((p, coverage(_hits(own, p), dates, nominal=p / 100, k=k)) for p in percents)
        return tuple(LiveCoverage(percent=p, share=c.share, se=c.se, p=c.p) for p, c in results)

    return LiveScore(
        horizon=rows[0].horizon,
        bars=len(rows),
        first=rows[0].issued_at,
        last=rows[-1].issued_at,
        crps=float(np.mean([outcome.crps for outcome in outcomes])),
        baseline_crps=theirs,
        skill=None if pair is None or not theirs else 1.0 - float(pair.challenger.mean()) / theirs,
        coverage=covers(INTERVALS),
        pit=_pit_shares(outcomes),
        tails=covers(TAIL_INTERVALS),
    )


def _pit_shares(outcomes: Sequence[LedgerOutcome]) -> tuple[float, ...]:
    low, high = np.array([o.pit_low for o in outcomes]), np.array([o.pit_high for o in outcomes])
    return tuple(pit_histogram(low, high, 10).tolist())


def _dates(rows: Sequence[LedgerRow]) -> Int64Array:
    return np.array([as_microseconds(row.issued_at) for row in rows], dtype=np.int64)


def _hits(rows: Sequence[MaturedRow], percent: int) -> BoolArray:
    lower, upper = interval_ends(np.array([row.quantiles for row, _ in rows], dtype=np.float64), percent)
    returns = np.array([outcome.log_return for _, outcome in rows], dtype=np.float64)
    return np.asarray((lower <= returns) & (returns <= upper))
