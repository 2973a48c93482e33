"""A forecast as a picture."""

from datetime import timedelta

import numpy as np
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast_pictures import closes_before, fan_of, forecast_picture, history_bars
from tests.cli.test_fan import NOW, forecast_of
from tests.workflows.backtesting.small_runs import context as small_context

CLOSES = [(NOW - timedelta(days=day), 100.0 + day) for day in range(60, -1, -1)]


def test_the_fan_goes_through_every_bar_and_meets_the_intervals_of_the_horizons() -> None:
    forecast = forecast_of(100.0, (1, 7, 30))
    fan = fan_of(forecast, CLOSES)
    assert fan.prices.shape == (1, 30, 7)
    assert fan.levels.tolist() == pytest.approx([0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975])
    for horizon in forecast.horizons:
        at = horizon.horizon - 1
        ends = {interval.level: (interval.lower, interval.upper) for interval in horizon.intervals}
        assert fan.prices[0, at, [0, -1]] == pytest.approx(ends[95])
        assert fan.prices[0, at, [1, -2]] == pytest.approx(ends[80])
        assert fan.prices[0, at, 3] == pytest.approx(horizon.median)
    assert (np.diff(fan.prices, axis=2) >= 0).all()
    assert (np.diff(fan.due_at[0]) == BAR_US["daily"]).all()
    assert fan.due_at[0, 0] - fan.issued_at[0] == BAR_US["daily"]
    assert fan.close[-1] == fan.close.min()


@pytest.mark.parametrize("hourly", [False, True])
def test_a_long_horizon_takes_no_more_points_than_can_be_seen_and_no_closes_are_needed(hourly: bool) -> None:
    fan = fan_of(forecast_of(0.2, (1, 900), hourly=hourly), ())
    assert 100 < fan.prices.shape[1] <= 120
    assert fan.due_at[0, -1] == fan.issued_at[0] + 900 * BAR_US["hourly" if hourly else "daily"]
    assert fan.close.tolist() == [0.2]


def test_the_picture_names_each_coin_and_says_what_its_bands_are() -> None:
    picture = forecast_picture([(forecast_of(8710.15), CLOSES), (forecast_of(0.2, hourly=True), ())])
    assert picture.title == "Forecast of bitcoin, bitcoin"
    assert picture.about == [
        "Bands: 95 %, 80 %, 40 % intervals. Blue line: the median. Dark line: closes. Times are UTC. Not advice."
    ]
    assert [chart.title for chart in picture.charts] == [
        "bitcoin: 8,710.1 USD at 2020-01-02, forecast by lightgbm, version 1",
        "bitcoin: 0.20000 USD at 2020-01-02 00:00, forecast by lightgbm, version 1",
    ]
    assert picture.charts[0].description.startswith("bitcoin in 30 d: median 8,710.15 USD; 40 % between ")


def test_closes_come_from_the_candles_before_the_forecast_and_are_none_without_them(tmp_path: object) -> None:
    from pathlib import Path

    context: Context = small_context(Path(str(tmp_path)))
    forecast = forecast_of(100.0, (1, 14))
    assert len(closes_before(context, forecast)) == history_bars(14) == 28
    assert closes_before(context, forecast)[-1][0] == NOW
    from msgspec.structs import replace

    assert closes_before(context, replace(forecast, coin="dogecoin")) == ()
