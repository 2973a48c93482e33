"""Fetch if stale, build features, audit them, fit, calibrate, score the hold-out, register, forecast."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import msgspec
import numpy as np

from cryptocast.config import TUNABLE, Config
from cryptocast.data.quality import is_stablecoin
from cryptocast.errors import CryptocastError, DataError, UsageError
from cryptocast.evaluation.records import HoldOut
from cryptocast.evaluation.scores import Judged, TableRow, judge, score_table
from cryptocast.features.matrix import Matrix
from cryptocast.folds import split_by_time
from cryptocast.kinds import LIBRARIES, TRAINABLE
from cryptocast.models.auxiliary_rows import with_help
from cryptocast.models.base import Artefacts, FitRun, Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import fallback_reason, independent_blocks
from cryptocast.models.fitting import Fitted, fit_in_time
from cryptocast.models.kinds import learner
from cryptocast.models.selective import spared
from cryptocast.models.stacking import REGIMES, Weights
from cryptocast.registry import (
    PRODUCTION,
    CoinCalibration,
    CoinData,
    FitManifest,
    NewVersion,
    Version,
    VersionKey,
    artefacts_of,
    first_version,
)
from cryptocast.registry.manifest import Ensemble, EnsembleHorizon, EnsembleRegime
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.times import as_datetime
from cryptocast.workflows.audits import audit_words
from cryptocast.workflows.auxiliary_history import Help, help_for
from cryptocast.workflows.coin_pool import (
    Pool,
    data_used,
    feature_table,
    gather,
    has_last_row,
    matrix_of,
    pool_of,
)
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.environment import code_version, library_versions, platform_name
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.feature_sets import FeatureSet, feature_set
from cryptocast.workflows.forecast import Chosen, Request, baseline_forecast, describe, model_forecast
from cryptocast.workflows.online_calibration import learn
from cryptocast.workflows.recipes import fit_settings, recipe_of
from cryptocast.workflows.reports import (
    CoinError,
    CoinForecast,
    ForecastDocument,
    TrainDecision,
    TrainedModel,
    TrainReport,
)
from cryptocast.workflows.tuning.adopted_settings import with_found
from cryptocast.workflows.tuning.search_space import tuned_for
from cryptocast.workflows.tuning.tune import TuneOrder, tune_pool

__all__ = ["Order", "kinds_of", "train"]

# How much younger than `older_than` a version may be and still be due. A training that is run every Monday ends some
# minutes after it began, so that by the clock its version is never quite a week old on the next one.
AGE_TOLERANCE: Final = 0.1
# Below this many bars a training says what so little data cannot show.
FEW_BARS = 2 * 365


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained. older_than: leave coins alone whose production version is younger, by more than a tenth.

    tune: trials of a search for better settings first; 0: none.
    """

    selection: Selection = Selection()
    model: str = "all"
    horizons: tuple[int, ...] = ()
    older_than: timedelta | None = None
    tune: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Training:
    """One pool in training."""

    context: Context
    pool: Pool
    matrix: Matrix
    horizons: tuple[int, ...]
    features: FeatureSet
    helped: Help
    audit_notes: tuple[str, ...]


def kinds_of(model: str, config: Config) -> tuple[str, ...]:
    """The kinds that `--model` means; `all` is those of `[train] models`. Raises for kinds that there are not."""
    if model == "all":
        # The ensemble comes last: it takes over the members that were fitted before it.
        return ("baseline", *(kind for kind in TRAINABLE if kind in config.train.models))
    learner(model, config)
    return ("baseline",) if model == "baseline" else ("baseline", model)


