"""Whether a failed try is followed by another, and after how long.

Only what may pass by itself is tried again (408, 429, 5xx, lost connections), at most so often, only inside the
deadline, and only while retries stay a small share of all calls: when everything fails, retries would multiply
the load on an upstream that is down already. A 429 does not draw on that share: the limiter bounds those calls.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cryptocast.net.answer import Answer, CallFailed

RETRIED: Final = frozenset({408, 429, *range(500, 600)})
TOO_MANY: Final = 429
BACKOFF_S: Final = 0.5  # upper end of the first pause; doubles with each retry
BACKOFF_CAP_S: Final = 8.0
BLIND_PAUSE_S: Final = 20.0  # after a 429 that does not say how long
RESERVE: Final = 10.0  # retries that a fresh or a quiet process may make


def full_jitter(attempt: int, rng: random.Random, *, base_s: float = BACKOFF_S, cap_s: float = BACKOFF_CAP_S) -> float:
    """Seconds before the try after `attempt` (1 for the first): uniform between nothing and the doubled step.

    Source: M. Brooker, Exponential Backoff and Jitter (AWS Architecture Blog, 2015).
    """
    return rng.uniform(0.0, min(cap_s, base_s * 2 ** min(attempt - 1, 60)))


class RetryBudget:
    """A bucket that each call fills by `ratio` and each retry empties by one: over n calls at most `reserve` + `ratio`
    x n retries. Source: Finagle's RetryBudget."""

    def __init__(self, ratio: float = 0.2, reserve: float = RESERVE) -> None:
        self._ratio, self._reserve, self._left = ratio, reserve, reserve

    def called(self) -> None:
        """A call, not a retry, goes out."""
        self._left = min(self._reserve, self._left + self._ratio)

    def withdraw(self) -> bool:
        """Whether one retry more is paid for, and pay for it."""
        if self._left < 1.0 - 1e-9:  # five times 0.2 is one
            return False
        self._left -= 1.0
        return True


class RetryPolicy:
    """Decides after each failed try."""

    def __init__(
        self,
        *,
        max_retries: int = 2,
        budget: RetryBudget | None = None,
        rng: random.Random | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.max_retries = max_retries
        self.budget = budget or RetryBudget()
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, no secret depends on it
        self._now = now

    def is_final(self, outcome: Answer | CallFailed) -> bool:
        """Whether another try could not bring anything better."""
        return outcome.hopeless if isinstance(outcome, CallFailed) else outcome.status not in RETRIED

    def asked_s(self, outcome: Answer | CallFailed) -> float:
        """How long the upstream wants to be left alone: what a 429 or 503 says, and a guess for a 429 that does not."""
        if not isinstance(outcome, Answer) or outcome.status not in (TOO_MANY, 503):
            return 0.0
        wait = outcome.retry_after_s(self._now())
        return wait if wait is not None else BLIND_PAUSE_S if outcome.status == TOO_MANY else 0.0

    def pause_s(self, attempt: int, outcome: Answer | CallFailed, left_s: float) -> float | None:
        """Seconds to wait after try number `attempt` before the next; None if there is to be none.

        A wait that reaches the deadline is not begun: nobody would be there when it ends.
        """
        if attempt > self.max_retries or self.is_final(outcome):
            return None
        pause = self.asked_s(outcome) + full_jitter(attempt, self._rng)
        if pause >= left_s:
            return None
        is_refusal = isinstance(outcome, Answer) and outcome.status == TOO_MANY
        return pause if is_refusal or self.budget.withdraw() else None
