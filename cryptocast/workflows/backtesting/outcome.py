"""What a backtest rests on, and what came out of it, as values."""

from dataclasses import dataclass

import numpy as np

from cryptocast.evaluation.plan import Plan
from cryptocast.evaluation.scores import Judged
from cryptocast.evaluation.walk_forward import Fold
from cryptocast.features.matrix import Matrix
from cryptocast.folds import Int64Array
from cryptocast.workflows.backtesting.contenders import Contenders, manifest_of
from cryptocast.workflows.backtesting.run_folder import RunManifest
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.feature_sets import FeatureSet

__all__ = ["BacktestInput", "BacktestOutcome"]


@dataclass(frozen=True, slots=True, eq=False)
class BacktestInput:
    """All that a backtest rests on, and what is asked of it. plan: None for one hold-out; notes: what to say of it."""

    context: Context
    asked: Resolved
    pool: CoinPool
    features: FeatureSet
    matrix: Matrix
    models: Contenders
    horizons: tuple[int, ...]
    plan: Plan | None
    notes: tuple[str, ...] = ()

    def manifest(self) -> RunManifest:
        """What decides its numbers."""
        return manifest_of(
            self.context, self.pool, self.models, self.horizons, self.plan, feature_hash=self.features.digest
        )


@dataclass(frozen=True, slots=True, eq=False)
class BacktestOutcome:
    """Forecasts of one run, of all coins of the pool, and how they came about."""

    judged: Judged
    fold: Int64Array
    folds: tuple[Fold, ...]
    step: int
    refit_every: int | None

    def of_coins(self, coins: tuple[str, ...]) -> "BacktestOutcome":
        """The part of these coins."""
        keep = np.isin(self.judged.rows.coin_names, coins)
        return BacktestOutcome(self.judged.rows_where(keep), self.fold[keep], self.folds, self.step, self.refit_every)
