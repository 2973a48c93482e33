"""Times as whole microseconds since 1970-01-01 UTC, and as datetimes: the only conversions between the two."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]  # in documents: never without a zone

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US


def as_datetime(microseconds: int) -> datetime:
    """In UTC, to the microsecond."""
    return EPOCH + timedelta(microseconds=int(microseconds))


def as_moment(day: date) -> datetime:
    """The beginning of a day of UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def as_microseconds(at: datetime) -> int:
    """Of a time with a zone. Raises TypeError for one without."""
    return (at - EPOCH) // timedelta(microseconds=1)


def minute_text(microseconds: int) -> str:
    """For messages: `2020-01-31T14:00Z`."""
    return f"{as_datetime(microseconds):%Y-%m-%dT%H:%MZ}"
