"""How old a series is, and where the horizons of a forecast from it count from. Pure.

*Live*: its source could still bring the bars that are missing. Horizons count from the bar that should be there, so
that a target date lies ahead. *Ended*: nobody can, or more bars are missing than the longest horizon has: the sample, a
file, a coin that is traded no more. Horizons count from its own last bar, whatever the clock says.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US


@dataclass(frozen=True, slots=True)
class Age:
    """A series at one moment.

    last: the close of its last bar. now: the clock that it is looked at by. has_ended: see above. stale: the bar after
    the last one is late, or its source could not be asked (failed). late: bars that should have closed since the last
    one, from which horizons count; 0 while the series is not late, and where it has ended.
    """

    last: datetime
    now: datetime
    has_ended: bool
    stale: bool
    late: int
    failed: bool = False

    def is_ahead(self, horizon: int, granularity: Granularity) -> bool:
        """Whether the target date of a horizon that counts from the last bar is still to come."""
        return self.last + horizon * timedelta(microseconds=BAR_US[granularity]) > self.now


def age_of(
    last: datetime,
    now: datetime,
    granularity: Granularity,
    *,
    is_fetched: bool,
    late_after: int,
    longest: int,
    failed: bool = False,
) -> Age:
    """The age of a series that ends at `last`.

    is_fetched: its source is asked over the network; failed: it could not be asked now. late_after: so many bars may be
    missing. longest: horizon of the settings, in bars.
    """
    missing = (now - last) // timedelta(microseconds=BAR_US[granularity])
    is_late = now > stale_after(last, granularity, late_after)
    has_ended = not is_fetched or missing > longest
    return Age(last, now, has_ended, is_late or failed, missing if is_late and not has_ended else 0, failed)


def stale_after(last_close: datetime, granularity: Granularity, bars: int) -> datetime:
    """When candles that end at `last_close` become stale: the next bar is due one bar later, and `bars` late then."""
    return last_close + (1 + bars) * timedelta(microseconds=BAR_US[granularity])
