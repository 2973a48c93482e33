"""What a backtest shows beyond its scores: how sure they are, and whether the distributions come true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.evaluation.records import (
    ConfidenceSetRecord,
    CoverageOfGroup,
    CoverageOfLevel,
    HonestyRecord,
    IntervalQuality,
    PitRecord,
    PointScores,
    SkillInterval,
    StatedBin,
)
from cryptocast.evaluation.scores import ModelColumn, ScoreSheet
from cryptocast.features.matrix import Matrix, volatility_rule
from cryptocast.scoring.bootstrap import optimal_block_length, stationary_indices
from cryptocast.scoring.confidence_set import model_confidence_set
from cryptocast.scoring.coverage import after_shocks, coverage_by, terciles
from cryptocast.scoring.dates import mean_by_date, overlapping_origins
from cryptocast.scoring.pit import pit_cells, pit_histogram, pit_uniformity
from cryptocast.scoring.points import directional_accuracy, mae, mape, mase, r2, rmse, smape
from cryptocast.scoring.quantiles import covered, interval_columns, interval_score
from cryptocast.scoring.reliability import level_reliability, reliability
from cryptocast.scoring.skill import skill

ALPHA: Final = 0.05
SET_ALPHA: Final = 0.10
DRAWS: Final = 2_000
CELLS: Final = 10
INTERVALS: Final = (80, 90, 95)
THIRDS: Final = ("lowest third", "middle third", "highest third")
AFTER: Final = {True: "at most 60 bars after a break", False: "otherwise"}
LEAST_DATES: Final = 16  # to resample


@dataclass(frozen=True, slots=True)
class Honesty:
    """A record for each model and horizon, horizon by horizon, and the confidence set of each horizon."""

    records: tuple[HonestyRecord, ...]
    sets: tuple[ConfidenceSetRecord, ...]


def honesty(sheet: ScoreSheet, models: Sequence[str], *, rng: np.random.Generator) -> Honesty:
    """Records of these models for the horizons that have outcomes.

    rng draws the resampled dates of the model confidence sets.
    """
    records, sets = [], []
    broken = _after_breaks(sheet.rows)
    for column, horizon in enumerate(sheet.rows.horizons.tolist()):
        keep = sheet.scored[:, column]
        if not keep.any():
            continue
        p = _set_of(sheet, column, rng)
        if p:
            inside = tuple(name for name in p if p[name] > SET_ALPHA)
            left_out = tuple(name for name in p if p[name] <= SET_ALPHA)
            sets.append(ConfidenceSetRecord(horizon=horizon, alpha=SET_ALPHA, members=inside, left_out=left_out))
        records += [_record(ModelColumn(sheet, name, column), p.get(name), broken[keep]) for name in models]
    return Honesty(tuple(records), tuple(sets))


def _record(cell: ModelColumn, confidence_p: float | None, broken: BoolArray) -> HonestyRecord:
    rises = reliability(
        cell.forecast.p_up[cell.keep, cell.column], cell.returns > 0, cell.dates, k=cell.overlap, alpha=ALPHA
    )
    return HonestyRecord(
        model=cell.name,
        horizon=cell.horizon,
        n=len(cell.dates),
        skills=tuple(_skill(cell, name) for name in cell.references),
        confidence_p=confidence_p,
        pit=_pit(cell),
        levels=_levels(cell),
        coverage=_coverage(cell, broken),
        stated=tuple(
            StatedBin(stated=b.stated, observed=b.observed, lower=b.lower, upper=b.upper, n=b.n) for b in rises.bins
        ),
        brier=rises.brier,
        intervals=tuple(_interval(cell, percent) for percent in INTERVALS),
        points=_points(cell),
    )


def _skill(cell: ModelColumn, reference: str) -> SkillInterval:
    estimate = skill(
        cell.loss(cell.name),
        cell.loss(reference),
        cell.dates,
        horizon=cell.horizon,
        step=cell.sheet.step,
        alpha=ALPHA,
    )
    return SkillInterval(reference=reference, value=estimate.value, lower=estimate.lower, upper=estimate.upper)


def _pit(cell: ModelColumn) -> PitRecord:
    low, high = pit_cells(cell.returns, cell.values, cell.forecast.levels)
    test = pit_uniformity(low, high, cell.dates, k=cell.overlap)
    return PitRecord(
        shares=tuple(pit_histogram(low, high, CELLS).tolist()),
        bias=test.bias,
        spread=test.spread,
        p_uniform=test.uniform.p,
        p_level_memory=test.level_memory.p,
        p_spread_memory=test.spread_memory.p,
    )


def _levels(cell: ModelColumn) -> tuple[CoverageOfLevel, ...]:
    levels = cell.forecast.levels
    shares = level_reliability(cell.returns, cell.values, levels, cell.dates, k=cell.overlap)
    return tuple(
        CoverageOfLevel(level=level, share=one.share, se=one.se)
        for level, one in zip(levels.tolist(), shares, strict=True)
    )


def _coverage(cell: ModelColumn, broken: BoolArray) -> tuple[CoverageOfGroup, ...]:
    coins = cell.sheet.rows.coin_names[cell.keep]
    third = terciles(cell.forecast.volatility[cell.keep, cell.column], coins)
    groupings: tuple[tuple[Literal["coin", "volatility", "after breaks"], list[str]], ...] = (
        ("coin", coins.tolist()),
        ("volatility", [THIRDS[at] for at in third.tolist()]),
        ("after breaks", [AFTER[at] for at in broken.tolist()]),
    )
    records = []
    for percent in INTERVALS:
        lower, upper = interval_columns(cell.forecast.levels, percent)
        hits = covered(cell.returns, cell.values[:, lower], cell.values[:, upper])
        for by, labels in groupings:
            parts = coverage_by(hits, cell.dates, np.array(labels), nominal=percent / 100, k=cell.overlap)
            records += [
                CoverageOfGroup(by=by, label=str(label), percent=percent, share=one.share, se=one.se, n=one.n)
                for label, one in parts.items()
            ]
    return tuple(records)


def _interval(cell: ModelColumn, percent: int) -> IntervalQuality:
    lower, upper = interval_columns(cell.forecast.levels, percent)
    ends = np.exp(cell.values[:, [lower, upper]])
    score = interval_score(np.exp(cell.returns), ends[:, 0], ends[:, 1], 1.0 - percent / 100)
    return IntervalQuality(percent=percent, score=float(score.mean()), width=float((ends[:, 1] - ends[:, 0]).mean()))


def _points(cell: ModelColumn) -> PointScores:
    rows, middle = cell.sheet.rows, len(cell.forecast.levels) // 2
    median = cell.values[:, middle]
    actual, predicted = np.exp(cell.returns), np.exp(median)
    accuracy = directional_accuracy(
        cell.forecast.p_up[cell.keep, cell.column], cell.returns, cell.dates, k=cell.overlap, alpha=ALPHA
    )
    return PointScores(
        mae=mae(actual, predicted),
        rmse=rmse(actual, predicted),
        mape=mape(actual, predicted),
        smape=smape(actual, predicted),
        mase=_mase(rows, cell.keep, cell.returns, median, cell.horizon),
        r2=r2(cell.returns, median),
        views=accuracy.views,
        direction=accuracy.share,
        direction_lower=accuracy.lower,
        direction_upper=accuracy.upper,
    )


def _mase(rows: Matrix, keep: BoolArray, returns: FloatArray, median: FloatArray, horizon: int) -> float | None:
    """Coin by coin on log prices, the naive error from the bars before the first origin; the mean over the coins."""
    scores = []
    for coin in np.unique(rows.coin[keep]).tolist():
        own = rows.coin[keep] == coin
        start, first = int(rows.panel.start[coin]), int(rows.position[keep][own].min())
        score = mase(returns[own], median[own], rows.panel.log_close[start : first + 1], lag=horizon)
        if score is not None:
            scores.append(score)
    return float(np.mean(scores)) if scores else None


def _set_of(sheet: ScoreSheet, column: int, rng: np.random.Generator) -> dict[str, float]:
    """The p of each model and reference in the confidence set of a horizon; empty where there are too few dates."""
    keep = sheet.scored[:, column]
    names = list(sheet.losses)
    overlap = overlapping_origins(int(sheet.rows.horizons[column]), sheet.step)
    dates = sheet.rows.issued_at[keep]
    count = len(np.unique(dates))
    if count < max(LEAST_DATES, 10 * overlap) or len(names) < 2:
        return {}
    by_date = np.column_stack([mean_by_date(sheet.losses[name][keep, column], dates)[1] for name in names])
    differences = by_date - by_date.mean(axis=1, keepdims=True)
    longest = max(optimal_block_length(differences[:, i])[0] for i in range(len(names)))
    indices = stationary_indices(count, float(min(max(longest, overlap), count)), DRAWS, rng)
    confidence = model_confidence_set(by_date, indices)
    return dict(zip(names, confidence.p.tolist(), strict=True))


def _after_breaks(rows: Matrix) -> BoolArray:
    """(n,) whether one of the last 60 bars moved by more than four times the volatility expected of it."""
    panel, half_life = rows.panel, volatility_rule(rows.bar_us).half_life
    broken = np.zeros(len(panel.log_close), dtype=np.bool_)
    for start, end in zip(panel.start[:-1].tolist(), panel.start[1:].tolist(), strict=True):
        returns = np.diff(panel.log_close[start:end], prepend=np.nan)
        squared = pl.Series(returns**2).fill_nan(None)
        expected = squared.ewm_mean(half_life=half_life, ignore_nulls=True).forward_fill().shift(1).sqrt()
        broken[start:end] = after_shocks(returns, expected.fill_null(np.nan).to_numpy())
    return broken[rows.position]
