"""What a backtest leaves in the registry: evidence on its recipes, and every strategy that it tried."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from cryptocast.evaluation.records import Evidence, TradingRecord, Trial, pooled_answers
from cryptocast.workflows.backtesting.run import BacktestInput
from cryptocast.workflows.backtesting.run_folder import RunManifest
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import BacktestReport

POOL_DIGITS: Final = 12
MOST_NAMED: Final = 300
WALK: Final = ("step", "refit_every", "window", "embargo", "min_train_bars")
HISTORY: Final = "history"  # of the walk, said where it is cut
SAME_SPAN: Final = 0.9

Span: TypeAlias = tuple[datetime, datetime]


def keep_evidence(context: Context, manifest: RunManifest, report: BacktestReport) -> None:
    """A row for each model and coin, and for all coins together, of a walk forward that has ended.

    Forecasts that knew only part of their coin's bars say nothing of a version, which knows all: the recipe is another.
    """
    plan, coins = manifest.plan, manifest.named
    together = {row.model: pooled_answers(row.scores, len(coins)) for row in report.rows if row.coin is None}
    history = plan.get(HISTORY, 0)
    rows = [
        Evidence(
            run=manifest.run_id,
            recipe=recipe_of(context.config, row.model, manifest.feature_hash, history),
            kind=row.model,
            source=manifest.source,
            vs=manifest.vs,
            granularity=manifest.granularity,
            coin=row.coin,
            coins=coins,
            start=report.start,
            end=report.end,
            step_bars=plan["step"],
            refit_every_bars=plan["refit_every"],
            window_bars=plan["window"],
            embargo_bars=plan["embargo"],
            history_bars=history or msgspec.UNSET,
            scores=tuple(score for score in row.scores if score.n),
            pooled=() if row.coin is None else together[row.model],
            recorded_at=context.wall_clock(),
        )
        for row in report.rows
        if any(score.n for score in row.scores)
    ]
    context.registry().record_evidence(rows)


def past_trials(context: Context, pool: CoinPool, start: datetime, end: datetime) -> Mapping[str, float | None]:
    """Strategies and tunings that were evaluated before on any of these coins, alone or among others, on spans that
    overlap this one.

    The same attempt on much the same bars is one; on another span it is another, since a span can be chosen too.
    """
    registry = context.registry(create=False)
    trials = {
        (trial.run, trial.name): trial
        for coin in pool.named
        for trial in registry.trials_on(pool.series(coin), start, end)
    }
    spans: dict[str, list[Span]] = {}
    sharpe: dict[str, float | None] = {}
    for trial in sorted(trials.values(), key=lambda one: one.at):
        name = trial_name(trial.name, trial.recipe)
        number = _number_of((trial.start, trial.end), spans.setdefault(name, [(start, end)]))
        sharpe[f"{name}, span {number}" if number else name] = trial.sharpe
    return sharpe


def keep_trials(inputs: BacktestInput, manifest: RunManifest, trading: TradingRecord) -> None:
    """Each strategy that was traded on the forecasts of this run, in a row for each of its coins."""
    context, pool, facts = inputs.context, inputs.pool, attempt(inputs, manifest)
    rows = [
        Trial(
            run=manifest.run_id,
            at=context.wall_clock(),
            command="backtest",
            series=pool.series(coin),
            start=trading.start,
            end=trading.end,
            name=f"{row.name}; {facts}",
            recipe=None if row.model is None else recipe_of(context.config, row.model, manifest.feature_hash),
            sharpe=row.sharpe_per_bar,
            bars=trading.bars,
            score=None,
        )
        for row in trading.rows
        if row.kind == "strategy"
        for coin in pool.named
    ]
    context.registry().record_trials(rows)


def attempt(inputs: BacktestInput, manifest: RunManifest) -> str:
    """What makes one attempt differ from another beside strategy, recipe and span: coins, walk, horizons, costs, seed.

    Whoever turns any of these until the figure pleases has tried that often.
    """
    strategy, plan = inputs.context.config.strategy, manifest.plan
    names = ",".join(sorted(manifest.named))
    if len(names) > MOST_NAMED:
        names = f"{len(manifest.named)} coins {hashlib.sha256(names.encode()).hexdigest()[:POOL_DIGITS]}"
    facts = [key for key in (*WALK, *([HISTORY] if plan.get(HISTORY) else [])) if key in plan]
    walk = " ".join(f"{key} {plan[key]}" for key in facts) or manifest.mode
    costs = f"{strategy.fee_bps:g}+{strategy.slippage_bps:g}/{strategy.close_only_slippage_bps:g} bps"
    ahead = ",".join(str(horizon) for horizon in manifest.horizons)
    return f"{names}; {walk}; horizons {ahead}; {costs}; at most {strategy.max_weight:g}; seed {manifest.seed}"


def trial_name(name: str, recipe: str | None) -> str:
    """Two trials are one if strategy, attempt and recipe are the same: looking at it again is no new attempt."""
    return name if recipe is None else f"{name} ({recipe[:12]})"


def _number_of(span: Span, others: list[Span]) -> int:
    """The place of the span among the others; a new one is added to them."""
    number = next((number for number, other in enumerate(others) if _alike(span, other)), len(others))
    if number == len(others):
        others.append(span)
    return number


def _alike(one: Span, other: Span) -> bool:
    """Whether most of the time that either covers is covered by both."""
    both = min(one[1], other[1]) - max(one[0], other[0])
    either = max(one[1], other[1]) - min(one[0], other[0])
    return both >= SAME_SPAN * either
