"""One walk forward that several files look at."""

import pytest

from cryptocast.config import Config, LightGBMConfig
from cryptocast.evaluation.plan import WalkPlan, plan_folds
from cryptocast.evaluation.walk_forward import WalkForward, walk_forward
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import FitRun
from cryptocast.models.kinds import learner
from tests.models.conftest import MakeMatrix
from tests.models.conftest import make_matrix as make_matrix

QUICK = Config(lightgbm=LightGBMConfig(rounds=15, next_bar_rounds=15, min_data_in_leaf=40))


def weekly_plan(matrix: Matrix, **changes: int) -> WalkPlan:
    options = {"step": 7, "refit_every": 91, "embargo": 0, "min_train_bars": 200, "start": None, "end": None}
    return plan_folds(matrix, **{**options, **changes})  # type: ignore[arg-type]


def walk_of(matrix: Matrix, plan: WalkPlan, models: tuple[str, ...] = ("baseline", "lightgbm")) -> WalkForward:
    return walk_forward(
        matrix,
        {name: learner(name, QUICK) for name in models},
        plan,
        block_count=2,
        least_blocks=12,
        seed=1,
        run=FitRun(threads=1),
    )


@pytest.fixture(scope="session")
def matrix(make_matrix: MakeMatrix) -> Matrix:
    return make_matrix(("bitcoin", "ethereum"), 640)


@pytest.fixture(scope="session")
def walked(matrix: Matrix) -> WalkForward:
    return walk_of(matrix, weekly_plan(matrix))
