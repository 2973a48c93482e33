from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.sources.file.cells import date_order, decimal_sign, micros, numbers

MOMENTS = st.datetimes(datetime(2009, 1, 2), datetime(2099, 12, 30))  # noqa: DTZ001 - written without a zone


def number(text: str, sign: str = ".") -> float | None:
    value = numbers(pl.Series([text]), sign)[0]  # type: ignore[arg-type]
    return None if value is None else float(value)


def moment(text: object, **options: object) -> datetime | None:
    value = micros(pl.Series([text]), **options)[0][0]  # type: ignore[arg-type]
    return None if value is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=value)


@pytest.mark.parametrize(
    ("text", "sign", "value"),
    [
        ("60,001.0", ".", 60001.0),
        ("60.001,5", ",", 60001.5),
        ("60 001.5", ".", 60001.5),
        ("52.11K", ".", 52110.0),
        ("1.2M", ".", 1_200_000.0),
        ("1,2B", ",", 1_200_000_000.0),
        ("$1,234.5", ".", 1234.5),
        (" 5 ", ".", 5.0),
        ("1e-8", ".", 1e-8),
    ],
)
def test_numbers_written_for_people_are_read(text: str, sign: str, value: float) -> None:
    assert number(text, sign) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "null", "NaN", "N/A", "-", " "])
def test_what_is_unknown_is_null(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize("text", ["x", "1_0", "1,2", "1.2.3", "0x1", ".", "12,34,567", "5%5"])
def test_what_is_no_number_is_nan(text: str) -> None:
    value = number(text)
    assert value is not None
    assert value != value


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_a_number_is_the_same_in_every_spelling(value: float) -> None:
    assert number(repr(value)) == value
    text = f"{value:,.9f}"
    assert number(text) == float(text.replace(",", ""))
    assert number(text.translate(str.maketrans(",.", ".,")), ",") == number(text)


@pytest.mark.parametrize(
    ("cells", "sign"),
    [
        (["60,001.0"], "."),
        (["60.001,0"], ","),
        (["1,5"], ","),
        (["0,615"], ","),
        (["60001,123"], ","),
        (["1,234,567"], "."),
        (["60,001", "1.25"], "."),
        (["60,001"], None),
        (["60.001"], None),
        (["42283.580"], "."),
        (["100"], "."),
    ],
)
def test_the_decimal_sign_is_seen_or_asked_for(cells: list[str], sign: str | None) -> None:
    assert decimal_sign([pl.Series(cells)], point_is_decimal=False) == sign


def test_a_point_in_a_file_of_commas_is_a_decimal_sign() -> None:
    assert decimal_sign([pl.Series(["60.001"])], point_is_decimal=True) == "."


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["01/06/2024", "13/06/2024"], "dmy"),
        (["01/06/2024", "01/13/2024"], "mdy"),
        (["01/06/2024"], "unclear"),
        (["2024-01-06"], None),
    ],
)
def test_which_of_day_and_month_comes_first_is_seen_or_asked_for(cells: list[str], order: str | None) -> None:
    assert date_order(pl.Series(cells)) == order


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2020-01-31", "2020-01-31"),
        ("2020-01-31 14:05", "2020-01-31 14:05"),
        ("2020-01-31T14:00:00Z", "2020-01-31 14:00"),
        ("2020-01-31 23:59:59.999", "2020-01-31 23:59:59.999"),
        ("2020-01-31T00:00:00.1230000Z", "2020-01-31 00:00:00.123"),
        ("2020-01-31 00:00:00 UTC", "2020-01-31"),
        ("2020.01.31 04:00", "2020-01-31 04:00"),
        ("2020-07-03 12-AM", "2020-07-03"),
        ("2020-07-03 01-PM", "2020-07-03 13:00"),
        ("2020-01-01T10:00:00+02:00", "2020-01-01 08:00"),
        ("2020-01-01T10:00:00-0530", "2020-01-01 15:30"),
        ("Jan 31, 2020", "2020-01-31"),
        ("31/01/2020", "2020-01-31"),
        (" 1580428800 ", "2020-01-31"),
    ],
)
def test_times_are_read_as_they_are_written(text: str, iso: str) -> None:
    assert moment(text) == datetime.fromisoformat(iso).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["2020-02-30", "2020-13-01", "2020-01-01 25:00", "x", "2020", "1/1"])
def test_what_is_no_time_is_null(text: str) -> None:
    assert moment(text) is None or moment(text) < datetime(2009, 1, 1, tzinfo=UTC)  # type: ignore[operator]


@given(MOMENTS, st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]))
def test_an_epoch_is_the_same_in_every_unit(at: datetime, unit: int) -> None:
    seconds = int(at.replace(tzinfo=UTC).timestamp())
    expected = datetime.fromtimestamp(seconds, UTC)
    assert moment(str(seconds * unit)) == moment(seconds * unit) == expected
    assert moment(f"{seconds}.0") == moment(float(seconds)) == expected


@given(MOMENTS)
def test_a_time_is_the_same_as_text_and_as_a_type(at: datetime) -> None:
    assert moment(at.isoformat()) == moment(at) == moment(at.replace(tzinfo=UTC)) == at.replace(tzinfo=UTC)


def test_times_without_a_zone_are_counted_and_read_in_the_one_that_is_named() -> None:
    cells = pl.Series(["2020-10-25 01:00", "2020-10-25 02:00", "2020-10-25 02:00", "2020-10-25 03:00"])
    for rows, hours in ((cells, [23, 0, 1, 2]), (cells.reverse(), [2, 1, 0, 23])):
        times, naive = micros(rows, zone="Europe/Berlin")
        assert naive == 4
        assert times.cast(pl.Datetime("us")).dt.hour().to_list() == hours
    assert micros(pl.Series(["2020-10-25T01:00:00Z"]), zone="Europe/Berlin")[1] == 0
