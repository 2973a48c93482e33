"""Forecasts on identical origins -> scores against the three random walks, with tests and a verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.evaluation.records import HorizonScore, IntervalCoverage
from cryptocast.evaluation.verdicts import Verdict, VerdictReason, VerdictWord
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.references import REFERENCES, rw_empirical, rw_gaussian
from cryptocast.models.tails import TAIL_INTERVALS, interval_ends
from cryptocast.scoring.coverage import coverage
from cryptocast.scoring.dates import mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import DieboldMariano, diebold_mariano
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.points import mape
from cryptocast.scoring.quantiles import covered, crps_relative
from cryptocast.scoring.skill import skill, smallest_effect

INTERVALS = (80, 90, 95)
ALPHA = 0.05


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


@dataclass(frozen=True, slots=True, eq=False)
class _ColumnTests:
    """A cell with the test against each reference; none where no outcome is known."""

    cell: ModelColumn
    fallback: str | None
    tests: Mapping[str, DieboldMariano]

    @property
    def better(self) -> float:
        """The p that decides "better": the largest, since each reference must be beaten; NaN where one was not
        tested."""
        return float(np.max([_or_nan(test.p_better) for test in self.tests.values()])) if self.tests else float("nan")

    @property
    def worse(self) -> float:
        """The p of being worse than the baseline; NaN where that was not tested."""
        return _or_nan(self.tests["baseline"].p_worse) if "baseline" in self.tests else float("nan")


def judge(rows: Matrix, forecasts: Mapping[str, Forecast], *, step: int) -> ScoreSheet:
    """Score the models' forecasts and, beside them, the two rolling random walks. `baseline` comes with the models."""
    references = {"rw_empirical": rw_empirical(rows), "rw_gaussian": rw_gaussian(rows)}
    everything = {**forecasts, **{name: reference.forecast for name, reference in references.items()}}
    scored = np.isfinite(rows.outcomes)
    for reference in references.values():
        scored = scored & reference.usable
    losses = {name: np.where(scored, _losses(rows, forecast), np.nan) for name, forecast in everything.items()}
    return ScoreSheet(rows=rows, step=step, forecasts=everything, losses=losses, scored=scored)


def score_table(rows: Sequence[TableRow]) -> tuple[tuple[HorizonScore, ...], ...]:
    """The scores row by row, with verdicts that are corrected for all the tests of the table (Holm).

    Better only if better than each reference: the largest p decides. Worse: than the baseline.
    """
    table = [[_tested(row, column) for column in range(len(row.sheet.rows.horizons))] for row in rows]
    cells = [cell for line in table for cell in line]
    better, worse = (holm(np.array(p)) for p in ([c.better for c in cells], [c.worse for c in cells]))
    tests = max(1, sum(any(test.p_better is not None for test in cell.tests.values()) for cell in cells))
    scores = (_score(cell, better[i], worse[i], tests) for i, cell in enumerate(cells))
    return tuple(tuple(next(scores) for _ in line) for line in table)


def _losses(rows: Matrix, forecast: Forecast) -> FloatArray:
    columns = [
        crps_relative(rows.outcomes[:, c], forecast.values[:, c], forecast.levels) for c in range(len(rows.horizons))
    ]
    return np.column_stack(columns)


def _tested(row: TableRow, column: int) -> _ColumnTests:
    cell = ModelColumn(row.sheet, row.name, column)
    fallback = row.fallbacks.get(cell.horizon)
    if not cell.keep.any():
        return _ColumnTests(cell, fallback, {})
    loss, dates, step = cell.loss(cell.name), cell.dates, row.sheet.step
    tests = {
        name: diebold_mariano(loss, cell.loss(name), dates, horizon=cell.horizon, step=step) for name in cell.references
    }
    return _ColumnTests(cell, fallback, tests)


def _score(tested: _ColumnTests, better: float, worse: float, tests: int) -> HorizonScore:
    cell, n = tested.cell, int(tested.cell.keep.sum())
    # Averaged by date over coins first, as the tests do: else a skill and its interval would be of two things.
    means = {name: cell.mean(cell.loss(name)) for name in cell.sheet.losses} if n else {}
    skills = {name: 1.0 - means[cell.name] / means[name] for name in tested.tests}
    price = cell.sheet.rows.price[cell.keep]
    median = price * np.exp(cell.values[:, len(cell.forecast.levels) // 2])
    against_baseline = tested.tests.get("baseline")
    return HorizonScore(
        horizon=cell.horizon,
        n=n,
        dates=len(np.unique(cell.dates)),
        crps=means,
        skill=skills,
        p_better={name: test.p_better for name, test in tested.tests.items()},
        p_worse_than_baseline=against_baseline.p_worse if against_baseline else None,
        coverage=_coverage(cell, INTERVALS) if n else (),
        tails=_coverage(cell, TAIL_INTERVALS) if n else (),
        mape=mape(price * np.exp(cell.returns), median) if n else None,
        mape_random_walk=mape(price * np.exp(cell.returns), price) if n else None,
        verdict=_verdict(tested, skills, (better, worse), tests),
    )


def _coverage(cell: ModelColumn, percents: Iterable[int]) -> tuple[IntervalCoverage, ...]:
    intervals = []
    for percent in percents:
        hits = covered(cell.returns, *interval_ends(cell.values, percent))
        result = coverage(hits, cell.dates, nominal=percent / 100, k=cell.overlap)
        intervals.append(IntervalCoverage(percent=percent, share=result.share, se=result.se, n=result.n))
    return tuple(intervals)


def _or_nan(p: float | None) -> float:
    return float("nan") if p is None else p


def _verdict(tested: _ColumnTests, skills: Mapping[str, float], corrected: tuple[float, float], tests: int) -> Verdict:
    """What the p-values of being better and worse say, after correction, and how sure the skill is."""
    cell = tested.cell
    dates = len(np.unique(cell.dates))
    if tested.fallback is not None:
        return Verdict(reason=VerdictReason.BASELINE_ANSWERS, detail=tested.fallback, dates=dates)
    if not skills:
        return Verdict(word="cannot tell", reason=VerdictReason.TOO_FEW_DATES)
    strongest = min(skills, key=lambda name: skills[name])
    losses = cell.loss(cell.name), cell.loss(strongest), cell.dates
    sure = skill(*losses, horizon=cell.horizon, step=cell.sheet.step, alpha=ALPHA)
    effect = smallest_effect(*losses, horizon=cell.horizon, step=cell.sheet.step, tests=tests)
    word, p = _word(*corrected)
    return Verdict(
        word=word,
        against=strongest,
        skill=sure.value,
        lower=sure.lower,
        upper=sure.upper,
        p=p,
        dates=dates,
        smallest_skill=effect.skill,
        reason=VerdictReason.TOO_FEW_DATES if np.isnan(corrected).all() else None,
    )


def _word(better: float, worse: float) -> tuple[VerdictWord, float | None]:
    """And its p; None where there was no test."""
    if better < ALPHA:
        return "better", float(better)
    if worse < ALPHA:
        return "worse", float(worse)
    return "cannot tell", None if np.isnan(better) else float(better)