def train(context: Context, order: Order) -> TrainReport:
    """Train and register: one fit for each kind and source, one version of it for each named coin.

    `baseline` has nothing to register; its scores stand beside the others. Raises DataError or UpstreamError if no
    named coin has candles or there are too few, ModelError if a feature leaks.
    """
    began = time.perf_counter()
    asked = order.selection.resolved(context.config)
    kinds = kinds_of(order.model, context.config)
    horizons = tuple(sorted(set(order.horizons))) or context.config.horizons(asked.granularity)
    if order.tune and tuned_for(order.model) is None:
        raise UsageError(f"--tune finds settings for {' and '.join(TUNABLE)}, and --model names neither.")
    if min(horizons) < 1:
        raise UsageError(f"Horizons are counted in bars, at least 1; found {min(horizons)}.")
    pools = gather(context, asked, pool=pool_of(context.config))
    if set(kinds) - {"baseline"}:
        context.registry()  # a store that cannot be written to is found before the fits, not behind them
    reports: list[TrainReport] = []
    failed: list[CoinError] = []
    failure: CryptocastError | None = None
    for pool in pools:
        try:
            reports.append(_train_pool(context, pool, order, kinds, horizons))
        except CryptocastError as error:
            failure = failure or error
            failed += [CoinError(coin=coin, error=str(error)) for coin in pool.named]
    if failure is not None and not reports:
        raise failure
    return msgspec.structs.replace(
        reports[0],
        data=tuple(row for report in reports for row in report.data),
        left_out=tuple(dict.fromkeys((*failed, *(row for report in reports for row in report.left_out)))),
        models=tuple(row for report in reports for row in report.models),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        forecast=ForecastDocument(forecasts=tuple(f for report in reports for f in report.forecast.forecasts)),
        seconds=round(time.perf_counter() - began, 3),
    )


def _train_pool(
    context: Context, pool: Pool, order: Order, kinds: tuple[str, ...], horizons: tuple[int, ...]
) -> TrainReport:
    notes: list[str] = []
    pool = _without_pegged(context.config, pool)
    if order.older_than is not None:
        pool, notes = _without_fresh(context, pool, kinds, horizons, order.older_than)
    models: list[TrainedModel] = []
    forecasts: list[CoinForecast] = []
    if pool.named:
        if order.tune and (tuned := tuned_for(order.model)):
            found = tune_pool(context, pool, tuned, horizons, TuneOrder(trials=order.tune))
            notes.append(f"tuned {found.kind}, best of {len(found.trials)}: {found.reason}")
        context, told = with_found(context, pool, feature_set(context.config).digest, kinds)
        notes += told
        training = _prepare(context, pool, horizons)
        pool = training.pool
        notes += (*training.audit_notes, *training.helped.notes)
        notes += _few_bars_notes(pool, horizons, context.config.train.min_independent_blocks)
        models, forecasts, short = _fit_all(training, kinds, every=order.model == "all")
        notes += short
    return TrainReport(
        granularity=pool.granularity,
        vs=pool.vs,
        horizons=horizons,
        data=data_used(pool),
        left_out=pool.left_out,
        models=tuple(models),
        notes=tuple(notes),
        forecast=ForecastDocument(forecasts=tuple(forecasts)),
        seconds=0.0,
    )


def _prepare(context: Context, pool: Pool, horizons: tuple[int, ...]) -> _Training:
    config = context.config
    features = feature_set(config)
    context.progress.begin("features", 2)
    matrix = matrix_of(feature_table(pool, features.features), pool, horizons, features.names)
    context.progress.step("features")
    notes = audit_words(config, pool, features, matrix)
    context.progress.step("audit")
    context.progress.end()
    helped = help_for(context, pool, features, horizons)
    return _Training(context, _with_a_last_row(pool, matrix), matrix, horizons, features, helped, notes)


def _with_a_last_row(pool: Pool, matrix: Matrix) -> Pool:
    """The pool without the named coins that could not be forecast now; they are left out before anything is fitted."""
    able = [coin for coin in pool.named if has_last_row(matrix, pool, coin)]
    short = [coin for coin in pool.named if coin not in able]
    if short and not able:
        raise DataError(f"{short[0]} has too few bars, or none that moves: a volatility needs 20 returns.")
    left_out = tuple(CoinError(coin=coin, error="it has too few bars to state a volatility") for coin in short)
    return replace(pool, named=tuple(able), left_out=(*pool.left_out, *left_out))


