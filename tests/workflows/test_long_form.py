"""The columns of the Nixtla libraries."""

from datetime import UTC, date, datetime

import polars as pl

from cryptocast.data.schema import BAR_US
from cryptocast.workflows.long_form import as_bars, interval_names


def test_a_bar_is_named_by_the_moment_at_which_it_opens_without_a_zone() -> None:
    closes = pl.DataFrame({"ds": [datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 31, 2, tzinfo=UTC)]})
    opens = as_bars(closes, ["ds"], BAR_US["daily"])["ds"]
    assert opens.dtype == pl.Datetime("us")
    assert opens.to_list() == [datetime(2024, 2, 29), datetime(2024, 3, 30, 2)]  # noqa: DTZ001 - as it is written
    assert opens.dt.date()[0] == date(2024, 2, 29)
    assert as_bars(closes, ["ds"], BAR_US["hourly"])["ds"][1].hour == 1


def test_an_interval_has_the_two_columns_of_its_ends() -> None:
    assert interval_names("lightgbm", 80) == ("lightgbm-lo-80", "lightgbm-hi-80")
