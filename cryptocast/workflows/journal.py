"""What a backtest leaves in the registry: evidence on its recipes, and every strategy that it tried."""

import hashlib
from datetime import datetime

import msgspec

from cryptocast.config import Granularity
from cryptocast.evaluation.records import Evidence, TradingRecord, Trial
from cryptocast.evaluation.trading import PastTrials
from cryptocast.workflows.context import Context
from cryptocast.workflows.documents import BacktestReport
from cryptocast.workflows.panel import Pool
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.runs import RunManifest

__all__ = ["keep_evidence", "keep_trials", "past_trials", "trial_name"]

POOL_DIGITS = 12


def keep_evidence(context: Context, manifest: RunManifest, report: BacktestReport) -> None:
    """A row for each model and coin, and for all coins together, of a walk forward that has ended."""
    plan, coins = manifest.plan, manifest.named
    rows = [
        Evidence(
            run=manifest.run_id,
            recipe=recipe_of(context.config, row.model, manifest.feature_hash),
            kind=row.model,
            source=manifest.source,
            vs=manifest.vs,
            granularity=msgspec.convert(manifest.granularity, Granularity),
            coin=row.coin,
            coins=coins,
            start=report.start,
            end=report.end,
            step_bars=plan["step"],
            refit_every_bars=plan["refit_every"],
            window_bars=plan["window"],
            embargo_bars=plan["embargo"],
            scores=tuple(score for score in row.scores if score.n),
            recorded_at=context.wall_clock(),
        )
        for row in report.rows
        if any(score.n for score in row.scores)
    ]
    context.registry().record_evidence(rows)


def past_trials(context: Context, pool: Pool, start: datetime, end: datetime) -> PastTrials:
    """Strategies and tunings that were evaluated on these coins before, on spans that overlap."""
    registry = context.registry(create=False)
    series = {_pool_series(pool), *(_series(pool, coin) for coin in pool.named)}
    found = [trial for name in sorted(series) for trial in registry.trials_on(name, start, end)]
    return PastTrials({trial_name(trial.name, trial.recipe): trial.sharpe for trial in found})


def keep_trials(context: Context, pool: Pool, manifest: RunManifest, traded: TradingRecord) -> None:
    """A row for each strategy that was traded on the forecasts of this run."""
    rows = [
        Trial(
            run=manifest.run_id,
            at=context.wall_clock(),
            command="backtest",
            series=_pool_series(pool),
            start=traded.start,
            end=traded.end,
            name=row.name,
            recipe=None if row.model is None else recipe_of(context.config, row.model, manifest.feature_hash),
            sharpe=row.sharpe_per_bar,
            bars=traded.bars,
            score=None,
        )
        for row in traded.rows
        if row.kind == "strategy"
    ]
    context.registry().record_trials(rows)


def trial_name(name: str, recipe: str | None) -> str:
    """Two trials are one if strategy and recipe are the same: looking at it again is no new attempt."""
    return name if recipe is None else f"{name} ({recipe[:12]})"


def _series(pool: Pool, coin: str) -> str:
    return f"{pool.source}/{pool.vs}/{pool.granularity}/{coin}"


def _pool_series(pool: Pool) -> str:
    """One coin is its own series; several held together have a name made of all of theirs."""
    if len(pool.named) == 1:
        return _series(pool, pool.named[0])
    digest = hashlib.sha256(",".join(sorted(pool.named)).encode()).hexdigest()[:POOL_DIGITS]
    return _series(pool, f"pool-{digest}")
