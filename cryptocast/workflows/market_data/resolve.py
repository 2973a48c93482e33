"""Which candles a command rests on: the source of each coin, brought up to date where that is possible.

`auto`, coin by coin: the coin's `file` candles; else CoinGecko, from the store while fresh, else fetched; else older
CoinGecko candles, marked stale; else the sample, with a notice. Sources are never joined into one series.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptocast.config import Config, Granularity
from cryptocast.data.candle_checks import cut
from cryptocast.data.coins import check_coin, check_vs
from cryptocast.data.schema import BAR_US, Candles, Provenance, SeriesKey
from cryptocast.data.sources.base import Source, missing_spans
from cryptocast.data.sources.table import rule_of
from cryptocast.data.sources.upstream import Page, Upstream
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Priority, Unreachable
from cryptocast.workflows.context import NoProgress, Progress, Resolved
from cryptocast.workflows.market_data.downloads import Downloads, Reach, by_turns

__all__ = [
    "CoinCandles",
    "Found",
    "Obtained",
    "Sources",
    "is_fresh",
    "obtain",
    "open_store",
    "stale_after",
]

# A closed bar appears upstream some time after its close.
GRACE: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=15), "hourly": timedelta(minutes=5)}
# Asking again sooner than this brings nothing new: dead coins would be asked for with every command.
RETRY: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=30), "hourly": timedelta(minutes=5)}
DEAD_AFTER: Final = timedelta(days=7)  # without a bar, although the upstream was asked


@dataclass(frozen=True, slots=True, eq=False)
class CoinCandles:
    """The candles of one coin, closed at `now`.

    now: the clock of the source: the wall clock where it ages by that, else its last close, unless overridden.
    notice: what the user must know about them, in one line.
    """

    candles: Candles
    now: datetime
    stale: bool
    notice: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Obtained:
    """What could be had, in the order asked for, and why the rest could not."""

    bars: Mapping[str, CoinCandles]
    missing: Mapping[str, CryptocastError]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The bars of a coin and, if a download changed the store, how."""

    bars: CoinCandles
    written: WriteResult | None = None


@dataclass(slots=True, eq=False)
class _Order:
    """A coin that is asked for upstream: what the store has, the calls that are out, what they brought."""

    key: SeriesKey
    stored: Candles | None
    wall: datetime
    pages: tuple[Page, ...]
    left: int = 0
    written: list[WriteResult] = field(default_factory=list)
    error: CryptocastError | None = None


def obtain(
    config: Config,
    asked: Resolved,
    *,
    wall_clock: Callable[[], datetime],
    upstream_factory: Callable[[], Upstream],
    fetch_allowed: bool = True,
    progress: Progress | None = None,
    store: CandleStore | None = None,
) -> Obtained:
    """The candles of the coins by the rule of their source. An error of one coin stands in `missing`; none is raised.

    Coins are downloaded side by side. While the upstream has not answered, one call goes out at a time, and the first
    that finds nobody there is the last, so that a machine without a network waits once. store: that of the settings
    unless given. UsageError for a malformed coin or quote currency, ConfigError for a key
    that is refused: they are raised, since nothing could come of the others.
    """
    for coin in asked.coins:
        check_coin(coin)
    shown = progress or NoProgress()
    found: dict[str, Found | CryptocastError] = {}
    shown.begin("candles", len(asked.coins))
    sources = Sources(
        config,
        store or open_store(config),
        asked,
        wall_clock=wall_clock,
        upstream_factory=upstream_factory,
        fetch_allowed=fetch_allowed,
    )
    try:
        for coin, outcome in sources.find_all(dict.fromkeys(asked.coins)):
            found[coin] = outcome
            shown.step(coin)
    finally:
        sources.close()
        shown.end()
    results = {coin: found[coin] for coin in asked.coins}
    return Obtained(
        bars={coin: outcome.bars for coin, outcome in results.items() if isinstance(outcome, Found)},
        missing={coin: outcome for coin, outcome in results.items() if not isinstance(outcome, Found)},
    )


def open_store(config: Config) -> CandleStore:
    """The store that the settings name."""
    return CandleStore(config.store.path, lock_timeout_s=config.store.lock_timeout_s)


