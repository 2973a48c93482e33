"""Forecasts between the fitted horizons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.arrays import FloatArray
from cryptocast.models.base import Forecast
from cryptocast.models.interpolation import at_horizons, neighbours
from cryptocast.models.quantile_shape import student_quantiles
from cryptocast.scoring.quantiles import LEVELS

MIDDLE = len(LEVELS) // 2


def forecast_at(horizons: tuple[int, ...], volatility: list[float], drift: list[float], p_up: list[float]) -> Forecast:
    """One row; heavier tails at the first horizon than at the last."""
    shapes = np.linspace(1.3, 1.0, len(horizons))[:, None] * student_quantiles()[None, :]
    spread = np.array(volatility)
    values = np.array(drift)[:, None] + spread[:, None] * shapes
    return Forecast(
        coin=np.array(["bitcoin"]),
        issued_at=np.array([0]),
        price=np.array([100.0]),
        horizons=np.array(horizons),
        levels=LEVELS,
        values=values[None],
        volatility=spread[None],
        p_up=np.array(p_up)[None],
    )


@st.composite
def forecasts(draw: st.DrawFn) -> Forecast:
    """Of two to four horizons; a longer one may be narrower than a shorter one."""
    horizons = draw(st.lists(st.integers(1, 60), min_size=2, max_size=4, unique=True).map(sorted))
    count = len(horizons)
    volatility = draw(st.lists(st.floats(0.001, 0.5), min_size=count, max_size=count))
    drift = draw(st.lists(st.floats(-0.2, 0.2), min_size=count, max_size=count))
    p_up = draw(st.lists(st.floats(0.0, 1.0), min_size=count, max_size=count))
    return forecast_at(tuple(horizons), volatility, drift, p_up)


def widths(forecast: Forecast) -> FloatArray:
    """(H, q) of the first row."""
    return np.asarray(np.abs(forecast.values[0] - forecast.values[0, :, MIDDLE, None]))


@given(forecasts())
def test_fitted_horizons_are_left_as_they_are_to_the_last_bit(fitted: Forecast) -> None:
    everything = at_horizons(fitted, range(1, int(fitted.horizons[-1]) + 1))
    columns = fitted.horizons - 1
    assert np.array_equal(everything.values[:, columns], fitted.values)
    assert np.array_equal(everything.volatility[:, columns], fitted.volatility)
    assert np.array_equal(everything.p_up[:, columns], fitted.p_up)


@given(forecasts())
def test_an_interpolated_interval_is_never_narrower_than_that_of_a_shorter_horizon(fitted: Forecast) -> None:
    everything = at_horizons(fitted, range(1, int(fitted.horizons[-1]) + 1))
    found, known = widths(everything), set(fitted.horizons.tolist())
    for column in range(1, len(found)):
        if column + 1 in known:
            continue
        below = max((one for one in known if one <= column), default=1)
        assert (found[column] >= found[below - 1 : column].max(axis=0) - 1e-12).all()


@given(forecasts(), st.data())
def test_a_horizon_does_not_depend_on_what_else_is_asked_for(fitted: Forecast, data: st.DataObject) -> None:
    longest = int(fitted.horizons[-1])
    asked = data.draw(st.lists(st.integers(1, longest), min_size=1, max_size=5, unique=True).map(sorted))
    together = at_horizons(fitted, asked)
    for column, horizon in enumerate(asked):
        alone = at_horizons(fitted, [horizon])
        assert np.array_equal(alone.values[:, 0], together.values[:, column])
        assert np.array_equal(alone.p_up[:, 0], together.p_up[:, column])


@given(forecasts())
def test_the_variance_the_median_and_the_odds_are_linear_between_two_horizons(fitted: Forecast) -> None:
    everything = at_horizons(fitted, range(1, int(fitted.horizons[-1]) + 1))
    bars = np.arange(1, int(fitted.horizons[-1]) + 1)
    known = fitted.horizons
    first = int(known[0])
    inside = bars >= first
    variance = np.interp(bars, known, fitted.volatility[0] ** 2)
    median = np.interp(bars, known, fitted.values[0, :, MIDDLE])
    assert everything.volatility[0][inside] ** 2 == pytest.approx(variance[inside])
    assert everything.values[0, inside, MIDDLE] == pytest.approx(median[inside])
    odds = np.clip(fitted.p_up[0], 1e-9, 1 - 1e-9)
    logit = np.interp(bars, known, np.log(odds / (1 - odds)))
    assert everything.p_up[0][inside] == pytest.approx(1 / (1 + np.exp(-logit[inside])), abs=1e-8)


def test_below_the_shortest_the_variance_is_proportional_and_the_shape_is_its_own() -> None:
    fitted = forecast_at((8, 32), [0.08, 0.12], [0.04, 0.1], [0.8, 0.9])
    made = at_horizons(fitted, [2, 8])
    assert made.volatility[0, 0] == pytest.approx(0.04)
    assert made.values[0, 0] - 0.01 == pytest.approx((fitted.values[0, 0] - 0.04) / 2)
    assert 0.5 < made.p_up[0, 0] < 0.8


def test_between_two_horizons_the_result_is_the_one_worked_out_by_hand() -> None:
    fitted = forecast_at((1, 3), [0.1, 0.2], [0.0, 0.02], [0.5, 0.5])
    made = at_horizons(fitted, [2])
    spread, shape = np.sqrt((0.01 + 0.04) / 2), (1.3 + 1.0) / 2
    assert made.values[0, 0] == pytest.approx(0.01 + spread * shape * student_quantiles())


def test_beyond_the_longest_nothing_is_made_up() -> None:
    fitted = forecast_at((1, 7), [0.1, 0.2], [0.0, 0.0], [0.5, 0.5])
    assert neighbours((1, 7), 7) == (7,)
    assert neighbours((1, 7), 3) == (1, 7)
    assert neighbours((7, 14), 3) == (7,)
    for horizon in (0, 8):
        with pytest.raises(ValueError, match="not within 1 to 7"):
            at_horizons(fitted, [horizon])
