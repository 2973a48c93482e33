"""How long an answer holds: by the wall clock, which may be set, and by the monotonic one, which may not."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# A clock that is slewed may stand a little behind the moment that it showed before.
SLACK: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Term:
    """From `since` to before `until` by the wall clock, and to before `expires` by the monotonic clock (seconds)."""

    since: datetime
    until: datetime
    expires: float = math.inf

    def holds(self, now: datetime, monotonic: float) -> bool:
        """Whether it lasts."""
        return now < self.until and monotonic < self.expires and not self.is_ahead(now)

    def is_ahead(self, now: datetime) -> bool:
        """Whether it begins in the future: the wall clock had run ahead, and came back."""
        return now < self.since - SLACK

    def left_s(self, now: datetime, monotonic: float) -> float:
        """Seconds until it is over, 0 where it does not hold."""
        if not self.holds(now, monotonic):
            return 0.0
        return min((self.until - now).total_seconds(), self.expires - monotonic)


def shortest(terms: Iterable[Term]) -> Term:
    """The time in which all of them hold."""
    all_terms = tuple(terms)
    return Term(
        since=max(one.since for one in all_terms),
        until=min(one.until for one in all_terms),
        expires=min(one.expires for one in all_terms),
    )
