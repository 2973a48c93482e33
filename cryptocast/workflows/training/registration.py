"""A finished fit into the registry: its manifest, a version of it for each named coin, and what became of them."""

import platform
from collections.abc import Mapping

import msgspec

from cryptocast.kinds import LIBRARIES
from cryptocast.models.base import Artefacts
from cryptocast.models.selective import spared
from cryptocast.models.stacking import Weights
from cryptocast.registry import (
    PRODUCTION,
    CoinCalibration,
    FitManifest,
    NewVersion,
    Registry,
    Version,
    VersionKey,
    artefacts_of,
    first_version,
)
from cryptocast.registry.manifest import Ensemble, EnsembleHorizon, EnsembleRegime
from cryptocast.registry.reasons import Reason
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.coin_pool import CoinPool, PoolRows, coin_data, series_data
from cryptocast.workflows.context import Context
from cryptocast.workflows.environment import code_version, library_versions, platform_name
from cryptocast.workflows.feature_sets import is_outdated
from cryptocast.workflows.online_calibration import learn
from cryptocast.workflows.own_models import learner
from cryptocast.workflows.pretrained import adopt, incumbent
from cryptocast.workflows.recipes import fit_settings, recipe_of, threads_of
from cryptocast.workflows.reports import TrainDecision, TrainedModel
from cryptocast.workflows.training.hold_out import HoldOuts


def register(
    context: Context,
    pool: CoinPool,
    manifest: FitManifest,
    files: Artefacts,
    scores: HoldOuts,
    fallbacks: Mapping[str, Mapping[int, str]],
) -> list[tuple[Version, TrainedModel]]:
    """A version for each named coin, and what became of it.

    fallbacks: by coin, the horizons that the baseline answers, and why. They stay the baseline's for the life of the
    version, however long the coin's history grows: no score speaks for the model there.
    """
    registry, kind = context.registry(), manifest.kind
    with registry.held(made=True):
        adopt(context.config, registry, pool.market, pool.last_bars, now=context.wall_clock(), who=context.who)
        keys = {coin: VersionKey(coin, pool.market, kind) for coin in pool.named}
        contested = [coin for coin, key in keys.items() if incumbent(registry, key) is not None]
        versions = registry.register(
            manifest,
            files,
            [
                NewVersion(coin, CoinCalibration(coin=coin, state=_state(fallbacks[coin])), scores[kind, coin])
                for coin in pool.named
            ],
            now=context.wall_clock(),
            who=context.who,
            learn=learn,
            outdated=_outdated(registry, context, pool, kind),
            contested=contested,
        )
        return [(version, _registered(context, registry, version, scores)) for version in versions]


def _state(fallbacks: Mapping[int, str]) -> dict[str, object]:
    return {"baseline_at": {str(horizon): reason for horizon, reason in fallbacks.items()}}


def _outdated(registry: Registry, context: Context, pool: CoinPool, kind: str) -> dict[str, int]:
    """The production versions of the named coins that nobody can ask any more."""
    production = [registry.alias(VersionKey(coin, pool.market, kind), PRODUCTION) for coin in pool.named]
    return {one.key.coin: one.number for one in production if one is not None and is_outdated(one, context.config)}


def _registered(context: Context, registry: Registry, version: Version, scores: HoldOuts) -> TrainedModel:
    """The row of a version. The gate judges it at once only where no other version can answer."""
    kind, coin = version.key.kind, version.key.coin
    decision, reasons = TrainDecision.CHALLENGER, tuple[Reason, ...]()
    if PRODUCTION in version.aliases:
        decision = TrainDecision.PROMOTED
    else:
        production = registry.alias(version.key, PRODUCTION) or incumbent(registry, version.key)
        if production is None or is_outdated(production, context.config):
            decision, reasons = TrainDecision.REFUSED, first_version(version.hold_out).reasons
    return TrainedModel(
        coin=coin,
        kind=kind,
        version=version.number,
        aliases=version.aliases,
        decision=decision,
        reasons=reasons,
        fit_id=version.fit_id,
        seconds=round(version.manifest.train_seconds, 3),
        hold_out=scores[kind, coin],
        pooled=scores[kind, None],
    )


def baseline_models(pool: CoinPool, scores: HoldOuts) -> list[TrainedModel]:
    """The rows of the baseline, which has nothing to register."""
    kind = "baseline"
    return [
        TrainedModel(coin=coin, kind=kind, hold_out=scores[kind, coin], pooled=scores[kind, None])
        for coin in pool.named
    ]


def manifest_of(
    context: Context,
    rows: PoolRows,
    kind: str,
    files: Artefacts,
    seconds: float,
    weights: Weights | None,
    notes: tuple[str, ...],
) -> FitManifest:
    """All that is needed to repeat a fit. weights: of an ensemble."""
    config, pool, matrix = context.config, rows.pool, rows.matrix
    # The final fit looks at all rows, and so does this: the same choice.
    choice = spared(learner(kind, config), matrix)
    return FitManifest(
        kind=kind,
        **msgspec.structs.asdict(pool.market),
        coins=coin_data(pool),
        horizons=rows.horizons,
        levels=tuple(float(level) for level in LEVELS),
        features=tuple(matrix.feature_names[column] for column in choice.columns),
        dropped=dict(choice.dropped),
        feature_hash=rows.features.digest,
        recipe=recipe_of(config, kind, rows.features.digest),
        settings=fit_settings(config, kind),
        series=series_data(pool, rows.features) or msgspec.UNSET,
        seed=config.train.seed,
        threads=threads_of(config),
        device="cpu",
        code_version=code_version(),
        dirty=None,  # the code version is a hash of the code itself: an edit shows there
        libraries=library_versions(LIBRARIES),
        python=platform.python_version(),
        platform=platform_name(),
        trained_at=context.wall_clock(),
        train_rows=len(matrix),
        train_seconds=seconds,
        artefacts=artefacts_of(files),
        notes=(*pool.notices, *notes),
        ensemble=None if weights is None else _ensemble(weights),
    )


def _ensemble(weights: Weights) -> Ensemble:
    """The weights as the manifest holds them."""
    horizons = zip(weights.horizons, weights.table, weights.reasons, strict=True)
    return Ensemble(
        horizons=tuple(
            EnsembleHorizon(
                horizon=horizon,
                regimes=tuple(
                    EnsembleRegime(regime="all", weights=dict(zip(weights.members, line, strict=True)))
                    for line in table
                ),
                reason=reason,
            )
            for horizon, table, reason in horizons
        ),
        cuts=weights.cuts,
        dropped=weights.dropped,
    )
