"""Fetch if stale, build features, audit them, fit, calibrate, score the hold-out, register, forecast."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec

from cryptocast.config import TUNABLE, Config
from cryptocast.errors import CryptocastError, DataError, NotInstalledError, UsageError
from cryptocast.evaluation.records import pooled_answers
from cryptocast.folds import split_by_time
from cryptocast.kinds import KINDS, check_learns, in_order
from cryptocast.models.auxiliary_rows import with_help
from cryptocast.models.base import Forecast
from cryptocast.models.calibrated import fallback_reason
from cryptocast.models.fitting import TrainingResult, fit_count
from cryptocast.spread import Spread, in_turn, rounding_notes
from cryptocast.workflows.audits import audit_words
from cryptocast.workflows.auxiliary_history import ExtraRows, help_for
from cryptocast.workflows.clean_candles import clean_frame
from cryptocast.workflows.coin_pool import (
    CoinPool,
    Failures,
    PoolRows,
    choice_of,
    data_used,
    gather,
    pool_of,
    pool_rows,
    without_stablecoins,
)
from cryptocast.workflows.context import Context, Resolved, Selection, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.forecast import (
    CoinAnswer,
    ForecastMaker,
    LadderStep,
    Request,
    baseline_forecast,
    describe,
    from_due_bar,
    model_forecast,
    older_bars,
)
from cryptocast.workflows.own_models import learner
from cryptocast.workflows.recipes import fit_by, fit_run
from cryptocast.workflows.reports import CoinError, CoinForecast, ForecastDocument, TrainedModel, TrainReport
from cryptocast.workflows.training.eligibility import due, few_bars_notes, with_last_rows
from cryptocast.workflows.training.hold_out import HoldOuts, hold_outs
from cryptocast.workflows.training.in_parts import (
    MOST_TOGETHER,
    Exam,
    LargePool,
    LessonPlan,
    PoolMarks,
    audited_rows,
    draw_lessons,
    examine_all,
    large_notes,
    read_pool,
)
from cryptocast.workflows.training.outdated import Refit, outdated_fits
from cryptocast.workflows.training.registration import baseline_models, manifest_of, register
from cryptocast.workflows.tuning.adopted_settings import with_adopted
from cryptocast.workflows.tuning.search_space import tuned_for
from cryptocast.workflows.tuning.tune import TuneOrder, tune_pool

SHOWN: Final = 10  # coins of a large pool that the report tells of
BATCH: Final = 1000  # versions of a large pool that are registered in one transaction


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained. older_than: leave coins alone whose production version is younger, by more than a tenth.

    tune: trials of a search for better settings first; 0: none. outdated: instead of all that, every version in use
    that cannot be asked any more since its features are computed differently, as it was fitted then. engine: where the
    work is done; on a cluster nothing is fetched.
    """

    selection: Selection = Selection()
    model: str = "all"
    horizons: tuple[int, ...] = ()
    older_than: timedelta | None = None
    tune: int = 0
    outdated: bool = False
    engine: Engine = Engine()


@dataclass(frozen=True, slots=True)
class _Task:
    """Kinds to be fitted for coins that are asked for together. context: with the settings of these fits.

    every: a kind that has too few bars is noted, and the others go on; else that is an error.
    """

    context: Context
    bars: Resolved
    kinds: tuple[str, ...]
    horizons: tuple[int, ...]
    every: bool = True
    older_than: timedelta | None = None
    tune: TuneOrder | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Training:
    """One pool in training. fallbacks: by coin, the horizons that its baseline answers, and why."""

    context: Context
    rows: PoolRows
    extra: ExtraRows
    fallbacks: Mapping[str, Mapping[int, str]]


def kinds_of(model: str, config: Config) -> tuple[str, ...]:
    """The kinds that `--model` means; `all` is those of `[train] models`. Raises for kinds that there are not, or
    that cannot learn here."""
    if model == "all":
        return ("baseline", *in_order(config.train.models))
    learner(model, config)
    check_learns(model)
    return ("baseline",) if model == "baseline" else ("baseline", model)


