"""Numbers, times and foreign text as people read them."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.number_format import (
    Prices,
    ahead,
    count,
    digits,
    horizons_ahead,
    one_line,
    percent,
    price,
    round_numbers,
    size,
    span,
    spread,
)

prices = st.floats(1e-12, 1e9)


@given(prices)
def test_a_price_keeps_four_significant_digits(value: float) -> None:
    shown = Prices([value])
    assert float(shown(value).replace(",", "")) * shown.unit == pytest.approx(value, rel=6e-4)


@given(st.lists(prices, min_size=2, max_size=8))
def test_prices_of_one_column_have_the_same_decimals(values: list[float]) -> None:
    shown = Prices(values)
    assert len({len(shown(value).partition(".")[2]) for value in values}) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (43_250.4, "43,250 USD"),
        (8710.16, "8,710.2 USD"),
        (1.0, "1.0000 USD"),
        (0.00123456, "0.0012346 USD"),
        (1.2345e-8, "1.2345e-08 USD"),
    ],
)
def test_a_price_stands_with_its_currency(value: float, text: str) -> None:
    assert price(value, "usd") == text


def test_tiny_prices_are_counted_in_a_power_of_ten_that_is_named() -> None:
    shown = Prices([1.5e-8, 2.25e-8])
    assert shown.named("usd") == "1e-08 USD"
    assert shown(2.25e-8) == "2.250"


def test_what_is_no_number_is_a_dash() -> None:
    nan = float("nan")
    assert {Prices([nan])(nan), Prices([])(None), percent(None), percent(nan), digits(None), digits(math.inf)} == {"-"}


def test_a_share_is_shown_in_percent_and_never_as_minus_zero() -> None:
    assert percent(0.0312) == "3.1"
    assert percent(0.0312, signed=True) == "+3.1"
    assert percent(-0.0001) == "0.0"
    assert percent(-0.0001, signed=True) == "+0.0"
    assert spread(0.812, 0.021) == "81.2±2.1"


@given(st.floats(-1e300, 1e300))
def test_any_number_is_shown_to_within_its_digits(value: float) -> None:
    assert float(digits(value).replace(",", "")) == pytest.approx(value, rel=1e-3, abs=5e-5)


@given(st.text())
def test_foreign_text_cannot_steer_a_terminal(text: str) -> None:
    line = one_line(text)
    assert line.isprintable() or line == ""
    assert len(line.splitlines()) <= 1


def test_counts_durations_and_sizes_read_as_english() -> None:
    assert [count(1, "coin"), count(2, "coin"), count(2, "entry"), count(1000, "series")] == [
        "1 coin",
        "2 coins",
        "2 entries",
        "1,000 series",
    ]
    assert [span(0.04), span(31.2), span(600.0)] == ["0.0 s", "31 s", "10.0 min"]
    assert [size(19), size(3000), size(2.5e9), size(3e12)] == ["19 B", "3.0 kB", "2.5 GB", "3.0 TB"]
    assert [ahead(7, "daily"), ahead(24, "hourly")] == ["7 d", "24 h"]


@given(st.floats(1e-9, 1e9), st.floats(1e-6, 1.0), st.integers(3, 8))
def test_the_marks_of_an_axis_are_few_and_round_and_inside(low: float, share: float, most: int) -> None:
    high = low * (1.0 + share)
    marks = round_numbers(low, high, most)
    assert len(marks) <= most + 1
    assert all(low * (1 - 1e-12) <= mark <= high * (1 + 1e-12) for mark in marks)
    steps = [later - mark for mark, later in pairwise(marks)]
    for step in steps:
        assert step == pytest.approx(steps[0], rel=1e-3)


@pytest.mark.parametrize(("low", "high"), [(5506.4, 13777.8), (0.00001107, 0.00001353), (99.0, 101.0), (0.9, 1.1)])
def test_there_are_at_least_two_marks_of_few_digits(low: float, high: float) -> None:
    marks = round_numbers(low, high, 5)
    assert 2 <= len(marks) <= 6
    assert all(float(f"{mark:.4g}") == pytest.approx(mark) for mark in marks)


def test_several_horizons_share_a_unit() -> None:
    assert [horizons_ahead(horizons, "daily") for horizons in ((), (1,), (1, 7, 30))] == ["", "1 d", "1, 7, 30 d"]
    assert horizons_ahead((1, 24), "hourly") == "1, 24 h"
