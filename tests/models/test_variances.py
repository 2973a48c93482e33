"""Twenty variances: exponential means of what is known, the same however much history lies before the window."""

from dataclasses import replace

import numpy as np
import pytest

from cryptocast.features.matrix import Matrix
from cryptocast.features.variances import HALF_LIVES, VARIANCE_FLOOR, WINDOW
from cryptocast.models.variances import SHARE, log_base, variances
from tests.models.conftest import MakeMatrix


def slow(values: np.ndarray, half_life: float) -> float:
    """The last exponential mean, bar by bar."""
    window = values[-WINDOW:][::-1]
    weight = np.where(np.isnan(window), 0.0, 0.5 ** (np.arange(len(window)) / half_life))
    return float(np.sum(weight * np.nan_to_num(window)) / weight.sum())


def test_each_is_the_exponential_mean_of_the_coins_own_bars(make_matrix: MakeMatrix) -> None:
    rows = make_matrix(("bitcoin", "ethereum"), 300, drop=(150, 151, 152))
    found = variances(rows)
    assert found.shape == (len(rows), 2 * len(HALF_LIVES))
    for row in (0, 140, len(rows) - 1):
        own = slice(int(rows.begin[row]), int(rows.position[row]) + 1)
        squares = np.diff(rows.panel.log_close[own], prepend=np.nan) ** 2
        for part, values in enumerate((squares, rows.panel.variance[own])):
            expected = [slow(values, half_life) for half_life in HALF_LIVES]
            np.testing.assert_allclose(found[row, part * len(HALF_LIVES) :][: len(HALF_LIVES)], expected, rtol=1e-10)


def test_close_only_bars_count_by_their_squared_return(make_matrix: MakeMatrix) -> None:
    found = variances(make_matrix(("bitcoin",), 200, range_known=False))
    np.testing.assert_allclose(found[:, : len(HALF_LIVES)], found[:, len(HALF_LIVES) :], rtol=1e-9)


def test_the_base_lies_between_their_mean_and_the_volatility_known_at_issue(matrix: Matrix) -> None:
    logs = np.log(np.maximum(variances(matrix), VARIANCE_FLOOR))
    mean = np.sqrt(np.exp(logs.mean(axis=1))[:, None] * matrix.horizons)
    base = matrix.volatility * np.exp(log_base(matrix))
    np.testing.assert_allclose(base, mean**SHARE * matrix.volatility ** (1.0 - SHARE), rtol=1e-10)
    np.testing.assert_array_equal(log_base(matrix, ()), 0.0)


@pytest.mark.parametrize("unknown", ["ranges", "everything"])
def test_where_nothing_is_known_of_the_bars_the_volatility_known_at_issue_stays(matrix: Matrix, unknown: str) -> None:
    nothing = np.full_like(matrix.panel.variance, np.nan)
    close = matrix.panel.log_close if unknown == "ranges" else nothing
    rows = replace(matrix, panel=replace(matrix.panel, variance=nothing, log_close=close))
    np.testing.assert_array_equal(log_base(rows), 0.0)
