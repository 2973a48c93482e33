"""Which candles a command rests on: the source of each coin, brought up to date where that is possible.

`auto`, coin by coin: the coin's `file` candles; else CoinGecko, from the store while fresh, else fetched; else older
CoinGecko candles, marked stale; else the sample, with a notice. Sources are never joined into one series.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self, TypeAlias

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.age import Age, age_of
from cryptocast.data.candle_checks import cut
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.schema import BAR_US, Candles, Provenance, SeriesKey
from cryptocast.data.sources.base import Source, missing_spans
from cryptocast.data.sources.table import SOURCES, SourceOrder, rule_of
from cryptocast.data.sources.upstream import Page, Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Priority, Unreachable
from cryptocast.times import EPOCH, as_moment
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.connect import access_of, upstream_factory
from cryptocast.workflows.market_data.downloads import Downloads, Reach, by_turns

# A closed bar appears upstream some time after its close.
GRACE: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=15), "hourly": timedelta(minutes=5)}
# Asking again sooner than this brings nothing new: dead coins would be asked for with every command.
RETRY: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=30), "hourly": timedelta(minutes=5)}
DEAD_AFTER: Final = timedelta(days=7)  # without a bar, although the upstream was asked


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
    """A coin that is asked for upstream: what the store has, the calls that are out, what they brought."""

    key: SeriesKey
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
    upstream: Callable[[], Upstream] | None = None,
) -> dict[str, Outcome]:
    """The candles of each coin by the rule of their source, or why they cannot be had, in the order of the request.

    Coins are downloaded side by side. While the upstream has not answered, one call goes out at a time, and the first
    that finds nobody there is the last, so that a machine without a network waits once. upstream: opens another than
    that of the source. UsageError for a malformed coin or quote currency, ConfigError for a key that is refused: they
    are raised, since nothing could come of the others.
    """
    for coin in request.coins:
        check_coin(coin)
    with Sources(
        context.config,
        context.candles or open_store(context.config),
        request,
        context.wall_clock,
        upstream or upstream_factory(request.source, access_of(context)),
        fetch_allowed=fetch_allowed,
    ) as sources:
        outcomes = dict(sources.find_all(dict.fromkeys(request.coins)))
    return {coin: outcomes[coin] for coin in request.coins}


def open_store(config: Config) -> CandleStore:
    """The store that the settings name."""
    return CandleStore(config.store.path, lock_timeout_s=config.store.lock_timeout_s)


@dataclass(slots=True)
class Sources:
    """The rule of the sources for one command. Opens the upstream when it is first needed; a context manager.

    request: which bars; its coins are not looked at, see `find_all`. priority, patient: of the calls, see Downloads.
    tries: calls that may find nobody before the upstream counts as unreachable. opened: the upstream, once needed.
    """

    config: Config
    store: CandleStore
    request: Resolved
    wall_clock: Callable[[], datetime]
    upstream_factory: Callable[[], Upstream]
    fetch_allowed: bool = True
    priority: Priority = Priority.USER
    patient: bool = False
    tries: int = 1
    opened: Upstream | None = None
    rule: SourceOrder = field(init=False)
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        check_vs(self.request.vs)
        self.rule = rule_of(self.request.source)
        self.reach = Reach(tries=self.tries)

    def upstream(self) -> Upstream:
        """The upstream, opened now if it was not. Closed with this object."""
        if self.opened is None:
            self.opened = self.upstream_factory()
        return self.opened

    @property
    def fetched(self) -> Source:
        """The source that is asked over the network. DataError where there is none."""
        if self.rule.fetched is None:
            raise DataError("Nothing is fetched from this source.")
        return self.rule.fetched

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.opened is not None:
            self.opened.close()
            self.opened = None

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
        is fresh; without `older`, candles that could not be brought up to date are not good enough.
        """
        orders: dict[SeriesKey, _Order] = {}
        for coin in coins:
            check_coin(coin)
            try:
                here = self._here(coin) or self._order(coin, since, refresh=refresh, whole=whole)
            except (DataError, UpstreamError) as error:
                yield coin, error
                continue
            if isinstance(here, _Order):
                orders[here.key] = here
            else:
                yield coin, here
        yield from self._delivered(orders, older=older)

    def _here(self, coin: str) -> CoinCandles | None:
        """Bars for which nobody needs to be asked; None if they must be fetched."""
        as_of = self.request.as_of
        for source in self.rule.here:
            key = self._key(source, coin)
            own = self.store.read(key, as_of) if source.kept_in_store else source.load(self.config, key)
            if own is not None:
                bars = self._resting(own)
                return replace(bars, notice=self._hidden_source(source, coin)) if bars.stale else bars
        if self.rule.fetched is None:
            raise self._unknown_then(key) if as_of else DataError(self.rule.here[-1].explain_missing(self.config, key))
        if as_of is None and not self.request.stored:
            return None
        key = self._key(self.rule.fetched, coin)
        stored = self.store.read(key, as_of)
        if stored is not None:
            return self._ageing(stored, as_of or self.wall_clock())
        if as_of is not None:
            raise self._unknown_then(key)
        raise DataError(
            f"The store has no {key.granularity} candles of {coin} in {key.vs}. Fetch them: cryptocast fetch {coin}"
        )

    def _unknown_then(self, key: SeriesKey) -> DataError:
        since = self.store.known_since(key)
        there = f"it knows some since {since:%Y-%m-%d %H:%M} UTC" if since else "it has none"
        return DataError(
            f"The store knew no {key.granularity} candles of {key.coin} ({key.source}) at"
            f" {self.request.as_of:%Y-%m-%d %H:%M} UTC: {there}. Choose a later --as-of, or leave it out; --now cuts by"
            " the time of the bars instead."
        )

    def _order(self, coin: str, since: datetime | None, *, refresh: bool, whole: bool) -> _Order:
        source = self.fetched
        key = self._key(source, coin)
        source.coin_name(key)  # what is not traded there is refused before anybody is asked
        stored = self.store.load(key)
        wall = self.wall_clock()
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
        return _Order(key, None if stored is None else stored.candles, wall, pages, left=len(pages))

    def _delivered(self, orders: dict[SeriesKey, _Order], *, older: bool) -> Iterator[tuple[str, Outcome]]:
        for order in [order for order in orders.values() if not order.pages or not self.fetch_allowed]:
            coin = order.key.coin
            if order.pages:
                order.error = UpstreamError(f"{coin} may not be fetched now. Fetch it first: cryptocast fetch {coin}")
            yield coin, self._of_order(orders.pop(order.key), older=older)
        downloads = Downloads(
            self.store, self.upstream, self.wall_clock, priority=self.priority, patient=self.patient, reach=self.reach
        )
        for page, outcome in downloads.bring(by_turns([order.pages for order in orders.values()])):
            order = orders[page.key]
            order.left -= 1
            if isinstance(outcome, WriteResult):
                order.changes.append(outcome)
            elif outcome is not None:
                order.error = order.error or outcome
            if order.left == 0:
                yield page.key.coin, self._of_order(order, older=older)

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
                f"{self.fetched.title} has no closed {order.key.granularity} bar of {order.key.coin} yet."
                " Choose another coin."
            )
        if stored is not None and (error is None or older):
            return self._ageing(stored, order.wall, change, error)
        if isinstance(error, UpstreamError):
            return self._stand_in(order.key, error)
        return error if isinstance(error, DataError) else DataError(str(error))

    def _key(self, source: Source, coin: str) -> SeriesKey:
        return SeriesKey(Market(source.name, self.request.vs, self.request.granularity), coin)

    @property
    def _now(self) -> datetime | None:
        """The moment that is pretended, if one is."""
        return self.request.as_of if self.request.now is None else self.request.now

    def _hidden_source(self, source: Source, coin: str) -> str | None:
        """That a source which may have newer bars is not asked, since this one comes before it."""
        fetched = self.rule.fetched
        if fetched is None:
            return None
        return f"auto uses {source.title} for {coin}; for newer candles of {fetched.title} add --source {fetched.name}."

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
        clock = self.wall_clock() if SOURCES[facts.key.source].ages_by_clock else facts.last
        return CoinCandles(candles, self._age(facts, self._now or clock), notice)

    def _ageing(
        self, candles: Candles, wall: datetime, change: WriteResult | None = None, error: CryptocastError | None = None
    ) -> CoinCandles:
        """Bars that are fetched. error: why they could not be brought up to date."""
        title, whole = self.fetched.title, candles.provenance
        candles = candles if self._now is None else cut(candles, self._now)
        facts = candles.provenance
        age = self._age(facts, self._now or wall, failed=error is not None)
        notice = None
        if error is not None:
            notice = f"{error.what}: resting on older {title} candles, to {_day(whole)}."
        elif age.stale:
            newest = f"{title}'s newest {facts.key.granularity} candle of {facts.key.coin}"
            notice = f"{newest} closed {facts.last:%Y-%m-%d %H:%M} UTC."
            if facts.fetched_at - facts.last > DEAD_AFTER:
                notice += " It was asked for newer ones: the coin may be delisted, or go on under another id."
        return CoinCandles(candles, age, notice, change)

    def _stand_in(self, key: SeriesKey, error: UpstreamError) -> Outcome:
        for source in self.rule.stand_ins:
            other = self._key(source, key.coin)
            if source.holds(other):
                candles = source.load(self.config, other)
                reason = f"{'no network: ' if isinstance(error, Unreachable) else ''}{error.what}"
                return self._resting(candles, f"{reason}: resting on {source.described(candles.provenance.last)}.")
        return error.saying(f"{error} {self.fetched.explain_missing(self.config, key)}")


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
