"""What the models would have been worth: one hold-out, or a walk forward through history."""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from cryptocast.config import Granularity
from cryptocast.data.tables import check_table_path, write_table
from cryptocast.errors import DataError, UsageError
from cryptocast.evaluation.scores import Judged, judge, score_model, verdicts_of_table
from cryptocast.evaluation.walk_forward import Fold, fold_starts, plan_folds, walk_forward
from cryptocast.features.matrix import Matrix
from cryptocast.folds import Int64Array, split_by_time
from cryptocast.models.base import FitRun, Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.kinds import TRAINABLE, learner
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.documents import BacktestReport, BacktestRow, FoldRow
from cryptocast.workflows.panel import Pool, data_used, feature_table, gather, matrix_of, moment, pool_of

__all__ = ["BacktestOrder", "backtest"]


@dataclass(frozen=True, slots=True)
class BacktestOrder:
    """What to test; None and empty take the settings."""

    selection: Selection = Selection()
    walk_forward: bool = False
    models: tuple[str, ...] = ()
    horizons: tuple[int, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    step: int | None = None
    refit_every: int | None = None
    embargo: int | None = None
    predictions: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Forecasts of one run and how they came about."""

    judged: Judged
    fold: Int64Array
    folds: tuple[Fold, ...]
    step: int
    refit_every: int | None


def backtest(context: Context, order: BacktestOrder) -> BacktestReport:
    """Test the models on identical origins beside the three random walks.

    Raises DataError or UpstreamError if the coins cannot be had or are too short, UsageError if they resolve to
    different sources: a test pools its coins.
    """
    began = time.perf_counter()
    asked = order.selection.resolved(context.config)
    models = _models(context, order)
    if order.predictions is not None:
        check_table_path(order.predictions)
    # The pool helps in training; what is scored is what was named.
    pools = gather(context, asked, pool=pool_of(context.config))
    if len(pools) > 1:
        sources = ", ".join(f"{', '.join(pool.named)} from {pool.source}" for pool in pools)
        raise UsageError(f"A backtest pools its coins, and these have different sources: {sources}. Set --source.")
    (pool,) = pools
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(asked.granularity)
    context.progress.begin("features", 1)
    matrix = matrix_of(feature_table(pool), pool, horizons)
    context.progress.step("features")
    context.progress.end()
    if order.walk_forward:
        run = _walk(context, order, matrix, models, asked.granularity)
    else:
        run = _hold_out(context, matrix, models)
    named = _only(run, pool.named)
    if len(named.judged.rows) == 0:
        raise DataError(
            f"{', '.join(pool.named)} has no bar inside the test: it joins with {context.config.train.min_train_bars} "
            "bars, and its own must reach into the tested time. Fetch more bars, or name other coins."
        )
    if order.predictions is not None:
        write_table(_predictions(named), order.predictions)
    return _report(order, pool, named, models, time.perf_counter() - began)


def _models(context: Context, order: BacktestOrder) -> tuple[str, ...]:
    names = order.models or context.config.backtest.models
    if "all" in names:
        names = ("baseline", *TRAINABLE)
    for name in names:
        learner(name, context.config)
    return tuple(dict.fromkeys(("baseline", *names)))


def _fit_run(context: Context) -> FitRun:
    return FitRun(threads=context.config.train.threads or os.cpu_count() or 1)


def _walk(
    context: Context, order: BacktestOrder, matrix: Matrix, models: tuple[str, ...], granularity: Granularity
) -> _Run:
    step, refit_every = context.config.steps(granularity)
    plan = plan_folds(
        matrix,
        step=order.step or step,
        refit_every=order.refit_every or refit_every,
        embargo=context.config.backtest.embargo_bars if order.embargo is None else order.embargo,
        min_train_bars=context.config.train.min_train_bars,
        start=_microseconds(order.start),
        end=_microseconds(order.end),
    )
    context.progress.begin("walking forward", len(fold_starts(plan, matrix.bar_us)))
    result = walk_forward(
        matrix,
        {name: learner(name, context.config) for name in models},
        plan,
        block_count=context.config.train.blocks,
        least_blocks=context.config.train.min_independent_blocks,
        seed=context.config.train.seed,
        run=_fit_run(context),
        done=lambda fold: context.progress.step(f"refit {moment(fold.refit_at):%Y-%m-%d}"),
    )
    context.progress.end()
    judged = judge(matrix.rows(result.row), result.forecasts, step=plan.step)
    return _Run(judged, result.fold, result.folds, plan.step, plan.refit_every)


def _hold_out(context: Context, matrix: Matrix, models: tuple[str, ...]) -> _Run:
    split, config = context.config.split, context.config
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    rows = matrix.rows(parts.test)
    forecasts: dict[str, Forecast] = {}
    context.progress.begin("fitting", len(models))
    for name in models:
        if name == "baseline":
            forecasts[name] = BaselineLearner().fit(matrix.known_at(parts.test_start)).predict(rows)
        else:
            forecasts[name] = fit_in_time(
                learner(name, config),
                matrix,
                fit=split.fit,
                stop=split.stop,
                block_count=config.train.blocks,
                least_blocks=config.train.min_independent_blocks,
                seed=config.train.seed,
                run=_fit_run(context),
            ).hold_out.forecast
        context.progress.step(name)
    context.progress.end()
    fold = Fold(0, parts.test_start, int(parts.fit.sum()), len(np.unique(rows.issued_at)))
    return _Run(judge(rows, forecasts, step=1), np.zeros(len(rows), dtype=np.int64), (fold,), 1, None)


def _only(run: _Run, coins: tuple[str, ...]) -> _Run:
    keep = np.isin(run.judged.rows.coin_names, coins)
    return _Run(run.judged.rows_where(keep), run.fold[keep], run.folds, run.step, run.refit_every)


def _report(order: BacktestOrder, pool: Pool, run: _Run, models: tuple[str, ...], seconds: float) -> BacktestReport:
    issued = run.judged.rows.issued_at
    coins: tuple[str | None, ...] = (None, *(pool.named if len(pool.named) > 1 else ()))
    parts = [
        (model, coin, run.judged if coin is None else run.judged.of_coin(coin)) for coin in coins for model in models
    ]
    # One correction for all that is tested here: the more coins are looked at, the more of them would seem better.
    table = verdicts_of_table([score_model(judged, model) for model, _, judged in parts])
    rows = [
        BacktestRow(model=model, coin=coin, scores=scores)
        for (model, coin, _), scores in zip(parts, table, strict=True)
    ]
    return BacktestReport(
        mode="walk-forward" if order.walk_forward else "hold-out",
        granularity=pool.granularity,
        vs=pool.vs,
        start=moment(int(issued.min())),
        end=moment(int(issued.max())),
        step_bars=run.step,
        refit_every_bars=run.refit_every,
        data=data_used(pool),
        left_out=pool.left_out,
        folds=tuple(
            FoldRow(fold=f.index, refit_at=moment(f.refit_at), train_rows=f.train_rows, origins=f.origins)
            for f in run.folds
        ),
        rows=tuple(rows),
        notes=tuple(bars.notice for bars in pool.bars.values() if bars.notice),
        seconds=round(seconds, 3),
    )


def _predictions(run: _Run) -> pl.DataFrame:
    """Long form: coin, model, issued_at (close time of the last bar known), horizon, level, value (price), fold."""
    rows = run.judged.rows
    parts = [_long(rows, run.fold, model, forecast) for model, forecast in run.judged.forecasts.items()]
    return pl.concat(parts).with_columns(pl.col("issued_at").cast(pl.Datetime("us", "UTC")))


def _long(rows: Matrix, fold: Int64Array, model: str, made: Forecast) -> pl.DataFrame:
    n, h, q = made.values.shape
    return pl.DataFrame(
        {
            "coin": np.repeat(made.coin, h * q),
            "model": [model] * (n * h * q),
            "issued_at": np.repeat(rows.issued_at, h * q),
            "horizon": np.tile(np.repeat(made.horizons, q), n),
            "level": np.tile(made.levels, n * h),
            "value": made.prices().reshape(-1),
            "fold": np.repeat(fold, h * q),
        }
    )


def _microseconds(time_or_none: datetime | None) -> int | None:
    if time_or_none is None:
        return None
    aware = time_or_none if time_or_none.tzinfo else time_or_none.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)
