"""The calendar of a bar is that of the time in which it was open."""

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pytest

from cryptocast.features import time
from cryptocast.features.builder import evaluate

CLOCK = {
    "hour": (time.hour_sine(), time.hour_cosine()),
    "weekday": (time.weekday_sine(), time.weekday_cosine()),
    "month": (time.month_sine(), time.month_cosine()),
}


def _row(moment: datetime) -> dict[str, float]:
    frame = pl.DataFrame({"close_time": [moment]}, schema={"close_time": pl.Datetime("us", "UTC")})
    formulas = {f"{name}_{i}": formula for name, pair in CLOCK.items() for i, formula in enumerate(pair)}
    return evaluate(frame, weekend=time.weekend(), **formulas).row(0, named=True)


def test_a_daily_bar_that_closes_on_monday_midnight_was_a_sunday() -> None:
    assert _row(datetime(2024, 1, 8, tzinfo=UTC))["weekend"] == 1.0  # a Monday
    assert _row(datetime(2024, 1, 9, tzinfo=UTC))["weekend"] == 0.0
    assert _row(datetime(2024, 1, 6, tzinfo=UTC))["weekend"] == 0.0  # a Saturday: the bar was Friday's


def test_the_first_of_january_at_midnight_still_belongs_to_december() -> None:
    row = _row(datetime(2024, 1, 1, tzinfo=UTC))
    assert (row["month_0"], row["month_1"]) == pytest.approx((-0.5, 3**0.5 / 2))


def test_an_hourly_bar_carries_the_hour_in_which_it_opened() -> None:
    row = _row(datetime(2024, 5, 1, 7, tzinfo=UTC))  # 06:00 to 07:00
    assert (row["hour_0"], row["hour_1"]) == pytest.approx((1.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("name", CLOCK)
def test_every_moment_is_a_point_on_the_circle(name: str, make_bars: Callable[..., pl.DataFrame]) -> None:
    sine, cosine = CLOCK[name]
    frame = evaluate(make_bars(400, coins=["bitcoin"]), s=sine, c=cosine)
    assert ((frame["s"] ** 2 + frame["c"] ** 2 - 1).abs() < 1e-12).all()
