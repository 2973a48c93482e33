"""A model for every coin, as one file: fitted on the daily bars of some coins, and asked about any."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import numpy as np

from cryptocast.config import Config
from cryptocast.data.parquet import write_atomically
from cryptocast.data.sources.table import is_real
from cryptocast.errors import UsageError
from cryptocast.evaluation.records import HoldOut
from cryptocast.kinds import libraries_of
from cryptocast.market import Market
from cryptocast.models.base import Forecaster
from cryptocast.models.boosting import LightGBMForecaster, LightGBMLearner
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.fitting import TrainingResult, fit_count
from cryptocast.models.pretrained import COLUMNS, PretrainedForecaster
from cryptocast.models.quantile_shape import student_quantiles
from cryptocast.models.selective import SelectiveLearner
from cryptocast.registry import CoinCalibration, FitManifest, Version, VersionKey, artefacts_of
from cryptocast.registry.archive import pack
from cryptocast.registry.manifest import canonical_json, recipe_hash, sha256_hex
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.spread import Spread, rounding_notes
from cryptocast.times import as_microseconds
from cryptocast.workflows.coin_pool import (
    CoinPool,
    PoolRows,
    coin_data,
    data_used,
    gather,
    pool_rows,
    without_stablecoins,
)
from cryptocast.workflows.context import Context, Resolved, Selection, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import code_version, library_versions, platform_name
from cryptocast.workflows.feature_sets import columns_set
from cryptocast.workflows.pretrained import KIND
from cryptocast.workflows.recipes import fit_by, fit_run, fit_settings
from cryptocast.workflows.reports import CoinError, DataUsed
from cryptocast.workflows.training.hold_out import HoldOuts, hold_outs
from cryptocast.workflows.training.in_parts import MOST_TOGETHER, draw_lessons, read_pool

SUFFIX: Final = ".zip"
SCORED: Final = 100  # coins of a large pool whose own scores the file holds
MIXED: Final = "The sample and the simulated market stand by themselves. Name one source with --source."


@dataclass(frozen=True, slots=True)
class PretrainOrder:
    """What to learn from, and where to. notes: lines for the card, such as publisher and terms of the bars. engine:
    where the work is done; on a cluster nothing is fetched."""

    selection: Selection
    path: Path
    notes: tuple[str, ...] = ()
    overwrite: bool = False
    engine: Engine = Engine()


class PretrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. hold_out: how a model of the first part of the time did on the last part, all coins together.

    coins: that it has learned from; data: the first of them.
    """

    schema: Literal["cryptocast.pretrain/1"] = "cryptocast.pretrain/1"
    path: str
    kind: str = KIND
    vs: str
    bytes: int
    sha256: str
    fit_id: str
    knowledge_date: datetime
    features: int
    coins: int
    rows: int
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    hold_out: HoldOut
    notes: tuple[str, ...] = ()


