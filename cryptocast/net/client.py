"""GET below one base address, with everything that keeps one failing upstream from becoming our failure.

The order, from the outside in, and what each layer sees:

    batch > breaker's check > limiter > breaker > retry > pool

- An open breaker rejects before the limiter: who is rejected neither waits nor takes a place in the minute. The permit
  is taken after the limiter, so that a probe's place is not held by somebody who queues.
- The breaker stands around the retries: one call counts once, by its last try, however often it was tried. A call of
  three failed tries is one failure. A probe has one try. Once the breaker has left the state in which the call began,
  the call is not tried again; a rejection is never retried.
- Each further try takes a place of its own in the limiter, for the upstream counts each. The place of a try that
  never got a connection is given back: nobody counted that one.
- What the pool turns away (no connection free) is nobody's failure.

`Batcher` stands outside and is put there by who knows what may be shared.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from cryptocast.errors import UpstreamError
from cryptocast.net.answer import Answer, CallFailed, Overloaded, Unreachable
from cryptocast.net.breaker import Breaker, CircuitOpen, Permit
from cryptocast.net.limiter import Limiter, Place, Priority
from cryptocast.net.retry import RetryBudget, RetryPolicy
from cryptocast.net.settings import NetSettings

if TYPE_CHECKING:
    from cryptocast.net.pool import Pool, Transport

log = logging.getLogger(__name__)

NO_VERDICT = frozenset({408, 429})  # a slow client, a client that asks too often: not the upstream's health


@dataclass(frozen=True, slots=True)
class Try:
    """One request that went out. `status` is None if no answer came."""

    client: str
    attempt: int
    status: int | None
    took_s: float


@dataclass(frozen=True, slots=True)
class _Call:
    url: str
    params: Mapping[str, str] | None
    priority: Priority
    left_s: float
    ends: float | None  # by our clock, when the caller set a deadline


class ApiClient:
    """Open it once and share it; all methods belong to one event loop.

    `headers` may hold a key: they are sent and never logged or put into a message. `remedy`: what to do where nobody
    can be reached. `pool`: to share connections; the client closes only a pool of its own. `on_try` hears of each
    request that went out, and must not raise. `transport`, `clock`, `sleep`, `now` and `rng` are there for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        limiter: Limiter,
        settings: NetSettings | None = None,
        headers: Mapping[str, str] | None = None,
        remedy: str = "Check the network.",
        pool: "Pool | None" = None,
        breaker: Breaker | None = None,
        budget: RetryBudget | None = None,
        on_try: Callable[[Try], None] | None = None,
        transport: "Transport | None" = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        trust_env: bool = True,  # proxies and certificates of the machine
    ) -> None:
        from cryptocast.net.pool import Pool, checked_url  # loads the HTTP library, which a command may do without

        self._settings = settings or NetSettings()
        self._base_url = checked_url(base_url)
        self._name, self._limiter, self._clock, self._sleep = name, limiter, clock, sleep
        self._remedy = remedy
        self._headers = {"accept": "application/json", **(headers or {})}
        self._owns_pool = pool is None
        self.pool = pool or Pool(self._settings, transport=transport, trust_env=trust_env, clock=clock)
        self._breaker, self._on_try = breaker, on_try
        budget = budget or RetryBudget(self._settings.retry_ratio)
        self._retry = RetryPolicy(max_retries=self._settings.max_retries, budget=budget, rng=rng, now=now)

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        priority: Priority = Priority.USER,
        deadline_s: float | None = None,
        place: Place | None = None,
    ) -> Answer:
        """The answer to one GET, after retries on 408, 429, 5xx and lost connections.

        When the retries or the deadline are used up, the last answer is returned for the caller to read. `deadline_s`
        is the time for everything, the limiter's queue included; without it the settings' time holds for the call,
        after the queue. `place` comes from `admit`. A caller who is cancelled stops to wait; a call that is under way
        runs on to its end or its deadline.

        Raises Unreachable when there was no answer, CircuitOpen when the breaker rejects, Overloaded when the call
        could not go out in time.
        """
        ends = None if deadline_s is None else self._clock() + deadline_s
        if place is None:
            place = await self.admit(priority=priority, deadline_s=deadline_s)
        left = self._settings.deadline_s if ends is None else min(self._settings.deadline_s, ends - self._clock())
        call = _Call(self._base_url + "/" + path.lstrip("/"), params, priority, left, ends)
        try:
            if left <= 0:
                raise Overloaded(f"The {deadline_s} s that the caller allows passed in the queue.", retry_after_s=1.0)
            task = self.pool.tasks.start(self._guarded(call, place))
        except UpstreamError:
            place.give_back()
            raise
        return await self.pool.tasks.result(task)

    async def admit(self, *, priority: Priority = Priority.USER, deadline_s: float | None = None) -> Place:
        """Wait for the limiter, for a call that is then made with `place=`. Raises CircuitOpen at once, Overloaded."""
        if self._breaker is not None:
            self._breaker.check()
        return await self._limiter.acquire(priority, deadline_s=deadline_s)

    async def close(self) -> None:
        """Close every connection, unless the pool was given: then its owner does."""
        if self._owns_pool:
            await self.pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _guarded(self, call: _Call, place: Place) -> Answer:
        try:
            permit = None if self._breaker is None else self._breaker.admit()
        except CircuitOpen:
            place.give_back()
            raise
        with permit or nullcontext():
            outcome, attempts = await self._tries(call, place, permit)
            if permit is not None:
                _judge(permit, outcome)
        if isinstance(outcome, Answer):
            return outcome
        raise self._unreachable(outcome, attempts) from outcome

    async def _tries(self, call: _Call, place: Place, permit: Permit | None) -> tuple[Answer | CallFailed, int]:
        """The last outcome, and how many tries there were."""
        self._retry.budget.called()
        started = self._clock()
        outcome = await self._try(call, 1, call.left_s, place)
        left, attempt = call.left_s - (self._clock() - started), 1
        while (pause := self._pause(call, outcome, attempt, left, permit)) is not None:
            await self._sleep(pause)
            left -= pause
            try:
                place = await self._limiter.acquire(
                    call.priority, deadline_s=None if call.ends is None else call.ends - self._clock()
                )
                started = self._clock()
                left = left if call.ends is None else min(left, call.ends - started)
                outcome = await self._try(call, attempt + 1, left, place)
            except Overloaded:
                break
            left -= self._clock() - started
            attempt += 1
        return outcome, attempt

    def _pause(
        self, call: _Call, outcome: Answer | CallFailed, attempt: int, left: float, permit: Permit | None
    ) -> float | None:
        """Seconds until the next try, None for none. What a 429 asks for holds for everybody who uses the limiter."""
        if isinstance(outcome, Answer) and outcome.status == 429:
            self._limiter.pause(self._retry.asked_s(outcome))
        if not self._retry.is_final(outcome):
            reason = f"status {outcome.status}" if isinstance(outcome, Answer) else outcome.reason
            log.info("%s: attempt %d of %d: %s", self._name, attempt, self._retry.max_retries + 1, reason)
        if call.priority is Priority.STRANGER or (permit is not None and (permit.is_probe or not permit.is_current)):
            return None
        return self._retry.pause_s(attempt, outcome, left)

    async def _try(self, call: _Call, attempt: int, left: float, place: Place) -> Answer | CallFailed:
        started = self._clock()
        outcome: Answer | CallFailed
        try:
            outcome = await self.pool.get(call.url, call.params, self._headers, deadline_s=left)
        except CallFailed as failure:
            outcome = failure
            if failure.unsent:
                place.give_back()
        except Overloaded:
            place.give_back()
            raise
        if self._on_try is not None:
            status = outcome.status if isinstance(outcome, Answer) else None
            self._on_try(Try(self._name, attempt, status, self._clock() - started))
        return outcome

    def _unreachable(self, failure: CallFailed, attempts: int) -> Unreachable:
        from cryptocast.net.pool import host

        tries = "once" if attempts == 1 else f"{attempts} times"
        return Unreachable(
            f"{self._name} could not be reached at {host(self._base_url)} (tried {tries}: {failure.reason}).",
            self._remedy,
        )


def _judge(permit: Permit, outcome: Answer | CallFailed) -> None:
    if isinstance(outcome, CallFailed) or outcome.status >= 500:
        permit.failed()
    elif outcome.status in NO_VERDICT:
        permit.ignored()
    else:
        permit.succeeded(outcome.took_s)
