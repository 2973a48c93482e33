"""What the models would have been worth: one hold-out, or a walk forward through history."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from cryptocast.config import Granularity
from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import DataError, UsageError
from cryptocast.evaluation.honesty import honesty
from cryptocast.evaluation.plan import Plan, plan_folds
from cryptocast.evaluation.records import HorizonScore, StrategyRecord, TradingRecord
from cryptocast.evaluation.scores import TableRow, judge, score_table
from cryptocast.evaluation.strategy import Execution
from cryptocast.evaluation.trading import CoinBars, Trading, trade
from cryptocast.evaluation.walk_forward import Fold
from cryptocast.features.matrix import Matrix
from cryptocast.files import write_refusal
from cryptocast.folds import split_by_time
from cryptocast.kinds import ALL_KINDS, MIX
from cryptocast.models.base import FitRun, Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.combination import average
from cryptocast.models.fitting import fit_in_time
from cryptocast.scoring.coverage import wilson
from cryptocast.workflows.audits import audit_words
from cryptocast.workflows.auxiliary_history import help_for
from cryptocast.workflows.backtesting.contenders import contenders, walk
from cryptocast.workflows.backtesting.evidence import attempt, keep_evidence, keep_trials, past_trials, trial_name
from cryptocast.workflows.backtesting.losses import keep_losses
from cryptocast.workflows.backtesting.outcome import BacktestInput, BacktestOutcome
from cryptocast.workflows.backtesting.placebo import shuffled
from cryptocast.workflows.backtesting.predictions import predictions_table
from cryptocast.workflows.backtesting.report_pages import page_of, write_pages
from cryptocast.workflows.backtesting.run_folder import RunFolder, RunManifest, RunResult, digest_of
from cryptocast.workflows.coin_pool import CoinPool, data_used, feature_table, gather, matrix_of, moment, pool_of
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.recipes import recipe_of
from cryptocast.workflows.reports import BacktestReport, BacktestRow, FoldRow, Placebo
from cryptocast.workflows.tuning.adopted_settings import with_found

__all__ = [
    "BacktestInput",
    "BacktestOrder",
    "BacktestOutcome",
    "backtest",
    "carry_out",
    "prepare",
    "report_of",
    "scored_part",
]

CONVENTIONS: Final = (
    "An origin is the close of a bar; what it knows closed by then. Times are UTC.",
    "CRPS is that of 13 quantiles, on prices divided by the price at issue; skill is 1 - CRPS / CRPS of the reference.",
    "rw_empirical: quantiles of the coin's own returns of the last 365 days around the last price, with their drift; "
    "rw_gaussian: no drift, volatility of the last 365 days; baseline: no drift, volatility known at issue.",
    "better: significantly so against each of the three (the largest p decides; Diebold-Mariano with the correction of "
    "Harvey, Leybourne and Newbold, losses averaged by date over coins, Holm over the whole table, 5 %).",
    "Too few to test: fewer than 10 origins for each one whose label overlaps.",
    "Each refit knows only labels that had ended; calibration rests on forecasts of earlier blocks.",
    "Sharpe and Sortino: mean over deviation of net bar returns, annual by the bars of a year of 365 days; drawdown "
    "includes the first bar; zero variance gives no figure.",
)


@dataclass(frozen=True, slots=True)
class BacktestOrder:
    """What to test; None and empty take the settings.

    window: bars that a rolling window learns from, 0 for an expanding one. execution same_bar is not tradable, and
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
    predictions: Path | None = None
    report: Path | None = None
    plot: Path | None = None
    execution: Execution = "next_bar"
    untradable: bool = False
    cpcv: bool = False
    placebo: int = 0
    engine: Engine = Engine()
    fresh: bool = False


def backtest(context: Context, order: BacktestOrder) -> BacktestReport:
    """Test the models on identical origins beside the three random walks, and trade on what they said.

    What was forecast before an interruption is taken from the folder of the run. A walk that has ended leaves its
    evidence and its trials in the registry. Raises DataError or UpstreamError if the coins cannot be had or are too
    short, UsageError if they resolve to different sources (a test pools its coins), ModelError if a feature of the
    user's own leaks.
    """
    began = time.perf_counter()
    _check(order)
    _check_store(context.config.store.path)
    prepared = prepare(context, order)
    context = prepared.context
    manifest = prepared.manifest()
    folder = RunFolder.of(context.config.store.path, manifest)
    if order.fresh:
        folder.forget_blocks()
    notes = resumed_notes(folder)
    outcome = carry_out(prepared, folder, order.engine)
    named = scored_part(prepared, outcome)
    traded = _traded(prepared, named, order, manifest)
    placebo = _placebo(prepared, order) if order.placebo else None
    report = report_of(
        prepared,
        named,
        folder.run_id,
        notes,
        trading=None if traded is None else traded.record,
        placebo=placebo,
        seconds=time.perf_counter() - began,
    )
    folder.keep_result(RunResult(report=report, digests=digest_of(outcome.judged.forecasts)))
    if prepared.plan is not None:
        keep_losses(folder, named.judged, prepared.models.names)
        keep_evidence(context, manifest, report)
    if traded is not None and order.execution == "next_bar":
        keep_trials(context, prepared.pool, manifest, traded.record, horizons=prepared.horizons)
    if order.predictions is not None:
        write_table(predictions_table(named.judged.rows, named.fold, named.judged.forecasts), order.predictions)
    if order.report is not None or order.plot is not None:
        write_pages(page_of(prepared, named, report, traded, manifest), order.report, order.plot)
    return report


