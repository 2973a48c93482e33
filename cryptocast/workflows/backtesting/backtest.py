"""What the models would have been worth: one hold-out, or a walk forward through history."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.errors import DataError, UsageError
from cryptocast.evaluation.answers import Question
from cryptocast.evaluation.plan import WalkPlan, plan_folds
from cryptocast.evaluation.records import StrategyRecord
from cryptocast.evaluation.strategy import Execution
from cryptocast.evaluation.trading import TradedBars, Trading, trade
from cryptocast.features.matrix import Matrix
from cryptocast.files import write_refusal
from cryptocast.kinds import SHIPPED
from cryptocast.scoring.coverage import wilson
from cryptocast.times import as_microseconds
from cryptocast.workflows.audits import audit_words
from cryptocast.workflows.auxiliary_history import help_for
from cryptocast.workflows.backtesting.contenders import contenders, left_out
from cryptocast.workflows.backtesting.evidence import attempt, keep_evidence, keep_trials, past_trials, trial_name
from cryptocast.workflows.backtesting.losses import keep_losses
from cryptocast.workflows.backtesting.placebo import shuffled
from cryptocast.workflows.backtesting.report import report_of, scores_by_model
from cryptocast.workflows.backtesting.report_pages import BacktestRun, RunFiles
from cryptocast.workflows.backtesting.run import BacktestInput, BacktestOutcome, carry_out, scored_part
from cryptocast.workflows.backtesting.run_folder import RunFolder, RunManifest, RunResult, digest_of
from cryptocast.workflows.backtesting.short_history import LEAST_BARS
from cryptocast.workflows.clean_candles import clean_frame
from cryptocast.workflows.coin_pool import CoinPool, gather, moment, pool_of, pool_rows
from cryptocast.workflows.context import Context, NoProgress, Selection, steps
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.pretrained import knowledge_date, pretrained_fit
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import BacktestReport, Placebo
from cryptocast.workflows.tuning.adopted_settings import with_adopted


@dataclass(frozen=True, slots=True)
class BacktestOrder:
    """What to test; None and empty take the settings.

    window: bars that a rolling window learns from, 0 for an expanding one. history: bars of its coin that a forecast
    of a walk knows, 0 for all of them. execution same_bar is not tradable, and
    needs untradable to be said. cpcv: combinatorial purged paths of choosing among strategies. placebo: how often to
    run all of it on shuffled prices. fresh: make even those forecasts anew that an earlier run of the same question has
    kept.
    """

    selection: Selection = Selection()
    walk_forward: bool = False
    models: tuple[str, ...] = ()
    horizons: tuple[int, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    step: int | None = None
    refit_every: int | None = None
    embargo: int | None = None
    window: int | None = None
    history: int = 0
    files: RunFiles = RunFiles()
    execution: Execution = "next_bar"
    untradable: bool = False
    cpcv: bool = False
    placebo: int = 0
    engine: Engine = Engine()
    fresh: bool = False


def backtest(context: Context, order: BacktestOrder) -> BacktestReport:
    """What a backtest says. Raises as `run_backtest` does."""
    return run_backtest(context, order).report


def run_backtest(context: Context, order: BacktestOrder) -> BacktestRun:
    """Test the models on identical origins beside the three random walks, and trade on what they said.

    What was forecast before an interruption is taken from the folder of the run. A walk that has ended leaves its
    evidence and its trials in the registry. Raises DataError or UpstreamError if the coins cannot be had or are too
    short, UsageError if they resolve to different sources (a test pools its coins), ModelError if a feature of the
    user's own leaks.
    """
    began = time.perf_counter()
    _check(order, context.config.store.path)
    inputs = prepare(context, order)
    context, manifest = inputs.context, inputs.manifest()
    folder = RunFolder.of(context.config.store.path, manifest)
    if order.fresh:
        folder.forget_blocks()
    notes = _resumption(folder)
    outcome = carry_out(inputs, folder, order.engine)
    scored = scored_part(inputs, outcome)
    placebo = _placebo(inputs, order) if order.placebo else None
    with steps(context.progress, "scoring", 2) as step:
        trading = trade_on(inputs, scored, order, manifest)
        step("strategies")
        report = report_of(
            inputs,
            scored,
            folder.run_id,
            notes,
            trading=None if trading is None else trading.record,
            placebo=placebo,
            seconds=time.perf_counter() - began,
        )
        step("tests")
    folder.keep_result(RunResult(report=report, digests=digest_of(outcome.judgement.forecasts)))
    if inputs.plan is not None:
        keep_losses(folder, scored.judgement, inputs.models.names)
        keep_evidence(context, manifest, report)
    if trading is not None and order.execution == "next_bar":
        keep_trials(inputs, manifest, trading.record)
    run = BacktestRun(inputs, scored, report, trading, manifest)
    order.files.write(run)
    return run


def _check(order: BacktestOrder, store: Path) -> None:
    """What could only be found wrong after long work."""
    order.files.check()
    if order.execution == "same_bar" and not order.untradable:
        raise UsageError(
            "--execution same-bar credits each decision with the bar that it was made on, which nobody can trade. To"
            " see what such a mistake is worth, add --untradable."
        )
    if order.history and not order.walk_forward:
        raise UsageError("--history-bars is of a walk forward. Add --walk-forward.")
    if 0 < order.history < LEAST_BARS:
        raise UsageError(f"A volatility takes {LEAST_BARS} bars. Give more: --history-bars {LEAST_BARS}.")
    if (refusal := write_refusal(store)) is not None:
        raise DataError(f"The store {store} cannot be written ({refusal}), so no run can be kept. Name another.")


def prepare(context: Context, order: BacktestOrder) -> BacktestInput:
    """Candles, features and plan. Raises as `backtest` does."""
    request = order.selection.resolved(context.config)
    names = order.models or context.config.backtest.models
    models = contenders(context.config, names)
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(request.granularity)
    if SHIPPED in models.names:
        _check_shipped(context, request.granularity, horizons)
    # The pool helps in training; what is scored is what was named.
    pools = gather(context, request, pool=pool_of(context.config))
    if len(pools) > 1:
        sources = ", ".join(f"{', '.join(pool.named)} from {pool.source}" for pool in pools)
        raise UsageError(f"A backtest pools its coins, and these have different sources: {sources}. Set --source.")
    (pool,) = pools
    with steps(context.progress, "features", 1) as step:
        features = feature_set(context.config)
        context, notes = with_adopted(context, pool, features.digest, models.names, past=order.walk_forward)
        extra = help_for(context, pool, features, horizons)
        models = contenders(context.config, names).learning_from(extra.rows)
        rows = pool_rows(pool, features, horizons)
        step("features")
    if features.own:
        # The catalogue is audited by every training; what a user adds may never have been.
        audit_words(context.config, rows, context.progress)
    plan = _plan(context, order, rows.matrix, request.granularity) if order.walk_forward else None
    notes = (*left_out(context.config, names), *notes, *extra.notes)
    if plan is not None and SHIPPED in models.names:
        plan = _behind_knowledge(context, order, rows.matrix, plan)
        notes = (
            *notes,
            f"from {moment(plan.start):%Y-%m-%d}: {SHIPPED} forecasts no bar that it learned from",
        )
    return BacktestInput(context, rows, models, plan, notes)


def _check_shipped(context: Context, granularity: Granularity, horizons: tuple[int, ...]) -> None:
    """Raises UsageError where the shipped model has no forecast of its own to be scored."""
    fit = pretrained_fit(context.config)
    if fit is None:
        return
    if granularity != fit.granularity:
        raise UsageError(
            f"The {SHIPPED} model forecasts {fit.granularity} bars, not {granularity} ones. Leave it out, or test"
            f" {fit.granularity} bars: --granularity {fit.granularity}."
        )
    if missing := sorted(set(horizons) - set(fit.horizons)):
        raise UsageError(
            f"The {SHIPPED} model was fitted for {', '.join(map(str, fit.horizons))} bars ahead, and can be tested at"
            f" those only, not at {', '.join(map(str, missing))}. Leave it out, or choose among them: --horizons."
        )


def _behind_knowledge(context: Context, order: BacktestOrder, matrix: Matrix, plan: WalkPlan) -> WalkPlan:
    """The plan, without the bars that the shipped model has learned from: no model of the walk is scored on them."""
    fit = pretrained_fit(context.config)
    date = None if fit is None else knowledge_date(fit)
    if date is None or plan.start >= as_microseconds(date):
        return plan
    if as_microseconds(date) > plan.end:
        raise UsageError(
            f"The {SHIPPED} model learned from bars up to {date:%Y-%m-%d}, and the walk ends on "
            f"{moment(plan.end):%Y-%m-%d}: there is no bar that it may forecast. Leave it out, or walk on later bars."
        )
    granularity: Granularity = "daily" if matrix.bar_us == BAR_US["daily"] else "hourly"
    return _plan(context, replace(order, start=date), matrix, granularity)


def _plan(context: Context, order: BacktestOrder, matrix: Matrix, granularity: Granularity) -> WalkPlan:
    step, refit_every = context.config.steps(granularity)
    backtest = context.config.backtest
    return plan_folds(
        matrix,
        step=order.step or step,
        refit_every=order.refit_every or refit_every,
        embargo=backtest.embargo_bars if order.embargo is None else order.embargo,
        window=backtest.window_bars if order.window is None else order.window,
        history=order.history,
        min_train_bars=context.config.train.min_train_bars,
        start=_microseconds(order.start),
        end=_microseconds(order.end),
    )


def _microseconds(at: datetime | None) -> int | None:
    if at is None:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _resumption(folder: RunFolder) -> tuple[str, ...]:
    """What to say about work that is there already."""
    count = folder.kept_folds()
    return (f"{count} refits were kept by an earlier run of this question, and are not made again",) if count else ()


def trade_on(
    inputs: BacktestInput, scored: BacktestOutcome, order: BacktestOrder, manifest: RunManifest
) -> Trading | None:
    """The strategies on the forecasts of the named coins; None where there are too few bars."""
    context, pool, issued = inputs.context, inputs.pool, scored.judgement.rows.issued_at
    past = past_trials(context, pool, moment(int(issued.min())), moment(int(issued.max())))
    facts = attempt(inputs, manifest)

    def name_of(row: StrategyRecord) -> str:
        recipe = None if row.model is None else recipe_of(context.config, row.model, manifest.feature_hash)
        return trial_name(f"{row.name}; {facts}", recipe)

    return trade(
        scored.judgement,
        inputs.models.names,
        [_bars_of(pool, coin) for coin in pool.named],
        context.config.strategy,
        execution=order.execution,
        cpcv=order.cpcv,
        past=past,
        name_of=name_of,
        rng=np.random.default_rng(context.config.train.seed),
    )


def _bars_of(pool: CoinPool, coin: str) -> TradedBars:
    frame = pool.bars[coin].candles.frame
    return TradedBars(
        coin=coin,
        close_time=frame["close_time"].to_physical().to_numpy().astype(np.int64),
        open=frame["open"].to_numpy(),
        close=frame["close"].to_numpy(),
        ranges_known=bool(frame["range_known"].all()),
    )


def _placebo(inputs: BacktestInput, order: BacktestOrder) -> Placebo:
    """The whole of it on shuffled prices, again and again: how often something is found where nothing is."""
    pool, block = inputs.pool, inputs.context.config.backtest.placebo_block_bars
    rng = np.random.default_rng(inputs.context.config.train.seed)
    better = direction = 0
    quiet = replace(inputs.context, progress=NoProgress())
    with steps(inputs.context.progress, "placebo runs", order.placebo) as step:
        for _ in range(order.placebo):
            whole = {coin: clean_frame(bars) for coin, bars in pool.bars.items()}
            frames = shuffled(whole, bar_us=pool.bar_us, block_bars=block, rng=rng)
            bars = {
                coin: replace(one, candles=replace(one.candles, frame=frames[coin])) for coin, one in pool.bars.items()
            }
            rows = pool_rows(replace(pool, bars=bars), inputs.rows.features, inputs.rows.horizons)
            again = replace(inputs, context=quiet, rows=rows)
            claims = _claims(scored_part(again, carry_out(again, None, order.engine)), inputs)
            better, direction = better + claims[0], direction + claims[1]
            step(f"{better} false so far")
    return Placebo(
        runs=order.placebo,
        block_bars=block,
        better=better,
        direction=direction,
        shares=wilson(better, order.placebo),
    )


def _claims(outcome: BacktestOutcome, inputs: BacktestInput) -> tuple[bool, bool]:
    """Whether any model is said to beat the baseline, and whether any is said to have a view on direction."""
    answers = [one for row in scores_by_model(inputs, outcome) for score in row.scores for one in score.answers]
    yes = {one.question for one in answers if one.answer == "yes"}
    return Question.MODEL in yes, Question.DIRECTION in yes