def train(context: Context, order: Order) -> TrainReport:
    """Train and register: one fit for each kind and source, one version of it for each named coin.

    `baseline` has nothing to register; its scores stand beside the others. Raises DataError or UpstreamError if no
    named coin has candles or there are too few, ModelError if a feature leaks.
    """
    began = time.perf_counter()
    tasks = _outdated_tasks(context, order) if order.outdated else (_task(context, order),)
    if any(set(task.kinds) - {"baseline"} for task in tasks):
        context.registry()  # a store that cannot be written to is found before the fits, not behind them
    reports: list[TrainReport] = []
    failures = Failures()
    with spread_on(order.engine, context.progress) as spread:
        for task in tasks:
            with failures.of(task.bars.coins):
                for coins, training in _trainings(task, order.engine, spread):
                    with failures.of(coins):
                        reports.append(training())
        others = rounding_notes(spread.others)
    failures.raise_unless(reports)
    report = _merged(context.config, reports, failures.rows, time.perf_counter() - began)
    return msgspec.structs.replace(report, notes=(*report.notes, *others))


def _trainings(
    task: _Task, engine: Engine, spread: Spread
) -> Iterator[tuple[tuple[str, ...], Callable[[], TrainReport]]]:
    """One for each source of the named coins, which are these: of the whole pool at once, or in parts."""
    helpers, is_here = pool_of(task.context.config), engine.kind == "local"
    if is_here and len({*task.bars.coins, *helpers}) <= MOST_TOGETHER:
        for pool in gather(task.context, task.bars, pool=helpers):
            yield pool.named, partial(_train_pool, task, pool)
        return
    if task.tune is not None:
        raise UsageError(f"--tune looks at no more than {MOST_TOGETHER} coins, on this machine. Use cryptocast tune.")
    for large in read_pool(task.context, task.bars, helpers, spread, is_here=is_here):
        yield large.pool.named, partial(_train_large, task, large, spread, elsewhere=not is_here)


def _task(context: Context, order: Order) -> _Task:
    """What an order means with the settings."""
    bars = order.selection.resolved(context.config)
    kinds = kinds_of(order.model, context.config)
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(bars.granularity)
    tunable = tuned_for(order.model)
    if order.tune and tunable is None:
        raise UsageError(f"--tune finds settings for {' and '.join(TUNABLE)}, and --model names neither.")
    if min(horizons) < 1:
        raise UsageError(f"Horizons are counted in bars, at least 1; found {min(horizons)}.")
    tune = TuneOrder(model=tunable, trials=order.tune) if order.tune and tunable else None
    return _Task(context, bars, kinds, horizons, order.model == "all", order.older_than, tune)


def _outdated_tasks(context: Context, order: Order) -> tuple[_Task, ...]:
    if order != Order(outdated=True):
        raise UsageError("--outdated fits each version as it was: name no coins, and leave out the other options.")
    return tuple(_refit(context, refit) for refit in outdated_fits(context.registry(create=False), context.config))


def _refit(context: Context, refit: Refit) -> _Task:
    config, market = context.config, refit.market
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, pool=refit.pool))
    bars = Selection(refit.coins, choice_of(market.source), market.vs, market.granularity).resolved(config)
    kinds = ("baseline", *refit.kinds)
    return _Task(replace(context, config=config), bars, kinds, refit.horizons, notes=(refit.in_words(),))