def _check(order: BacktestOrder) -> None:
    """What could only be found wrong after long work."""
    if order.predictions is not None:
        check_table_path(order.predictions)
    for path, suffixes in ((order.report, (".html", ".htm")), (order.plot, (".png",))):
        if path is not None and path.suffix.lower() not in suffixes:
            raise UsageError(f"{path} does not say its format: end it in {' or '.join(suffixes)}.")
    for path in (order.predictions, order.report, order.plot):
        if path is not None:
            _check_folder(path)
    if order.execution == "same_bar" and not order.untradable:
        raise UsageError(
            "--execution same-bar credits each decision with the bar that it was made on, which nobody can trade. To"
            " see what such a mistake is worth, add --untradable."
        )


def _check_store(path: Path) -> None:
    if (refusal := write_refusal(path)) is not None:
        raise DataError(f"The store {path} cannot be written ({refusal}), so no run can be kept. Name another.")


def _check_folder(path: Path) -> None:
    """DataError unless something could be written there."""
    if path.is_dir() or write_refusal(path.parent) is not None:
        raise DataError(f"{path} cannot be written: it is a folder, or its folder is closed to you. Name another.")


def _traded(
    prepared: BacktestInput, named: BacktestOutcome, order: BacktestOrder, manifest: RunManifest
) -> Trading | None:
    """The strategies on the forecasts of the named coins; None where there are too few bars."""
    context, pool, issued = prepared.context, prepared.pool, named.judged.rows.issued_at
    past = past_trials(context, pool, moment(int(issued.min())), moment(int(issued.max())))
    tried = attempt(context, pool, manifest, prepared.horizons)

    def name_of(row: StrategyRecord) -> str:
        recipe = None if row.model is None else recipe_of(context.config, row.model, prepared.features.digest)
        return trial_name(f"{row.name}; {tried}", recipe)

    return trade(
        named.judged,
        prepared.models.names,
        [_bars_of(pool, coin) for coin in pool.named],
        context.config.strategy,
        execution=order.execution,
        cpcv=order.cpcv,
        past=past,
        name_of=name_of,
        rng=np.random.default_rng(context.config.train.seed),
    )


def _bars_of(pool: CoinPool, coin: str) -> CoinBars:
    frame = pool.bars[coin].candles.frame
    return CoinBars(
        coin=coin,
        close_time=frame["close_time"].to_physical().to_numpy().astype(np.int64),
        open=frame["open"].to_numpy(),
        close=frame["close"].to_numpy(),
        ranges_known=bool(frame["range_known"].all()),
    )


def _placebo(prepared: BacktestInput, order: BacktestOrder) -> Placebo:
    """The whole of it on shuffled prices, again and again: how often something is found where nothing is."""
    pool, block = prepared.pool, prepared.context.config.backtest.placebo_block_bars
    rng = np.random.default_rng(prepared.context.config.train.seed)
    better = direction = 0
    quiet = replace(prepared.context, progress=NoProgress())
    progress = prepared.context.progress
    progress.begin("placebo runs", order.placebo)
    for _ in range(order.placebo):
        frames = shuffled(
            {coin: bars.candles.frame for coin, bars in pool.bars.items()},
            bar_us=pool.bar_us,
            block_bars=block,
            rng=rng,
        )
        bars = {
            coin: replace(known, candles=replace(known.candles, frame=frames[coin]))
            for coin, known in pool.bars.items()
        }
        made = replace(pool, bars=bars)
        table = feature_table(made, prepared.features.features)
        matrix = matrix_of(table, made, prepared.horizons, prepared.features.names)
        again = replace(prepared, context=quiet, pool=made, matrix=matrix)
        found = _found(scored_part(again, carry_out(again, None, order.engine)), prepared)
        better, direction = better + found[0], direction + found[1]
        progress.step(f"{better} false so far")
    progress.end()
    return Placebo(
        runs=order.placebo,
        block_bars=block,
        better=better,
        direction=direction,
        shares=wilson(better, order.placebo),
    )


