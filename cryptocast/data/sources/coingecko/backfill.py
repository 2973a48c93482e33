"""What is missing from the store and how it is asked for: closes in one call, hours in pages, days made of hours. Pure.

First pass: daily closes, one call a coin. Second pass, less urgent: the hours of the days whose range is not known, in
pages that the upstream answers in hours, newest first; a day whose hours are there gets its real high and low.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from cryptocast.data.intervals import Span, merged, missing
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.upstream import Page

DAY: Final = timedelta(days=1)
PAGE_DAYS: Final = 90  # the longest span that is answered in hours
MARGIN: Final = timedelta(minutes=15)  # behind a page: points come after their hour, by seconds to minutes
RANGE_READY: Final = timedelta(minutes=45)  # the caches of ranges are dropped 40 minutes after midnight

# The rule for a day's range: of the 23 hours inside the day at least so many are there, and never more are missing in a
# row than the longest step allows. The hour at its end is the daily close itself.
HOURS_NEEDED: Final = 21
LONGEST_STEP_HOURS: Final = 3
HOURLY_RANGE: Final = "high and low of days are those of their hours' prices: the true ones lie a little further out"


def call_span(page: Page) -> Span:
    """What a call names: a little more than the bars' own time."""
    return page.start, page.end + MARGIN


def pages_of(key: SeriesKey, spans: Iterable[Span], now: datetime) -> tuple[Page, ...]:
    """Calls for these spans, newest first. Days come in one call up to now, hours in pages of at most 90 days."""
    joint = merged(spans)
    if not joint:
        return ()
    if key.granularity == "daily":
        return (Page(key, joint[0][0], now, ends_now=True),)
    pages = []
    end: datetime | None = joint[-1][1]
    while end is not None:
        ends_now = end >= now
        room = PAGE_DAYS * DAY - (timedelta(0) if ends_now else MARGIN)
        inside = [max(start, end - room) for start, stop in joint if start < end and stop > end - room]
        pages.append(Page(key, min(inside), end, ends_now=ends_now))
        end = max((min(stop, min(inside)) for start, stop in joint if start < min(inside)), default=None)
    return tuple(pages)


def range_pages(
    daily: pl.DataFrame, hours: SeriesKey, covered: Sequence[Span], now: datetime, *, oldest: datetime
) -> tuple[Page, ...]:
    """The pages of hours that the close-only days of a series want, newest first, each in as few calls as possible.

    daily: in CANDLE_SCHEMA. covered: what the upstream has answered for in hours; what is missing there does not exist.
    oldest: the first moment that the plan may see. A day is asked for when its hours are sure to be there, and the day
    before it once more, since its prices may have been revised.
    """
    closes = daily.filter(~pl.col("range_known"))["close_time"].to_list()
    spans = [
        part
        for close in closes
        if close - DAY >= oldest and close + RANGE_READY <= now
        for part in missing((close - DAY, close), covered)
    ]
    if not spans:
        return ()
    newest = merged(spans)[-1]
    again = max(newest[0] - DAY, oldest)
    if newest[1] - again < PAGE_DAYS * DAY - MARGIN:
        spans.append((again, newest[0]))
    return pages_of(hours, spans, now)


def ranged_days(daily: pl.DataFrame, hourly: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The days that close in a span and have enough hours, as bars with open, high and low; the rest is left out.

    Both frames in CANDLE_SCHEMA. Open is the close before; high and low are the highest and lowest of open, the prices
    on the hours inside the day, and close.
    """
    day_us, hour_us = BAR_US["daily"], BAR_US["hourly"]
    hours = hourly.select(us=pl.col("close_time").to_physical(), price="close").with_columns(
        day=((pl.col("us") - 1) // day_us + 1) * day_us, hour=(pl.col("us") - 1) % day_us // hour_us + 1
    )
    inside = (
        hours.filter(pl.col("hour") < 24)
        .sort("us")
        .group_by("day")
        .agg(
            pl.len().alias("found"),
            pl.col("price").max().alias("top"),
            pl.col("price").min().alias("bottom"),
            pl.max_horizontal(
                pl.col("hour").first(), pl.col("hour").diff().max().fill_null(0), 24 - pl.col("hour").last()
            ).alias("step"),
        )
        .filter((pl.col("found") >= HOURS_NEEDED) & (pl.col("step") <= LONGEST_STEP_HOURS))
    )
    closes = daily.select(day=pl.col("close_time").to_physical() + day_us, before="close")
    midnights = hours.filter(pl.col("hour") == 24).select(day=pl.col("day") + day_us, midnight="price")
    return (
        daily.filter((pl.col("close_time") > span[0]) & (pl.col("close_time") <= span[1]))
        .with_columns(day=pl.col("close_time").to_physical())
        .join(inside, on="day", how="inner")
        .join(closes, on="day", how="left")
        .join(midnights, on="day", how="left")
        .with_columns(open=pl.coalesce("before", "midnight"))
        .filter(pl.col("open").is_not_null())
        .with_columns(
            high=pl.max_horizontal("open", "top", "close"),
            low=pl.min_horizontal("open", "bottom", "close"),
            range_known=pl.lit(True),  # noqa: FBT003
        )
        .select(CANDLE_SCHEMA.names())
        .sort("close_time")
    )
