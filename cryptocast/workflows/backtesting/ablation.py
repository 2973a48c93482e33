"""Does a feature help? The same walk forward with it and without it, paired."""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.errors import UsageError
from cryptocast.evaluation.answers import ALPHA, AnswerWord
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.registry.references import nearest
from cryptocast.scoring.diebold_mariano import DieboldMariano, diebold_mariano
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.skill import skill
from cryptocast.workflows.backtesting.backtest import BacktestOrder, prepare
from cryptocast.workflows.backtesting.run import BacktestInput, carry_out, scored_part
from cryptocast.workflows.coin_pool import data_used, moment
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.reports import CoinError, DataUsed


class AblatedHorizon(msgspec.Struct, frozen=True, kw_only=True):
    """The walk with the feature against that without it, at one horizon.

    gain: 1 - CRPS with it / CRPS without it, and its 95 % interval; p of helping and of harming, one-sided, after
    correction for the horizons; None: too few dates to test.
    """

    horizon: int
    n: int
    dates: int
    gain: float | None
    lower: float | None
    upper: float | None
    p_helps: float | None
    p_harms: float | None
    helps: AnswerWord


class FeatureAblation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a feature helps a model. helps: yes if it does at some horizon and harms at none, no if it harms at some.
    changed: share of the forecasts that are not the same without it."""

    schema: Literal["cryptocast.ablation/2"] = "cryptocast.ablation/2"
    feature: str
    model: str
    helps: AnswerWord
    changed: float
    granularity: str
    vs: str
    start: datetime
    end: datetime
    step_bars: int
    refits: int
    data: tuple[DataUsed, ...]
    left_out: tuple[CoinError, ...]
    horizons: tuple[AblatedHorizon, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """The same origins, forecast with the feature and without it."""

    model: str
    whole: ScoreSheet
    without: ScoreSheet

    def losses(self, column: int) -> tuple[FloatArray, FloatArray]:
        """(n,) each, of the origins with an outcome at the horizon."""
        keep = self.whole.scored[:, column]
        return self.whole.losses[self.model][keep, column], self.without.losses[self.model][keep, column]

    def test(self, column: int) -> DieboldMariano:
        """With the feature against without it."""
        dates = self.whole.rows.issued_at[self.whole.scored[:, column]]
        horizon = int(self.whole.rows.horizons[column])
        return diebold_mariano(*self.losses(column), dates, horizon=horizon, step=self.whole.step)

    @property
    def changed(self) -> float:
        """The share of the forecasts that differ."""
        one, other = (sheet.forecasts[self.model].values for sheet in (self.whole, self.without))
        return float((one != other).any(axis=-1).mean())


def ablate(
    context: Context, selection: Selection, feature: str, *, model: str = "lightgbm", engine: Engine | None = None
) -> FeatureAblation:
    """Walk the model forward twice on the same origins, and test the paired losses.

    Raises UsageError for a feature that there is not, and whatever `backtest` raises.
    """
    began = time.perf_counter()
    inputs = prepare(context, BacktestOrder(selection, walk_forward=True, models=(model,)))
    engine = engine or Engine()
    without = carry_out(_without(inputs, feature), None, engine)
    whole = scored_part(inputs, carry_out(inputs, None, engine))
    sides = _Sides(model, whole.judgement, scored_part(inputs, without).judgement)
    horizons, issued = _horizons(sides), whole.judgement.rows.issued_at
    return FeatureAblation(
        feature=feature,
        model=model,
        helps=_answer([row.helps for row in horizons]),
        changed=sides.changed,
        granularity=inputs.pool.granularity,
        vs=inputs.pool.vs,
        start=moment(int(issued.min())),
        end=moment(int(issued.max())),
        step_bars=whole.step,
        refits=len(whole.folds),
        data=data_used(inputs.pool),
        left_out=inputs.pool.left_out,
        horizons=horizons,
        notes=(*inputs.pool.notices, *inputs.notes),
        seconds=round(time.perf_counter() - began, 3),
    )


def _without(inputs: BacktestInput, feature: str) -> BacktestInput:
    """The same rows without the column: nothing else differs."""
    matrix = inputs.rows.matrix
    if feature not in matrix.feature_names:
        close = nearest(feature, matrix.feature_names)
        hint = f" Did you mean {close}?" if close else ""
        raise UsageError(f"There is no feature {feature!a}.{hint} cryptocast features --list shows all of them.")
    column = matrix.feature_names.index(feature)
    names = tuple(name for name in matrix.feature_names if name != feature)
    less = replace(matrix, features=np.delete(matrix.features, column, axis=1), feature_names=names)
    return replace(inputs, rows=replace(inputs.rows, matrix=less))


def _horizons(sides: _Sides) -> tuple[AblatedHorizon, ...]:
    tests = [sides.test(column) for column in range(len(sides.whole.rows.horizons))]
    helps, harms = (
        holm(np.array(p, dtype=np.float64))
        for p in ([test.p_better for test in tests], [test.p_worse for test in tests])
    )
    return tuple(_horizon(sides, column, float(helps[column]), float(harms[column])) for column in range(len(tests)))


def _horizon(sides: _Sides, column: int, helps: float, harms: float) -> AblatedHorizon:
    """p as NaN where there is no test."""
    keep = sides.whole.scored[:, column]
    dates, horizon = sides.whole.rows.issued_at[keep], int(sides.whole.rows.horizons[column])
    gain = skill(*sides.losses(column), dates, horizon=horizon, step=sides.whole.step, alpha=ALPHA)
    return AblatedHorizon(
        horizon=horizon,
        n=int(keep.sum()),
        dates=len(np.unique(dates)),
        gain=gain.value,
        lower=gain.lower,
        upper=gain.upper,
        p_helps=None if np.isnan(helps) else helps,
        p_harms=None if np.isnan(harms) else harms,
        helps="yes" if helps < ALPHA else "no" if harms < ALPHA else "not_enough_data",
    )


def _answer(answers: list[AnswerWord]) -> AnswerWord:
    """Over the horizons."""
    return "no" if "no" in answers else "yes" if "yes" in answers else "not_enough_data"
