"""A bar sees the newest value that was known when it closed, and nothing else."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.outside.series import OutsideSeries, outside_series
from cryptocast.data.schema import TIME

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = st.integers(0, 200)


def hours(places: list[int]) -> pl.Series:
    return pl.Series([START + place * HOUR for place in places], dtype=TIME)


def series_of(rows: list[tuple[int, float, int]]) -> OutsideSeries:
    """rows: time in hours, value, and how many hours later it was known."""
    times = hours([row[0] for row in rows])
    frame = pl.DataFrame({"time": times, "value": [row[1] for row in rows]})
    return outside_series("outside", frame, hours([row[0] + row[2] for row in rows]))


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[int, float, int]]:
    times = sorted(draw(st.sets(HOURS, min_size=1, max_size=20)))
    return [(at, float(draw(st.integers(-9, 9))), draw(st.integers(0, 60))) for at in times]


def slowly(rows: list[tuple[int, float, int]], close: int) -> float | None:
    """Of the values that were known by the close, the one with the latest time."""
    newest = None
    for at, value, delay in rows:
        if at + delay <= close and (newest is None or at > newest[0]):
            newest = (at, value)
    return None if newest is None else newest[1]


@given(rows(), st.lists(st.integers(-5, 300), max_size=30))
def test_the_join_equals_a_slow_obvious_loop(rows: list[tuple[int, float, int]], closes: list[int]) -> None:
    assert series_of(rows).at(hours(closes)).to_list() == [slowly(rows, close) for close in closes]


@given(rows(), st.integers(0, 260), st.lists(st.integers(-5, 300), max_size=30))
def test_what_becomes_known_later_changes_no_earlier_bar(
    rows: list[tuple[int, float, int]], cut: int, closes: list[int]
) -> None:
    early = [close for close in closes if close <= cut]
    whole = series_of(rows)
    assert whole.until(START + cut * HOUR).at(hours(early)).equals(whole.at(hours(early)))


def test_a_series_is_late_when_a_new_value_should_have_come() -> None:
    daily = series_of([(24 * day, 1.0, 24) for day in range(10)])
    last = START + timedelta(days=10)
    assert daily.last_known(last) == last
    assert not daily.is_late(last + timedelta(days=3))
    assert daily.is_late(last + timedelta(days=3, hours=1))
    assert daily.last_known(START) is None
    assert not daily.is_late(START)
