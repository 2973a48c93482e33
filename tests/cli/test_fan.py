"""The picture of a forecast."""

import io
import math
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cryptocast.cli.fan import FanChart
from cryptocast.workflows.reports import CoinForecast, HorizonForecast, Interval, Unanswered

NOW = datetime(2020, 1, 2, tzinfo=UTC)
REACH = {95: 1.96, 80: 1.28, 40: 0.52}


def forecast_of(
    price: float,
    horizons: tuple[int, ...] = (1, 7, 30),
    levels: tuple[int, ...] = (40, 80, 95),
    *,
    hourly: bool = False,
) -> CoinForecast:
    bar = timedelta(hours=1) if hourly else timedelta(days=1)
    return CoinForecast(
        coin="bitcoin",
        vs="usd",
        granularity="hourly" if hourly else "daily",
        source="sample",
        model_requested="auto",
        model_used="lightgbm",
        version=1,
        fallback_reason=None,
        as_of=NOW,
        stale_after=NOW + 3 * bar,
        stale=False,
        price=price,
        notices=(),
        horizons=tuple(horizon_of(price, horizon, bar, levels) for horizon in horizons),
    )


def horizon_of(price: float, horizon: int, bar: timedelta, levels: tuple[int, ...]) -> HorizonForecast:
    width = 0.03 * math.sqrt(horizon)
    return HorizonForecast(
        horizon=horizon,
        target_time=NOW + horizon * bar,
        median=price,
        mean=price,
        intervals=tuple(
            Interval(
                level=level, lower=price * math.exp(-REACH[level] * width), upper=price * math.exp(REACH[level] * width)
            )
            for level in levels
        ),
        volatility=width,
        p_up=0.5,
        confidence=0.5,
        pooled=None,
        answers=(),
        unanswered=Unanswered.NOT_BACKTESTED,
        evidence=None,
        fallback_reason=None,
        interpolated=None,
        live_outcomes=0,
    )


def closes_of(forecast: CoinForecast, bars: int = 40) -> list[tuple[datetime, float]]:
    return [(NOW - n * timedelta(days=1), forecast.price * (1 + 0.002 * n)) for n in reversed(range(bars))]


def drawn(fan: FanChart, width: int, *, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    Console(file=file, width=width, color_system=None).print(fan)
    file.seek(0)
    return file.read()


@settings(max_examples=15, deadline=None)
@given(
    st.floats(1e-10, 1e7),
    st.integers(40, 200),
    st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True),
    st.booleans(),
)
def test_it_fits_the_terminal_whatever_is_forecast(price: float, width: int, horizons: list[int], hourly: bool) -> None:
    forecast = forecast_of(price, tuple(sorted(horizons)), hourly=hourly)
    lines = drawn(FanChart(forecast, closes_of(forecast)), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 19


def test_the_bands_lie_inside_each_other_around_the_median() -> None:
    forecast = forecast_of(100.0)
    lines = drawn(FanChart(forecast, closes_of(forecast)), 80).splitlines()
    column = "".join(line[-2] for line in lines[1:16])
    order = [sign for n, sign in enumerate(column.strip()) if n == 0 or column.strip()[n - 1] != sign]
    assert order == list("░▒▓━▓▒░")


def test_the_axes_name_round_prices_and_the_dates_of_the_last_close_and_of_the_last_horizon() -> None:
    forecast = forecast_of(100.0)
    said = drawn(FanChart(forecast, closes_of(forecast)), 80)
    assert "100┤" in said
    assert "2020-01-02" in said
    assert "2020-02-01" in said
    assert " ".join(said.splitlines()[-1].split()) == "░░░ 95 % ▒▒▒ 80 % ▓▓▓ 40 % ━━━ median ⣀⠤⠒ closes in USD"


def test_tiny_prices_are_counted_in_a_power_of_ten() -> None:
    forecast = forecast_of(1.2e-8)
    assert "in 1e-08 USD" in drawn(FanChart(forecast, closes_of(forecast)), 80)


def test_it_has_no_colour_codes_without_a_terminal_and_plain_signs_without_unicode() -> None:
    forecast = forecast_of(100.0)
    assert "\x1b" not in drawn(FanChart(forecast, closes_of(forecast)), 80)
    assert drawn(FanChart(forecast, closes_of(forecast)), 80, encoding="ascii").isascii()


def test_it_has_colour_on_a_terminal() -> None:
    forecast = forecast_of(100.0)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    with console.capture() as said:
        console.print(FanChart(forecast, closes_of(forecast)))
    assert "\x1b[" in said.get()


def test_without_closes_the_fan_stands_alone_and_without_room_there_is_none() -> None:
    forecast = forecast_of(100.0, levels=(80, 95))
    assert "▒" in drawn(FanChart(forecast, ()), 80)
    assert drawn(FanChart(forecast, ()), 30) == ""
