import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.scoring.returns import (
    ReturnSums,
    annual_return,
    calmar,
    drawdown,
    max_drawdown,
    periods_per_year,
    sharpe,
    sortino,
    total_return,
)

HOUR = 3_600_000_000
GOLDEN = json.loads((Path(__file__).resolve().parent / "returns_golden.json").read_text(encoding="utf-8"))

some_returns = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60).map(lambda values: np.round(np.array(values), 6))


def test_the_figures_equal_those_of_quantstats() -> None:
    # quantstats 0.0.86 with periods=365, see returns_golden.py.
    returns = np.array(GOLDEN["returns"])
    assert sharpe(returns, 365) == pytest.approx(GOLDEN["sharpe"], abs=1e-10)
    assert sortino(returns, 365) == pytest.approx(GOLDEN["sortino"], abs=1e-10)
    assert annual_return(returns, 365) == pytest.approx(GOLDEN["cagr"], abs=1e-10)
    assert calmar(returns, 365) == pytest.approx(GOLDEN["calmar"], abs=1e-10)
    assert max_drawdown(returns) == pytest.approx(GOLDEN["max_drawdown"], abs=1e-10)


@pytest.mark.parametrize("periods", [365, 8_760])
@pytest.mark.parametrize("seed", range(5))
def test_the_figures_equal_those_of_empyrical(seed: int, periods: int) -> None:
    rng = np.random.default_rng(seed)
    returns = 0.02 * rng.standard_t(4, 30 + 200 * seed)
    returns[0] = -0.1
    ours = [
        sharpe(returns, periods, 0.0001),
        sortino(returns, periods, 0.0001),
        max_drawdown(returns),
        annual_return(returns, periods),
        calmar(returns, periods),
        total_return(returns),
    ]
    theirs = [
        empyrical.sharpe_ratio(returns, risk_free=0.0001, annualization=periods),
        empyrical.sortino_ratio(returns, required_return=0.0001, annualization=periods),
        empyrical.max_drawdown(returns),
        empyrical.annual_return(returns, annualization=periods),
        empyrical.calmar_ratio(returns, annualization=periods),
        empyrical.cum_returns_final(returns),
    ]
    assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-10)


def test_a_loss_in_the_first_bar_is_seen() -> None:
    # vectorbt and a cumulative product by hand say 0.
    assert max_drawdown(np.array([-0.5, 0.0, 0.0, 0.0])) == -0.5
    assert drawdown(np.array([0.1, -0.5, 0.2])).tolist() == pytest.approx([0.0, -0.5, -0.4])


@given(some_returns)
def test_drawdowns_equal_a_slow_loop(returns: np.ndarray) -> None:
    equity, peak, expected = 1.0, 1.0, []
    for value in returns.tolist():
        equity *= 1.0 + value
        peak = max(peak, equity)
        expected.append(equity / peak - 1.0)
    assert drawdown(returns).tolist() == pytest.approx(expected, abs=1e-12)
    assert max_drawdown(returns) == pytest.approx(min(expected), abs=1e-12)


@given(some_returns, st.floats(0.1, 5.0))
def test_ratios_do_not_depend_on_the_size_of_the_bets(returns: np.ndarray, size: float) -> None:
    for ratio in (sharpe, sortino):
        one, other = ratio(returns, 365), ratio(size * returns, 365)
        assert (one is None) == (other is None)
        if one is not None:
            assert other == pytest.approx(one, rel=1e-6)


def test_what_is_undefined_is_none_and_never_infinite() -> None:
    nothing, same, rising = np.empty(0), np.full(9, 0.01), np.array([0.01, 0.02, 0.0])
    assert [figure(nothing) for figure in (total_return, max_drawdown)] == [None, None]
    assert [f(nothing, 365) for f in (annual_return, sharpe, sortino, calmar)] == [None] * 4
    assert sharpe(same, 365) is None
    assert sharpe(np.zeros(9), 365) is None
    assert sortino(rising, 365) is None
    assert calmar(rising, 365) is None
    assert calmar(np.array([-1.0, 0.0]), 365) == -1.0
    assert annual_return(np.array([-1.5]), 365) is None


def test_the_bars_of_a_year_come_from_the_stamps_and_gaps_do_not_count() -> None:
    days = np.arange(10, dtype=np.int64) * 24 * HOUR
    assert periods_per_year(days) == 365.0
    assert periods_per_year(np.delete(days, [3, 4])) == 365.0
    assert periods_per_year(np.arange(10, dtype=np.int64) * HOUR) == 8_760.0
    assert periods_per_year(np.arange(10, dtype=np.int64) * HOUR // 4) == 35_040.0


@pytest.mark.parametrize("stamps", [[], [1], [1, 1], [2, 1]])
def test_stamps_that_do_not_increase_are_refused(stamps: list[int]) -> None:
    with pytest.raises(ValueError, match="increase"):
        periods_per_year(np.array(stamps, dtype=np.int64))


def test_nan_is_refused() -> None:
    for figure in (total_return, max_drawdown, drawdown):
        with pytest.raises(ValueError, match="finite"):
            figure(np.array([0.1, math.nan]))


FIGURES: tuple[tuple[Callable[[FloatArray], float | None], Callable[[ReturnSums], FloatArray]], ...] = (
    (total_return, lambda sums: sums.total_return),
    (max_drawdown, lambda sums: sums.max_drawdown),
    (lambda returns: annual_return(returns, 365), lambda sums: sums.annual_return(365)),
    (lambda returns: sharpe(returns, 365), lambda sums: sums.sharpe(365)),
)


@given(st.integers(0, 1_000), st.lists(st.integers(0, 70), min_size=1, max_size=5))
def test_the_sums_of_many_series_in_pieces_tell_the_figures_of_each(seed: int, pieces: list[int]) -> None:
    rng = np.random.default_rng(seed)
    returns = np.maximum(0.05 * rng.standard_t(3, (5, sum(pieces))), -1.0)
    returns[3], returns[4] = 0.0, 0.0123
    sums = ReturnSums(5)
    for begin, end in pairwise(np.cumsum([0, *pieces]).tolist()):
        for rows in (slice(0, 2), slice(2, 5)):
            sums.add(returns[rows, begin:end], rows)
    for one, many in FIGURES:
        expected = [np.nan if (figure := one(row)) is None else figure for row in returns]
        np.testing.assert_allclose(many(sums), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bars", [15, 16, 17, 1_000, 12_345])
@pytest.mark.parametrize("seed", range(4))
def test_the_deepest_drawdown_is_looked_for_in_the_right_place(bars: int, seed: int) -> None:
    returns = 0.01 * np.random.default_rng(seed).standard_t(4, bars)
    for one in (returns, np.sort(returns), np.sort(returns)[::-1]):
        sums = ReturnSums(1)
        sums.add(one[None])
        assert sums.max_drawdown[0] == pytest.approx(drawdown(one).min(), rel=1e-10, abs=1e-13)
