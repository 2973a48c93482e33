"""Live and ended series: what is late, what is stale, and where the horizons count from."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.choices import Granularity
from cryptocast.data.age import Age, age_of, stale_after
from cryptocast.data.schema import BAR_US

LAST = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
LONGEST = 30


def age(passed: timedelta, *, is_fetched: bool = True, failed: bool = False, granularity: Granularity = "daily") -> Age:
    return age_of(LAST, LAST + passed, granularity, is_fetched=is_fetched, late_after=2, longest=LONGEST, failed=failed)


@pytest.mark.parametrize(
    ("passed", "late", "stale", "has_ended"),
    [
        (-DAY, 0, False, False),  # a clock that was set back
        (DAY, 0, False, False),
        (3 * DAY, 0, False, False),  # two bars may be missing
        (3 * DAY + timedelta(minutes=1), 3, True, False),
        (9.5 * DAY, 9, True, False),
        (30.9 * DAY, 30, True, False),  # the longest horizon
        (31 * DAY, 0, True, True),
        (2000 * DAY, 0, True, True),
    ],
)
def test_what_is_fetched_is_live_until_more_bars_are_missing_than_the_longest_horizon_has(
    passed: timedelta, late: int, stale: bool, has_ended: bool
) -> None:
    seen = age(passed)
    assert (seen.late, seen.stale, seen.has_ended) == (late, stale, has_ended)


@pytest.mark.parametrize(("passed", "stale"), [(DAY / 2, False), (3 * DAY, False), (4 * DAY, True), (2000 * DAY, True)])
def test_what_nobody_fetches_has_ended_and_is_stale_once_it_is_late(passed: timedelta, stale: bool) -> None:
    seen = age(passed, is_fetched=False)
    assert (seen.late, seen.stale, seen.has_ended) == (0, stale, True)


def test_bars_that_could_not_be_brought_up_to_date_are_stale_before_they_are_late() -> None:
    seen = age(DAY + DAY / 2, failed=True)
    assert (seen.late, seen.stale, seen.has_ended) == (0, True, False)


def test_a_target_date_is_ahead_until_its_bar_closes() -> None:
    seen = age(7 * DAY, is_fetched=False)
    assert [seen.is_ahead(horizon, "daily") for horizon in (1, 7, 8)] == [False, False, True]


def test_stale_means_that_the_next_bar_is_late_by_the_bars_of_the_setting() -> None:
    assert stale_after(LAST, "daily", 2) == LAST + 3 * DAY
    assert stale_after(LAST, "hourly", 2) == LAST + timedelta(hours=3)


@given(
    passed=st.timedeltas(min_value=-2 * DAY, max_value=4000 * DAY),
    granularity=st.sampled_from(["daily", "hourly"]),
    late_after=st.integers(0, 100),
    longest=st.integers(1, 200),
    is_fetched=st.booleans(),
    failed=st.booleans(),
)
def test_an_answer_that_is_not_stale_has_no_stale_after_in_the_past(
    passed: timedelta, granularity: Granularity, late_after: int, longest: int, is_fetched: bool, failed: bool
) -> None:
    now = LAST + passed
    seen = age_of(LAST, now, granularity, is_fetched=is_fetched, late_after=late_after, longest=longest, failed=failed)
    assert seen.stale or stale_after(LAST, granularity, late_after) >= now
    assert not seen.late or (seen.stale and not seen.has_ended)
    if seen.late:  # horizons count from the newest bar that should have closed
        bar = timedelta(microseconds=BAR_US[granularity])
        assert now - bar < LAST + seen.late * bar <= now
        assert late_after < seen.late <= longest
