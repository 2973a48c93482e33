"""The walk through history: identical origins, no look ahead, no fold that changes afterwards."""

import dataclasses
import tracemalloc

import numpy as np

from cryptocast.evaluation.plan import WalkPlan, fold_starts
from cryptocast.evaluation.walk_forward import WalkForward, walk_forward
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.combination import Mix
from cryptocast.models.har import HARLearner
from cryptocast.models.stacking import StackLearner
from tests.evaluation.conftest import walk_of, weekly_plan
from tests.models.conftest import MakeMatrix


def test_origins_stand_a_step_apart_and_all_their_labels_have_ended(walked: WalkForward, matrix: Matrix) -> None:
    issued = np.unique(matrix.issued_at[walked.row])
    assert (np.diff(issued) == 7 * matrix.bar_us).all()
    assert np.isfinite(matrix.returns[walked.row]).all()


def test_all_models_answer_the_same_origins(walked: WalkForward, matrix: Matrix) -> None:
    for made in walked.forecasts.values():
        np.testing.assert_array_equal(made.issued_at, matrix.issued_at[walked.row])
        np.testing.assert_array_equal(made.coin, matrix.rows(walked.row).coin_names)


def test_a_week_more_of_data_changes_no_forecast_of_earlier_folds(make_matrix: MakeMatrix) -> None:
    longer = make_matrix(("bitcoin", "ethereum"), 647)
    shorter = make_matrix(("bitcoin", "ethereum"), 647, drop=tuple(range(640, 647)))
    plan = weekly_plan(shorter)
    walked = walk_of(shorter, plan)
    again = walk_of(longer, WalkPlan(plan.start, plan.end + 7 * longer.bar_us, 7, 91, 0, 200))
    for name, made in walked.forecasts.items():
        other = again.forecasts[name]
        same = np.isin(other.issued_at, made.issued_at)
        order = np.lexsort((other.coin[same], other.issued_at[same]))
        first = np.lexsort((made.coin, made.issued_at))
        np.testing.assert_allclose(other.values[same][order], made.values[first], rtol=1e-9, atol=1e-12)


def test_a_forecast_does_not_know_what_follows_its_origin(make_matrix: MakeMatrix, matrix: Matrix) -> None:
    plan = weekly_plan(matrix)
    cut = int(fold_starts(plan, matrix.bar_us)[1])
    later = matrix.label_end > cut
    changed = dataclasses.replace(
        matrix,
        returns=np.where(later, 3.0 * matrix.returns, matrix.returns),
        variance=np.where(later, 9.0 * matrix.variance, matrix.variance),
    )
    before, after = walk_of(matrix, plan), walk_of(changed, plan)
    early = before.forecasts["lightgbm"].issued_at < cut
    for name in before.forecasts:
        np.testing.assert_array_equal(before.forecasts[name].values[early], after.forecasts[name].values[early])


def test_a_coin_joins_when_it_has_the_bars(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 640)
    young = matrix.rows((matrix.coin == 0) | (matrix.position - matrix.panel.start[1] >= 0))
    plan = weekly_plan(young, min_train_bars=400)
    walked = walk_of(young, plan, ("baseline",))
    bars = young.position[walked.row] - young.panel.start[young.coin[walked.row]] + 1
    assert bars.min() >= 400


def test_an_embargo_takes_rows_from_training_and_none_from_the_test(matrix: Matrix, walked: WalkForward) -> None:
    embargoed = walk_of(matrix, weekly_plan(matrix, embargo=20), ("baseline",))
    np.testing.assert_array_equal(embargoed.row, walked.row)
    for with_embargo, without in zip(embargoed.folds, walked.folds, strict=True):
        assert with_embargo.train_rows == without.train_rows - 20 * 2


def _stacked(matrix: Matrix, start: int) -> WalkForward:
    members: dict[str, Learner] = {"baseline": BaselineLearner(), "har": HARLearner()}
    return walk_forward(
        matrix,
        {"ml_ensemble": StackLearner(members)},
        weekly_plan(matrix, start=start),
        block_count=2,
        least_blocks=12,
        seed=1,
        run=FitRun(threads=1),
        mixes={"mix": Mix(("baseline", "har"))},
    )


def test_an_ensemble_walks_with_its_members_and_is_their_equal_mix_until_it_has_earned_more(matrix: Matrix) -> None:
    made = _stacked(matrix, int(matrix.issued_at[420]))
    assert set(made.forecasts) == {"ml_ensemble", "mix"}
    first = made.fold == 0
    ensemble, mix = (made.forecasts[name].values[first] for name in ("ml_ensemble", "mix"))
    np.testing.assert_allclose(ensemble[:, 2:], mix[:, 2:], rtol=1e-9)


def test_what_follows_an_origin_changes_no_forecast_of_an_ensemble_before_it(matrix: Matrix) -> None:
    start = int(matrix.issued_at[420])
    whole = _stacked(matrix, start)
    cut = start + 91 * matrix.bar_us
    later = matrix.label_end > cut
    hidden = dataclasses.replace(
        matrix,
        returns=np.where(later, 0.5, matrix.returns),
        variance=np.where(later, 1.0, matrix.variance),
    )
    before = _stacked(hidden, start)
    early = whole.forecasts["ml_ensemble"].issued_at <= cut
    assert early.sum() > 20
    np.testing.assert_array_equal(
        before.forecasts["ml_ensemble"].values[early], whole.forecasts["ml_ensemble"].values[early]
    )


def _refits_and_peak(matrix: Matrix, refit_every: int) -> tuple[int, int]:
    """Of one walk: its refits, and the bytes that it had at a time at most."""
    tracemalloc.start()
    try:
        plan = weekly_plan(matrix, refit_every=refit_every)
        return len(walk_of(matrix, plan, ("baseline", "har")).folds), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_refits_take_no_more_memory(matrix: Matrix) -> None:
    _refits_and_peak(matrix, 280)  # what is loaded and cached once counts for neither
    (few, least), (many, most) = _refits_and_peak(matrix, 28), _refits_and_peak(matrix, 7)
    assert (few, many) == (13, 51)
    assert most <= 1.15 * least