def _train_pool(task: _Task, pool: CoinPool) -> TrainReport:
    """One source: from its candles to registered versions and their forecasts."""
    notes = list(task.notes)
    pool = without_stablecoins(task.context.config, pool)
    if task.older_than is not None:
        pool, young = due(task.context, pool, task.kinds, task.horizons, task.older_than)
        notes += young
    if not pool.named:
        return _report(task, pool, [], [], notes)
    context, adopted = _best_settings(task, pool)
    training, audit_notes = _prepare(context, pool, task.horizons)
    rows, pool = training.rows, training.rows.pool
    notes += (*adopted, *audit_notes, *training.extra.notes)
    notes += few_bars_notes(pool, task.horizons, context.config.train.min_independent_blocks)
    fits, too_short = _fit_all(training, task)
    notes += too_short
    of_kind = {kind: fit for kind, (fit, _) in fits.items()}
    scores = hold_outs(rows.matrix, pool.named, context.config.split, of_kind, training.fallbacks)
    models = baseline_models(pool, scores)
    forecasts: list[CoinForecast] = []
    for kind, (fit, seconds) in fits.items():
        # Before anything is registered: what cannot forecast must not become a version.
        forecast_of = {coin: _model_forecast(training, fit, coin) for coin in pool.named}
        files = fit.final.save()
        manifest = manifest_of(context, rows, kind, files, seconds, fit.weights, training.extra.notes)
        for version, row in register(context, pool, manifest, files, scores, training.fallbacks):
            models.append(row)
            forecasts.append(_describe(training, LadderStep(kind, version), forecast_of[row.coin], row.coin))
    if not fits:
        forecasts = [_baseline_forecast(training, coin) for coin in pool.named]
    return _report(task, pool, models, forecasts, notes)


def _train_large(task: _Task, large: LargePool, spread: Spread, *, elsewhere: bool) -> TrainReport:
    """One source with more coins than are held at once. elsewhere: the fits are spread, too."""
    pool, notes = large.pool, list(task.notes)
    if task.older_than is not None:
        pool, young = due(task.context, pool, task.kinds, task.horizons, task.older_than)
        more = [f"so were {len(young) - SHOWN:,} more coins"] if len(young) > SHOWN else []
        large, notes = replace(large, pool=pool), [*notes, *young[:SHOWN], *more]
    if not pool.named:
        return _report(task, replace(pool, bars={}), [], [], notes)
    context, adopted = _best_settings(task, pool)
    config, features = context.config, feature_set(context.config).of_single_coins
    plan, rows = draw_lessons(context, large, features, task.horizons, spread)
    audit_notes = audit_words(config, audited_rows(plan, large), context.progress)
    extra = help_for(context, pool, features, task.horizons)
    fits, too_short = _fit_all(_Training(context, rows, extra, {}), task, spread if elsewhere else None)
    together = hold_outs(rows.matrix, (), config.split, {kind: fit for kind, (fit, _) in fits.items()}, {})
    # The code of a model of the user's own is on this machine alone.
    examiners = spread if fits.keys() <= KINDS.keys() else in_turn
    marks, left_out = examine_all(context, large, _exam(config, plan, rows, fits, together), examiners)
    pool = replace(
        pool, named=tuple(coin for coin in pool.named if coin in marks), left_out=(*pool.left_out, *left_out)
    )
    models = _register_all(context, replace(rows, pool=pool), fits, marks, together, extra.notes)
    shown = replace(pool, bars={coin: pool.bars[coin] for coin in pool.named[:SHOWN]})
    forecasts, unanswered = _forecasts_of(context, task, models)
    notes += [*adopted, *audit_notes, *pool.outside.notices, *extra.notes, *too_short]
    notes += [*large_notes(rows, pool, has_fits=bool(fits)), *unanswered]
    return _report(task, shown, models, forecasts, notes)


def _exam(
    config: Config,
    plan: LessonPlan,
    rows: PoolRows,
    fits: Mapping[str, tuple[TrainingResult, float]],
    together: HoldOuts,
) -> Exam:
    start = split_by_time(rows.matrix.spans, fit=config.split.fit, stop=config.split.stop).test_start
    coins = len(rows.matrix.panel.coins)
    pooled = {kind: pooled_answers(hold_out.horizons, coins) for (kind, _), hold_out in together.items()}
    models = {kind: (fit.first, fit.final) for kind, (fit, _) in fits.items()}
    return Exam(plan, models, start, pooled, config.train.min_independent_blocks)


