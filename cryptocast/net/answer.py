"""What comes back from a call: an answer, or one of the ways in which none came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from cryptocast.errors import UpstreamError


class Unreachable(UpstreamError):  # noqa: N818 - reads as what it says
    """No answer came: no name, no connection, or nothing in time."""


class TryLater(UpstreamError):  # noqa: N818 - reads as what it says
    """The call was not sent. `retry_after_s`: when to come again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(TryLater):
    """Too many wait, or the turn of the call would come too late."""


class CallFailed(Exception):  # noqa: N818 - never leaves the room
    """One try brought no answer. `hopeless`: the next would not either, there is no network. `unsent`: nobody there
    can have counted it."""

    def __init__(self, reason: str, *, hopeless: bool = False, unsent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hopeless, self.unsent = reason, hopeless, unsent


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status. `took_s`: connecting included, queues not."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    took_s: float = field(default=0.0, repr=False, compare=False)

    def retry_after_s(self, now: datetime) -> float | None:
        """How long the upstream asks to wait: seconds or a date (RFC 9110, section 10.2.3). 0 for a
        date that is over, None if it says neither."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            at = parsedate_to_datetime(text)
            return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
        except (ValueError, OverflowError):
            return None
