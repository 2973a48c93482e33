"""The second pass: hours, at the lowest priority, so that the close-only days of the first pass get their real range.

It can be broken off at any moment and goes on where it stopped: what is missing is read from the store each time.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from cryptocast.data.intervals import missing
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.backfill import HOURLY_RANGE, range_pages, ranged_days
from cryptocast.data.sources.upstream import Page, Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.net import Priority
from cryptocast.workflows.context import NoProgress, Progress, steps
from cryptocast.workflows.market_data.downloads import Downloads, Reach, by_turns

log = logging.getLogger(__name__)

DAY: Final = timedelta(days=1)
CALLS_A_LANE: Final = 60  # a minute; with fewer, a second call under way brings nothing and a kill loses both


@dataclass(slots=True)
class Backfill:
    """What came of it: by coin, the hours that are new and the days whose range became known; and what did not come."""

    hours: dict[str, int] = field(default_factory=dict)
    days: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    pages: int = 0  # stored
    left: int = 0  # not had
    stopped: str | None = None  # why the rest was not asked for


def backfill(
    upstream: Upstream,
    store: CandleStore,
    series: Sequence[SeriesKey],
    *,
    now: Callable[[], datetime],
    oldest: datetime,
    reach: Reach | None = None,
    progress: Progress | None = None,
) -> Backfill:
    """Bring the hours that the daily series want, newest first and coin by coin, and make days of them.

    oldest: how far back. The problem of one coin stands in its place; when the credits of the month, or what the
    backfill may use of them, are spent, or the upstream is down, it stops and says so.
    """
    pages = _wanted(store, series, now(), oldest)
    downloads = Downloads(store, lambda: upstream, now, Priority.BACKFILL, patient=True, reach=reach or Reach())
    result = Backfill()
    for key in series:
        _from_stored_hours(result, store, key, now())
    if not pages:
        return result
    minutes = minutes_for(len(pages), upstream.calls_per_minute)
    with steps(progress or NoProgress(), f"hours, about {minutes} min", len(pages)) as step:
        for page, outcome in downloads.bring(pages, at_once=max(1, upstream.calls_per_minute // CALLS_A_LANE)):
            _note(result, store, page, outcome, now())
            step(f"{page.key.coin} to {page.end:%Y-%m-%d}")
    if downloads.reach.down is not None:
        result.stopped = str(downloads.reach.down)
    return result


def minutes_for(calls: int, per_minute: int) -> int:
    """How long so many calls take at the limit, in whole minutes: a burst goes at once, then one each turn."""
    return max(calls - 1, 0) // per_minute + (calls < per_minute)


def _wanted(store: CandleStore, series: Sequence[SeriesKey], now: datetime, oldest: datetime) -> list[Page]:
    pages = []
    for key in series:
        daily = store.read(key)
        if daily is not None:
            hours = _hours(key)
            pages.append(range_pages(daily.frame, hours, store.covered(hours), now, oldest=oldest))
    return by_turns(pages)


def _note(
    result: Backfill,
    store: CandleStore,
    page: Page,
    outcome: WriteResult | CryptocastError | None,
    now: datetime,
) -> None:
    coin = page.key.coin
    if isinstance(outcome, CryptocastError):
        result.left += 1
        result.problems.setdefault(coin, str(outcome))
        log.info("no hours of %s to %s: %s", coin, page.end, outcome)
        return
    result.pages += 1
    if outcome is None:
        return
    result.hours[coin] = result.hours.get(coin, 0) + outcome.added
    try:
        result.days[coin] = result.days.get(coin, 0) + _make_days(store, page, now)
    except CryptocastError as error:
        result.problems.setdefault(coin, str(error))


def _make_days(store: CandleStore, page: Page, now: datetime) -> int:
    """Give the days of a page their range, and return how many got one."""
    key = SeriesKey(Market(page.key.source, page.key.vs, "daily"), page.key.coin)
    daily, hourly = store.read(key), store.read(page.key)
    if daily is None or hourly is None:
        return 0
    # A day at the edge of the page has its other hours in the page beside it.
    days = ranged_days(daily.frame, hourly.frame, (page.start - DAY, page.end + DAY))
    return _refined(store, key, days, now)


def _from_stored_hours(result: Backfill, store: CandleStore, key: SeriesKey, now: datetime) -> None:
    """Days whose hours are in the store already: fetched by name, left by a kill, or of a daily file that was lost."""
    try:
        daily, covered = store.read(key), store.covered(_hours(key))
        closes = [] if daily is None else daily.frame.filter(~pl.col("range_known"))["close_time"].to_list()
        ready = [close for close in closes if not missing((close - DAY, close), covered)]
        hourly = store.read(_hours(key)) if ready else None
        if daily is None or hourly is None:
            return
        days = ranged_days(daily.frame, hourly.frame, (ready[0] - DAY, ready[-1]))
        count = _refined(store, key, days.filter(pl.col("close_time").is_in(ready)), now)
        if count:
            result.days[key.coin] = result.days.get(key.coin, 0) + count
    except CryptocastError as error:
        result.problems.setdefault(key.coin, str(error))


def _refined(store: CandleStore, key: SeriesKey, days: pl.DataFrame, now: datetime) -> int:
    if days.is_empty():
        return 0
    return store.write(key, days, fetched_at=now, notes=(HOURLY_RANGE,), derived=True).refined


def _hours(key: SeriesKey) -> SeriesKey:
    return SeriesKey(Market(key.source, key.vs, "hourly"), key.coin)