def pretrain(context: Context, order: PretrainOrder) -> PretrainReport:
    """Fit a lightgbm for every coin on the daily bars of these, and write it as one file, whole or not at all.

    The same bars and seed give the same bytes with the same code and libraries: no clock and no other machine's name is
    in them. Raises DataError or UpstreamError where the coins cannot be had or are too few bars, UsageError for a path
    that is taken.
    """
    if order.path.suffix != SUFFIX:
        raise UsageError(f"{order.path} does not end in {SUFFIX}, as the file of a pretrained model does.")
    if order.path.exists() and not order.overwrite:
        raise UsageError(f"{order.path} is there already. Name another file, or add --overwrite.")
    config = settings_of(context.config)
    request = order.selection.resolved(config)
    if request.granularity != "daily":
        raise UsageError("A pretrained model is of daily bars. Leave out --granularity.")
    context = replace(context, config=config)
    with spread_on(order.engine, context.progress) as spread:
        taught = _taught(context, request, order.engine, spread)
        others = rounding_notes(spread.others)
    rows, fit, scores = taught.rows, taught.fit, taught.scores
    model = for_every_coin(fit.final, as_microseconds(rows.pool.last))
    files = dict(model.save())
    manifest = msgspec.structs.replace(_manifest(config, rows, files, order.notes), lessons=taught.lessons)
    versions = [_version(manifest, coin, scores[KIND, coin]) for coin in taught.scored]
    data = pack(versions, files)
    write_atomically(order.path, data, own=False)
    return PretrainReport(
        path=str(order.path),
        vs=rows.pool.vs,
        bytes=len(data),
        sha256=sha256_hex(data),
        fit_id=versions[0].fit_id,
        knowledge_date=rows.pool.last,
        features=len(COLUMNS),
        coins=len(rows.pool.named),
        rows=len(rows.matrix),
        data=data_used(rows.pool)[:SCORED],
        left_out=rows.pool.left_out,
        hold_out=scores[KIND, None],
        notes=others,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Taught:
    """scores: over all coins, and of those that were scored by themselves. lessons: of a pool in parts."""

    rows: PoolRows
    fit: TrainingResult
    scores: HoldOuts
    scored: tuple[str, ...]
    lessons: tuple[str, ...] | msgspec.UnsetType


def _taught(context: Context, request: Resolved, engine: Engine, spread: Spread) -> _Taught:
    """The fit on all coins at once, or in parts where they are many. Raises as `pretrain` does."""
    lessons: tuple[str, ...] | msgspec.UnsetType
    config, horizons, features = context.config, context.config.horizons("daily"), columns_set(COLUMNS)
    learner = learner_of(config)
    is_here = engine.kind == "local"
    if is_here and len(request.coins) <= MOST_TOGETHER:
        pool = without_stablecoins(config, _one_pool(gather(context, request, pool=())))
        with steps(context.progress, "features", 1) as step:
            rows = pool_rows(pool, features, horizons)
            step("features")
        scored, lessons = pool.named, msgspec.UNSET
    else:
        large, *others = read_pool(context, request, (), spread, is_here=is_here)
        if others and not all(is_real(one.pool.source) for one in (large, *others)):
            raise UsageError(MIXED)
        _, rows = draw_lessons(context, large, features, horizons, spread)
        lessons = rows.matrix.panel.coins
        scored = lessons[:SCORED]
    run = replace(fit_run(config, context.progress), spread=None if is_here else spread)
    with steps(context.progress, "training", fit_count(learner, config.train.blocks)):
        fit = fit_by(config, learner, rows.matrix, run)
    scores = hold_outs(rows.matrix, scored, config.split, {KIND: fit}, {coin: {} for coin in scored})
    return _Taught(rows, fit, scores, scored, lessons)


def for_every_coin(fit: CalibratedForecaster, knowledge_date: int) -> CalibratedForecaster:
    """A fitted lightgbm with its calibration, asked about any coin from then on (microseconds)."""
    if not isinstance(fit.inner, LightGBMForecaster):
        raise TypeError(f"a pretrained model is a lightgbm, got {fit.kind}")
    inner = cast("Forecaster", PretrainedForecaster.of(fit.inner, knowledge_date))
    # Its own calibration answers at every horizon, however few bars a coin has; no coin's own quantiles go along.
    prior = np.broadcast_to(student_quantiles(), (1, *fit.baseline.quantiles.shape[1:]))
    baseline = msgspec.structs.replace(fit.baseline, coins=("every-coin",), quantiles=prior)
    return CalibratedForecaster(inner, fit.calibration, baseline, least_blocks=0)


def learner_of(config: Config) -> SelectiveLearner:
    """The lightgbm that is fitted for every coin."""
    return SelectiveLearner(LightGBMLearner(config.lightgbm), config.features.max_correlation, config.train.max_rows)


def settings_of(config: Config) -> Config:
    """Of the fit: every column, no view of the direction, which would be of these coins and years."""
    return msgspec.structs.replace(
        config,
        lightgbm=msgspec.structs.replace(config.lightgbm, view=False),
        features=msgspec.structs.replace(config.features, max_correlation=1.0),
        train=msgspec.structs.replace(config.train, min_independent_blocks=1),
    )


def _one_pool(pools: Sequence[CoinPool]) -> CoinPool:
    """The coins of all sources together. Raises UsageError where prices that are none are among them."""
    first, *others = pools
    if others and not all(is_real(pool.source) for pool in pools):
        raise UsageError(MIXED)
    named = tuple(coin for pool in pools for coin in pool.named)
    bars = {coin: pool.bars[coin] for pool in pools for coin in pool.named}
    return replace(first, named=named, bars=bars)


def _manifest(config: Config, rows: PoolRows, files: Mapping[str, bytes], notes: tuple[str, ...]) -> FitManifest:
    pool, settings = rows.pool, fit_settings(config, KIND)
    return FitManifest(
        kind=KIND,
        **msgspec.structs.asdict(pool.market),
        coins=coin_data(pool),
        horizons=rows.horizons,
        levels=tuple(float(level) for level in LEVELS),
        features=COLUMNS,
        feature_hash=rows.features.digest,
        recipe=recipe_hash(KIND, settings, rows.features.digest),
        settings=settings,
        seed=config.train.seed,
        threads=1,
        device="cpu",
        code_version=code_version(),
        dirty=None,
        libraries=library_versions(libraries_of((KIND,))),
        python=platform.python_version(),
        platform=platform_name(),
        trained_at=pool.last,
        train_rows=len(rows.matrix),
        train_seconds=0.0,
        artefacts=artefacts_of(files),
        notes=(*pool.notices, *notes),
        knowledge_date=pool.last,
    )


def _version(manifest: FitManifest, coin: str, hold_out: HoldOut) -> Version:
    """One of the coins that it was learned from, for the archive."""
    return Version(
        key=VersionKey(coin, Market(manifest.source, manifest.vs, manifest.granularity), KIND),
        number=1,
        fit_id=sha256_hex(canonical_json(manifest)),
        manifest=manifest,
        hold_out=hold_out,
        calibration=CoinCalibration(coin=coin, state={}),
        aliases=(),
        created_at=manifest.trained_at,
    )
