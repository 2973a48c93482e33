"""Forecasts on identical origins -> scores against the three random walks, with tests and what they answer."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.evaluation.answers import (
    ALPHA,
    AnswerEstimate,
    HorizonEstimates,
    PlainAnswer,
    Question,
    Unanswered,
    answers_of,
    interval_estimate,
)
from cryptocast.evaluation.records import HorizonScore, IntervalCoverage
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.references import REFERENCES, rw_empirical, rw_gaussian
from cryptocast.models.tails import TAIL_INTERVALS, interval_ends
from cryptocast.scoring.coverage import Coverage, coverage
from cryptocast.scoring.dates import mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import (
    ORIGINS_PER_OVERLAP,
    DieboldMariano,
    degrees_of_freedom,
    diebold_mariano,
)
from cryptocast.scoring.points import directional_accuracy, mape
from cryptocast.scoring.quantiles import covered, crps_relative

INTERVALS: Final = (80, 90, 95)
NAIVE: Final = ("rw_empirical", "rw_gaussian")  # without a forecast of the volatility


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSheet:
    """Forecasts of all models and references for the same rows, and what they lost.

    rows (n); forecasts by name; losses by name (n, H): CRPS on prices relative to the price at issue, NaN where the
    outcome is not known or any of them has no forecast, so that all are compared on identical origins.
    """

    rows: Matrix
    step: int  # bars between origins
    forecasts: Mapping[str, Forecast]
    losses: Mapping[str, FloatArray]
    scored: BoolArray  # (n, H)

    def of_coin(self, coin: str) -> "ScoreSheet":
        """The part of one coin."""
        return self.rows_where(self.rows.coin_names == coin)

    def rows_where(self, keep: BoolArray) -> "ScoreSheet":
        """The part of a mask over the rows."""
        return replace(
            self,
            rows=self.rows.rows(keep),
            forecasts={name: forecast.rows(keep) for name, forecast in self.forecasts.items()},
            losses={name: loss[keep] for name, loss in self.losses.items()},
            scored=self.scored[keep],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ModelColumn:
    """One model at one horizon: the rows whose outcome is known, n of them."""

    sheet: ScoreSheet
    name: str
    column: int

    @property
    def keep(self) -> BoolArray:
        """Of all rows, those that are scored."""
        keep: BoolArray = self.sheet.scored[:, self.column]
        return keep

    @property
    def horizon(self) -> int:
        """In bars."""
        return int(self.sheet.rows.horizons[self.column])

    @property
    def overlap(self) -> int:
        """How many origins have labels that overlap."""
        return overlapping_origins(self.horizon, self.sheet.step)

    @property
    def forecast(self) -> Forecast:
        """Of all rows and horizons."""
        return self.sheet.forecasts[self.name]

    @property
    def dates(self) -> Int64Array:
        """(n,) when each was issued."""
        dates: Int64Array = self.sheet.rows.issued_at[self.keep]
        return dates

    @property
    def returns(self) -> FloatArray:
        """(n,) log returns that came."""
        returns: FloatArray = self.sheet.rows.outcomes[self.keep, self.column]
        return returns

    @property
    def values(self) -> FloatArray:
        """(n, q) quantiles that were forecast."""
        values: FloatArray = self.forecast.values[self.keep, self.column]
        return values

    @property
    def references(self) -> list[str]:
        """What the model is held against."""
        return [name for name in REFERENCES if name in self.sheet.losses and name != self.name]

    def loss(self, name: str) -> FloatArray:
        """(n,) of a model or reference."""
        loss: FloatArray = self.sheet.losses[name][self.keep, self.column]
        return loss

    def mean(self, loss: FloatArray) -> float:
        """Over the coins of each date, then over the dates, as everything that is tested."""
        return float(mean_by_date(loss, self.dates)[1].mean())


@dataclass(frozen=True, slots=True, eq=False)
class TableRow:
    """One model on some of the rows. fallbacks: by horizon, why the baseline answers in its place."""

    sheet: ScoreSheet
    name: str
    fallbacks: Mapping[int, str] = field(default_factory=dict)


def judge(rows: Matrix, forecasts: Mapping[str, Forecast], *, step: int) -> ScoreSheet:
    """Score the models' forecasts and, beside them, the two rolling random walks. `baseline` comes with the models."""
    references = {"rw_empirical": rw_empirical(rows), "rw_gaussian": rw_gaussian(rows)}
    everything = {**forecasts, **{name: reference.forecast for name, reference in references.items()}}
    scored = np.isfinite(rows.outcomes)
    for reference in references.values():
        scored = scored & reference.usable
    losses = {name: np.where(scored, _losses(rows, forecast), np.nan) for name, forecast in everything.items()}
    return ScoreSheet(rows=rows, step=step, forecasts=everything, losses=losses, scored=scored)


def score_row(row: TableRow) -> tuple[HorizonScore, ...]:
    """The scores of one model, horizon by horizon, with what they answer: see `evaluation.answers`.

    Nothing that is scored beside it counts.
    """
    cells = [ModelColumn(row.sheet, row.name, column) for column in range(len(row.sheet.rows.horizons))]
    tests = [_tests(cell) for cell in cells]
    estimates = [
        {} if cell.horizon in row.fallbacks else _estimates(cell, test) for cell, test in zip(cells, tests, strict=True)
    ]
    return tuple(
        _score(cell, test, answers, row.fallbacks.get(cell.horizon))
        for cell, test, answers in zip(cells, tests, answers_of(estimates), strict=True)
    )


