"""A circuit breaker: stops calling what fails, and finds out with few calls whether it works again.

Semantics after resilience4j and Polly, with the bounds on the half-open state that Python's breakers lack:

closed     Calls pass. Opens when, over a sliding time window with at least `min_calls` calls, the share that failed
           reaches `failure_rate` or the share that was slow reaches `slow_rate`; with fewer calls in the window, when
           `consecutive` calls in a row failed.
open       Calls are rejected with the time left. Each opening without a recovery between doubles the wait, to a cap,
           with jitter.
half-open  At most `probes` calls at a time pass. `successes` good ones close the breaker, a bad or slow one opens it
           again. A probe that ends without a verdict, or does not end in `probe_deadline_s`, gives its place back.

What counts is up to the caller's verdict: timeouts, lost connections and 5xx are failures; a 4xx is a success (the
upstream works); 429, cancellation and rejections by a limiter are no verdict. A verdict about a call that began before
the last change of state is dropped. Time is monotonic. One event loop; no awaiting inside, so no lock.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from cryptocast.net.answer import TryLater

log = logging.getLogger(__name__)

BUCKETS: Final = 10  # the window slides in tenths


class BreakerState(StrEnum):
    """Forced states stay until `reset`, or the other one is forced."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class CircuitOpen(TryLater):
    """The call was not made, because the last ones failed."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When to open, for how long, and how carefully to close."""

    window_s: float = 60.0
    min_calls: int = 10
    failure_rate: float = 0.5
    slow_call_s: float = 10.0
    slow_rate: float = 0.8
    consecutive: int = 5
    open_s: float = 5.0
    open_cap_s: float = 300.0
    jitter: float = 0.2  # a wait is shortened by up to this share of it
    probes: int = 2
    successes: int = 2
    probe_deadline_s: float = 60.0


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """The state now, and counts since the start."""

    state: BreakerState
    in_state_s: float
    retry_after_s: float
    window_calls: int
    window_failures: int
    window_slow: int
    rejected: int
    opened: int


class Permit:
    """Leave to make one call. Say how it ended; as a context manager, no word means no verdict."""

    __slots__ = ("_breaker", "began", "generation", "is_probe")

    def __init__(self, breaker: "Breaker", began: float, *, is_probe: bool) -> None:
        self._breaker: Breaker | None = breaker
        self.generation, self.began, self.is_probe = breaker.generation, began, is_probe

    @property
    def is_current(self) -> bool:
        """Whether the breaker is in the state in which it gave the permit."""
        return self._breaker is not None and self._breaker.generation == self.generation

    def succeeded(self, took_s: float | None = None) -> None:
        """The upstream works. `took_s`: without queues and pauses; by default the time since the permit."""
        self._end(ok=True, took_s=took_s)

    def failed(self) -> None:
        """The upstream does not work."""
        self._end(ok=False)

    def ignored(self) -> None:
        """The call says nothing about the upstream. A later verdict is dropped, and so is a second one."""
        self._end(ok=None)

    def _end(self, ok: bool | None, took_s: float | None = None) -> None:
        if self._breaker is not None:
            breaker, self._breaker = self._breaker, None
            breaker._ended(self, ok, took_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.ignored()


class _Window:
    """Calls, failures and slow calls of the last BUCKETS buckets of time, the running one among them."""

    def __init__(self, window_s: float) -> None:
        self._width = window_s / BUCKETS
        self._buckets: deque[list[int]] = deque(maxlen=BUCKETS)  # [number, calls, failures, slow]

    def counts(self, now: float) -> tuple[int, int, int]:
        """Calls, failures and slow ones."""
        oldest = int(now / self._width) - BUCKETS
        recent = [bucket for bucket in list(self._buckets) if bucket[0] > oldest]
        return sum(b[1] for b in recent), sum(b[2] for b in recent), sum(b[3] for b in recent)

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        number = int(now / self._width)
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0, 0, 0])
        for place, is_one in enumerate((True, failed, slow), 1):
            self._buckets[-1][place] += is_one