def _found(outcome: BacktestOutcome, prepared: BacktestInput) -> tuple[bool, bool]:
    """Whether anything is said to be better, and whether any of that lies in the direction."""
    rows = _rows(prepared, outcome)
    better = {(row.model, score.horizon) for row in rows for score in row.scores if score.verdict.word == "better"}
    if not better:
        return False, False
    rng = np.random.default_rng(prepared.context.config.train.seed)
    records = honesty(outcome.judged, _pooled(rows), rng=rng).records
    placed = {(r.model, r.horizon) for r in records if r.lies_in is not None and "direction" in r.lies_in}
    return True, bool(better & placed)


def prepare(context: Context, order: BacktestOrder) -> BacktestInput:
    """Candles, features and plan. Raises as `backtest` does."""
    asked = order.selection.resolved(context.config)
    models = contenders(context, _names(context, order))
    # The pool helps in training; what is scored is what was named.
    pools = gather(context, asked, pool=pool_of(context.config))
    if len(pools) > 1:
        sources = ", ".join(f"{', '.join(pool.named)} from {pool.source}" for pool in pools)
        raise UsageError(f"A backtest pools its coins, and these have different sources: {sources}. Set --source.")
    (pool,) = pools
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(asked.granularity)
    context.progress.begin("features", 1)
    features = feature_set(context.config)
    context, notes = with_found(context, pool, features.digest, models.names, walked=order.walk_forward)
    helped = help_for(context, pool, features, horizons)
    models = contenders(context, _names(context, order), helped.rows)
    matrix = matrix_of(feature_table(pool, features.features), pool, horizons, features.names)
    if features.own:
        # The catalogue is audited by every training; what a user adds may never have been.
        audit_words(context.config, pool, features, matrix)
    context.progress.step("features")
    context.progress.end()
    plan = _plan(context, order, matrix, asked.granularity) if order.walk_forward else None
    return BacktestInput(context, asked, pool, features, matrix, models, horizons, plan, (*notes, *helped.notes))