def _losses(rows: Matrix, forecast: Forecast) -> FloatArray:
    columns = [
        crps_relative(rows.outcomes[:, c], forecast.values[:, c], forecast.levels) for c in range(len(rows.horizons))
    ]
    return np.column_stack(columns)


def _tests(cell: ModelColumn) -> Mapping[str, DieboldMariano]:
    """Against each reference; none where no outcome is known."""
    if not cell.keep.any():
        return {}
    loss, dates, step = cell.loss(cell.name), cell.dates, cell.sheet.step
    return {
        name: diebold_mariano(loss, cell.loss(name), dates, horizon=cell.horizon, step=step) for name in cell.references
    }


def _estimates(cell: ModelColumn, tests: Mapping[str, DieboldMariano]) -> HorizonEstimates:
    """What the questions are answered from."""
    if not cell.keep.any():
        return {}
    estimates = {Question.INTERVALS: interval_estimate(_interval(cell, percent) for percent in INTERVALS)}
    naive = min((name for name in tests if name in NAIVE), key=lambda name: cell.mean(cell.loss(name)), default=None)
    for question, reference in ((Question.WIDTH, naive), (Question.MODEL, "baseline")):
        if reference is not None and reference in tests:
            estimates[question] = _skill(cell, reference, tests[reference])
    return {**estimates, Question.DIRECTION: _direction(cell)}


def _interval(cell: ModelColumn, percent: int) -> AnswerEstimate:
    result = _coverage(cell, percent)
    nominal, error = percent / 100, result.careful_se
    return AnswerEstimate(value=result.share, se=error, n=result.dates, nominal=nominal, level=percent)


def _skill(cell: ModelColumn, reference: str, test: DieboldMariano) -> AnswerEstimate:
    """With the standard error of the Diebold-Mariano test, as a share of the reference's loss; on too few dates for it
    that of n / k independent differences."""
    base = cell.mean(cell.loss(reference))
    value = 1.0 - cell.mean(cell.loss(cell.name)) / base if base > 0.0 else None
    error = _error(cell, reference, test)
    return AnswerEstimate(
        value=value,
        se=None if error is None or base <= 0.0 else error / base,
        n=test.n,
        least=ORIGINS_PER_OVERLAP * test.k,
        degrees=test.degrees or degrees_of_freedom(max(test.n, 2 * test.k), test.k),
        against=reference,
    )


def _error(cell: ModelColumn, reference: str, test: DieboldMariano) -> float | None:
    """Of the mean difference of the losses; None where there is none, or no test can weigh it."""
    if test.statistic is not None:
        return abs(test.mean_difference / test.statistic) if test.statistic else 0.0
    if test.enough or test.n < 2:
        return None
    _, difference, _ = mean_by_date(cell.loss(cell.name) - cell.loss(reference), cell.dates)
    return float(difference.std()) * math.sqrt(test.k / test.n)


def _direction(cell: ModelColumn) -> AnswerEstimate:
    """Of the forecasts that state a direction. Where none does, it is right as often as not, for certain."""
    p_up, overlap = cell.forecast.p_up[cell.keep, cell.column], cell.overlap
    accuracy = directional_accuracy(p_up, cell.returns, cell.dates, k=overlap, alpha=ALPHA)
    if accuracy.share is None:
        return AnswerEstimate(value=0.5, se=0.0, n=len(np.unique(cell.dates)), nominal=0.5)
    return AnswerEstimate(
        value=accuracy.share,
        se=0.5 / math.sqrt(accuracy.effective),
        n=round(accuracy.effective * overlap),
        nominal=0.5,
        least=ORIGINS_PER_OVERLAP * overlap,
    )


def _score(
    cell: ModelColumn, tests: Mapping[str, DieboldMariano], answers: tuple[PlainAnswer, ...], fallback: str | None
) -> HorizonScore:
    n = int(cell.keep.sum())
    # Averaged by date over coins first, as the tests do: else a skill and its interval would be of two things.
    means = {name: cell.mean(cell.loss(name)) for name in cell.sheet.losses} if n else {}
    price = cell.sheet.rows.price[cell.keep]
    median = price * np.exp(cell.values[:, len(cell.forecast.levels) // 2])
    against_baseline = tests.get("baseline")
    return HorizonScore(
        horizon=cell.horizon,
        n=n,
        dates=len(np.unique(cell.dates)),
        crps=means,
        skill={name: 1.0 - means[cell.name] / means[name] for name in tests},
        p_better={name: test.p_better for name, test in tests.items()},
        p_worse_than_baseline=against_baseline.p_worse if against_baseline else None,
        coverage=_coverages(cell, INTERVALS) if n else (),
        tails=_coverages(cell, TAIL_INTERVALS) if n else (),
        mape=mape(price * np.exp(cell.returns), median) if n else None,
        mape_random_walk=mape(price * np.exp(cell.returns), price) if n else None,
        answers=answers,
        unanswered=None if fallback is None else Unanswered.BASELINE_ANSWERS,
        cause=fallback,
    )


def _coverages(cell: ModelColumn, percents: Iterable[int]) -> tuple[IntervalCoverage, ...]:
    results = [(percent, _coverage(cell, percent)) for percent in percents]
    return tuple(IntervalCoverage(percent=percent, share=one.share, se=one.se, n=one.n) for percent, one in results)


def _coverage(cell: ModelColumn, percent: int) -> Coverage:
    hits = covered(cell.returns, *interval_ends(cell.values, percent))
    return coverage(hits, cell.dates, nominal=percent / 100, k=cell.overlap)
