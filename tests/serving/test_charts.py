import re
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.serving.charts import fan_chart, track_chart
from cryptocast.workflows.lifecycle.track_record import TrackedForecast
from cryptocast.workflows.reports import Interval
from tests.cli.test_fan import NOW, forecast_of

DAY = timedelta(days=1)


def closes(price: float, bars: int = 200) -> list[tuple[datetime, float]]:
    return [(NOW - (bars - number) * DAY, price * (1 + 0.001 * (number % 7))) for number in range(bars + 1)]


def drawings(text: str) -> list[ET.Element]:
    return list(ET.fromstring(f"<div>{text}</div>"))  # noqa: S314 - made one line above


def numbers(element: ET.Element) -> list[float]:
    texts = [value for key, value in element.items() if key in {"x", "x1", "x2", "y", "y1", "y2", "cx", "cy", "points"}]
    return [float(one) for text in texts for one in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]


def past(price: float, outcomes: list[float], horizon: int = 7) -> list[TrackedForecast]:
    return [
        TrackedForecast(
            horizon=horizon,
            version=1,
            issued_at=NOW + (number - horizon) * DAY,
            target_time=NOW + number * DAY,
            price=price,
            median=price,
            intervals=tuple(
                Interval(level=level, lower=price * (1 - width), upper=price * (1 + width))
                for level, width in ((80, 0.1), (95, 0.2))
            ),
            outcome=price * outcome,
        )
        for number, outcome in enumerate(outcomes)
    ]


def test_the_fan_stands_behind_the_price_and_its_horizon_is_marked_on_both_screens() -> None:
    drawn = drawings(fan_chart(forecast_of(60_000.0, levels=(80, 95)), closes(60_000.0), 7))
    assert [one.get("class") for one in drawn] == ["wide", "narrow"]
    for one in drawn:
        lines = {line.get("class"): line for line in one.iter("polyline")}
        price, median = (numbers(lines[name]) for name in ("price", "median"))
        assert price[-2:] == median[:2]  # the forecast begins where the price ends
        assert len(list(one.iter("polygon"))) == 2
        mark = next(line for line in one.iter("line") if line.get("class") == "mark")
        assert price[-2] < float(mark.get("x1") or 0) < median[-2]


def test_every_bar_can_be_read_off_without_a_script() -> None:
    wide, _ = drawings(fan_chart(forecast_of(60_000.0, levels=(80, 95)), closes(60_000.0), 7))
    texts = [title.text or "" for title in wide.iter("title")]
    assert len(texts) == 90 + 1 + 30
    assert texts[89] == "2020-01-01: 60,180 USD"
    assert texts[90] == "2020-01-02: 60,000 USD"
    assert texts[91 + 6].startswith("in 7 d, 2020-01-09: median 60,")
    assert "80 % " in texts[91 + 6]
    columns = [(float(r.get("x") or 0), float(r.get("width") or 0)) for r in wide.iter("rect")]
    assert all(abs(x + width - later) < 0.2 for (x, width), (later, _) in pairwise(columns))


def test_without_closes_the_fan_stands_alone() -> None:
    wide, _ = drawings(fan_chart(forecast_of(60_000.0), (), 1))
    assert len(list(wide.iter("title"))) == 1 + 30


def test_a_price_outside_the_widest_interval_is_a_cross_and_told() -> None:
    wide, _ = drawings(track_chart(past(100.0, [1.0, 1.15, 1.25, 0.7]), "daily"))
    assert len([one for one in wide.iter("path") if one.get("class") == "miss"]) == 2
    assert len(list(wide.iter("circle"))) == 2
    assert "4 past forecasts" in (wide.get("aria-label") or "")
    assert "2 fell outside" in (wide.get("aria-label") or "")
    assert next(wide.iter("title")).text == "2020-01-02: 100.0 came; 7 d before: 80 % 90.0 – 110.0, 95 % 80.0 – 120.0"


@settings(max_examples=60)
@given(
    st.floats(1e-12, 1e9),
    st.sampled_from([(1,), (1, 7, 30), (2, 1000)]),
    st.lists(st.floats(0.01, 5.0), min_size=1, max_size=150),
    st.booleans(),
)
def test_whatever_the_prices_everything_stands_inside_its_picture(
    price: float, horizons: tuple[int, ...], outcomes: list[float], hourly: bool
) -> None:
    forecast = forecast_of(price, horizons, (80, 95), hourly=hourly)
    track = track_chart(past(price, outcomes), "hourly" if hourly else "daily")
    for drawn in drawings(fan_chart(forecast, closes(price), horizons[0]) + track):
        _, _, width, height = map(float, (drawn.get("viewBox") or "").split())
        for element in drawn.iter():
            assert all(-1 <= one <= max(width, height) + 1 for one in numbers(element)), ET.tostring(element)
