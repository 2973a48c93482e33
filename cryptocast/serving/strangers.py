"""Coins and currencies that the server is not set up for: readers may name any, so what they cost is bounded.

A tenth of the month's credits at most goes to them, one call a minute for each client, and a part of each minute's
calls; answers that are kept cost nothing. What an id or a currency that nobody knows has cost once, it does not cost
again at once.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from cryptocast.config import Config
from cryptocast.data.sources.coingecko.client import calls_per_minute
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.errors import QuotaSpent, UnknownCoin
from cryptocast.errors import CryptocastError, DataError
from cryptocast.serving.problems import Kind, Problem, ProblemError, coin_error, kind_of, no_forecast

__all__ = ["Strangers", "Unknown", "not_one"]

PER_MINUTE: Final = 0.2  # of the calls that the plan gives in a minute; two at least, but never more than half of them
UNKNOWN_S: Final = 60.0  # how long an id that the upstream does not know is not asked for again; then twice as long
UNKNOWN_MOST_S: Final = 3600.0
OURS: Final = 500  # statuses from here on are not the client's fault
KEPT: Final = Kind("credits-kept", "The server is not set up for this, and asks for it only now and then", 429)


class Keyed(Protocol):
    """Something registered for a coin in a currency."""

    @property
    def coin(self) -> str: ...
    @property
    def vs(self) -> str: ...


class Strangers:
    """What the server is set up for: the coins of [data] and [train], and those with a version in production.

    budget: of the store, which its processes share. on_refusal hears of the bound that was met. One event loop, but
    for `follow`.
    """

    def __init__(self, config: Config, budget: Credits, *, on_refusal: Callable[[str], None] = lambda _: None) -> None:
        self._vs, self.budget, self._on_refusal = config.data.vs, budget, on_refusal
        self._store = config.store.path
        self._without_store = Credits(None, per_month=0, now=budget.now)
        self._coins = frozenset((*config.data.coins, *config.train.pool))
        self._promoted: frozenset[tuple[str, str]] = frozenset()
        minute = calls_per_minute(config.coingecko)
        self.per_minute = max(int(minute * PER_MINUTE), min(2, minute // 2), 1)

    def follow(self, promoted: Iterable[Keyed]) -> None:
        """From now on these versions are in production."""
        pairs = {(key.coin, key.vs) for key in promoted}
        self._promoted = frozenset(pairs | {(coin, self._vs) for coin, _ in pairs})

    def is_ours(self, coin: str, vs: str) -> bool:
        """Whether the server is set up for this coin in this currency."""
        return (coin in self._coins and vs == self._vs) or (coin, vs) in self._promoted

    def is_ours_in(self, vs: str) -> bool:
        """Whether the server is set up for this currency."""
        return vs == self._vs or any(vs == known for _, known in self._promoted)

    def refusal(self, client: str) -> CryptocastError | None:
        """Why this client's call may not go out now; None if it may, and is counted for its minute."""
        # Where there is no store none is made for this alone.
        budget = self.budget if self._store.is_dir() else self._without_store
        try:
            budget.admit(client, per_minute=self.per_minute)
        except QuotaSpent as error:
            self._on_refusal(error.bound if isinstance(error, CreditsKept) else "month")
            return error
        return None

    def is_passing(self, coin: str, vs: str, error: CryptocastError) -> bool:
        """Whether an answer that lacks the coin says nothing of it: one answer makes no coin of ours unknown, unless
        the upstream's list lacks it too."""
        certain = isinstance(error, UnknownCoin) and error.is_certain
        return isinstance(error, DataError) and self.is_ours(coin, vs) and not certain


class Unknown:
    """What the upstream did not know, by key, each for a time, which doubles while it stays unknown. Bounded."""

    def __init__(self, *, clock: Callable[[], float], most: int) -> None:
        self._clock, self._most = clock, most
        self._kept: OrderedDict[Hashable, tuple[CryptocastError, float, float]] = OrderedDict()  # why, until, for

    def why(self, *keys: Hashable) -> CryptocastError | None:
        """Why one of these is not asked for now; None if all may be."""
        now = self._clock()
        found = (self._kept.get(key) for key in keys)
        return next((one[0] for one in found if one is not None and now < one[1]), None)

    def remember(self, key: Hashable, why: CryptocastError, *, for_s: float | None = None) -> None:
        """for_s: not longer and not doubled."""
        _, _, last = self._kept.pop(key, (None, 0.0, UNKNOWN_S / 2))
        span = for_s if for_s is not None else min(2 * max(last, UNKNOWN_S / 2), UNKNOWN_MOST_S)
        self._kept[key] = (why, self._clock() + span, span)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """It is known after all."""
        self._kept.pop(key, None)


def not_one(failures: Sequence[tuple[str, CryptocastError]]) -> tuple[Problem, dict[str, str]]:
    """Not one coin could be answered for, as `no_forecast` has it, with the headers that say when to ask again: the
    soonest that could bring anything. Where that is up to the client alone, it is a 429."""
    passing = [error for _, error in failures if kind_of(error).status >= OURS]
    kept = [error for error in passing if isinstance(error, CreditsKept)]
    if kept and len(kept) == len(passing):
        first = min(kept, key=lambda error: error.retry_after_s)
        problem = ProblemError(KEPT, str(first)).problem
        errors = tuple(coin_error(coin, error) for coin, error in failures)
        return msgspec.structs.replace(problem, errors=errors), _later(first.retry_after_s)
    others = [(coin, error) for coin, error in failures if not isinstance(error, CreditsKept)]
    told = no_forecast(failures)
    worst = no_forecast(others)
    return msgspec.structs.replace(worst, errors=told.errors), {}


def _later(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))}
