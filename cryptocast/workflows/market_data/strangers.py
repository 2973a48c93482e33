"""Coins and currencies that the server is not set up for: readers may name any, so what they cost is bounded.

A tenth of the month's credits at most goes to them, one call a minute for each client, and a part of each minute's
calls; answers that are kept cost nothing. What an id or a currency that nobody knows has cost once, it does not cost
again at once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Protocol

from cryptocast.config import Config
from cryptocast.data.sources.coingecko.client import calls_per_minute
from cryptocast.data.sources.coingecko.quota import Credits
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.errors import QuotaSpent, UnknownCoin
from cryptocast.errors import CryptocastError, DataError

PER_MINUTE: Final = 0.2  # of the calls that the plan gives in a minute; two at least, but never more than half of them
UNKNOWN_S: Final = 60.0  # how long an id that the upstream does not know is not asked for again; then twice as long
UNKNOWN_MOST_S: Final = 3600.0


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
        self._vs, self._budget, self._on_refusal = config.data.vs, budget, on_refusal
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
        return vs == self._vs or any(vs == currency for _, currency in self._promoted)

    def refusal(self, client: str) -> CryptocastError | None:
        """Why this client's call may not go out now; None if it may, and is counted for its minute."""
        # Where there is no store none is made for this alone.
        budget = self._budget if self._store.is_dir() else self._without_store
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
        self._errors: OrderedDict[Hashable, tuple[CryptocastError, float, float]] = OrderedDict()  # why, until, for

    def why(self, *keys: Hashable) -> CryptocastError | None:
        """Why one of these is not asked for now; None if all may be."""
        now = self._clock()
        entries = (self._errors.get(key) for key in keys)
        return next((one[0] for one in entries if one is not None and now < one[1]), None)

    def remember(self, key: Hashable, why: CryptocastError, *, for_s: float | None = None) -> None:
        """for_s: not longer and not doubled."""
        _, _, last = self._errors.pop(key, (None, 0.0, UNKNOWN_S / 2))
        span = for_s if for_s is not None else min(2 * max(last, UNKNOWN_S / 2), UNKNOWN_MOST_S)
        self._errors[key] = (why, self._clock() + span, span)
        while len(self._errors) > self._most:
            self._errors.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """It is known after all."""
        self._errors.pop(key, None)