class Sources:
    """The rule of the sources for one command. Opens the upstream when it is first needed; a context manager.

    asked: which bars; its coins are not looked at, see `find_all`. priority, patient: of the calls, see Downloads.
    tries: calls that may find nobody before the upstream counts as unreachable.
    """

    def __init__(
        self,
        config: Config,
        store: CandleStore,
        asked: Resolved,
        *,
        wall_clock: Callable[[], datetime],
        upstream_factory: Callable[[], Upstream],
        fetch_allowed: bool = True,
        priority: Priority = Priority.USER,
        patient: bool = False,
        tries: int = 1,
    ) -> None:
        check_vs(asked.vs)
        self._config, self._store, self._asked = config, store, asked
        self._rule = rule_of(asked.source)
        self._now = asked.as_of if asked.now is None else asked.now
        self._wall_clock, self._factory = wall_clock, upstream_factory
        self._fetch_allowed = fetch_allowed
        self._opened: Upstream | None = None
        self._downloads = Downloads(
            store, self.upstream, wall_clock, priority=priority, patient=patient, reach=Reach(tries=tries)
        )

    @property
    def reach(self) -> Reach:
        """Whether the upstream answers."""
        return self._downloads.reach

    @property
    def opened(self) -> Upstream | None:
        """The upstream, if it was needed."""
        return self._opened

    def upstream(self) -> Upstream:
        """The upstream, opened now if it was not. Closed with this object."""
        if self._opened is None:
            self._opened = self._factory()
        return self._opened

    def find(
        self, coin: str, *, days: int | None = None, refresh: bool = False, whole: bool = False, older: bool = True
    ) -> Found:
        """The bars of one coin, see `find_all`. Raises DataError or UpstreamError."""
        for _, outcome in self.find_all([coin], days=days, refresh=refresh, whole=whole, older=older):
            if not isinstance(outcome, Found):
                raise outcome
            return outcome
        raise DataError(f"{coin} was not looked for.")

    def find_all(
        self,
        coins: Iterable[str],
        *,
        days: int | None = None,
        refresh: bool = False,
        whole: bool = False,
        older: bool = True,
    ) -> Iterator[tuple[str, Found | CryptocastError]]:
        """Each coin once, as its bars come, or why they do not: first those that are here, then the downloads.

        `whole`: fetch too if the history is shorter than `days` (default: the setting). `refresh` fetches even what is
        fresh; without `older`, candles that could not be brought up to date are not good enough.
        """
        orders: dict[SeriesKey, _Order] = {}
        for coin in coins:
            check_coin(coin)
            try:
                here = self._here(coin) or self._order(coin, days, refresh=refresh, whole=whole)
            except (DataError, UpstreamError) as error:
                yield coin, error
                continue
            if isinstance(here, Found):
                yield coin, here
            else:
                orders[here.key] = here
        yield from self._delivered(orders, older=older)

    def _here(self, coin: str) -> Found | None:
        """Bars for which nobody needs to be asked; None if they must be fetched."""
        for source in self._rule.here:
            key = self._key(source, coin)
            own = self._store.read(key, self._asked.as_of) if source.kept_in_store else source.load(self._config, key)
            if own is not None:
                return Found(self._resting(own))
        if self._rule.fetched is None:
            missing = DataError(self._rule.here[-1].explain_missing(self._config, key))
            raise self._unknown_then(key) if self._asked.as_of else missing
        if self._asked.as_of is None and not self._asked.stored:
            return None
        key = self._key(self._rule.fetched, coin)
        known = self._store.read(key, self._asked.as_of)
        if known is None and self._asked.as_of is not None:
            raise self._unknown_then(key)
        if known is None:
            raise DataError(
                f"The store has no {self._asked.granularity} candles of {coin} in {self._asked.vs}."
                f" Fetch them: cryptocast fetch {coin}"
            )
        return Found(self._ageing(known, self._asked.as_of or self._wall_clock()))

    def _unknown_then(self, key: SeriesKey) -> DataError:
        since = self._store.known_since(key)
        there = f"it knows some since {since:%Y-%m-%d %H:%M} UTC" if since else "it has none"
        return DataError(
            f"The store knew no {key.granularity} candles of {key.coin} ({key.source}) at"
            f" {self._asked.as_of:%Y-%m-%d %H:%M} UTC: {there}. Choose a later --as-of, or leave it out; --now cuts by"
            " the time of the bars instead."
        )

    def _order(self, coin: str, days: int | None, *, refresh: bool, whole: bool) -> _Order:
        source = self.fetched
        key = self._key(source, coin)
        source.coin_name(key)  # what is not traded there is refused before anybody is asked
        stored = self._store.read(key)
        wall = self._wall_clock()
        spans = missing_spans(
            None if stored is None else stored.provenance,
            self._store.covered(key),
            wall,
            start=max(wall - timedelta(days=days or self._config.data.days), source.oldest(self._config, wall)),
            fresh=stored is not None and is_fresh(stored.provenance, wall, self._now),
            whole=whole,
            refresh=refresh,
        )
        pages = source.pages(key, spans, wall)
        return _Order(key, stored, wall, pages, left=len(pages))

    def _delivered(
        self, orders: dict[SeriesKey, _Order], *, older: bool
    ) -> Iterator[tuple[str, Found | CryptocastError]]:
        for order in [order for order in orders.values() if not order.pages or not self._fetch_allowed]:
            if order.pages:
                order.error = UpstreamError(
                    f"{order.key.coin} may not be fetched now. Fetch it first: cryptocast fetch {order.key.coin}"
                )
            yield order.key.coin, self._concluded(orders.pop(order.key), older=older)
        for page, outcome in self._downloads.bring(by_turns([order.pages for order in orders.values()])):
            order = orders[page.key]
            order.left -= 1
            if isinstance(outcome, WriteResult):
                order.written.append(outcome)
            elif outcome is not None:
                order.error = order.error or outcome
            if order.left == 0:
                yield page.key.coin, self._concluded(order, older=older)

    def _concluded(self, order: _Order, *, older: bool) -> Found | CryptocastError:
        """What can be had of a coin after all its calls."""
        try:
            return self._of_order(order, older=older)
        except (DataError, UpstreamError) as error:
            return error

    def _of_order(self, order: _Order, *, older: bool) -> Found:
        written = _summed(order.written)
        stored = self._store.read(order.key) if written is not None else order.stored
        if order.error is None:
            if stored is None:
                raise DataError(
                    f"{self.fetched.title} has no closed {order.key.granularity} bar of {order.key.coin} yet."
                    " Choose another coin."
                )
            return Found(self._ageing(stored, order.wall), written)
        if stored is not None and older:
            said = _first_sentence(order.error)
            notice = f"{said}: resting on older {self.fetched.title} candles, to {_day(stored.provenance)}."
            return Found(self._ageing(stored, order.wall, failed=notice), written)
        if isinstance(order.error, DataError):
            raise order.error
        if not isinstance(order.error, UpstreamError):
            raise DataError(str(order.error)) from order.error
        return Found(self._stand_in(order.key, order.error))

    def close(self) -> None:
        """Close the upstream, if it was opened."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fetched(self) -> Source:
        """The source that is asked over the network. DataError where there is none."""
        if self._rule.fetched is None:
            raise DataError("Nothing is fetched from this source.")
        return self._rule.fetched

    def _key(self, source: Source, coin: str) -> SeriesKey:
        return SeriesKey(Market(source.name, self._asked.vs, self._asked.granularity), coin)

    def _resting(self, candles: Candles, notice: str | None = None) -> CoinCandles:
        """Bars whose clock stands at their last close."""
        kept = candles if self._now is None else cut(candles, self._now)
        return CoinCandles(kept, now=self._now or kept.provenance.last, stale=False, notice=notice)

    def _ageing(self, candles: Candles, wall: datetime, failed: str | None = None) -> CoinCandles:
        """Bars whose clock is the wall's."""
        kept = candles if self._now is None else cut(candles, self._now)
        now = self._now or wall
        last = kept.provenance.last
        late = now > stale_after(last, self._asked.granularity, self._config.data.stale_after_bars)
        notice = failed
        if late and failed is None:
            coin = kept.provenance.key.coin
            newest = f"{self.fetched.title}'s newest {self._asked.granularity} candle of {coin}"
            notice = f"{newest} closed {last:%Y-%m-%d %H:%M} UTC."
            if kept.provenance.fetched_at - last > DEAD_AFTER:
                notice += " It was asked for newer ones: the coin may be delisted, or go on under another id."
        return CoinCandles(kept, now=now, stale=late or failed is not None, notice=notice)

    def _stand_in(self, key: SeriesKey, error: UpstreamError) -> CoinCandles:
        for source in self._rule.stand_ins:
            other = self._key(source, key.coin)
            if source.holds(other):
                candles = source.load(self._config, other)
                reason = f"{'no network: ' if isinstance(error, Unreachable) else ''}{_first_sentence(error)}"
                return self._resting(candles, f"{reason}: resting on {source.described(candles.provenance.last)}.")
        raise error.saying(f"{error} {self.fetched.explain_missing(self._config, key)}") from error


