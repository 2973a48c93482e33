"""What a backtest rests on, and its forecasts: of one hold-out, or of a walk forward through history."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError
from cryptocast.evaluation.plan import Block, WalkPlan, plan_blocks
from cryptocast.evaluation.scores import ScoreSheet, judge
from cryptocast.evaluation.walk_forward import Fold, walk_forward
from cryptocast.folds import split_by_time
from cryptocast.kinds import LIBRARIES
from cryptocast.models.base import Forecast
from cryptocast.models.combination import average
from cryptocast.models.fitting import fit_count
from cryptocast.spread import OtherProcessor
from cryptocast.workflows.backtesting.contenders import Contenders
from cryptocast.workflows.backtesting.run_folder import RunFolder, RunManifest, deciding_settings
from cryptocast.workflows.backtesting.short_history import short_history
from cryptocast.workflows.coin_pool import CoinPool, PoolRows, coin_data, moment, series_data
from cryptocast.workflows.context import Context, steps
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import code_version, library_versions, platform_name
from cryptocast.workflows.own_models import code_of
from cryptocast.workflows.recipes import calibration_of, fit_by, fit_run


@dataclass(frozen=True, slots=True, eq=False)
class BacktestInput:
    """All that a backtest rests on. plan: None for one hold-out; notes: what to say of it."""

    context: Context
    rows: PoolRows
    models: Contenders
    plan: WalkPlan | None
    notes: tuple[str, ...] = ()

    @property
    def pool(self) -> CoinPool:
        """The coins, with their candles."""
        return self.rows.pool

    def manifest(self) -> RunManifest:
        """What decides its numbers."""
        config = self.context.config
        return RunManifest(
            mode="walk-forward" if self.plan is not None else "hold-out",
            **msgspec.structs.asdict(self.pool.market),
            named=self.pool.named,
            coins=coin_data(self.pool),
            series=series_data(self.pool, self.rows.features),
            models=self.models.names,
            horizons=self.rows.horizons,
            plan={} if self.plan is None else {name: int(getattr(self.plan, name)) for name in WalkPlan.__slots__},
            settings=deciding_settings(config),
            feature_hash=self.rows.features.digest,
            model_code=code_of(self.models.learners, config) or msgspec.UNSET,
            seed=config.train.seed,
            code_version=code_version(),
            libraries=library_versions(LIBRARIES),
            python=platform.python_version(),
            platform=platform_name(),
            created_at=self.context.wall_clock(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class BacktestOutcome:
    """Forecasts of one run, of all coins of the pool, and how they came about. others: whose last bits may differ."""

    judgement: ScoreSheet
    fold: Int64Array
    folds: tuple[Fold, ...]
    step: int
    refit_every: int | None
    others: tuple[OtherProcessor, ...] = ()

    def of_coins(self, coins: tuple[str, ...]) -> "BacktestOutcome":
        """The part of these coins."""
        keep = np.isin(self.judgement.rows.coin_names, coins)
        judgement = self.judgement.rows_where(keep)
        return replace(self, judgement=judgement, fold=self.fold[keep])


def carry_out(inputs: BacktestInput, folder: RunFolder | None, engine: Engine) -> BacktestOutcome:
    """All forecasts, judged. folder: keeps what a walk has done, and gives it back; None: everything is made now."""
    return _hold_out(inputs) if inputs.plan is None else _walk(inputs, inputs.plan, folder, engine)


def scored_part(inputs: BacktestInput, outcome: BacktestOutcome) -> BacktestOutcome:
    """The part of the named coins. Raises DataError if there is none."""
    scored = outcome.of_coins(inputs.pool.named)
    if len(scored.judgement.rows) == 0:
        least = inputs.context.config.train.min_train_bars
        raise DataError(
            f"{', '.join(inputs.pool.named)} has no bar inside the test: it joins with {least} bars, and its own must"
            " reach into the tested time. Fetch more bars, or name other coins."
        )
    return scored


def _walk(inputs: BacktestInput, plan: WalkPlan, folder: RunFolder | None, engine: Engine) -> BacktestOutcome:
    """With progress by refit. What the folder has already is not made again."""
    config, progress, matrix = inputs.context.config, inputs.context.progress, inputs.rows.matrix
    stored = frozenset[int]() if folder is None else folder.stored_blocks()
    due = [block for block in plan_blocks(matrix, plan, early=config.train.blocks) if block.index not in stored]
    short = short_history(inputs.context, inputs.rows, plan) if plan.history else None

    def tell(block: Block) -> None:
        if block in due:  # what is taken from the folder says nothing of how long the others take
            step(f"{'refit' if block.index >= 0 else 'calibration'} {moment(block.begin):%Y-%m-%d}")

    with steps(progress, "walking forward", len(due)) as step, spread_on(engine, progress) as spread:
        run = fit_run(config) if engine.is_here else replace(fit_run(config), threads=1)
        try:
            walk = walk_forward(
                matrix,
                inputs.models.learners,
                plan,
                run=run,
                mixes=inputs.models.mixes,
                spread=spread,
                keep=folder,
                short=short,
                done=tell,
                **calibration_of(config),
            )
        except DataError as error:
            if not plan.window:
                raise
            raise DataError(f"{error} A longer --window than {plan.window} bars would hold more, too.") from error
    judgement = judge(matrix.rows(walk.row), walk.forecasts, step=plan.step)
    # Refits stand at origins: this is how far apart they truly are.
    refit_every = max(1, plan.refit_every // plan.step) * plan.step
    return BacktestOutcome(judgement, walk.fold, walk.folds, plan.step, refit_every, spread.others)


def _hold_out(inputs: BacktestInput) -> BacktestOutcome:
    matrix, config, progress = inputs.rows.matrix, inputs.context.config, inputs.context.progress
    parts = split_by_time(matrix.spans, fit=config.split.fit, stop=config.split.stop)
    rows = matrix.rows(parts.test)
    forecasts: dict[str, Forecast] = {}
    for name, learner in inputs.models.learners.items():
        if not learner.calibrate:
            known = matrix.known_at(parts.test_start)
            whole = learner.fit(known, stop=None, rounds=None, seed=config.train.seed, run=fit_run(config))
            forecasts[name] = whole.predict(rows)
            continue
        with steps(progress, f"fitting {name}", fit_count(learner, config.train.blocks)):
            forecasts[name] = fit_by(config, learner, matrix, fit_run(config, progress)).hold_out.forecast
    mixed: Mapping[str, Forecast] = {
        name: average([forecasts[member] for member in mix.members]) for name, mix in inputs.models.mixes.items()
    }
    fold = Fold(0, parts.test_start, int(parts.fit.sum()), len(np.unique(rows.issued_at)))
    judgement = judge(rows, {**forecasts, **mixed}, step=1)
    return BacktestOutcome(judgement, np.zeros(len(rows), dtype=np.int64), (fold,), 1, None)
