"""Rows as they were known: their windows, what scores them, and that they teach nothing."""

from dataclasses import replace

import numpy as np

from cryptocast.features.as_known import as_known, with_paid, without_labels
from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import Matrix, build_matrix
from tests.conftest import DAY_US, START_US, simulated_candles

HORIZONS = (1, 7)


def matrix_of(bars: int = 90) -> Matrix:
    table = complete_grid(simulated_candles(("a", "b"), bars).lazy(), DAY_US).collect()
    return build_matrix(table, ["volume"], horizons=HORIZONS, bar_us=DAY_US)


def close_time(bar: int) -> int:
    return START_US + (bar + 1) * DAY_US


def test_a_row_as_it_was_known_has_its_own_window_behind_those_of_the_coins() -> None:
    whole, part = matrix_of(), matrix_of(51)
    at = close_time(50)
    other = replace(part.panel, log_close=part.panel.log_close + 1.0)
    then = replace(part.rows(part.issued_at == at), panel=other, features=np.array([[1.0], [2.0]]))
    made = as_known(whole, [(then, {"b"})])
    row = np.flatnonzero((made.issued_at == at) & (made.coin_names == "b"))
    assert made.features[made.issued_at == at, 0].tolist() == [1.0, 2.0]
    begin, position = int(made.begin[row][0]), int(made.position[row][0])
    assert (begin, position) == (len(whole.panel.close_time), len(made.panel.close_time) - 1)
    np.testing.assert_array_equal(made.panel.log_close[begin:], other.log_close[51:])
    assert made.panel.coin[begin:].tolist() == [1] * 51
    # Nothing else moves.
    rest = made.issued_at != at
    for name in ("position", "price", "features", "returns"):
        np.testing.assert_array_equal(getattr(made, name)[rest], getattr(whole, name)[rest])
    np.testing.assert_array_equal(made.begin[rest], whole.panel.start[whole.coin][rest])


def test_rows_as_they_were_known_teach_nothing_and_are_scored() -> None:
    whole, part = matrix_of(), matrix_of(51)
    at = close_time(50)
    closes = {"b": (whole.panel.close_time[:90], np.exp(whole.panel.log_close[90:]))}
    made = as_known(with_paid(whole, closes), [(part.rows(part.issued_at == at), {"b"})])
    assert made.doubtful is not None
    assert made.doubtful.tolist() == (made.issued_at == at).tolist()
    for name in ("returns", "variance", "freedom"):
        assert np.isnan(getattr(made, name)[made.doubtful]).all()
    np.testing.assert_allclose(made.outcomes, whole.returns, rtol=1e-9, atol=1e-12)
    assert at not in made.lessons().issued_at
    assert at not in made.known_at(close_time(80)).issued_at
    assert at in made.rows(made.issued_at <= at).issued_at


def test_the_prices_that_score_are_those_that_came() -> None:
    whole = matrix_of()
    times, close = whole.panel.close_time[:90], np.exp(whole.panel.log_close[:90])
    close[60] *= 100.0
    there = np.arange(90) != 70  # a bar that is missing
    made = with_paid(whole, {"a": (times[there], close[there])})
    own, bar = made.coin_names == "a", (made.issued_at - START_US) // DAY_US - 1
    gained = made.outcomes - whole.returns
    np.testing.assert_allclose(gained[own & (bar == 59), 0], np.log(100.0))
    np.testing.assert_allclose(gained[own & (bar == 53), 1], np.log(100.0))
    np.testing.assert_allclose(gained[own & (bar == 60), 0], -np.log(100.0))
    assert np.isnan(made.outcomes[own & (bar == 69), 0]).all()
    np.testing.assert_array_equal(made.outcomes[~own], whole.returns[~own])


def test_no_label_of_the_coin_ends_at_a_moment_that_was_not_understood() -> None:
    whole = matrix_of()
    made = without_labels(whole, {"a": np.array([close_time(60)])})
    own, bar = made.coin_names == "a", (made.issued_at - START_US) // DAY_US - 1
    hidden = np.isnan(made.returns) & np.isfinite(whole.returns)
    assert sorted(bar[hidden[:, 0]].tolist()) == [59]
    assert sorted(bar[hidden[:, 1]].tolist()) == [53]
    assert not hidden[~own].any()
