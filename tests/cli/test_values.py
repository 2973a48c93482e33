"""What people write after an option."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.cli.values import amounts, duration, moment, names, numbers
from cryptocast.errors import UsageError


@given(st.lists(st.integers(1, 999_999), min_size=1, unique=True))
def test_a_list_of_numbers_reads_back(values: list[int]) -> None:
    assert numbers("--horizons", ",".join(map(str, values))) == tuple(values)


@given(st.integers(1, 999_999), st.sampled_from("mhdw"))
def test_a_duration_is_its_number_of_its_units(number: int, unit: str) -> None:
    seconds = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert duration("--if-older-than", f"{number}{unit}") == timedelta(seconds=number * seconds)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_reads_back(time: datetime) -> None:
    assert moment("--now", time.isoformat()) == time


def test_a_moment_without_a_zone_is_in_utc_and_with_one_is_brought_there() -> None:
    assert moment("--now", "2020-01-31") == datetime(2020, 1, 31, tzinfo=UTC)
    assert moment("--now", "2020-01-31T12:00+02:00") == datetime(2020, 1, 31, 10, tzinfo=UTC)
    assert moment("--now", "2020-01-31T12:00Z") == datetime(2020, 1, 31, 12, tzinfo=UTC)


def test_an_option_that_was_not_given_is_nothing() -> None:
    assert numbers("--horizons", None) == ()
    assert names("--model", None) == ()
    assert duration("--if-older-than", None) is None
    assert moment("--now", None) is None


@pytest.mark.parametrize("text", ["", "1,", "0", "-1", "1.5", "x", "1,1", "٣", "1;2", "9999999"])
def test_what_is_no_list_of_numbers_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--horizons"):
        numbers("--horizons", text)


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-7d", "7y", "1e3d", "9999999d"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="30m, 12h, 7d or 2w"):
        duration("--if-older-than", text)


@pytest.mark.parametrize("text", ["", "yesterday", "2020-13-01", "2020-01-01T25:00", "1e9", "0001-01-01T00:00+14:00"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="2020-01-31"):
        moment("--now", text)


@given(st.text(max_size=30))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    for read in (numbers, names, duration, moment):
        with suppress(UsageError):  # anything else would be a crash
            assert read("--option", text) is not None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_amounts_read_back(values: list[float]) -> None:
    assert amounts("--position", ",".join(map(str, values))) == tuple(values)


@pytest.mark.parametrize("text", ["x", "1,", "nan", "inf", "1;2", ""])
def test_an_amount_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--position takes"):
        amounts("--position", text)
