from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.sources.file.resample import LENGTHS, MINUTE, bar_length, length_in, resample

DAY = 1440 * MINUTE
START = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1e6)


def bars(minutes: list[int], volume: float | None = 1.0) -> pl.DataFrame:
    """A bar at each of these minutes since the start; its prices are its number."""
    prices = [float(10 + number % 7) for number in range(len(minutes))]
    columns = dict.fromkeys(("open", "close"), prices) | {
        "high": [price + 1 for price in prices],
        "low": [price - 1 for price in prices],
    }
    frame = pl.DataFrame({"opened": [START + minute * MINUTE for minute in minutes], **columns})
    return frame.with_columns(volume=pl.lit(volume, pl.Float64()), market_cap=1e9, range_known=True)


def kept(minutes: list[int], *, sparse: bool = False, length: int = 1, rows_at_a_time: int = 200_000) -> list[int]:
    """The days that are whole enough."""
    whole, _ = resample(bars(minutes), length * MINUTE, DAY, sparse=sparse, rows_at_a_time=rows_at_a_time)
    return ((whole["opened"] - START) // DAY).to_list()


def test_a_day_is_made_of_its_first_last_highest_lowest_and_sum() -> None:
    whole, missing = resample(bars(list(range(2880))), MINUTE, DAY, sparse=False)
    assert missing.is_empty()
    first = whole.row(0, named=True)
    assert (first["open"], first["close"], first["high"], first["low"]) == (10.0, 10.0 + 1439 % 7, 17.0, 9.0)
    assert first["volume"] == 1440.0
    assert resample(bars(list(range(1440)), None), MINUTE, DAY, sparse=False)[0]["volume"].to_list() == [None]


def test_a_bar_is_left_out_if_more_than_a_tenth_lies_in_gaps_of_half_an_hour() -> None:
    days = range(3 * 1440)
    assert kept([m for m in days if not 1500 <= m < 1644]) == [0, 1, 2]  # 144 minutes: a tenth
    assert kept([m for m in days if not 1500 <= m < 1645]) == [0, 2]
    assert kept([m for m in days if m % 30 == 0 or not 1440 <= m < 2880]) == [0, 1, 2]  # 29 minutes 48 times
    assert kept([m for m in days if m % 31 == 0 or not 1440 <= m < 2880]) == [0, 2]
    assert kept([m for m in days if not 1500 <= m < 1644 + 1440]) == [0]


def test_a_layout_without_bars_where_nothing_was_traded_is_judged_by_gaps_of_six_hours() -> None:
    days = range(3 * 1440)
    assert kept([m for m in days if not 1500 <= m < 1500 + 359], sparse=True) == [0, 1, 2]
    assert kept([m for m in days if not 1500 <= m < 1500 + 360], sparse=True) == [0, 2]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_ends_of_a_series_are_whole_or_left_out(*, sparse: bool) -> None:
    assert kept(list(range(200, 2880)), sparse=sparse) == [1]
    assert kept(list(range(2880 - 200)), sparse=sparse) == [0]


def test_days_of_hours_are_whole_days() -> None:
    hours = [60 * hour for hour in range(72)]
    assert kept(hours, length=60) == [0, 1, 2]
    assert kept([m for m in hours if m not in (1500, 1560)], length=60) == [0, 1, 2]  # two of 24
    assert kept([m for m in hours if m not in (1500, 1560, 1800)], length=60) == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 4 * 48 - 1), min_size=1), st.booleans(), st.integers(1, 50))
def test_days_are_what_a_slow_count_of_minutes_says(numbers: set[int], sparse: bool, rows: int) -> None:
    minutes = [30 * number for number in sorted(numbers)]
    covered = {minute for start in minutes for minute in range(start, start + 30)}
    last = max(covered)
    edges = [*range(min(minutes) // 1440 * 1440, min(minutes)), *range(last + 1, (last // 1440 + 1) * 1440)]
    missing: dict[int, int] = {}
    run: list[int] = []
    for minute in [*(m for m in range(min(minutes), last + 1) if m not in covered), 10**9]:
        if run and minute != run[-1] + 1:
            if len(run) >= (360 if sparse else 30):
                for gone in run:
                    missing[gone // 1440] = missing.get(gone // 1440, 0) + 1
            run = []
        run.append(minute)
    for minute in edges:
        missing[minute // 1440] = missing.get(minute // 1440, 0) + 1
    expected = [day for day in sorted({m // 1440 for m in minutes}) if missing.get(day, 0) <= 144]
    assert kept(minutes, sparse=sparse, length=30, rows_at_a_time=rows) == expected


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_length_of_bars_is_read_from_their_times(length: int, *, sparse: bool) -> None:
    times = pl.Series([START + number * length for number in range(50) if number % 10 or not number])
    assert bar_length(times, float(length), sparse=sparse) == length


def test_sparse_minutes_are_minutes_though_most_are_three_apart() -> None:
    minutes = [0, 3, 6, 9, 10, 13, 16, 19, 22, 23, 26]
    times = pl.Series([START + minute * MINUTE for minute in minutes])
    assert bar_length(times, 3.0 * MINUTE, sparse=True) == MINUTE
    assert bar_length(times, 7.0 * MINUTE, sparse=False) is None


@pytest.mark.parametrize(
    ("name", "minutes"),
    [
        ("XBTUSD_1440.csv", 1440),
        ("XBTUSD_1.csv", 1),
        ("BTCUSDT-1d-2024-01.csv", 1440),
        ("BTCUSDT-15m-2024-01.zip", 15),
        ("BTC_USDT-4h.feather", 240),
        ("Bitstamp_BTCUSD_d.csv", 1440),
        ("Bitstamp_BTCUSD_minute.csv", 1),
        ("prices-2024-01.csv", None),
        ("BTCUSDT-1mo-2024-01.csv", None),
        ("XBTUSD_7.csv", None),
        ("XBTUSD.csv", None),
    ],
)
def test_the_name_of_a_file_may_say_how_long_its_bars_are(name: str, minutes: int | None) -> None:
    assert length_in(name) == (None if minutes is None else minutes * MINUTE)
