import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.data.candle_checks import check_candles, provenance_of
from cryptocast.data.intervals import Span
from cryptocast.data.schema import CANDLE_SCHEMA, Provenance, SeriesKey
from cryptocast.data.sources.base import missing_spans
from cryptocast.data.sources.coingecko.backfill import (
    HOURS_NEEDED,
    LONGEST_STEP_HOURS,
    PAGE_DAYS,
    call_span,
    pages_of,
    range_pages,
    ranged_days,
)
from cryptocast.data.sources.coingecko.market_chart import market_chart
from cryptocast.data.sources.coingecko.source import COINGECKO
from cryptocast.data.sources.upstream import Page
from cryptocast.errors import DataError, UpstreamError
from cryptocast.market import Market

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAILY = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
HOURLY = SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin")
OLDEST = NOW - 365 * DAY + HOUR


def closes(times: list[datetime], values: list[float] | None = None, *, ranged: bool = False) -> pl.DataFrame:
    prices = values or [100.0] * len(times)
    rows = [("bitcoin", at, p, p, p, p, None, None, ranged) for at, p in zip(times, prices, strict=True)]
    return pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row")


def provenance(first: datetime, last: datetime, key: SeriesKey = DAILY) -> Provenance:
    return provenance_of(closes([first, last]), key, fetched_at=last)


# --- which calls


def wanted_pages(
    key: SeriesKey,
    stored: Provenance | None,
    covered: tuple[Span, ...],
    now: datetime,
    *,
    days: int,
    fresh: bool,
    whole: bool = False,
    refresh: bool = False,
) -> tuple[Page, ...]:
    start = now - timedelta(days=days)
    spans = missing_spans(stored, covered, now, start=start, fresh=fresh, whole=whole, refresh=refresh)
    return COINGECKO.pages(key, spans, now)


def test_a_new_coin_is_one_call_in_days_and_five_in_hours() -> None:
    (page,) = wanted_pages(DAILY, None, (), NOW, days=365, fresh=False, whole=True)
    assert (page.start, page.end, page.ends_now) == (NOW - 365 * DAY, NOW, True)
    hourly = wanted_pages(HOURLY, None, (), NOW, days=365, fresh=False, whole=True)
    assert [page.ends_now for page in hourly] == [True, False, False, False, False]


def test_what_is_fresh_and_covered_is_not_asked_for() -> None:
    stored = provenance(MIDNIGHT - 364 * DAY, MIDNIGHT)
    assert wanted_pages(DAILY, stored, (), NOW, days=365, fresh=True, whole=True) == ()
    covered = ((NOW - 365 * DAY, NOW - DAY),)
    young = provenance(MIDNIGHT - 20 * DAY, MIDNIGHT)
    assert wanted_pages(DAILY, young, covered, NOW, days=365, fresh=True, whole=True) == ()
    assert wanted_pages(DAILY, young, (), NOW, days=365, fresh=True, whole=True) != ()  # an older layout does not know
    assert wanted_pages(DAILY, young, (), NOW, days=365, fresh=True) == ()


def test_only_the_tail_is_asked_for_with_some_days_that_may_have_been_revised() -> None:
    stored = provenance(MIDNIGHT - 364 * DAY, MIDNIGHT - 2 * DAY)
    (page,) = wanted_pages(DAILY, stored, (), NOW, days=365, fresh=False, whole=True)
    assert page.start == MIDNIGHT - 5 * DAY
    stored = provenance(MIDNIGHT - 364 * DAY, MIDNIGHT - 2 * DAY, HOURLY)
    (page,) = wanted_pages(HOURLY, stored, (), NOW, days=365, fresh=False)
    assert (page.start, page.ends_now) == (MIDNIGHT - 3 * DAY, True)


def test_pages_that_a_kill_left_out_are_asked_for() -> None:
    stored = provenance(MIDNIGHT - 300 * DAY, MIDNIGHT, HOURLY)
    covered = ((NOW - 300 * DAY, NOW - 200 * DAY), (NOW - 100 * DAY, NOW - DAY))
    pages = wanted_pages(HOURLY, stored, covered, NOW, days=365, fresh=True)
    assert {(page.start, page.end) for page in pages} == {
        (NOW - 190 * DAY + timedelta(minutes=15), NOW - 100 * DAY),
        (NOW - 200 * DAY, NOW - 190 * DAY + timedelta(minutes=15)),
    }


