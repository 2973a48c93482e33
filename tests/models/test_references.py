"""The rolling random walks against a slow, obvious version."""

import numpy as np
import pytest

from cryptocast.features.matrix import Matrix
from cryptocast.models.references import LEAST_RETURNS, rw_empirical, rw_gaussian
from cryptocast.scoring.quantiles import LEVELS
from tests.models.conftest import MakeMatrix


def _past_returns(matrix: Matrix, row: int, horizon: int) -> np.ndarray:
    """Valid h-bar returns that ended within the last 365 bars, one by one."""
    start = int(matrix.panel.start[matrix.coin[row]])
    at = int(matrix.position[row])
    found = []
    for end in range(max(start + horizon, at - 364), at + 1):
        value = matrix.panel.log_close[end] - matrix.panel.log_close[end - horizon]
        if np.isfinite(value):
            found.append(value)
    return np.array(found)


def test_both_are_what_they_say_gaps_included(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 500, drop=(210, 211, 300))
    rows = matrix.rows(np.arange(0, len(matrix), 37))
    empirical, gaussian = rw_empirical(rows), rw_gaussian(rows)
    from scipy.special import ndtri

    for row in range(len(rows)):
        one = _past_returns(rows, row, 1)
        assert gaussian.usable[row].all() == (len(one) >= LEAST_RETURNS)
        for column, horizon in enumerate(rows.horizons.tolist()):
            past = _past_returns(rows, row, horizon)
            assert empirical.usable[row, column] == (len(past) >= LEAST_RETURNS)
            if empirical.usable[row, column]:
                np.testing.assert_allclose(empirical.forecast.values[row, column], np.quantile(past, LEVELS))
            if gaussian.usable[row, column]:
                sigma = np.sqrt(np.mean(one**2) * horizon)
                np.testing.assert_allclose(gaussian.forecast.values[row, column], sigma * ndtri(LEVELS), atol=1e-12)


def test_one_coin_never_sees_the_bars_of_another(make_matrix: MakeMatrix) -> None:
    both, alone = make_matrix(("a", "b"), 420), make_matrix(("a",), 420)
    first = both.rows(both.coin == 0)
    np.testing.assert_array_equal(rw_empirical(first).forecast.values, rw_empirical(alone).forecast.values)
    second = both.rows(both.coin == 1)
    young = second.rows(np.arange(150))
    assert not rw_gaussian(young).usable.any()
    assert not rw_empirical(young).usable.any()


def test_the_gaussian_one_has_no_drift(make_matrix: MakeMatrix) -> None:
    rows = make_matrix(("a",), 420)
    middle = rw_gaussian(rows).forecast.values[:, :, len(LEVELS) // 2]
    assert middle == pytest.approx(0.0)


def test_the_empirical_quantiles_are_those_of_numpy_to_the_last_bit(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("a", "b", "c"), 640, drop=(210, 211, 300, 420))
    rows = matrix.rows(np.arange(0, len(matrix), 11))
    found = rw_empirical(rows)
    for row in range(len(rows)):
        for column, horizon in enumerate(rows.horizons.tolist()):
            past = _past_returns(rows, row, horizon)
            assert found.usable[row, column] == (len(past) >= LEAST_RETURNS)
            expected = np.quantile(past, LEVELS) if len(past) >= LEAST_RETURNS else np.zeros(len(LEVELS))
            np.testing.assert_array_equal(found.forecast.values[row, column], expected)
