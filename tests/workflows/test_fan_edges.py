from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.workflows.fan_edges import edge_path, interval_edges
from tests.cli.test_fan import forecast_of


def test_the_edges_of_a_level_stand_by_their_horizon() -> None:
    forecast = forecast_of(100.0)
    edges = interval_edges(forecast, 80, upper=True)
    assert edges == {row.horizon: row.intervals[1].upper for row in forecast.horizons}
    assert interval_edges(forecast, 99, upper=False) == {}


@given(st.floats(1e-9, 1e6), st.floats(0.5, 0.999))
def test_a_path_begins_at_the_price_meets_its_horizons_and_falls_in_between(price: float, drop: float) -> None:
    lower = {1: price * drop, 30: price * drop**2}
    path = edge_path(price, lower, [0.0, 1.0, 5.0, 30.0, 40.0])
    assert path[0] == pytest.approx(price)
    assert (path[1], path[3], path[4]) == pytest.approx((lower[1], lower[30], lower[30]))
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(path))