def carry_out(prepared: BacktestInput, folder: RunFolder | None, engine: Engine) -> BacktestOutcome:
    """All forecasts, judged. folder: keeps what a walk has done, and gives it back; None: everything is made now."""
    if prepared.plan is None:
        return _hold_out(prepared)
    matrix, plan = prepared.matrix, prepared.plan
    try:
        found = walk(prepared.context, matrix, prepared.models, plan, folder, engine)
    except DataError as error:
        if not plan.window:
            raise
        raise DataError(f"{error} A longer --window than {plan.window} bars would hold more, too.") from error
    judged = judge(matrix.rows(found.row), found.forecasts, step=plan.step)
    # Refits stand at origins: this is how far apart they truly are.
    return BacktestOutcome(
        judged, found.fold, found.folds, plan.step, max(1, plan.refit_every // plan.step) * plan.step
    )


def scored_part(prepared: BacktestInput, outcome: BacktestOutcome) -> BacktestOutcome:
    """The part of the named coins. Raises DataError if there is none."""
    named = outcome.of_coins(prepared.pool.named)
    if len(named.judged.rows) == 0:
        least = prepared.context.config.train.min_train_bars
        raise DataError(
            f"{', '.join(prepared.pool.named)} has no bar inside the test: it joins with {least} bars, and its own must"
            " reach into the tested time. Fetch more bars, or name other coins."
        )
    return named


def resumed_notes(folder: RunFolder) -> tuple[str, ...]:
    """What to say about work that is there already."""
    kept = folder.kept_folds()
    return (f"{kept} refits were kept by an earlier run of this question, and are not made again",) if kept else ()


def _names(context: Context, order: BacktestOrder) -> tuple[str, ...]:
    names = order.models or context.config.backtest.models
    return (*ALL_KINDS, MIX) if "all" in names else names


def _plan(context: Context, order: BacktestOrder, matrix: Matrix, granularity: Granularity) -> Plan:
    step, refit_every = context.config.steps(granularity)
    backtest = context.config.backtest
    return plan_folds(
        matrix,
        step=order.step or step,
        refit_every=order.refit_every or refit_every,
        embargo=backtest.embargo_bars if order.embargo is None else order.embargo,
        window=backtest.window_bars if order.window is None else order.window,
        min_train_bars=context.config.train.min_train_bars,
        start=_microseconds(order.start),
        end=_microseconds(order.end),
    )


def _hold_out(prepared: BacktestInput) -> BacktestOutcome:
    matrix, config = prepared.matrix, prepared.context.config
    split, progress = config.split, prepared.context.progress
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    rows = matrix.rows(parts.test)
    forecasts: dict[str, Forecast] = {}
    progress.begin("fitting", len(prepared.models.learners))
    for name, learner in prepared.models.learners.items():
        if name == "baseline":
            forecasts[name] = BaselineLearner().fit(matrix.known_at(parts.test_start)).predict(rows)
        else:
            forecasts[name] = fit_in_time(
                learner,
                matrix,
                fit=split.fit,
                stop=split.stop,
                block_count=config.train.blocks,
                least_blocks=config.train.min_independent_blocks,
                seed=config.train.seed,
                run=FitRun(threads=config.train.threads or os.cpu_count() or 1),
            ).hold_out.forecast
        progress.step(name)
    progress.end()
    mixed: Mapping[str, Forecast] = {
        name: average([forecasts[member] for member in mix.members]) for name, mix in prepared.models.mixes.items()
    }
    fold = Fold(0, parts.test_start, int(parts.fit.sum()), len(np.unique(rows.issued_at)))
    return BacktestOutcome(
        judge(rows, {**forecasts, **mixed}, step=1), np.zeros(len(rows), dtype=np.int64), (fold,), 1, None
    )


def report_of(
    prepared: BacktestInput,
    outcome: BacktestOutcome,
    run_id: str,
    notes: tuple[str, ...],
    *,
    trading: TradingRecord | None = None,
    placebo: Placebo | None = None,
    seconds: float,
) -> BacktestReport:
    """What is said about the outcome of the named coins."""
    pool, issued = prepared.pool, outcome.judged.rows.issued_at
    rows = _rows(prepared, outcome)
    rng = np.random.default_rng(prepared.context.config.train.seed)
    found = honesty(outcome.judged, _pooled(rows), rng=rng)
    return BacktestReport(
        mode="walk-forward" if prepared.plan is not None else "hold-out",
        run=run_id,
        granularity=pool.granularity,
        vs=pool.vs,
        start=moment(int(issued.min())),
        end=moment(int(issued.max())),
        step_bars=outcome.step,
        refit_every_bars=outcome.refit_every,
        window_bars=prepared.plan.window if prepared.plan is not None else 0,
        data=data_used(pool),
        left_out=pool.left_out,
        folds=tuple(
            FoldRow(fold=f.index, refit_at=moment(f.refit_at), train_rows=f.train_rows, origins=f.origins)
            for f in outcome.folds
        ),
        rows=rows,
        honesty=found.records,
        confidence_sets=found.sets,
        trading=trading,
        placebo=placebo,
        conventions=CONVENTIONS,
        notes=(
            *(bars.notice for bars in pool.bars.values() if bars.notice),
            *_silent(prepared, outcome),
            *prepared.notes,
            *notes,
        ),
        seconds=round(seconds, 3),
    )


def _silent(prepared: BacktestInput, outcome: BacktestOutcome) -> tuple[str, ...]:
    """What to say of named coins on which nothing was forecast."""
    heard, least = set(outcome.judged.rows.coin_names.tolist()), prepared.context.config.train.min_train_bars
    return tuple(
        f"{coin} is not in these scores: in the tested time it has no bar with {least} before it and a price that moved"
        for coin in prepared.pool.named
        if coin not in heard
    )


def _rows(prepared: BacktestInput, outcome: BacktestOutcome) -> tuple[BacktestRow, ...]:
    """Scores of each model, over all named coins and coin by coin."""
    named, models = prepared.pool.named, prepared.models.names
    coins: tuple[str | None, ...] = (None, *(named if len(named) > 1 else ()))
    names = [(model, coin) for coin in coins for model in models]
    parts = {coin: outcome.judged if coin is None else outcome.judged.of_coin(coin) for coin in coins}
    # One correction for all that is tested here: the more coins are looked at, the more of them would seem better.
    table = score_table([TableRow(parts[coin], model) for model, coin in names])
    return tuple(
        BacktestRow(model=model, coin=coin, scores=scores) for (model, coin), scores in zip(names, table, strict=True)
    )


def _pooled(rows: Sequence[BacktestRow]) -> dict[str, tuple[HorizonScore, ...]]:
    """The scores over all named coins, by model."""
    return {row.model: row.scores for row in rows if row.coin is None}


def _microseconds(time_or_none: datetime | None) -> int | None:
    if time_or_none is None:
        return None
    aware = time_or_none if time_or_none.tzinfo else time_or_none.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)