def _register_all(
    context: Context,
    rows: PoolRows,
    fits: Mapping[str, tuple[TrainingResult, float]],
    marks: PoolMarks,
    together: HoldOuts,
    notes: tuple[str, ...],
) -> list[TrainedModel]:
    """A version of each fit for each coin; the rows of the first coins, those of the baseline before them."""
    pool = rows.pool
    first = replace(pool, named=pool.named[:SHOWN])
    models = baseline_models(first, {**together, **marks.hold_outs("baseline", first.named)})
    for kind, (fit, seconds) in fits.items():
        files = marks.with_baselines(fit.final).save()
        manifest = manifest_of(context, rows, kind, files, seconds, fit.weights, notes)
        manifest = msgspec.structs.replace(manifest, lessons=rows.matrix.panel.coins)
        for begin in range(0, len(pool.named), BATCH):
            some = replace(pool, named=pool.named[begin : begin + BATCH])
            scores = {**together, **marks.hold_outs(kind, some.named)}
            registered = register(context, some, manifest, files, scores, marks.fallbacks)
            models += [row for _, row in registered[: max(0, SHOWN - begin)]]
    return models


def _forecasts_of(
    context: Context, task: _Task, models: Sequence[TrainedModel]
) -> tuple[list[CoinForecast], list[str]]:
    """Those of the versions in the report, or of the baseline where there is none; and why some are missing: the
    versions are there, whatever they can say now."""
    maker, forecasts, notes, bars = ForecastMaker(context), list[CoinForecast](), list[str](), task.bars
    versions = [model for model in models if model.version is not None]
    for model in versions or models:
        version = None if model.version is None else f"{model.coin}/{model.kind}:{model.version}"
        which = Selection((model.coin,), choice_of(bars.source), bars.vs, bars.granularity, bars.now, bars.as_of)
        which = replace(which, stored=True)
        # The version says which model it is; not every kind can be asked for by its name.
        kind = model.kind if version is None else None
        try:
            (own,) = maker.forecast(Request(which, model=kind, horizons=task.horizons, version=version)).forecasts
        except CryptocastError as error:
            notes.append(str(error))
        else:
            forecasts.append(msgspec.structs.replace(own, model_requested=model.kind))
    return forecasts, notes


def _best_settings(task: _Task, pool: CoinPool) -> tuple[Context, list[str]]:
    """The context with what a search has found, which begins now where one was asked for."""
    context, notes = task.context, []
    if task.tune is not None:
        tuning = tune_pool(context, pool, task.horizons, task.tune)
        notes.append(f"tuned {tuning.kind}, best of {len(tuning.trials)}: {tuning.reason}")
    context, adopted = with_adopted(context, pool, feature_set(context.config).digest, task.kinds)
    return context, [*notes, *adopted]


def _prepare(context: Context, pool: CoinPool, horizons: tuple[int, ...]) -> tuple[_Training, tuple[str, ...]]:
    """The rows to learn from, and what the audit of their features says."""
    config = context.config
    features = feature_set(config)
    with steps(context.progress, "features", 1) as step:
        rows = pool_rows(pool, features, horizons)
        step("features")
    notes = audit_words(config, rows, context.progress)
    extra = help_for(context, pool, features, horizons)
    pool = with_last_rows(pool, rows.matrix)
    least = config.train.min_independent_blocks
    fallbacks = {}
    for coin in pool.named:
        bars = clean_frame(pool.bars[coin]).height
        reasons = {horizon: fallback_reason(bars, horizon, least) for horizon in horizons}
        fallbacks[coin] = {horizon: reason for horizon, reason in reasons.items() if reason is not None}
    return _Training(context, replace(rows, pool=pool), extra, fallbacks), (*notes, *pool.outside.notices)