class Breaker:
    """One for each host, never one for each coin."""

    def __init__(
        self,
        name: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._settings = settings or BreakerSettings()
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, no secret depends on it
        self._state, self._since = BreakerState.CLOSED, clock()
        self.generation = 0
        self._window = _Window(self._settings.window_s)
        self._in_a_row = 0  # failures while closed, successes while half-open
        self._openings = 0  # without a recovery between
        self._retry_at = 0.0
        self._probes: set[Permit] = set()
        self._rejected = self._opened = 0
        self._reason = ""

    @property
    def state(self) -> BreakerState:
        """The state now: an open breaker whose wait is over is half-open."""
        if self._state is BreakerState.OPEN and self._clock() >= self._retry_at:
            self._change(BreakerState.HALF_OPEN, "the wait is over")
        return self._state

    def check(self) -> None:
        """Raise CircuitOpen if a call would be rejected now; take nothing. For callers who would queue first."""
        state, now = self.state, self._clock()
        if state is BreakerState.OPEN:
            self._reject(f"{self.name} is not called: {self._reason}", self._retry_at - now)
        if state is BreakerState.FORCED_OPEN:
            self._reject(f"{self.name} is switched off by hand", self._settings.open_s)
        if state is BreakerState.HALF_OPEN:
            self._probes = {p for p in self._probes if now - p.began < self._settings.probe_deadline_s}
            if len(self._probes) >= self._settings.probes:
                self._reject(f"{self.name} is being tried with {len(self._probes)} calls", self._settings.slow_call_s)

    def admit(self) -> Permit:
        """Leave for one call, or CircuitOpen."""
        self.check()
        permit = Permit(self, self._clock(), is_probe=self._state is BreakerState.HALF_OPEN)
        if permit.is_probe:
            self._probes.add(permit)
        return permit

    def force_open(self) -> None:
        """Reject every call until `reset` or `force_closed`."""
        self._change(BreakerState.FORCED_OPEN, "forced")

    def force_closed(self) -> None:
        """Let every call pass until `reset` or `force_open`."""
        self._change(BreakerState.FORCED_CLOSED, "forced")

    def reset(self) -> None:
        """Closed, with nothing remembered."""
        self._openings = 0
        self._change(BreakerState.CLOSED, "reset")

    def metrics(self) -> BreakerMetrics:
        """What /metrics and /health show. Changes nothing, so it may be asked for from any thread."""
        now, state, since = self._clock(), self._state, self._since
        if state is BreakerState.OPEN and now >= self._retry_at:
            state, since = BreakerState.HALF_OPEN, self._retry_at
        calls, failures, slow = self._window.counts(now)
        return BreakerMetrics(
            state=state,
            in_state_s=now - since,
            retry_after_s=max(0.0, self._retry_at - now) if state is BreakerState.OPEN else 0.0,
            window_calls=calls,
            window_failures=failures,
            window_slow=slow,
            rejected=self._rejected,
            opened=self._opened,
        )

    def _reject(self, why: str, retry_after_s: float) -> None:
        self._rejected += 1
        raise CircuitOpen(f"{why}. Next attempt in {retry_after_s:.0f} s.", retry_after_s=retry_after_s)

    def _ended(self, permit: Permit, ok: bool | None, took_s: float | None) -> None:
        if permit.generation != self.generation:
            return  # about a state that is over
        now = self._clock()
        slow = ok is True and (now - permit.began if took_s is None else took_s) >= self._settings.slow_call_s
        if permit.is_probe:
            expired = permit not in self._probes or now - permit.began >= self._settings.probe_deadline_s
            self._probes.discard(permit)
            if ok is not None and not expired:
                self._probed(ok=ok, slow=slow)
        elif ok is not None and self._state is BreakerState.CLOSED:
            self._counted(now, failed=not ok, slow=slow)

    def _probed(self, *, ok: bool, slow: bool) -> None:
        if not ok or slow:
            self._open("a trial call " + ("failed" if not ok else f"took {self._settings.slow_call_s:.1f} s or more"))
            return
        self._in_a_row += 1
        if self._in_a_row >= self._settings.successes:
            self._openings = 0
            self._change(BreakerState.CLOSED, f"{self._in_a_row} trial calls succeeded")

    def _counted(self, now: float, *, failed: bool, slow: bool) -> None:
        limits = self._settings
        self._window.add(now, failed=failed, slow=slow)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if not failed and not slow:
            return
        calls, failures, slow_calls = self._window.counts(now)
        if calls < limits.min_calls:
            if self._in_a_row >= limits.consecutive:
                self._open(f"{self._in_a_row} calls in a row failed")
        elif failures >= limits.failure_rate * calls:
            self._open(f"{failures} of {calls} calls in {limits.window_s:.0f} s failed")
        elif slow_calls >= limits.slow_rate * calls:
            self._open(f"{slow_calls} of {calls} calls took {limits.slow_call_s:.1f} s or more")

    def _open(self, reason: str) -> None:
        limits = self._settings
        wait = min(limits.open_cap_s, limits.open_s * 2.0 ** min(self._openings, 60))
        wait *= self._rng.uniform(1.0 - limits.jitter, 1.0)
        self._openings += 1
        self._opened += 1
        self._reason = reason
        self._retry_at = self._clock() + wait
        self._change(BreakerState.OPEN, reason)

    def _change(self, after: BreakerState, reason: str) -> None:
        before, self._state, self._since = self._state, after, self._clock()
        self.generation += 1
        self._window = _Window(self._settings.window_s)
        self._in_a_row = 0
        self._probes.clear()
        level = logging.WARNING if after in (BreakerState.OPEN, BreakerState.FORCED_OPEN) else logging.INFO
        log.log(level, "breaker %s: %s -> %s: %s", self.name, before, after, reason)


class Breakers:
    """Breakers by name, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Breaker]) -> None:
        self._make = make
        self._breakers: dict[str, Breaker] = {}

    def __call__(self, name: str) -> Breaker:
        """The breaker of a name."""
        if name not in self._breakers:
            self._breakers[name] = self._make(name)
        return self._breakers[name]

    def all(self) -> dict[str, Breaker]:
        """Those in use, by name."""
        return dict(self._breakers)

    def drop_faultless(self, name: str) -> None:
        """Forget one that is closed and has seen no failure lately: it has nothing to tell."""
        breaker = self._breakers.get(name)
        if breaker is not None and breaker.state is BreakerState.CLOSED and breaker.metrics().window_failures == 0:
            del self._breakers[name]
