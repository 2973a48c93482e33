"""What is missing from the store and how it is asked for: closes in one call, hours in pages, days made of hours. Pure.

First pass: daily closes, one call a coin. Second pass, less urgent: the hours of the days whose range is not known, in
pages that the upstream answers in hours, newest first; a day whose hours are there gets its real high and low.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from cryptocast.config import Granularity
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, Provenance, SeriesKey
from cryptocast.data.spans import Span, merged, missing

__all__ = [
    "HOURLY_RANGE",
    "PAGE_DAYS",
    "Page",
    "pages_of",
    "range_pages",
    "ranged_days",
    "settled",
    "wanted_pages",
]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
PAGE_DAYS: Final = 90  # the longest span that is answered in hours
MARGIN: Final = timedelta(minutes=15)  # behind a page: points come after their hour, by seconds to minutes
SETTLED: Final = DAY  # prices are revised, and late hours come, for a while; after that a bar is what it is
OVERLAP: Final[dict[Granularity, timedelta]] = {"daily": 3 * DAY, "hourly": DAY}  # asked again behind the last bar
RANGE_READY: Final = timedelta(minutes=45)  # the caches of ranges are dropped 40 minutes after midnight
TOLERANCE: Final = 2 * DAY  # a history that starts so little later than was asked is as long as it gets

# The rule for a day's range: of the 23 hours inside the day at least so many are there, and never more are missing in a
# row than the longest step allows. The hour at its end is the daily close itself.
HOURS_NEEDED: Final = 21
LONGEST_STEP_HOURS: Final = 3
HOURLY_RANGE: Final = "high and low of days are those of their hours' prices: the true ones lie a little further out"


@dataclass(frozen=True, slots=True)
class Page:
    """One call for history: bars that close in (start, end]. `ends_now`: the newest there are."""

    key: SeriesKey
    start: datetime
    end: datetime
    ends_now: bool

    @property
    def asked(self) -> Span:
        """What the call names: a little more than the bars' own time."""
        return self.start, self.end + MARGIN


def settled(page: Page, now: datetime) -> Span | None:
    """The part of an answered page in which no bar is missing any more that could still come."""
    start = page.start
    if page.ends_now and page.key.granularity == "hourly":
        start = max(start, now - PAGE_DAYS * DAY)  # counted back from the call, which may come later than planned
    end = min(page.end, now - SETTLED)
    return (start, end) if start < end else None


def wanted_pages(
    key: SeriesKey,
    stored: Provenance | None,
    covered: Sequence[Span],
    now: datetime,
    *,
    days: int,
    fresh: bool,
    whole: bool = False,
    refresh: bool = False,
) -> tuple[Page, ...]:
    """The calls that bring a series up to date, newest first; none where all is there.

    fresh: the newest bar that can be had is stored. whole: go back `days`, else only as far as the store does.
    refresh: all of it, whatever is stored. `covered` is what the upstream has answered for; a series without (written
    by an older layout) counts as covered from its first to its last bar.
    """
    start = now - timedelta(days=days)
    if stored is None or refresh:
        return pages_of(key, [(start, now)], now)
    known = merged(covered) or ((stored.first - timedelta(microseconds=BAR_US[key.granularity]), stored.last),)
    spans = list(missing((known[0][0], known[-1][1]), known))
    if whole and known[0][0] - start > TOLERANCE:
        spans.append((start, known[0][0]))
    if not fresh:
        spans.append((max(start, stored.last - OVERLAP[key.granularity]), now))
    return pages_of(key, spans, now)


def pages_of(key: SeriesKey, spans: Iterable[Span], now: datetime) -> tuple[Page, ...]:
    """Calls for these spans, newest first. Days come in one call up to now, hours in pages of at most 90 days."""
    wanted = merged(spans)
    if not wanted:
        return ()
    if key.granularity == "daily":
        return (Page(key, wanted[0][0], now, ends_now=True),)
    found = []
    end: datetime | None = wanted[-1][1]
    while end is not None:
        ends_now = end >= now
        room = PAGE_DAYS * DAY - (timedelta(0) if ends_now else MARGIN)
        inside = [max(start, end - room) for start, stop in wanted if start < end and stop > end - room]
        found.append(Page(key, min(inside), end, ends_now=ends_now))
        end = max((min(stop, min(inside)) for start, stop in wanted if start < min(inside)), default=None)
    return tuple(found)


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
