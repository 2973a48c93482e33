"""Windows and recursions against loops that say the same."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.features import kernels
from cryptocast.features.engine import evaluate
from cryptocast.features.formula import CLOSE, Formula
from tests.features.frames import series

Floats = npt.NDArray[np.float64]

values = st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(math.nan)), min_size=1, max_size=60)


def _window(x: Floats, window: int, least: int, figure: Callable[[Floats], float]) -> Floats:
    rows = [x[max(0, row - window + 1) : row + 1] for row in range(len(x))]
    known = [row[~np.isnan(row)] for row in rows]
    return np.array([figure(row) if len(row) >= least else math.nan for row in known])


FIGURES: dict[str, tuple[Callable[[int, int], Formula], Callable[[Floats], float]]] = {
    "mean": (CLOSE.rolling_mean, np.mean),
    "deviation": (CLOSE.rolling_std, np.std),
    "largest": (CLOSE.rolling_max, np.max),
    "smallest": (CLOSE.rolling_min, np.min),
}


@pytest.mark.parametrize("name", FIGURES)
@settings(max_examples=40, deadline=None)
@given(x=values, window=st.integers(1, 70), strict=st.booleans())
def test_a_window_equals_its_loop(name: str, x: list[float], window: int, strict: bool) -> None:
    formula, figure = FIGURES[name]
    least = window if strict else (window + 1) // 2
    ours = evaluate(series(x), x=formula(window, least))["x"].to_numpy()
    np.testing.assert_allclose(ours, _window(np.array(x), window, least, figure), rtol=1e-9, atol=1e-9)


def test_a_window_forgets_a_price_that_was_a_billion_times_higher() -> None:
    calm = np.random.default_rng(1).lognormal(0, 0.02, 200)
    fallen = np.concatenate([np.full(50, 1e9), calm])
    for formula in (CLOSE.rolling_mean(30), CLOSE.rolling_std(30), CLOSE.rolling_mean(90, 45)):
        after, alone = (evaluate(series(x), x=formula)["x"].to_numpy()[-100:] for x in (fallen, calm))
        assert (after == alone).all()


def test_a_spread_keeps_its_digits_on_a_high_level() -> None:
    noise = np.random.default_rng(2).normal(0, 1e-6, 300)
    high, low = (evaluate(series(noise + level), x=CLOSE.rolling_std(20))["x"].to_numpy()[19:] for level in (1e3, 0.0))
    np.testing.assert_allclose(high, low, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(x=values, alpha=st.floats(0.005, 0.95), bars=st.integers(1, 9), lead=st.integers(0, 4))
def test_a_smoothing_equals_its_loop_and_starts_anew_behind_what_is_not_known(
    x: list[float], alpha: float, bars: int, lead: int
) -> None:
    expected: list[float] = []
    run: list[float] = []
    latest = math.nan
    for value in x:
        run = [] if math.isnan(value) else [*run, value]
        if len(run) == lead + bars:
            latest = sum(run[lead:]) / bars
        elif len(run) > lead + bars:
            latest += alpha * (value - latest)
        expected.append(latest if len(run) >= lead + bars else math.nan)
    ours = kernels.smooth(np.array(x), alpha, bars, lead, bars)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("alpha", [2 / 8, 1 / 14, 2 / 201, 0.9999])
def test_a_smoothing_is_right_across_its_blocks(alpha: float) -> None:
    x = np.random.default_rng(3).lognormal(0, 1, 30_000)
    latest, expected = x[0], [x[0]]
    for value in x[1:]:
        latest += alpha * (value - latest)
        expected.append(latest)
    np.testing.assert_allclose(kernels.smooth(x, alpha, 1, 0, 1), expected, rtol=1e-12)


def test_rows_that_start_together_take_one_pass_and_have_the_values_they_have_alone() -> None:
    x = np.random.default_rng(4).lognormal(0, 1, (3, 400))
    x[:, :5] = np.nan
    x[1, 300:] = np.nan
    holed = x.copy()
    holed[2, 100] = np.nan
    for table in (x, holed):
        for rule in (
            lambda v: kernels.smooth(v, 0.1, 14, 0, 14),
            lambda v: kernels.decayed_mean(v, 0.94, 30),
            kernels.running_sum,
        ):
            together, alone = rule(table), [rule(row) for row in table]
            assert np.array_equal(together, np.array(alone), equal_nan=True)


def test_a_decayed_mean_weighs_by_age_and_sums_to_one() -> None:
    x = np.random.default_rng(5).lognormal(0, 1, 50)
    x[20] = np.nan
    ours = kernels.decayed_mean(x, 0.9, 3)
    weights = 0.9 ** np.arange(29.0)[::-1]
    assert ours[-1] == pytest.approx((weights * x[21:]).sum() / weights.sum())
    assert np.isnan(ours[[0, 1, 20, 21, 22]]).all()
    assert not np.isnan(ours[[2, 19, 23]]).any()


def test_the_distance_from_a_moving_middle_is_measured_from_its_last_value() -> None:
    x = np.random.default_rng(6).lognormal(0, 1, 40)
    middle = np.convolve(x, np.ones(5) / 5)[:40]
    ours = kernels.deviation_from(x, middle, 5)
    assert np.isnan(ours[:4]).all()
    expected = [np.abs(x[row - 4 : row + 1] - middle[row]).mean() for row in range(4, 40)]
    np.testing.assert_allclose(ours[4:], expected, rtol=1e-12)


def test_bars_since_counts_from_the_last_time() -> None:
    assert kernels.bars_since(np.array([0.0, 1.0, 0.0, 0.0, 1.0])).tolist() == [math.inf, 0.0, 1.0, 2.0, 0.0]
