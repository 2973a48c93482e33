from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.times import DAY_US, HOUR_US, as_datetime, as_microseconds, minute_text

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments)
def test_a_time_comes_back_to_the_microsecond(at: datetime) -> None:
    assert as_datetime(as_microseconds(at)) == at


@given(moments, st.integers(-12, 12))
def test_the_zone_of_a_time_changes_nothing(at: datetime, hours: int) -> None:
    assert as_microseconds(at.astimezone(timezone(timedelta(hours=hours)))) == as_microseconds(at)


def test_numbers_of_arrays_are_times_too() -> None:
    stamps = np.array([0, DAY_US + HOUR_US], dtype=np.int64)
    assert [minute_text(stamp) for stamp in stamps] == ["1970-01-01T00:00Z", "1970-01-02T01:00Z"]


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        as_microseconds(datetime(2020, 1, 1))  # noqa: DTZ001


def test_no_other_module_counts_from_1970() -> None:
    package = Path(__file__).resolve().parents[1] / "cryptocast"
    others = [path for path in package.rglob("*.py") if path.name != "times.py"]
    assert [str(path) for path in others if "datetime(1970" in path.read_text(encoding="utf-8")] == []