def _without_pegged(config: Config, pool: Pool) -> Pool:
    """The pool without named stablecoins: they would be forecast by others' returns, and teach them that none moves."""
    pegged = [coin for coin in pool.named if is_stablecoin(pool.bars[coin].candles.frame, config.quality)]
    if pegged and len(pegged) == len(pool.named):
        raise DataError(f"{pegged[0]} is a stablecoin: its returns are noise around its peg. Ask the baseline for it.")
    bars = {coin: kept for coin, kept in pool.bars.items() if coin not in pegged}
    named = tuple(coin for coin in pool.named if coin not in pegged)
    left_out = tuple(CoinError(coin=coin, error="it is a stablecoin, and its returns are noise") for coin in pegged)
    return replace(pool, named=named, bars=bars, left_out=(*pool.left_out, *left_out))


def _fit_all(
    training: _Training, kinds: tuple[str, ...], *, every: bool
) -> tuple[list[TrainedModel], list[CoinForecast], list[str]]:
    """Models, forecasts and notes. every: a kind that has too few bars is noted, and the others go on."""
    context, config = training.context, training.context.config
    trained = [kind for kind in kinds if kind != "baseline"]
    context.progress.begin("training", len(trained) * (config.train.blocks + 2) * 2 * len(training.horizons))
    run = FitRun(threads=config.train.threads or os.cpu_count() or 1, step=context.progress.step)
    fits: dict[str, tuple[Fitted, float]] = {}
    notes: list[str] = []
    for kind in trained:
        began = time.perf_counter()
        try:
            members = {other: fitted for other, (fitted, _) in fits.items()}
            fits[kind] = (_fit(training, kind, run, members), time.perf_counter() - began)
        except DataError as error:
            if not every:
                raise
            notes.append(f"{kind} was not trained: {error}")
    context.progress.end()
    scores = _scores(training, {kind: fitted for kind, (fitted, _) in fits.items()})
    models = _baseline_models(training, scores)
    forecasts: list[CoinForecast] = []
    for kind, (fitted, seconds) in fits.items():
        # Before anything is registered: what cannot forecast must not become a version.
        made = {coin: _model_forecast(training, fitted, coin) for coin in training.pool.named}
        versions, rows = _register(training, scores, kind, fitted, seconds)
        models += rows
        forecasts += [
            _describe(training, version.key.coin, Chosen(kind, version, None), made[version.key.coin])
            for version in versions
        ]
    if not fits:
        forecasts = [_baseline_forecast(training, coin) for coin in training.pool.named]
    return models, forecasts, notes


def _fit(training: _Training, kind: str, run: FitRun, members: Mapping[str, Fitted]) -> Fitted:
    """One kind; an ensemble takes over the members that are fitted already."""
    config = training.context.config
    return fit_in_time(
        with_help(learner(kind, config), training.helped.rows),
        training.matrix,
        fit=config.split.fit,
        stop=config.split.stop,
        block_count=config.train.blocks,
        least_blocks=config.train.min_independent_blocks,
        seed=config.train.seed,
        run=run,
        members=members,
    )


def _scores(training: _Training, fits: dict[str, Fitted]) -> dict[tuple[str, str | None], HoldOut]:
    """Hold-outs by (kind, coin), and by (kind, None) pooled; verdicts corrected for all that stands in the table."""
    judged = _judge(training, fits)
    issued = judged.rows.issued_at
    kinds = ("baseline", *fits)
    scores: dict[tuple[str, str | None], HoldOut] = {}
    for coins in (training.pool.named, (None,)):
        keys = [(kind, coin) for kind in kinds for coin in coins]
        table = score_table([_table_row(training, judged, kind, coin) for kind, coin in keys])
        for (kind, coin), rows in zip(keys, table, strict=True):
            scores[kind, coin] = HoldOut(
                start=as_datetime(issued.min()),
                end=as_datetime(issued.max()),
                coins=training.pool.coins if coin is None else (coin,),
                horizons=rows,
            )
    return scores


def _judge(training: _Training, fits: dict[str, Fitted]) -> Judged:
    """All models on the rows of the hold-out, beside the baseline fitted at its beginning."""
    matrix, split = training.matrix, training.context.config.split
    parts = split_by_time(matrix.spans, fit=split.fit, stop=split.stop)
    rows = matrix.rows(parts.test)
    baseline = BaselineLearner().fit(matrix.known_at(parts.test_start)).predict(rows)
    return judge(rows, {"baseline": baseline, **{kind: f.hold_out.forecast for kind, f in fits.items()}}, step=1)


