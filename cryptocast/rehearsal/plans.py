"""Who may ask what, and how often: keys, plans, the limit of the minute and the credits of the month."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cryptocast.rehearsal.messages import ErrorCode, HttpRequest, refusal, retry_after

Plan: TypeAlias = Literal["keyless", "demo", "pro"]

# Not secrets: the stand-in is on the loopback, and everybody may know what it takes.
DEMO_KEY: Final = "CG-rehearsal-demo"
PRO_KEY: Final = "CG-rehearsal-pro"
FREE_DAYS: Final = 365
WINDOW_S: Final = 60.0
KEY_NAMES: Final = {"demo": ("x-cg-demo-api-key", "x_cg_demo_api_key"), "pro": ("x-cg-pro-api-key", "x_cg_pro_api_key")}


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often one may ask; 0: as often as one likes."""

    per_minute: Annotated[int, Meta(ge=0)] = 0
    monthly_credits: Annotated[int, Meta(ge=0)] = 0
    retry_after: Literal["seconds", "date", "none"] = "seconds"  # how a 429 says when to come back


@dataclass(slots=True)
class Quota:
    """Counts requests, and refuses those beyond the limits. clock: unix seconds, of the wall or of the virtual clock.

    plan is the host that is played: keyless and demo the public one (demo insists on a key, keyless takes one), pro the
    paying one.
    """

    plan: Plan
    limits: Limits
    clock: Callable[[], float]
    credits: int = 0  # spent this month
    _recent: deque[float] = field(default_factory=deque)

    @property
    def free(self) -> bool:
        """Whether history ends after 365 days."""
        return self.plan != "pro"

    def admit(self, request: HttpRequest) -> None:
        """Count the request. Raises Refusal: 401 for the wrong key, 429 for too many requests or credits."""
        self._count()
        self._check_key(request)
        if self.limits.monthly_credits and self.credits >= self.limits.monthly_credits:
            message = "You've exceeded your monthly call credits. Please upgrade your plan."
            raise refusal(429, message, shape="status", headers={})
        self.credits += 1

    def reset(self) -> None:
        """Forget all calls."""
        self.credits = 0
        self._recent.clear()

    def _count(self) -> None:
        # Refused requests count too: whoever does not wait stays out.
        now, most = self.clock(), self.limits.per_minute
        while self._recent and (self._recent[0] <= now - WINDOW_S or self._recent[0] > now):
            self._recent.popleft()
        full = most > 0 and len(self._recent) >= most
        self._recent.append(now)
        if full:
            wait_s = max(1, math.ceil(self._recent[-most] + WINDOW_S - now))
            message = (
                "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to"
                " our API plans for higher rate limits."
            )
            raise refusal(429, message, shape="status", headers=retry_after(self.limits.retry_after, wait_s, now))

    def _check_key(self, request: HttpRequest) -> None:
        sent = {
            kind: request.headers.get(header, request.params.get(parameter))
            for kind, (header, parameter) in KEY_NAMES.items()
        }
        if self.plan == "pro":
            if sent["pro"] is None and sent["demo"] is not None:
                raise _unauthorised(
                    ErrorCode.DEMO_KEY_ON_PRO_HOST,
                    "If you are using Demo API key, please change your root URL from pro-api.coingecko.com"
                    " to api.coingecko.com",
                )
            _check(sent["pro"], PRO_KEY)
            return
        if sent["pro"] is not None:
            raise _unauthorised(
                ErrorCode.PRO_KEY_ON_PUBLIC_HOST,
                "If you are using Pro API key, please change your root URL from api.coingecko.com"
                " to pro-api.coingecko.com",
            )
        if self.plan == "demo" or sent["demo"] is not None:
            _check(sent["demo"], DEMO_KEY)


def _check(sent: str | None, key: str) -> None:
    if not sent:
        raise _unauthorised(
            ErrorCode.NO_KEY, "API Key Missing. Please make sure you're using the right authentication method."
        )
    if sent != key:
        raise _unauthorised(ErrorCode.NO_KEY, "Incorrect API Key. Please double check your API key and try again.")


def _unauthorised(code: ErrorCode, message: str) -> Exception:
    return refusal(401, message, shape="status", code=code)
