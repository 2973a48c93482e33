"""Numbers with sensible digits."""

import pytest

from cryptocast.evaluation.report.words import (
    ahead,
    date,
    interval,
    number,
    percent,
    price,
    signed_percent,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.016, "0.0160"),
        (12.5, "12.5"),
        (-0.786, "−0.786"),
        (1234.5, "1,234"),
        (1.2e-9, "1.20e−09"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_a_number_has_three_significant_digits(value: float | None, written: str) -> None:
    assert number(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(64_210.4, "64,210"), (3_120.5, "3,120.50"), (0.5234567, "0.5235"), (0.0000231, "0.00002310"), (None, "–")],
)
def test_a_price_keeps_four_digits_whatever_its_size(value: float | None, written: str) -> None:
    assert price(value) == written


def test_shares_are_in_percent_and_zero_has_no_sign() -> None:
    assert percent(0.0124) == "1.2%"
    assert signed_percent(0.0124) == "+1.2%"
    assert signed_percent(-0.0312) == "−3.1%"
    assert signed_percent(-0.0002) == "0.0%"
    assert signed_percent(None) == "–"


def test_a_close_one_millisecond_before_midnight_is_the_day_that_it_ends() -> None:
    assert date(1_640_995_199_999_000) == "2022-01-01"
    assert date(1_641_002_400_000_000) == "2022-01-01 02:00"


def test_horizons_are_counted_in_bars() -> None:
    assert ahead(1, "day") == "1 day"
    assert ahead(24, "hour") == "24 hours"


def test_an_interval_has_both_ends_or_is_not_shown() -> None:
    assert interval(0.4, 1.9, share=False) == "0.40 to 1.90"
    assert interval(-0.004, 0.02, share=True) == "−0.4% to +2.0%"
    assert interval(None, 0.02, share=True) == ""