def _fit_all(
    training: _Training, task: _Task, spread: Spread | None = None
) -> tuple[dict[str, tuple[TrainingResult, float]], list[str]]:
    """Each kind with the seconds that it took, and why a kind is missing."""
    config, progress = training.context.config, training.context.progress
    kinds = [kind for kind in task.kinds if kind != "baseline"]
    fits: dict[str, tuple[TrainingResult, float]] = {}
    notes: list[str] = []
    for number, kind in enumerate(kinds, 1):
        began = time.perf_counter()
        model = with_help(learner(kind, config), training.extra.rows)
        # An ensemble takes over the members that are fitted already.
        members = {other: fit for other, (fit, _) in fits.items()}
        count = fit_count(model, config.train.blocks, members)
        which = f" ({number} of {len(kinds)})" if len(kinds) > 1 else ""
        try:
            with steps(progress, f"training {kind}{which}", count):
                run = replace(fit_run(config, progress), spread=spread)
                fit = fit_by(config, model, training.rows.matrix, run, members)
            fits[kind] = (fit, time.perf_counter() - began)
            notes += _members_left_out(task, kind, fit)
        except (DataError, NotInstalledError) as error:
            if not task.every:
                raise
            notes.append(f"{kind} was not trained: {error}")
    return fits, notes


def _members_left_out(task: _Task, kind: str, fit: TrainingResult) -> list[str]:
    """What to say of members that the ensemble goes on without; those of the task are spoken of already."""
    dropped = {} if fit.weights is None else fit.weights.dropped
    return [f"{kind} goes on without {name}: {why}" for name, why in dropped.items() if name not in task.kinds]


def _model_forecast(training: _Training, fit: TrainingResult, coin: str) -> Forecast:
    baseline_at = tuple(training.fallbacks[coin])
    return model_forecast(fit.final, training.rows.matrix, coin, training.rows.horizons, baseline_at=baseline_at)


def _baseline_forecast(training: _Training, coin: str) -> CoinForecast:
    forecast = baseline_forecast(training.rows.pool, coin, training.rows.horizons)
    return _describe(training, LadderStep("baseline"), forecast, coin)


def _describe(training: _Training, choice: LadderStep, forecast: Forecast, coin: str) -> CoinForecast:
    config, rows = training.context.config, training.rows
    request = Request(model=choice.kind, horizons=rows.horizons, intervals=config.forecast.intervals)
    bars, is_model = rows.pool.bars[coin], choice.version is not None
    fallbacks = training.fallbacks[coin] if is_model else {}
    reasons = {h: Fallback(code=FallbackCode.TOO_FEW_BARS, detail=reason) for h, reason in fallbacks.items()}
    if late := bars.age.late:
        forecast = from_due_bar(rows.pool, coin, rows.horizons, late, forecast if is_model else None)
        reasons |= {h: older_bars(late) for h in rows.horizons if is_model and h <= late}
    return describe(bars, choice, CoinAnswer(forecast, reasons), request, config)


def _report(
    task: _Task, pool: CoinPool, models: Sequence[TrainedModel], forecasts: Sequence[CoinForecast], notes: Sequence[str]
) -> TrainReport:
    return TrainReport(
        granularity=pool.granularity,
        vs=pool.vs,
        horizons=task.horizons,
        data=data_used(pool),
        left_out=pool.left_out,
        models=tuple(models),
        notes=tuple(notes),
        forecast=ForecastDocument(forecasts=tuple(forecasts)),
    )


def _merged(config: Config, reports: Sequence[TrainReport], failed: Sequence[CoinError], seconds: float) -> TrainReport:
    """The reports of all sources as one. Without any, nothing was outdated."""
    if not reports:
        note = "nothing is outdated: every version in use can answer"
        bars = config.data
        nothing = ForecastDocument(forecasts=())
        return TrainReport(granularity=bars.granularity, vs=bars.vs, notes=(note,), forecast=nothing)
    return msgspec.structs.replace(
        reports[0],
        horizons=tuple(sorted({horizon for report in reports for horizon in report.horizons})),
        data=tuple(dict.fromkeys(row for report in reports for row in report.data)),
        left_out=tuple(dict.fromkeys((*failed, *(row for report in reports for row in report.left_out)))),
        models=tuple(row for report in reports for row in report.models),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        forecast=ForecastDocument(forecasts=tuple(f for report in reports for f in report.forecast.forecasts)),
        seconds=round(seconds, 3),
    )
