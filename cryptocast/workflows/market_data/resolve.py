"""Which candles a command rests on: the source of each coin, brought up to date where that is possible.

`auto`, coin by coin: the source that the coin has, see `settled_source`, which is never replaced by another: where it
fails, its older candles answer, marked stale. A coin without one gets the first of `[data] exchanges` that lists it,
else CoinGecko; where nobody can be asked the sample stands in, with a notice. Series of two sources are never joined.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Self, TypeAlias

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.age import Age, age_of
from cryptocast.data.candle_checks import cut
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.schema import BAR_US, Candles, Provenance, SeriesKey
from cryptocast.data.sources.base import Source, missing_spans
from cryptocast.data.sources.table import AUTO, SOURCES, STAND_IN, candidates, settled_source
from cryptocast.data.sources.upstream import Page, Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, RegistryError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Priority, Unreachable
from cryptocast.registry import SettledSources
from cryptocast.times import EPOCH, as_moment
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.downloads import Downloads, Reach, by_turns
from cryptocast.workflows.market_data.other_granularity import other_granularity, other_granularity_text

log = logging.getLogger(__name__)

# A closed bar appears upstream some time after its close.
GRACE: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=15), "hourly": timedelta(minutes=5)}
# Asking again sooner than this brings nothing new: dead coins would be asked for with every command.
RETRY: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=30), "hourly": timedelta(minutes=5)}
NOBODY: Final = 2  # exchanges that cannot be reached, after which no other is tried: there is no network
DEAD_AFTER: Final = timedelta(days=7)  # without a bar, although the upstream was asked


class NewCoinError(DataError):
    """Only stored candles count, and the coin has none of any source: nothing has settled where it comes from."""


@dataclass(frozen=True, slots=True, eq=False)
class CoinCandles:
    """The candles of one coin, closed at the moment of their age.

    notice: what the user must know about where they come from, in one line. change: what a download brought into the
    store, if any.
    """

    candles: Candles
    age: Age
    notice: str | None = None
    change: WriteResult | None = None

    @property
    def stale(self) -> bool:
        """Whether newer ones should be there."""
        return self.age.stale


Outcome: TypeAlias = CoinCandles | CryptocastError


@dataclass(slots=True, eq=False)
class _Order:
    """A coin that is asked for upstream: what the store has, the calls that are out, what they brought.

    is_new: nothing has settled its source yet. passed_over: why earlier candidates for it were not asked.
    """

    key: SeriesKey
    is_new: bool
    passed_over: tuple[CryptocastError, ...]
    stored: Candles | None
    wall: datetime
    pages: tuple[Page, ...]
    left: int = 0
    changes: list[WriteResult] = field(default_factory=list)
    error: CryptocastError | None = None


def obtain(
    context: Context,
    request: Resolved,
    *,
    fetch_allowed: bool = True,
    connect: Callable[[Source], Upstream] | None = None,
) -> dict[str, Outcome]:
    """The candles of each coin by the rule of their source, or why they cannot be had, in the order of the request.

    Coins are downloaded side by side. While an upstream has not answered, one call goes out at a time, and the first
    that finds nobody there is the last, so that a machine without a network waits once. connect: opens others than the
    sources do. UsageError for a malformed coin or quote currency, ConfigError for a key that is refused: they are
    raised, since nothing could come of the others.
    """
    for coin in request.coins:
        check_coin(coin)
    access = access_of(context)
    connect = connect or (lambda source: source.connect(access))
    with Sources(context, request, connect, fetch_allowed=fetch_allowed) as sources:
        outcomes = dict(sources.find_all(dict.fromkeys(request.coins)))
    return {coin: outcomes[coin] for coin in request.coins}


def open_store(config: Config) -> CandleStore:
    """The store that the settings name."""
    return CandleStore(config.store.path, lock_timeout_s=config.store.lock_timeout_s)


@dataclass(slots=True)
class Sources:
    """The rule of the sources for one command. Opens each upstream when it is first needed; a context manager.

    request: which bars; its coins are not looked at, see `find_all`. priority, patient: of the calls, see Downloads; of
    a STRANGER's coin only the bars of one call are fetched. tries: calls that may find nobody before an upstream counts
    as unreachable.
    """

    context: Context
    request: Resolved
    connect: Callable[[Source], Upstream]
    fetch_allowed: bool = True
    priority: Priority = Priority.USER
    patient: bool = False
    tries: int = 1
    store: CandleStore = field(init=False)
    opened: dict[str, Upstream] = field(init=False, default_factory=dict)
    _reaches: dict[str, Reach] = field(init=False, default_factory=dict)
    _settled: SettledSources | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_vs(self.request.vs)
        self.store = self.context.candles or open_store(self.config)

    @property
    def config(self) -> Config:
        """The settings."""
        return self.context.config

    def upstream(self, source: Source) -> Upstream:
        """The connection to a source, opened now if it was not. Closed with this object."""
        if source.name not in self.opened:
            self.opened[source.name] = self.connect(source)
        return self.opened[source.name]

    def reach(self, source: Source) -> Reach:
        """Whether it makes sense to ask the source again."""
        return self._reaches.setdefault(source.name, Reach(tries=self.tries))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.opened:
            self.opened.popitem()[1].close()

    def find_all(
        self,
        coins: Iterable[str],
        *,
        since: datetime | None = None,
        refresh: bool = False,
        whole: bool = False,
        older: bool = True,
    ) -> Iterator[tuple[str, Outcome]]:
        """Each coin once, as its bars come, or why they do not: first those that are here, then the downloads.

        `whole`: fetch too if the history begins later than `since` (default: the setting). `refresh` fetches even what
        is fresh; without `older`, neither candles that could not be brought up to date nor the sample are good enough.
        """
        orders: dict[SeriesKey, _Order] = {}
        for coin in coins:
            check_coin(coin)
            try:
                source = self.settled(coin)
                here = None if source is None else self._here(coin, source)
                order = None if here else self._order(coin, source, since, refresh=refresh, whole=whole)
            except UpstreamError as error:
                yield coin, self._stand_in(coin, error) if source is None and older else error
                continue
            except DataError as error:
                yield coin, error
                continue
            if here is not None:
                yield coin, here
            elif order is not None:
                orders[order.key] = order
        yield from self._delivered(orders, older=older)

    def settled(self, coin: str) -> Source | None:
        """The source of a coin: that of the request, else the one it has. None for a new coin."""
        request = self.request
        if request.source != AUTO:
            return SOURCES[request.source]
        other: Granularity = "hourly" if request.granularity == "daily" else "daily"
        own, others = (self.store.sources(coin, request.vs, bars) for bars in (request.granularity, other))
        facts = self._registered()
        return settled_source(
            moved=facts.moved.get(coin),
            promoted=facts.promoted.get(coin, ()),
            stored=own,
            with_other_bars=others,
        )

    def _registered(self) -> SettledSources:
        """What the registry says, asked once. One that cannot be read says nothing: candles are not its matter."""
        if self._settled is None:
            try:
                registry = self.context.registry(create=False)
                self._settled = registry.settled_sources(self.request.vs, self.request.granularity)
            except RegistryError as error:
                log.warning("the sources of coins are looked up in the store alone: %s", error)
                self._settled = SettledSources()
        return self._settled

    def _here(self, coin: str, source: Source) -> CoinCandles | None:
        """Bars for which nobody needs to be asked; None if they must be fetched."""
        as_of, key = self.request.as_of, self._key(source, coin)
        stored = self.store.read(key, as_of) if source.kept_in_store else source.load(self.config, key)
        if not source.is_fetched:
            if stored is None:
                raise self._unknown_then(key) if as_of else self._not_here(source, key)
            bars = self._resting(stored)
            return replace(bars, notice=self._way_on(source, coin)) if bars.stale else bars
        if as_of is None and not self.request.stored:
            return None
        if stored is None:
            raise self._unknown_then(key) if as_of else DataError(self._not_stored(coin))
        return self._ageing(stored, as_of or self.context.wall_clock())

    def _not_here(self, source: Source, key: SeriesKey) -> DataError:
        other = other_granularity(self.store, key) if source.kept_in_store else None
        return DataError(source.explain_missing(self.config, key) if other is None else other_granularity_text(other))

    def _not_stored(self, coin: str) -> str:
        request = self.request
        return (
            f"The store has no {request.granularity} candles of {coin} in {request.vs}."
            f" Fetch them: cryptocast fetch {coin}"
        )

    def _unknown_then(self, key: SeriesKey) -> DataError:
        since = self.store.known_since(key)
        there = f"it knows some since {since:%Y-%m-%d %H:%M} UTC" if since else "it has none"
        return DataError(
            f"The store knew no {key.granularity} candles of {key.coin} at"
            f" {self.request.as_of:%Y-%m-%d %H:%M} UTC: {there}. Choose a later --as-of, or leave it out; --now cuts by"
            " the time of the bars instead."
        )

    def _order(
        self, coin: str, settled: Source | None, since: datetime | None, *, refresh: bool, whole: bool
    ) -> _Order:
        passed_over: list[CryptocastError] = []
        source = settled or self._first_that_lists(coin, passed_over)
        key = self._key(source, coin)
        source.coin_name(key)  # what is not traded there is refused before anybody is asked
        stored = self.store.load(key)
        wall = self.context.wall_clock()
        days = source.days_a_call(key.granularity)
        if self.priority is Priority.STRANGER and days is not None:
            since = wall - timedelta(days=days)
        spans = missing_spans(
            None if stored is None else stored.provenance,
            () if stored is None else stored.covered,
            wall,
            start=max(since or as_moment(self.config.data.since), source.oldest(self.config, wall)),
            fresh=stored is not None and is_fresh(stored.provenance, wall, self._now),
            whole=whole,
            refresh=refresh,
        )
        market = None if stored is None else stored.provenance.market
        pages = tuple(replace(page, market=market) for page in source.pages(key, spans, wall))
        candles = None if stored is None else stored.candles
        return _Order(key, settled is None, tuple(passed_over), candles, wall, pages, left=len(pages))

    def _first_that_lists(self, coin: str, passed_over: list[CryptocastError]) -> Source:
        """The source of a new coin. Those that do not answer are passed over; where two of them cannot be reached there
        is no network, and Unreachable is raised. DataError if the command may not ask anybody."""
        if self.request.as_of is not None:
            raise self._unknown_then(self._key(candidates(self.config)[-1], coin))
        if self.request.stored:
            raise NewCoinError(self._not_stored(coin))
        if not self.fetch_allowed:
            raise UpstreamError(f"{coin} may not be fetched now. Fetch it first: cryptocast fetch {coin}")
        *listing, last = candidates(self.config)
        for source in listing:
            error = self.reach(source).down
            if error is None:
                try:
                    if source.lists(self.upstream(source), self._key(source, coin), self.context.wall_clock()):
                        return source
                    continue
                except UpstreamError as failure:
                    error = self.reach(source).down = failure
            passed_over.append(error)
            if sum(isinstance(one, Unreachable) for one in passed_over) == NOBODY:
                raise error
        return last

    def _delivered(self, orders: dict[SeriesKey, _Order], *, older: bool) -> Iterator[tuple[str, Outcome]]:
        for order in [order for order in orders.values() if not order.pages or not self.fetch_allowed]:
            coin = order.key.coin
            if order.pages:
                order.error = UpstreamError(f"{coin} may not be fetched now. Fetch it first: cryptocast fetch {coin}")
            yield coin, self._of_order(orders.pop(order.key), older=older)
        for name in dict.fromkeys(key.source for key in orders):
            own = [order.pages for order in orders.values() if order.key.source == name]
            for page, outcome in self._downloads(SOURCES[name]).bring(by_turns(own)):
                order = orders[page.key]
                order.left -= 1
                if isinstance(outcome, WriteResult):
                    order.changes.append(outcome)
                elif outcome is not None:
                    order.error = order.error or outcome
                if order.left == 0:
                    yield page.key.coin, self._of_order(order, older=older)

    def _downloads(self, source: Source) -> Downloads:
        return Downloads(
            self.store,
            partial(self.upstream, source),
            self.context.wall_clock,
            priority=self.priority,
            patient=self.patient,
            reach=self.reach(source),
            progress=self.context.progress,
        )

    def _of_order(self, order: _Order, *, older: bool) -> Outcome:
        """What can be had of a coin after all its calls."""
        change, stored, error = _summed(order.changes), order.stored, order.error
        if change is not None:
            try:
                stored = self.store.read(order.key)
            except DataError as damage:
                return damage
        if error is None and stored is None:
            return DataError(
                f"{SOURCES[order.key.source].title} has no closed {order.key.granularity} bar of {order.key.coin} yet."
                " Choose another coin."
            )
        if stored is not None and (error is None or older):
            return self._with_choice(order, self._ageing(stored, order.wall, change, error))
        if isinstance(error, UpstreamError):
            replaceable = order.is_new and older
            return self._stand_in(order.key.coin, error) if replaceable else self._explained(order.key, error)
        return error if isinstance(error, DataError) else DataError(str(error))

    def _with_choice(self, order: _Order, coin: CoinCandles) -> CoinCandles:
        """With a notice where a new coin did not get the source that comes first."""
        if not order.passed_over:
            return coin
        reasons = " ".join(dict.fromkeys(error.what for error in order.passed_over))
        title = SOURCES[order.key.source].title
        notice = f"{order.key.coin} comes from {title} from now on, since others did not answer: {reasons}"
        return replace(coin, notice=f"{notice} {coin.notice}" if coin.notice else notice)

    def _key(self, source: Source, coin: str) -> SeriesKey:
        return SeriesKey(Market(source.name, self.request.vs, self.request.granularity), coin)

    @property
    def _now(self) -> datetime | None:
        """The moment that is pretended, if one is."""
        return self.request.as_of if self.request.now is None else self.request.now

    def _way_on(self, source: Source, coin: str) -> str | None:
        """How to get newer bars than those of a file, which auto goes on with."""
        if self.request.source != AUTO:
            return None
        names = ", ".join(one.name for one in candidates(self.config)[:2])
        return (
            f"auto uses {source.title} for {coin}; for newer candles take it from a source that is fetched, such as"
            f" {names}: cryptocast fetch {coin} --move-to SOURCE."
        )

    def _age(self, facts: Provenance, now: datetime, *, failed: bool = False) -> Age:
        granularity = facts.key.granularity
        return age_of(
            facts.last,
            now,
            granularity,
            is_fetched=SOURCES[facts.key.source].is_fetched,
            late_after=self.config.data.stale_after_bars,
            longest=max(self.config.horizons(granularity)),
            failed=failed,
        )

    def _resting(self, candles: Candles, notice: str | None = None) -> CoinCandles:
        """Bars that nobody is asked for."""
        candles = candles if self._now is None else cut(candles, self._now)
        facts = candles.provenance
        clock = self.context.wall_clock() if SOURCES[facts.key.source].ages_by_clock else facts.last
        return CoinCandles(candles, self._age(facts, self._now or clock), notice)

    def _ageing(
        self, candles: Candles, wall: datetime, change: WriteResult | None = None, error: CryptocastError | None = None
    ) -> CoinCandles:
        """Bars whose clock is the wall's. error: why they could not be brought up to date."""
        title, whole = SOURCES[candles.provenance.key.source].title, candles.provenance
        candles = candles if self._now is None else cut(candles, self._now)
        facts = candles.provenance
        age = self._age(facts, self._now or wall, failed=error is not None)
        notice = None
        if error is not None:
            notice = f"{error.what}: using older {title} candles, to {_day(whole)}."
        elif age.stale:
            newest = f"{title}'s newest {facts.key.granularity} candle of {facts.key.coin}"
            notice = f"{newest} closed {facts.last:%Y-%m-%d %H:%M} UTC."
            if facts.fetched_at - facts.last > DEAD_AFTER:
                notice += " It was asked for newer ones: the coin may be delisted, or go on under another id."
        return CoinCandles(candles, age, notice, change)

    def _stand_in(self, coin: str, error: UpstreamError) -> Outcome:
        """What a new coin rests on where nobody can be asked."""
        key = self._key(STAND_IN, coin)
        if not STAND_IN.holds(key) or self.request.as_of is not None:
            return self._explained(self._key(candidates(self.config)[-1], coin), error)
        candles = STAND_IN.load(self.config, key)
        reason = f"{'no network: ' if isinstance(error, Unreachable) else ''}{error.what}"
        return self._resting(candles, f"{reason}: using {STAND_IN.described(candles.provenance.last)}, instead.")

    def _explained(self, key: SeriesKey, error: UpstreamError) -> UpstreamError:
        return error.saying(f"{error} {SOURCES[key.source].explain_missing(self.config, key)}")


def _summed(changes: Sequence[WriteResult]) -> WriteResult | None:
    """Several writes of one series as one."""
    if not changes:
        return None
    counts = {
        name: sum(getattr(change, name) for change in changes) for name in ("added", "revised", "removed", "refined")
    }
    return WriteResult(provenance=changes[-1].provenance, **counts)


def is_fresh(stored: Provenance, wall: datetime, now: datetime | None = None) -> bool:
    """Whether asking upstream could bring no newer closed bar than the stored ones, or was tried just before."""
    granularity = stored.key.granularity
    bar = timedelta(microseconds=BAR_US[granularity])
    until = min(wall - GRACE[granularity], now or wall)
    due = until - (until - EPOCH) % bar
    if stored.last >= due:
        return True
    # A try before the bar could be there says nothing.
    counts = stored.fetched_at >= due + GRACE[granularity] or now is not None
    return counts and timedelta(0) <= wall - stored.fetched_at < RETRY[granularity]


def _day(provenance: Provenance) -> str:
    return f"{provenance.last:%Y-%m-%d}{'' if provenance.key.granularity == 'daily' else f'{provenance.last: %H:%M}'}"
