"""A registered model: calibrated, and the baseline where a coin's history is too short."""

import numpy as np
import pytest

from cryptocast.config import Config, LightGBMConfig
from cryptocast.models.base import FitRun
from cryptocast.models.calibrated import fallback_reason, independent_blocks, too_short
from cryptocast.models.fitting import fit_in_time
from cryptocast.models.kinds import learner
from tests.models.conftest import MakeMatrix


def test_a_horizon_without_twelve_independent_blocks_is_the_baselines(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 365)
    quick = Config(lightgbm=LightGBMConfig(rounds=20, next_bar_rounds=20, min_data_in_leaf=30))
    fitted = fit_in_time(
        learner("lightgbm", quick), matrix, fit=0.7, stop=0.15, block_count=2, least_blocks=12, seed=1, run=FitRun()
    )
    rows = matrix.rows(matrix.position == matrix.panel.start[1] - 1)
    made, baseline = fitted.final.predict(rows), fitted.final.baseline.predict(rows)
    np.testing.assert_array_equal(made.values[:, 3], baseline.values[:, 3])
    assert not np.array_equal(made.values[:, 0], baseline.values[:, 0])
    assert too_short(rows, 12).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize(("bars", "horizon", "expected"), [(365, 30, 11), (390, 30, 12), (365, 1, 364), (5, 7, 0)])
def test_independent_blocks_are_counted_as_stated(bars: int, horizon: int, expected: int) -> None:
    assert independent_blocks(bars, horizon) == expected
    reason = fallback_reason(bars, horizon, 12)
    assert (reason is None) == (expected >= 12)
