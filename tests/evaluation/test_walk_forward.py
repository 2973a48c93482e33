"""The walk through history: identical origins, no look ahead, no fold that changes afterwards."""

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from cryptocast.config import Config, LightGBMConfig
from cryptocast.errors import DataError
from cryptocast.evaluation.plan import WalkPlan, fold_starts, plan_folds
from cryptocast.evaluation.scores import TableRow, judge, score_table
from cryptocast.evaluation.verdicts import Verdict
from cryptocast.evaluation.walk_forward import WalkForward, walk_forward
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Learner
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.combination import Mix
from cryptocast.models.har import HARLearner
from cryptocast.models.kinds import learner
from cryptocast.models.stacking import StackLearner
from tests.models.conftest import MakeMatrix
from tests.models.conftest import make_matrix as make_matrix

QUICK = Config(lightgbm=LightGBMConfig(rounds=15, min_data_in_leaf=40))


def _plan(matrix: Matrix, **changes: int) -> WalkPlan:
    options = {"step": 7, "refit_every": 91, "embargo": 0, "min_train_bars": 200, "start": None, "end": None}
    return plan_folds(matrix, **{**options, **changes})  # type: ignore[arg-type]


def _walk(matrix: Matrix, plan: WalkPlan, models: tuple[str, ...] = ("baseline", "lightgbm")) -> WalkForward:
    return walk_forward(
        matrix,
        {name: learner(name, QUICK) for name in models},
        plan,
        block_count=2,
        least_blocks=12,
        seed=1,
        run=FitRun(threads=1),
    )


@pytest.fixture(scope="module")
def matrix(make_matrix: MakeMatrix) -> Matrix:
    return make_matrix(("bitcoin", "ethereum"), 640)


@pytest.fixture(scope="module")
def walked(matrix: Matrix) -> WalkForward:
    return _walk(matrix, _plan(matrix))


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
    plan = _plan(shorter)
    walked = _walk(shorter, plan)
    again = _walk(longer, WalkPlan(plan.start, plan.end + 7 * longer.bar_us, 7, 91, 0, 200))
    for name, made in walked.forecasts.items():
        other = again.forecasts[name]
        same = np.isin(other.issued_at, made.issued_at)
        order = np.lexsort((other.coin[same], other.issued_at[same]))
        first = np.lexsort((made.coin, made.issued_at))
        np.testing.assert_allclose(other.values[same][order], made.values[first], rtol=1e-9, atol=1e-12)


def test_a_forecast_does_not_know_what_follows_its_origin(make_matrix: MakeMatrix, matrix: Matrix) -> None:
    plan = _plan(matrix)
    cut = int(fold_starts(plan, matrix.bar_us)[1])
    later = matrix.label_end > cut
    changed = dataclasses.replace(
        matrix,
        returns=np.where(later, 3.0 * matrix.returns, matrix.returns),
        variance=np.where(later, 9.0 * matrix.variance, matrix.variance),
    )
    before, after = _walk(matrix, plan), _walk(changed, plan)
    early = before.forecasts["lightgbm"].issued_at < cut
    for name in before.forecasts:
        np.testing.assert_array_equal(before.forecasts[name].values[early], after.forecasts[name].values[early])


def test_a_coin_joins_when_it_has_the_bars(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 640)
    young = matrix.rows((matrix.coin == 0) | (matrix.position - matrix.panel.start[1] >= 0))
    plan = _plan(young, min_train_bars=400)
    walked = _walk(young, plan, ("baseline",))
    bars = young.position[walked.row] - young.panel.start[young.coin[walked.row]] + 1
    assert bars.min() >= 400


def test_an_embargo_takes_rows_from_training_and_none_from_the_test(matrix: Matrix, walked: WalkForward) -> None:
    embargoed = _walk(matrix, _plan(matrix, embargo=20), ("baseline",))
    np.testing.assert_array_equal(embargoed.row, walked.row)
    for with_embargo, without in zip(embargoed.folds, walked.folds, strict=True):
        assert with_embargo.train_rows == without.train_rows - 20 * 2


def test_too_short_a_history_is_refused_with_the_numbers(make_matrix: MakeMatrix) -> None:
    with pytest.raises(DataError, match="too few to walk over: 250 to train on"):
        _plan(make_matrix(("bitcoin",), 270), min_train_bars=250)


def test_a_start_between_two_bars_is_moved_to_the_next_close(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 640)
    wanted = int(matrix.issued_at[400]) + matrix.bar_us // 2
    plan = _plan(matrix, start=wanted)
    assert plan.start == matrix.issued_at[401]
    with pytest.raises(DataError, match="ends before it starts"):
        _plan(matrix, start=wanted, end=wanted - 30 * matrix.bar_us)


def test_the_more_is_tested_the_harder_it_is_to_be_better(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    alone = score_table([TableRow(judged, "baseline")])[0]
    table = score_table([TableRow(judged, "baseline")] * 50)
    assert len(table) == 50
    better = sum(score.verdict.word == "better" for score in alone)
    assert sum(score.verdict.word == "better" for score in table[0]) <= better
    nothing = Verdict()
    strip = [replace(score, verdict=nothing) for score in table[0]]
    assert strip == [replace(score, verdict=nothing) for score in alone]


def test_scores_cover_each_horizon_and_hold_their_references(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_table([TableRow(judged, "lightgbm")])[0]:
        assert set(score.skill) == {"rw_empirical", "rw_gaussian", "baseline"}
        assert score.mape == pytest.approx(score.mape_random_walk, rel=1e-9)
        assert {c.percent for c in score.coverage} == {80, 90, 95}
        expected = 1 - score.crps["lightgbm"] / score.crps["baseline"]
        assert score.skill["baseline"] == pytest.approx(expected)
        assert score.verdict.word in ("better", "worse", "cannot tell")
        assert score.verdict.against == min(score.skill, key=lambda name: score.skill[name])
        assert score.verdict.skill == pytest.approx(min(score.skill.values()))
        assert score.verdict.dates == score.dates
    one = judged.of_coin("bitcoin")
    assert set(one.rows.coin_names) == {"bitcoin"}
    whole = {score.horizon: score.crps["baseline"] for score in score_table([TableRow(judged, "baseline")])[0]}
    halves = [
        {
            score.horizon: score.crps["baseline"]
            for score in score_table([TableRow(judged.of_coin(coin), "baseline")])[0]
        }
        for coin in ("bitcoin", "ethereum")
    ]
    for horizon, value in whole.items():
        assert value == pytest.approx((halves[0][horizon] + halves[1][horizon]) / 2)


def test_the_baseline_is_never_better_than_itself(matrix: Matrix, walked: WalkForward) -> None:
    judged = judge(matrix.rows(walked.row), walked.forecasts, step=7)
    for score in score_table([TableRow(judged, "baseline")])[0]:
        assert "baseline" not in score.skill
        assert score.p_worse_than_baseline is None


def _stacked(matrix: Matrix, start: int) -> WalkForward:
    members: dict[str, Learner] = {"baseline": BaselineLearner(), "har": HARLearner()}
    return walk_forward(
        matrix,
        {"ml_ensemble": StackLearner(members)},
        _plan(matrix, start=start),
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