def test_refresh_asks_for_all_of_it() -> None:
    stored = provenance(MIDNIGHT - 364 * DAY, MIDNIGHT)
    (page,) = wanted_pages(DAILY, stored, (), NOW, days=365, fresh=True, refresh=True)
    assert page.start == NOW - 365 * DAY


spans = st.lists(
    st.tuples(st.integers(0, 8000), st.integers(1, 3000)).map(
        lambda pair: (NOW - (pair[0] + pair[1]) * HOUR, NOW - pair[0] * HOUR)
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(spans)
def test_pages_cover_what_is_wanted_newest_first_and_are_answered_in_hours(wanted: list[Span]) -> None:
    pages = pages_of(HOURLY, wanted, NOW)
    for page in pages:
        assert page.start < page.end
        asked = (NOW if page.ends_now else call_span(page)[1]) - call_span(page)[0]
        assert asked <= PAGE_DAYS * DAY
    assert [page.end for page in pages] == sorted((page.end for page in pages), reverse=True)
    assert all(old.end <= new.start for new, old in pairwise(pages))
    for start, end in wanted:
        at = start + HOUR
        while at <= end:
            assert any(page.start < at <= page.end for page in pages)
            at += 97 * HOUR
    # No page could be done without: each holds the newest moment that the pages before it do not.
    assert len(pages) <= sum(math.ceil((end - start) / (89.9 * DAY)) for start, end in wanted)


def test_a_year_of_close_only_days_wants_five_pages_and_ranged_ones_none() -> None:
    times = [MIDNIGHT - back * DAY for back in reversed(range(364))]
    pages = range_pages(closes(times), HOURLY, (), NOW, oldest=OLDEST)
    assert len(pages) == 5
    assert (pages[0].end, pages[0].ends_now) == (MIDNIGHT, False)
    assert pages[-1].start == MIDNIGHT - 364 * DAY
    assert range_pages(closes(times, ranged=True), HOURLY, (), NOW, oldest=OLDEST) == ()
    assert range_pages(closes(times), HOURLY, ((OLDEST - DAY, NOW),), NOW, oldest=OLDEST) == ()


def test_days_before_the_window_and_days_whose_hours_are_not_there_yet_are_not_asked_for() -> None:
    times = [MIDNIGHT - back * DAY for back in reversed(range(400))]
    soon = MIDNIGHT + timedelta(minutes=30)
    pages = range_pages(closes(times), HOURLY, (), soon, oldest=soon - 365 * DAY + HOUR)
    assert pages[0].end == MIDNIGHT - DAY
    assert pages[-1].start >= soon - 365 * DAY + HOUR
    later = range_pages(closes(times), HOURLY, (), MIDNIGHT + timedelta(minutes=45), oldest=OLDEST)
    assert later[0].end == MIDNIGHT


def test_a_new_day_is_asked_for_with_the_day_before_it_which_may_have_been_revised() -> None:
    times = [MIDNIGHT - DAY, MIDNIGHT]
    daily = pl.concat([closes(times[:1], ranged=True), closes(times[1:])])
    (page,) = range_pages(daily, HOURLY, ((OLDEST, MIDNIGHT - 2 * DAY),), NOW, oldest=OLDEST)
    assert (page.start, page.end) == (MIDNIGHT - 2 * DAY, MIDNIGHT)


def test_a_page_is_settled_up_to_a_day_before_now() -> None:
    assert COINGECKO.settled(Page(DAILY, NOW - 9 * DAY, NOW, ends_now=True), NOW) == (NOW - 9 * DAY, NOW - DAY)
    older = Page(HOURLY, NOW - 9 * DAY, NOW - 5 * DAY, ends_now=False)
    assert COINGECKO.settled(older, NOW) == (older.start, older.end)
    assert COINGECKO.settled(Page(HOURLY, NOW - HOUR, NOW, ends_now=True), NOW) is None


# --- days made of hours


def slow_range(
    daily: dict[datetime, float], hourly: dict[datetime, float], close: datetime
) -> tuple[float, ...] | None:
    """The rule, hour by hour."""
    inside = [hourly.get(close - (24 - hour) * HOUR) for hour in range(1, 24)]
    known = [hour for hour, price in enumerate(inside, start=1) if price is not None]
    step = max(b - a for a, b in zip([0, *known], [*known, 24], strict=True))
    begin = daily.get(close - DAY, hourly.get(close - DAY))
    if len(known) < HOURS_NEEDED or step > LONGEST_STEP_HOURS or begin is None:
        return None
    prices = [begin, *[price for price in inside if price is not None], daily[close]]
    return begin, max(prices), min(prices), daily[close]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_range_of_a_day_is_that_of_its_hours(data: st.DataObject) -> None:
    price = st.floats(1.0, 200.0)
    gone = data.draw(st.sets(st.integers(0, 24 * 4), max_size=12))
    hourly = {MIDNIGHT - h * HOUR: data.draw(price) for h in range(24 * 4 + 1) if h not in gone}
    daily = {MIDNIGHT - d * DAY: data.draw(price) for d in range(4) if data.draw(st.integers(0, 5)) or d == 0}
    days = closes(sorted(daily), [daily[at] for at in sorted(daily)])
    hours = closes(sorted(hourly), [hourly[at] for at in sorted(hourly)])
    found = ranged_days(days, hours, (MIDNIGHT - 9 * DAY, MIDNIGHT))
    expected = {at: made for at in sorted(daily) if (made := slow_range(daily, hourly, at)) is not None}
    values = found.select("open", "high", "low", "close").rows()
    assert dict(zip(found["close_time"].to_list(), values, strict=True)) == expected
    if len(found):
        check_candles(found, DAILY)
        assert found["range_known"].all()


@pytest.mark.parametrize(
    ("gone", "ranged"),
    [((), True), ((5, 6), True), ((5, 6, 7), False), ((2, 9), True), ((2, 9, 15), False), ((1,), True), ((24,), True)],
)
def test_up_to_two_hours_may_be_missing(gone: tuple[int, ...], ranged: bool) -> None:
    hours = closes([MIDNIGHT - DAY + h * HOUR for h in range(25) if h not in gone])
    found = ranged_days(closes([MIDNIGHT - DAY, MIDNIGHT]), hours, (MIDNIGHT - DAY, MIDNIGHT))
    assert bool(len(found)) is ranged


# --- the whole pipeline, from raw JSON to days with a range

stamps = st.one_of(
    st.integers(-80, 20).map(lambda hour: int(MIDNIGHT.timestamp() * 1000) + hour * 3_600_000),
    st.integers(int((MIDNIGHT.timestamp() - 3 * 86_400) * 1000), int(NOW.timestamp() * 1000)),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.one_of(
    st.none(),
    st.just(0),
    st.integers(-3, 10**18),
    st.floats(1e-12, 1e12),
    st.floats(allow_nan=False, allow_infinity=False),
)
points = st.lists(st.tuples(stamps, values), max_size=90)
usual = st.lists(st.floats(0.5, 2.0), min_size=24, max_size=90).map(
    lambda prices: [[int((MIDNIGHT - h * HOUR).timestamp() * 1000) + h * 977 % 90_000, p] for h, p in enumerate(prices)]
)
charts = st.fixed_dictionaries(
    {"prices": st.one_of(points, usual)}, optional={"market_caps": points, "total_volumes": points}
)


@settings(max_examples=60, deadline=None)
@given(charts, charts)
def test_any_json_of_the_right_shape_gives_valid_candles_or_one_line(daily: Any, hourly: Any) -> None:
    made = {}
    for key, chart in ((DAILY, daily), (HOURLY, hourly)):
        try:
            made[key] = market_chart(json.dumps(chart).encode(), "bitcoin", key.granularity, NOW).frame
        except UpstreamError:
            return
        if len(made[key]):
            check_candles(made[key], key)
            assert (made[key]["close_time"] <= NOW).all()
    days = ranged_days(made[DAILY], made[HOURLY], (MIDNIGHT - 9 * DAY, MIDNIGHT))
    assert days.schema == CANDLE_SCHEMA
    if len(days):
        check_candles(days, DAILY)
        assert (days["high"] >= pl.Series(days.select(pl.max_horizontal("open", "close")).to_series())).all()
        assert (days["low"] <= pl.Series(days.select(pl.min_horizontal("open", "close")).to_series())).all()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.one_of(json_values, st.fixed_dictionaries({"prices": json_values})), st.sampled_from([DAILY, HOURLY]))
def test_any_json_at_all_is_a_series_or_one_line(content: Any, key: SeriesKey) -> None:
    try:
        frame = market_chart(json.dumps(content).encode(), "bitcoin", key.granularity, NOW).frame
    except (DataError, UpstreamError) as error:
        said = str(error)
    else:
        said = ""
        assert frame.schema == CANDLE_SCHEMA
    assert said.isprintable()
