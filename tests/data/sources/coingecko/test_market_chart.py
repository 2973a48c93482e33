import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.coingecko.market_chart import market_chart
from cryptocast.errors import DataError, UpstreamError
from cryptocast.market import Market
from tests.data.sources.coingecko.history import DAY, HOUR, JAN_1, NOW, Points, chart, times


def test_the_last_point_is_now_and_left_out_and_midnight_is_the_close_of_the_day_before() -> None:
    body = chart([(JAN_1, 61234.5), (JAN_1 + DAY, 61810.2), (JAN_1 + DAY + 54_060_000, 61777.0)])
    found = market_chart(body, "bitcoin", "daily", NOW)
    assert times(found) == ["01 00:00", "02 00:00"]
    assert found.frame["close"].to_list() == [61234.5, 61810.2]
    assert found.frame.schema == CANDLE_SCHEMA
    assert not found.frame["range_known"].any()
    assert found.frame["high"].equals(found.frame["close"].rename("high"))


def test_a_bar_that_is_not_closed_by_our_clock_is_left_out() -> None:
    body = chart([(JAN_1, 1.0), (JAN_1 + DAY, 2.0)])
    assert times(market_chart(body, "bitcoin", "daily", datetime(2026, 1, 1, 12, tzinfo=UTC))) == ["01 00:00"]


def test_the_arrays_are_joined_by_stamp_and_zeros_and_nulls_are_unknown() -> None:
    body = chart(
        [(JAN_1 - DAY, 1.0), (JAN_1, 2.0), (JAN_1 + DAY, 3.0)],
        caps=[(JAN_1, None), (JAN_1 + DAY, 9e11)],
        volumes=[(JAN_1 + DAY, 5e9), (JAN_1 - DAY, 0)],
    )
    found = market_chart(body, "bitcoin", "daily", NOW)
    assert found.frame["market_cap"].to_list() == [None, None, 9e11]
    assert found.frame["volume"].to_list() == [None, None, 5e9]


def test_a_null_price_is_a_gap_and_is_counted() -> None:
    found = market_chart(chart([(JAN_1 - DAY, 1.0), (JAN_1, None), (JAN_1 + DAY, 3.0)]), "bitcoin", "daily", NOW)
    assert times(found) == ["31 00:00", "02 00:00"]
    assert "1 bars without a price left out" in found.notes


def test_hourly_points_are_put_on_the_grid_and_the_closest_counts() -> None:
    points: Points = [
        (JAN_1 + 4_000, 1.0),  # four seconds late
        (JAN_1 + HOUR - 3_000, 2.0),  # early: closer than the next
        (JAN_1 + HOUR + 200_000, 2.5),
        (JAN_1 + 2 * HOUR + 1_799_000, 9.0),  # half past: says nothing about an hour's close
        (JAN_1 + 4 * HOUR, 4.0),
    ]
    found = market_chart(chart(points, volumes=[(JAN_1 + 4_500, 7.0)]), "bitcoin", "hourly", NOW)
    assert times(found) == ["01 00:00", "01 01:00", "01 04:00"]
    assert found.frame["close"].to_list() == [1.0, 2.0, 4.0]
    assert found.frame["volume"].to_list() == [7.0, None, None]
    assert any("rolling sum" in note for note in found.notes)


def test_points_out_of_order_and_repeated_make_one_sorted_series() -> None:
    body = chart([(JAN_1 + DAY, 3.0), (JAN_1, 1.0), (JAN_1, 2.0)])
    assert market_chart(body, "bitcoin", "daily", NOW).frame["close"].to_list() == [2.0, 3.0]


def test_hours_where_days_were_asked_for_are_refused() -> None:
    body = chart([(JAN_1 - hour * HOUR, 1.0) for hour in range(200)])
    with pytest.raises(UpstreamError, match="not daily"):
        market_chart(body, "bitcoin", "daily", NOW)


def test_an_empty_span_is_an_empty_frame() -> None:
    found = market_chart(chart([]), "bitcoin", "daily", NOW)
    assert found.frame.schema == CANDLE_SCHEMA
    assert found.frame.is_empty()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"prices": [[17672', b"\xff", b'{"x":' + b"[" * 100_000])
def test_a_body_that_is_no_json_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="not whole JSON"):
        market_chart(body, "bitcoin", "daily", NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"prices": null}',
        b'{"prices": [[1]]}',
        b'{"prices": [["a", 1]]}',
        b'{"prices": [[1767225600000, "1"]]}',
        b'{"prices": [[1767225600, 1.0]]}',  # seconds
        b'{"prices": [[1767225600000, -1.0]]}',
        b'{"prices": [[1767225600000, 1e400]]}',
    ],
)
def test_json_that_is_no_chart_is_the_upstreams_failure_in_one_line(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        market_chart(body, "bitcoin", "daily", NOW)
    assert str(caught.value).isprintable()


stamps = st.one_of(
    st.integers(-30, 5).map(lambda day: JAN_1 + day * DAY),
    st.integers(-200, 60).map(lambda hour: JAN_1 + hour * HOUR),
    st.integers(JAN_1 - 10 * DAY, JAN_1 + 3 * DAY),
    st.floats(),
)
values = st.one_of(st.none(), st.just(0.0), st.floats(0, 1e15), st.floats())
arrays = st.lists(st.tuples(stamps, values), max_size=30)


@settings(max_examples=60, deadline=None)
@given(arrays, arrays, arrays, st.sampled_from(["daily", "hourly"]))
def test_any_chart_gives_a_valid_series_or_one_line(prices: Any, caps: Any, volumes: Any, granularity: Any) -> None:
    body = json.dumps({"prices": prices, "market_caps": caps, "total_volumes": volumes}, allow_nan=True).encode()
    try:
        found = market_chart(body, "bitcoin", granularity, NOW)
    except (DataError, UpstreamError) as error:
        refusal = str(error)
    else:
        if len(found.frame):
            check_candles(found.frame, SeriesKey(Market("coingecko", "usd", granularity), "bitcoin"))
            assert found.frame["close_time"].max() <= NOW  # type: ignore[operator]
        assert found.frame.schema == CANDLE_SCHEMA
        return
    assert refusal.isprintable()
