"""What is fitted on what: nothing sees a label before it was known."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import numpy as np
import pytest

from cryptocast.config import Config, LightGBMConfig
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun, Learner, Rounds
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner
from cryptocast.models.fitting import TrainingResult, find_rounds, fit_count, fit_in_time
from cryptocast.models.har import HARLearner
from cryptocast.models.kinds import learner
from cryptocast.models.stacking import StackLearner
from tests.models.conftest import MakeMatrix


@dataclass(frozen=True)
class SpyLearner:
    """A baseline that writes down what it was given."""

    seen: list[tuple[Matrix, Matrix | None, Rounds | None]] = field(default_factory=list)
    kind: ClassVar[str] = "baseline"
    calibrate: ClassVar[bool] = True

    def fit(
        self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun
    ) -> BaselineForecaster:
        self.seen.append((train, stop, rounds))
        return BaselineLearner().fit(train)


def _fit(spy: SpyLearner, matrix: Matrix) -> TrainingResult:
    return fit_in_time(spy, matrix, fit=0.7, stop=0.15, block_count=3, least_blocks=12, seed=1, run=FitRun(threads=1))


def last_label(rows: Matrix) -> int:
    known = np.isfinite(rows.returns)
    return int(rows.label_end[known].max())


def test_the_hold_out_is_forecast_by_a_model_that_never_saw_it(make_matrix: MakeMatrix) -> None:
    matrix, spy = make_matrix(bars=900), SpyLearner()
    fitted = _fit(spy, matrix)
    first, stop, _ = spy.seen[0]
    assert stop is not None
    assert last_label(first) < stop.issued_at.min()
    assert stop.label_end[:, -1].max() < fitted.test_start
    assert matrix.issued_at[fitted.hold_out.row].min() >= fitted.test_start
    for train, block_stop, _ in spy.seen[1:4]:
        assert block_stop is None
        assert last_label(train) <= fitted.test_start
    last, last_stop, _ = spy.seen[-1]
    assert last_stop is None
    assert len(last) == len(matrix)
    np.testing.assert_array_equal(np.isfinite(last.returns), np.isfinite(matrix.returns))


def test_hold_out_forecasts_do_not_change_when_its_outcomes_do(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(bars=700)
    before = _fit(SpyLearner(), matrix)
    later = matrix.label_end > before.test_start
    changed = matrix.returns.copy()
    changed[later] *= 5
    from dataclasses import replace

    after = _fit(SpyLearner(), replace(matrix, returns=changed))
    np.testing.assert_array_equal(before.hold_out.forecast.values, after.hold_out.forecast.values)
    assert not np.array_equal(before.final.calibration.offsets, after.final.calibration.offsets)


def test_what_the_stop_block_decides_is_what_the_final_fit_repeats(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(bars=500)
    boosted = learner("lightgbm", Config(lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40)))
    fitted = fit_in_time(
        boosted, matrix, fit=0.7, stop=0.15, block_count=2, least_blocks=12, seed=1, run=FitRun(threads=1)
    )
    assert fitted.rounds == Rounds(penalties=(0, 0, 0, 0))
    assert fitted.final.inner.rounds == fitted.rounds == find_rounds(boosted, matrix, seed=1, run=FitRun(threads=1))


def test_too_few_rows_are_refused_with_the_number_needed(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 120)
    with pytest.raises(DataError, match="needs 200 bars"):
        learner("lightgbm", Config()).fit(matrix, stop=None, rounds=None, seed=1, run=FitRun())


ENSEMBLE: Final = StackLearner({"baseline": BaselineLearner(), "har": HARLearner()})


def _trained(learner: Learner, matrix: Matrix, members: Mapping[str, TrainingResult] | None = None) -> TrainingResult:
    return fit_in_time(
        learner,
        matrix,
        fit=0.7,
        stop=0.15,
        block_count=3,
        least_blocks=12,
        seed=3,
        run=FitRun(),
        members=members,
    )


def test_an_ensemble_is_the_same_whether_its_members_were_trained_before_or_with_it(matrix: Matrix) -> None:
    alone = _trained(ENSEMBLE, matrix)
    har = _trained(HARLearner(), matrix)
    shared = _trained(ENSEMBLE, matrix, {"har": har})
    np.testing.assert_array_equal(shared.hold_out.forecast.values, alone.hold_out.forecast.values)
    np.testing.assert_array_equal(shared.final.predict(matrix).values, alone.final.predict(matrix).values)
    assert shared.weights == alone.weights
    assert shared.weights is not None
    assert shared.weights.members == ("baseline", "har")


def test_an_ensembles_hold_out_does_not_see_its_own_outcomes(matrix: Matrix) -> None:
    whole = _trained(ENSEMBLE, matrix)
    later = matrix.label_end > whole.test_start
    changed = replace(matrix, returns=np.where(later, 0.5, matrix.returns))
    again = _trained(ENSEMBLE, changed)
    np.testing.assert_array_equal(again.hold_out.forecast.values, whole.hold_out.forecast.values)


def test_each_fit_is_heard_of_and_their_number_is_known_before(make_matrix: MakeMatrix) -> None:
    matrix, heard = make_matrix(), list[str]()
    one = StackLearner({"first": SpyLearner(), "second": SpyLearner()})
    run = FitRun(done=heard.append)
    for learner_, members in ((SpyLearner(), {}), (one, {}), (one, {"first": _fit(SpyLearner(), matrix)})):
        heard.clear()
        fit_in_time(
            learner_, matrix, fit=0.7, stop=0.15, block_count=3, least_blocks=12, seed=1, run=run, members=members
        )
        assert heard == ["baseline"] * fit_count(learner_, 3, members)
    assert len(heard) == 5
