"""A fold of a tuning sees nothing of the hold-out and nothing of itself, and is scored by date against the baseline."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from cryptocast.config import LightGBMConfig, SplitConfig
from cryptocast.data.schema import BAR_US
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.boosting import LightGBMLearner
from cryptocast.scoring.quantiles import crps_relative
from cryptocast.workflows.tuning.folds import FoldJob, FoldLoss, evaluate_fold, fold_bounds, training_part
from tests.conftest import MakeCandles

SPLIT = SplitConfig()


def matrix_of(candles: pl.DataFrame) -> Matrix:
    chosen = select_features(("ret_1", "vol_7", "vol_14", "vol_30"))
    table = add_features(candles.lazy(), chosen, bar_us=BAR_US["daily"]).collect()
    return build_matrix(table, [f.name for f in chosen], horizons=(1, 7), bar_us=BAR_US["daily"])


def fold_of(matrix: Matrix, place: int, **settings_of_trees: Any) -> tuple[Matrix, FoldJob, FoldLoss]:
    part, end = training_part(matrix, SPLIT)
    begin, until = fold_bounds(part, end, 3)[place : place + 2].tolist()
    trees = LightGBMLearner(LightGBMConfig(**{"rounds": 5, "min_data_in_leaf": 20, **settings_of_trees}))
    job = FoldJob(trees, begin, until, 12, 7, 1)
    return part, job, evaluate_fold(part, job)


def test_nothing_of_the_hold_out_decides_a_fold(make_candles: MakeCandles) -> None:
    candles = make_candles(bars=600)
    matrix = matrix_of(candles)
    _, begin = training_part(matrix, SPLIT)
    later = pl.col("close_time").dt.epoch("us") > begin
    prices = ("open", "high", "low", "close")
    other = candles.with_columns(pl.when(later).then(pl.col(p) * 7).otherwise(pl.col(p)).alias(p) for p in prices)
    for place in range(3):
        assert fold_of(matrix, place)[2] == fold_of(matrix_of(other), place)[2]


def test_a_fold_is_scored_by_labels_that_had_ended_before_the_hold_out(make_candles: MakeCandles) -> None:
    matrix = matrix_of(make_candles(bars=600))
    part, end = training_part(matrix, SPLIT)
    _, _, loss = fold_of(matrix, 2)
    assert max(loss.dates) + 7 * BAR_US["daily"] <= end
    assert np.nanmax(np.where(np.isfinite(part.returns), part.label_end, 0)) <= end


def test_a_fold_does_not_learn_from_labels_that_end_in_it(make_candles: MakeCandles) -> None:
    candles = make_candles(bars=600)
    part, job, loss = fold_of(matrix_of(candles), 1)
    # Only the rows before the fold, cut off there: the same fit, so the same first forecast's loss.
    first_day = loss.dates[0]
    known = part.known_at(first_day + 7 * BAR_US["daily"])
    short = FoldJob(job.learner, job.begin, first_day + 1, job.least_blocks, job.seed, 1)
    again = evaluate_fold(known, short)
    whole_fold = np.array(loss.loss)
    assert again.dates == loss.dates[:1]
    assert again.loss[0] == pytest.approx(whole_fold[0], rel=0.9)  # its baseline's mean is that of one day
    assert evaluate_fold(part, short).loss == again.loss


def test_the_loss_of_a_fold_is_crps_by_date_over_that_of_the_baseline(make_candles: MakeCandles) -> None:
    part, job, loss = fold_of(matrix_of(make_candles(bars=500)), 1, rounds=1, learning_rate=1e-9)
    inside = (part.issued_at >= job.begin) & (part.issued_at < job.end) & np.isfinite(part.returns).all(axis=1)
    rows = part.rows(inside)
    baseline = BaselineLearner().fit(part.known_at(job.begin)).predict(rows)
    slow = {}
    for column, horizon in enumerate((1, 7)):
        lost = crps_relative(rows.returns[:, column], baseline.values[:, column], baseline.levels)
        slow[horizon] = [lost[rows.issued_at == day].mean() for day in np.unique(rows.issued_at)]
    assert loss.dates == tuple(np.unique(rows.issued_at).tolist())
    assert loss.score == pytest.approx(np.mean(loss.loss))
    assert loss.score == pytest.approx(np.mean(loss.horizons))
    # Trees that learn nothing are another calibrated random walk: its losses move with the baseline's day by day.
    relative = np.mean([np.array(values) / np.mean(values) for values in slow.values()], axis=0)
    assert np.corrcoef(relative, loss.loss)[0, 1] > 0.98
    assert loss.score == pytest.approx(1.0, abs=0.03)
