"""Walking forward with what is on disk: the folder of the run keeps each block as it ends, and gives back what is
there."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptocast.evaluation.plan import Plan, fold_starts
from cryptocast.evaluation.walk_forward import Fold, WalkForward, walk_forward
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import BASELINE, KINDS, LIBRARIES, MIX, TRAINABLE
from cryptocast.models.auxiliary_rows import with_help
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.combination import Mix
from cryptocast.models.kinds import learner
from cryptocast.workflows.backtesting.run_folder import CoinSpan, RunFolder, RunManifest, deciding_settings, plan_facts
from cryptocast.workflows.coin_pool import CoinPool, moment
from cryptocast.workflows.context import Context
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import code_version, library_versions, platform_name

__all__ = ["Contenders", "contenders", "manifest_of", "walk"]


@dataclass(frozen=True, slots=True)
class Contenders:
    """The models of a backtest: those that learn, and mixtures of them."""

    learners: Mapping[str, Learner]
    mixes: Mapping[str, Mix] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.learners, *self.mixes)


def contenders(context: Context, names: tuple[str, ...], help_rows: Matrix | None = None) -> Contenders:
    """The models of these names, `baseline` always among them; `mix` is the mean of the others.

    help_rows: that they learn from beside their own. Raises UsageError for a name that is none.
    """
    kinds = tuple(dict.fromkeys((BASELINE, *(name for name in names if name != MIX))))
    ensembles = {kind for kind in kinds if kind in KINDS and KINDS[kind].ensemble}
    if MIX in names and set(kinds) <= {BASELINE, *ensembles}:
        kinds = (BASELINE, TRAINABLE[0], *kinds[1:])
    # An ensemble is a mixture itself: what it is made of stands beside it.
    mixes = {MIX: Mix(tuple(kind for kind in kinds if kind not in ensembles))} if MIX in names else {}
    return Contenders({kind: with_help(learner(kind, context.config), help_rows) for kind in kinds}, mixes)


def manifest_of(
    context: Context,
    pool: CoinPool,
    models: Contenders,
    horizons: tuple[int, ...],
    plan: Plan | None,
    *,
    feature_hash: str,
) -> RunManifest:
    """What decides the numbers of this run."""
    return RunManifest(
        mode="walk-forward" if plan is not None else "hold-out",
        source=pool.source,
        vs=pool.vs,
        granularity=pool.granularity,
        named=pool.named,
        coins=tuple(_span(pool, coin) for coin in pool.coins),
        models=models.names,
        horizons=horizons,
        plan={} if plan is None else plan_facts(plan),
        settings=deciding_settings(context.config),
        feature_hash=feature_hash,
        seed=context.config.train.seed,
        code_version=code_version(),
        libraries=library_versions(LIBRARIES),
        python=platform.python_version(),
        platform=platform_name(),
        created_at=context.wall_clock(),
    )


def walk(
    context: Context, matrix: Matrix, models: Contenders, plan: Plan, folder: RunFolder | None, engine: Engine
) -> WalkForward:
    """The walk, with progress by refit. What the folder has already is not made again; None: nothing is kept."""
    config = context.config
    context.progress.begin("walking forward", len(fold_starts(plan, matrix.bar_us)))

    def told(fold: Fold) -> None:
        context.progress.step(f"refit {moment(fold.refit_at):%Y-%m-%d}")

    try:
        with spread_on(engine) as spread:
            return walk_forward(
                matrix,
                models.learners,
                plan,
                block_count=config.train.blocks,
                least_blocks=config.train.min_independent_blocks,
                seed=config.train.seed,
                run=FitRun(threads=config.train.threads or os.cpu_count() or 1),
                mixes=models.mixes,
                spread=spread,
                keep=folder,
                done=told,
            )
    finally:
        context.progress.end()


def _span(pool: CoinPool, coin: str) -> CoinSpan:
    stated = pool.bars[coin].candles.provenance
    return CoinSpan(coin=coin, rows=stated.rows, first=stated.first, last=stated.last, content_hash=stated.content_hash)
