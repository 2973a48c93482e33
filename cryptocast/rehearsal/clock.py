"""What time it is for the stand-in: the wall's, one that is set, or one that runs faster."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptocast.rehearsal.price_walks import FIRST_MS, LAST_MS


class Clock:
    """A clock that can be set. Safe to use from any thread.

    now: where it starts (None: the wall's time), or another clock to follow. speed: seconds of it in one real second;
    0 stands still. None: 0 if `now` is a moment, else 1.
    """

    def __init__(
        self,
        now: datetime | Callable[[], datetime] | None = None,
        *,
        speed: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._followed = now if callable(now) else None
        start = now if isinstance(now, datetime) else None
        self._speed = speed if speed is not None else 0.0 if start is not None else 1.0
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._at_s = _seconds(start or datetime.now(UTC))
        self._since = monotonic()

    def now_s(self) -> float:
        """Unix seconds."""
        if self._followed is not None:
            return _seconds(self._followed())
        with self._lock:
            return self._at_s + (self._monotonic() - self._since) * self._speed

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.now_s() * 1000)

    def now(self) -> datetime:
        """In UTC."""
        return datetime.fromtimestamp(self.now_s(), UTC)

    def set(self, now: datetime | None = None, *, advance_s: float = 0.0, speed: float | None = None) -> None:
        """Put it to a moment, or forward, or change its speed."""
        at_s = (self.now_s() if now is None else _seconds(now)) + advance_s
        _check(at_s)
        with self._lock:
            self._followed = None
            self._at_s, self._since = at_s, self._monotonic()
            self._speed = self._speed if speed is None else speed


def _seconds(at: datetime) -> float:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone. Give it one: datetime(..., tzinfo=UTC)")
    seconds = at.timestamp()
    _check(seconds)
    return seconds


def _check(seconds: float) -> None:
    first_s, last_s = FIRST_MS / 1000 + 1000 * 86_400, LAST_MS / 1000
    if not first_s <= seconds < last_s:
        raise ValueError(f"{seconds:.0f} is outside of the years that the stand-in plays, 2012 to 2045")