def _table_row(training: _Training, judged: Judged, kind: str, coin: str | None) -> TableRow:
    chosen = judged if coin is None else judged.of_coin(coin)
    fallbacks = {} if coin is None or kind == "baseline" else _fallbacks(training, coin)
    return TableRow(chosen, kind, fallbacks)


def _fallbacks(training: _Training, coin: str) -> dict[int, str]:
    bars = training.pool.bars[coin].candles.frame.height
    least = training.context.config.train.min_independent_blocks
    reasons = {horizon: fallback_reason(bars, horizon, least) for horizon in training.horizons}
    return {horizon: reason for horizon, reason in reasons.items() if reason is not None}


def _baseline_models(training: _Training, scores: dict[tuple[str, str | None], HoldOut]) -> list[TrainedModel]:
    return [
        TrainedModel(
            coin=coin,
            kind="baseline",
            version=None,
            aliases=(),
            decision=TrainDecision.NO_VERSION,
            reasons=(),
            fit_id=None,
            seconds=0.0,
            hold_out=scores["baseline", coin],
            pooled=scores["baseline", None],
        )
        for coin in training.pool.named
    ]


def _register(
    training: _Training, scores: dict[tuple[str, str | None], HoldOut], kind: str, fitted: Fitted, seconds: float
) -> tuple[tuple[Version, ...], list[TrainedModel]]:
    context, pool = training.context, training.pool
    registry = context.registry()
    files = fitted.final.save()
    versions = registry.register(
        _manifest(training, kind, files, seconds, fitted.weights),
        files,
        [
            NewVersion(coin, CoinCalibration(coin=coin, state=_state(training, coin)), scores[kind, coin])
            for coin in pool.named
        ],
        now=context.wall_clock(),
        who=context.who,
        learn=learn,
    )
    rows = [
        TrainedModel(
            coin=version.key.coin,
            kind=kind,
            version=version.number,
            aliases=version.aliases,
            decision=decision,
            reasons=reasons,
            fit_id=version.fit_id,
            seconds=round(seconds, 3),
            hold_out=scores[kind, version.key.coin],
            pooled=scores[kind, None],
        )
        for version in versions
        for decision, reasons in [_decision(context, version)]
    ]
    return versions, rows


def _state(training: _Training, coin: str) -> dict[str, object]:
    """What is settled for a coin when it is registered: the horizons that the baseline answers, and why.

    They stay the baseline's for the life of the version, however long the coin's history grows: no score speaks for
    the model there.
    """
    return {"baseline_at": {str(horizon): reason for horizon, reason in _fallbacks(training, coin).items()}}


def _decision(context: Context, version: Version) -> tuple[TrainDecision, tuple[str, ...]]:
    """And the gate's reasons, where it refused."""
    if PRODUCTION in version.aliases:
        return TrainDecision.PROMOTED, ()
    if version.number == 1:
        return TrainDecision.REFUSED, first_version(version.hold_out, context.config.gate).reasons
    return TrainDecision.CHALLENGER, ()


def _manifest(training: _Training, kind: str, files: Artefacts, seconds: float, weights: Weights | None) -> FitManifest:
    context, pool = training.context, training.pool
    settings = fit_settings(context.config, kind)
    # The final fit looks at all rows, and so does this: the same choice.
    choice = spared(learner(kind, context.config), training.matrix)
    return FitManifest(
        kind=kind,
        source=pool.source,
        vs=pool.vs,
        granularity=pool.granularity,
        coins=tuple(_coin_data(pool, coin) for coin in pool.coins),
        horizons=training.horizons,
        levels=tuple(float(level) for level in LEVELS),
        features=tuple(training.matrix.feature_names[column] for column in choice.columns),
        dropped=dict(choice.dropped),
        feature_hash=training.features.digest,
        recipe=recipe_of(context.config, kind, training.features.digest),
        settings=settings,
        seed=context.config.train.seed,
        threads=context.config.train.threads or os.cpu_count() or 1,
        device="cpu",
        code_version=code_version(),
        dirty=None,  # the code version is a hash of the code itself: an edit shows there
        libraries=library_versions(LIBRARIES),
        python=platform.python_version(),
        platform=platform_name(),
        trained_at=context.wall_clock(),
        train_rows=len(training.matrix),
        train_seconds=seconds,
        artefacts=artefacts_of(files),
        notes=(*(bars.notice for bars in pool.bars.values() if bars.notice), *training.helped.notes),
        ensemble=None if weights is None else _ensemble(weights),
    )