def _summed(results: Sequence[WriteResult]) -> WriteResult | None:
    """Several writes of one series as one."""
    if not results:
        return None
    return WriteResult(
        added=sum(result.added for result in results),
        revised=sum(result.revised for result in results),
        provenance=results[-1].provenance,
        removed=sum(result.removed for result in results),
        refined=sum(result.refined for result in results),
    )


def is_fresh(stored: Provenance, wall: datetime, now: datetime | None = None) -> bool:
    """Whether asking upstream could bring no newer closed bar than the stored ones, or was tried just before."""
    granularity = stored.key.granularity
    bar = timedelta(microseconds=BAR_US[granularity])
    asked = min(wall - GRACE[granularity], now or wall)
    due = asked - (asked - datetime(1970, 1, 1, tzinfo=UTC)) % bar
    if stored.last >= due:
        return True
    # A try before the bar could be there says nothing.
    tried = stored.fetched_at >= due + GRACE[granularity] or now is not None
    return tried and timedelta(0) <= wall - stored.fetched_at < RETRY[granularity]


def stale_after(last_close: datetime, granularity: Granularity, bars: int) -> datetime:
    """When candles that end at `last_close` become stale: the next bar is due one bar later, and `bars` late then."""
    return last_close + (1 + bars) * timedelta(microseconds=BAR_US[granularity])


def _first_sentence(error: CryptocastError) -> str:
    return str(error).split(". ", 1)[0].rstrip(".")


def _day(provenance: Provenance) -> str:
    return (
        f"{provenance.last:%Y-%m-%d}" if provenance.key.granularity == "daily" else f"{provenance.last:%Y-%m-%d %H:%M}"
    )
