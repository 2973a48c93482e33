"""A file of the user's as an outside series, or what is wrong with it and where."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.data.outside.file import read_outside
from cryptocast.data.outside.series import OutsideSeries
from cryptocast.errors import ConfigError, DataError

DAY = timedelta(days=1)
GOOD = "time,value\n2024-01-01,10.5\n2024-01-02,\n2024-01-03,12\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "fear.csv"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, delay: timedelta | None = DAY) -> OutsideSeries:
    return read_outside("fear", written(folder, text), delay)


def test_times_are_utc_and_a_value_is_known_so_long_after_them(tmp_path: Path) -> None:
    series = read(tmp_path, GOOD)
    assert series.values.to_list() == [10.5, 12.0]
    assert series.times.to_list() == [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 3)]
    assert series.moments.to_list() == [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 4)]


@pytest.mark.parametrize(
    "text",
    [
        "Time;Value;Known_After\n2024-01-01T00:00Z;1,5;2024-01-02 08:30\n".replace("1,5", "1.5"),
        "time,value,known_after,who\n1704067200,1.5,2024-01-02T09:30:00+01:00,me\n",
    ],
)
def test_a_column_says_when_each_value_was_known(tmp_path: Path, text: str) -> None:
    series = read(tmp_path, text, None)
    assert (series.values[0], series.moments[0]) == (1.5, datetime(2024, 1, 2, 8, 30, tzinfo=UTC))


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "fear.parquet"
    times = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2)]
    pl.DataFrame({"time": times, "value": [1, 2]}).write_parquet(path)
    assert read_outside("fear", path, timedelta(0)).moments.to_list() == times


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    first = read(tmp_path, GOOD)
    assert read_outside("fear", tmp_path / "fear.csv", DAY) is first
    path = written(tmp_path, GOOD + "2024-01-04,13\n")
    os.utime(path, ns=(1, 1))
    again = read_outside("fear", path, DAY)
    assert again.values[-1] == 13.0
    assert again.content_hash != first.content_hash


def test_a_file_that_does_not_say_when_its_values_were_known_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[series\.fear\] does not say when .* there is no default: .* the future"):
        read(tmp_path, GOOD, None)
    with pytest.raises(ConfigError, match="leave one of them out"):
        read(tmp_path, "time,value,known_after\n2024-01-01,1,2024-01-02\n")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("2024-01-01,1\n2024-01-03,2\n2024-01-02,3\n", r"row 4: the time is before that of the row above"),
        ("2024-01-01,1\n2024-01-01,2\n", r"row 3: the time is that of the row before"),
        ("2024-01-01,1\nsoon,2\n", r"column time, row 3: 'soon' is no time"),
        ("2024-01-01,1\n,2\n", r"column time, row 3: 'None' is no time"),
        ("2024-01-01,1\n2024-01-02,high\n", r"row 3: the value is no number"),
        ("2024-01-01,1\n2024-01-02,inf\n", r"row 3: the value is no number"),
        ("02/01/2024,1\n", r"column time: write dates with the year first"),
        ("2024-01-01,1,9\n", r"neither Parquet nor a CSV file"),
        ("2024-01-01,\n", r"has no values"),
        ("", r"has no values"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, rows: str, words: str) -> None:
    with pytest.raises(DataError, match=rf"fear\.csv.*{words}"):
        read(tmp_path, f"time,value\n{rows}")


def test_nothing_is_known_before_it_has_happened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 3: known_after is before time"):
        read(tmp_path, "time,value,known_after\n2024-01-01,1,2024-01-01\n2024-01-02,1,2024-01-01T23:59\n", None)


def test_a_missing_file_or_column_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[series\.fear\] file: .*none\.csv cannot be read"):
        read_outside("fear", tmp_path / "none.csv", DAY)
    with pytest.raises(DataError, match="has no column value: it has time, close"):
        read(tmp_path, "time,close\n2024-01-01,1\n")
    with pytest.raises(DataError, match="two columns of one name"):
        read(tmp_path, "time,value,Value\n2024-01-01,1,2\n")
