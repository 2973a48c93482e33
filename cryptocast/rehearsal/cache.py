"""The cache of the network in front of the upstream: the same question gets the same answer for a time."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptocast.rehearsal.messages import HttpRequest, Reply

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

DAY_S: Final = 86_400
DROPPED_S: Final = 2_400  # ranges and candles from before are dropped 40 minutes after midnight
UNTIL_THEN: Final = ("range", "ohlc")
MOST: Final = 1_000


@dataclass(slots=True)
class VendorCache:
    """Answers by path and parameters, as long as `cache-control` of the first says, by the clock that is played.

    A hit costs its asker a place and a credit like any call, and is marked by `age` and `cf-cache-status` as it was
    seen in the wild: beside a `cache-control: no-cache`.
    """

    on: bool = False
    _replies: dict[Key, tuple[float, float, Reply]] = field(default_factory=dict)  # since, until, answer

    def through(self, request: HttpRequest, now_s: float, answer: Callable[[], Reply]) -> Reply:
        """The cached answer, or a new one, which is cached if it may be. Refusals pass as they are raised."""
        if not self.on:
            return answer()
        key = (request.path, tuple(sorted(request.params.items())))
        since, until, reply = self._replies.get(key, (now_s, now_s, None))
        if reply is not None and since <= now_s < until:
            hit = {"cf-cache-status": "HIT", "age": str(int(now_s - since)), "cache-control": "no-cache"}
            return Reply(reply.status, reply.body, {**reply.headers, **hit})
        fresh = answer()
        if len(self._replies) >= MOST:
            self._replies.clear()
        self._replies[key] = (now_s, _until(request, fresh, now_s), fresh)
        return fresh


def _until(request: HttpRequest, reply: Reply, now_s: float) -> float:
    age = re.search(r"max-age=(\d+)", reply.headers.get("cache-control", ""))
    until = now_s + (int(age[1]) if age else 0)
    if request.route[0] in UNTIL_THEN:
        until = min(until, (now_s - DROPPED_S) // DAY_S * DAY_S + DAY_S + DROPPED_S)
    return until
