"""Forecasts on identical origins -> scores against the three random walks, with tests and a verdict in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from cryptocast.evaluation.records import HorizonScore, IntervalCoverage
from cryptocast.features.matrix import FloatArray, Matrix
from cryptocast.folds import BoolArray
from cryptocast.models.base import Forecast
from cryptocast.models.references import REFERENCES, rw_empirical, rw_gaussian
from cryptocast.scoring.coverage import coverage
from cryptocast.scoring.dates import mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.points import mape
from cryptocast.scoring.quantiles import covered, crps_relative, interval_columns

__all__ = ["Judged", "judge", "score_model", "verdicts", "verdicts_of_table"]

INTERVALS = (80, 90, 95)
ALPHA = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Forecasts of all models and references for the same rows, and what they lost.

    rows (n); forecasts by name; losses by name (n, H): CRPS on prices relative to the price at issue, NaN where the
    outcome is not known or any of them has no forecast, so that all are compared on identical origins.
    """

    rows: Matrix
    step: int  # bars between origins
    forecasts: Mapping[str, Forecast]
    losses: Mapping[str, FloatArray]
    scored: BoolArray  # (n, H)

    def of_coin(self, coin: str) -> "Judged":
        """The part of one coin."""
        return self.rows_where(self.rows.coin_names == coin)

    def rows_where(self, keep: BoolArray) -> "Judged":
        """The part of a mask over the rows."""
        return replace(
            self,
            rows=self.rows.rows(keep),
            forecasts={name: forecast.rows(keep) for name, forecast in self.forecasts.items()},
            losses={name: loss[keep] for name, loss in self.losses.items()},
            scored=self.scored[keep],
        )


def judge(rows: Matrix, forecasts: Mapping[str, Forecast], *, step: int) -> Judged:
    """Score the models' forecasts and, beside them, the two rolling random walks. `baseline` comes with the models."""
    references = {"rw_empirical": rw_empirical(rows), "rw_gaussian": rw_gaussian(rows)}
    everything = {**forecasts, **{name: reference.forecast for name, reference in references.items()}}
    scored = np.isfinite(rows.returns)
    for reference in references.values():
        scored = scored & reference.known
    losses = {name: np.where(scored, _losses(rows, forecast), np.nan) for name, forecast in everything.items()}
    return Judged(rows=rows, step=step, forecasts=everything, losses=losses, scored=scored)


def score_model(judged: Judged, name: str, *, fallbacks: Mapping[int, str] | None = None) -> tuple[HorizonScore, ...]:
    """One score for each horizon; one without outcomes has n = 0. The verdicts are corrected for their number only.

    A table of several models or coins is to be corrected as a whole: `verdicts_of_table`.
    """
    reasons = fallbacks or {}
    columns = range(len(judged.rows.horizons))
    return verdicts(
        [
            _score_horizon(judged, name, column, reasons)
            if judged.scored[:, column].any()
            else _unscored(int(judged.rows.horizons[column]), reasons)
            for column in columns
        ]
    )


def verdicts_of_table(table: Sequence[Sequence[HorizonScore]]) -> tuple[tuple[HorizonScore, ...], ...]:
    """The same scores, row by row, with verdicts that are corrected for all the tests of the table."""
    told = iter(verdicts([score for row in table for score in row]))
    return tuple(tuple(next(told) for _ in row) for row in table)


def verdicts(scores: Sequence[HorizonScore]) -> tuple[HorizonScore, ...]:
    """The scores with a verdict in words: better only if better than each reference (the largest p decides; Holm)."""
    better = holm(np.array([_largest(score) for score in scores]))
    worse = holm(np.array([_or_nan(score.p_worse_than_baseline) for score in scores]))
    return tuple(
        msgspec.structs.replace(score, verdict=_words(score, float(better[i]), float(worse[i])))
        for i, score in enumerate(scores)
    )


def _losses(rows: Matrix, forecast: Forecast) -> FloatArray:
    columns = [
        crps_relative(rows.returns[:, c], forecast.values[:, c], forecast.levels) for c in range(len(rows.horizons))
    ]
    return np.column_stack(columns)


def _score_horizon(judged: Judged, name: str, column: int, fallbacks: Mapping[int, str]) -> HorizonScore:
    horizon = int(judged.rows.horizons[column])
    keep = judged.scored[:, column]
    dates = judged.rows.issued_at[keep]
    losses = {other: loss[keep, column] for other, loss in judged.losses.items()}
    references = [other for other in REFERENCES if other in losses and other != name]
    tests = {
        other: diebold_mariano(losses[name], losses[other], dates, horizon=horizon, step=judged.step)
        for other in references
    }
    against_baseline = tests.get("baseline")
    forecast, returns = judged.forecasts[name], judged.rows.returns[keep, column]
    # Averaged by date over coins first, as the tests do: else a skill and its interval would be of two things.
    means = {other: float(mean_by_date(loss, dates)[1].mean()) for other, loss in losses.items()}
    actual = judged.rows.price[keep] * np.exp(returns)
    median = forecast.prices()[keep, column, len(forecast.levels) // 2]
    return HorizonScore(
        horizon=horizon,
        n=int(keep.sum()),
        dates=len(np.unique(dates)),
        crps=means,
        skill={other: 1.0 - means[name] / means[other] for other in references},
        p_better={other: test.p_better for other, test in tests.items()},
        p_worse_than_baseline=against_baseline.p_worse if against_baseline else None,
        coverage=_coverage(judged, forecast, column),
        mape=mape(actual, median),
        mape_random_walk=mape(actual, judged.rows.price[keep]),
        verdict="",
        fallback=fallbacks.get(horizon),
    )


def _unscored(horizon: int, fallbacks: Mapping[int, str]) -> HorizonScore:
    return HorizonScore(
        horizon=horizon,
        n=0,
        dates=0,
        crps={},
        skill={},
        p_better={},
        p_worse_than_baseline=None,
        coverage=(),
        mape=None,
        mape_random_walk=None,
        verdict="",
        fallback=fallbacks.get(horizon),
    )


def _coverage(judged: Judged, forecast: Forecast, column: int) -> tuple[IntervalCoverage, ...]:
    keep = judged.scored[:, column]
    dates, returns = judged.rows.issued_at[keep], judged.rows.returns[keep, column]
    overlap = overlapping_origins(int(judged.rows.horizons[column]), judged.step)
    found = []
    for percent in INTERVALS:
        lower, upper = interval_columns(forecast.levels, percent)
        hits = covered(returns, forecast.values[keep, column, lower], forecast.values[keep, column, upper])
        result = coverage(hits, dates, nominal=percent / 100, k=overlap)
        found.append(IntervalCoverage(percent=percent, share=result.share, se=result.se, n=result.n))
    return tuple(found)


def _largest(score: HorizonScore) -> float:
    """The p that decides "better": the largest, since each reference must be beaten; NaN where one was not tested."""
    values = [_or_nan(p) for p in score.p_better.values()]
    return float(np.max(values)) if values else float("nan")


def _or_nan(p: float | None) -> float:
    return float("nan") if p is None else p


def _words(score: HorizonScore, better: float, worse: float) -> str:
    if score.fallback is not None:
        return "baseline answers (too little history)"
    if np.isnan(better) and np.isnan(worse):
        return f"cannot tell (n = {score.dates} dates, too few for {score.horizon} bars ahead)"
    if better < ALPHA:
        return f"better (n = {score.dates} dates, p = {better:.3f})"
    if worse < ALPHA:
        return f"worse (n = {score.dates} dates, p = {worse:.3f})"
    return f"cannot tell (n = {score.dates} dates, p = {better:.2f})"