def _ensemble(weights: Weights) -> Ensemble:
    """The weights as the manifest tells them."""
    horizons = zip(weights.horizons, weights.table, weights.reasons, strict=True)
    return Ensemble(
        horizons=tuple(
            EnsembleHorizon(
                horizon=horizon,
                regimes=tuple(
                    EnsembleRegime(regime=regime, weights=dict(zip(weights.members, line, strict=True)))
                    for regime, line in zip(REGIMES, table, strict=True)
                ),
                reason=reason,
            )
            for horizon, table, reason in horizons
        ),
        cuts=weights.cuts,
        dropped=weights.dropped,
    )


def _coin_data(pool: Pool, coin: str) -> CoinData:
    provenance = pool.bars[coin].candles.provenance
    return CoinData(
        coin=coin,
        rows=provenance.rows,
        first=provenance.first,
        last=provenance.last,
        content_hash=provenance.content_hash,
    )


def _model_forecast(training: _Training, fitted: Fitted, coin: str) -> Forecast:
    baseline_at = tuple(_fallbacks(training, coin))
    return model_forecast(fitted.final, training.matrix, coin, training.horizons, baseline_at=baseline_at)


def _baseline_forecast(training: _Training, coin: str) -> CoinForecast:
    made = baseline_forecast(training.pool, coin, training.horizons)
    return _describe(training, coin, Chosen("baseline", None, None), made)


def _describe(training: _Training, coin: str, chosen: Chosen, made: Forecast) -> CoinForecast:
    config, pool = training.context.config, training.pool
    request = Request(model=chosen.kind, horizons=training.horizons, intervals=config.forecast.intervals)
    fallbacks = {} if chosen.version is None else _fallbacks(training, coin)
    reasons = {h: Fallback(code=FallbackCode.TOO_FEW_BARS, detail=reason) for h, reason in fallbacks.items()}
    stale_bars = config.data.stale_after_bars
    return describe(pool.bars[coin], chosen, made, request, pool.granularity, stale_bars, reasons=reasons)


def _without_fresh(
    context: Context, pool: Pool, kinds: tuple[str, ...], horizons: tuple[int, ...], older_than: timedelta
) -> tuple[Pool, list[str]]:
    """The pool without the named coins whose production versions are all young enough, and why."""
    registry, now = context.registry(create=False), context.wall_clock()
    due, notes = [], []
    for coin in pool.named:
        ages = []
        for kind in kinds:
            version = registry.alias(VersionKey(coin, pool.market, kind), PRODUCTION)
            if version is not None and set(horizons) <= set(version.manifest.horizons):
                ages.append(now - version.manifest.trained_at)
        trainable = [kind for kind in kinds if kind != "baseline"]
        if len(ages) == len(trainable) and ages and max(ages) < (1.0 - AGE_TOLERANCE) * older_than:
            notes.append(f"{coin} was left alone: its production versions are at most {max(ages)} old")
        else:
            due.append(coin)
    return replace(pool, named=tuple(due)), notes


def _few_bars_notes(pool: Pool, horizons: tuple[int, ...], least: int) -> list[str]:
    """What so little data can and cannot show, coin by coin."""
    notes = []
    for coin in pool.named:
        bars = pool.bars[coin].candles.frame.height
        if pool.granularity == "daily" and bars < FEW_BARS:
            detectable = 50 + 100 * 1.2430 / np.sqrt(bars)
            notes.append(
                f"{coin} has {bars} daily bars: enough to state its volatility, and with the help of the pool how it "
                f"will change. They cannot show a skill in direction below {detectable:.1f} % right, nor judge "
                f"{max(horizons)}-day forecasts: only {independent_blocks(bars, max(horizons))} do not overlap."
            )
        for horizon in horizons:
            reason = fallback_reason(bars, horizon, least)
            if reason is not None:
                notes.append(f"{coin}: {reason}.")
    return notes
