"""Which candles a command rests on: the source of each coin, brought up to date where that is possible.

`auto`, coin by coin: the coin's `file` candles; else CoinGecko, from the store while fresh, else fetched; else older
CoinGecko candles, marked stale; else the sample, with a notice. Sources are never joined into one series.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from cryptocast.config import Config, Granularity, SourceChoice
from cryptocast.data.coingecko import FREE_DAYS, CoinGecko
from cryptocast.data.coins import check_coin, check_vs, suggestion
from cryptocast.data.frame import cut
from cryptocast.data.sample import SAMPLE_COINS, load_sample
from cryptocast.data.schema import BAR_US, Candles, Provenance, SeriesKey
from cryptocast.data.simulated import load_simulated
from cryptocast.data.store import CandleStore, WriteResult
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.net import Unreachable
from cryptocast.workflows.context import NoProgress, Progress

__all__ = [
    "NEED_NO_STORE",
    "CoinBars",
    "Found",
    "Obtained",
    "Sources",
    "is_fresh",
    "obtain",
    "open_store",
    "stale_after",
    "without_store",
]

# A closed bar appears upstream some time after its close.
GRACE: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=15), "hourly": timedelta(minutes=5)}
# Asking again sooner than this brings nothing new: dead coins would be asked for with every command.
RETRY: Final[Mapping[Granularity, timedelta]] = {"daily": timedelta(minutes=30), "hourly": timedelta(minutes=5)}
NEED_NO_STORE: Final = ("sample", "simulated")
OVERLAP_DAYS: Final = 3  # fetched again behind the last bar: prices are revised for a while


@dataclass(frozen=True, slots=True, eq=False)
class CoinBars:
    """The candles of one coin, closed at `now`.

    now: the clock of the source: the last close of sample and file, the wall clock for CoinGecko, unless overridden.
    notice: what the user must know about them, in one line.
    """

    candles: Candles
    now: datetime
    stale: bool
    notice: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Obtained:
    """What could be had, in the order asked for, and why the rest could not."""

    bars: Mapping[str, CoinBars]
    missing: Mapping[str, CryptocastError]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The bars of a coin and, if a download changed the store, how."""

    bars: CoinBars
    written: WriteResult | None = None


def obtain(
    config: Config,
    coins: Sequence[str],
    *,
    source: SourceChoice,
    vs: str,
    granularity: Granularity,
    now: datetime | None,
    wall_clock: Callable[[], datetime],
    upstream_factory: Callable[[], CoinGecko],
    fetch_allowed: bool = True,
    progress: Progress | None = None,
) -> Obtained:
    """The candles of the coins by the rule of their source. An error of one coin stands in `missing`; none is raised.

    After the first failure of the upstream it is not asked again for the other coins, so that a machine without a
    network waits once. UsageError for a malformed coin or quote currency is raised: nothing could come of it.
    """
    for coin in coins:
        check_coin(coin)
    shown = progress or NoProgress()
    bars: dict[str, CoinBars] = {}
    missing: dict[str, CryptocastError] = {}
    shown.begin("candles", len(coins))
    sources = Sources(
        config,
        open_store(config),
        source=source,
        vs=vs,
        granularity=granularity,
        now=now,
        wall_clock=wall_clock,
        upstream_factory=upstream_factory,
        fetch_allowed=fetch_allowed,
    )
    try:
        for coin in coins:
            try:
                bars[coin] = sources.find(coin).bars
            except (DataError, UpstreamError) as error:
                missing[coin] = error
            shown.step(coin)
    finally:
        sources.close()
        shown.end()
    return Obtained(bars=bars, missing=missing)


def without_store(config: Config, source: str, coin: str, *, vs: str, granularity: Granularity) -> Candles:
    """Candles that are there without fetching: those inside the package, or those of the simulated market."""
    if source == "sample":
        return load_sample(coin, vs=vs, granularity=granularity)
    return load_simulated(coin, config.simulated, vs=vs, granularity=granularity)


def open_store(config: Config) -> CandleStore:
    """The store that the settings name."""
    return CandleStore(config.store.path, lock_timeout_s=config.store.lock_timeout_s)


class Sources:
    """The rule of the sources for one command. Opens the upstream when it is first needed; a context manager."""

    def __init__(
        self,
        config: Config,
        store: CandleStore,
        *,
        source: SourceChoice,
        vs: str,
        granularity: Granularity,
        now: datetime | None,
        wall_clock: Callable[[], datetime],
        upstream_factory: Callable[[], CoinGecko],
        fetch_allowed: bool = True,
    ) -> None:
        check_vs(vs)
        self._config, self._store = config, store
        self._source, self._vs, self._granularity = source, vs, granularity
        self._now, self._wall_clock, self._factory = now, wall_clock, upstream_factory
        self._fetch_allowed = fetch_allowed
        self._upstream: CoinGecko | None = None
        self._down: UpstreamError | None = None

    def find(
        self, coin: str, *, days: int | None = None, refresh: bool = False, whole: bool = False, older: bool = True
    ) -> Found:
        """The bars of one coin. `whole`: fetch too if the history is shorter than `days` (default: the setting).

        `refresh` fetches even what is fresh; without `older`, CoinGecko candles that could not be brought up to date
        are not good enough. Raises DataError or UpstreamError.
        """
        check_coin(coin)
        if self._source in NEED_NO_STORE:
            made = without_store(self._config, self._source, coin, vs=self._vs, granularity=self._granularity)
            return Found(self._resting(made))
        if self._source in ("auto", "file"):
            own = self._store.read(self._key("file", coin))
            if own is not None:
                return Found(self._resting(own))
            if self._source == "file":
                raise DataError(
                    f"There are no {self._granularity} candles of {coin} in {self._vs} from a file."
                    f" Import them: cryptocast fetch {coin} --source file --file FILE"
                )
        return self._coingecko(coin, days or self._config.data.days, refresh=refresh, whole=whole, older=older)

    def close(self) -> None:
        """Close the upstream, if it was opened."""
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, source: str, coin: str) -> SeriesKey:
        return SeriesKey(source, self._vs, self._granularity, coin)

    def _resting(self, candles: Candles, notice: str | None = None) -> CoinBars:
        """Bars whose clock stands at their last close."""
        kept = candles if self._now is None else cut(candles, self._now)
        return CoinBars(kept, now=self._now or kept.provenance.last, stale=False, notice=notice)

    def _coingecko(self, coin: str, days: int, *, refresh: bool, whole: bool, older: bool) -> Found:
        key = self._key("coingecko", coin)
        stored = self._store.read(key)
        wall = self._wall_clock()
        if self._config.coingecko.plan != "pro":
            days = min(days, FREE_DAYS)
        short = stored is not None and whole and stored.provenance.first > wall - timedelta(days=days - 2)
        if stored is not None and not refresh and not short and is_fresh(stored.provenance, wall, self._now):
            return Found(self._ageing(stored, wall))
        tail = stored is not None and not refresh and not short
        try:
            written = self._download(key, days, wall, stored.provenance if stored is not None and tail else None)
        except (UpstreamError, DataError) as error:
            if stored is not None and older:
                notice = f"{_first_sentence(error)}: resting on older CoinGecko candles, to {_day(stored.provenance)}."
                return Found(self._ageing(stored, wall, failed=notice))
            if isinstance(error, DataError):
                raise
            return Found(self._sample_instead(coin, error))
        fetched = self._store.read(key)
        if fetched is None:
            raise DataError(f"The candles of {coin} vanished from the store while they were read. Try again.")
        return Found(self._ageing(fetched, wall), written)

    def _download(self, key: SeriesKey, days: int, wall: datetime, stored: Provenance | None) -> WriteResult:
        """Fetch and store; with `stored`, only what follows its last bar and a little before it."""
        if not self._fetch_allowed:
            raise UpstreamError(f"{key.coin} may not be fetched now. Fetch it first: cryptocast fetch {key.coin}")
        if self._down is not None:
            raise self._down
        wanted = days if stored is None else min(days, (wall - stored.last).days + OVERLAP_DAYS)
        if self._upstream is None:
            self._upstream = self._factory()
        try:
            history = self._upstream.history(key.coin, key.vs, key.granularity, wanted, wall)
        except UpstreamError as error:
            self._down = error
            raise
        if history.frame.is_empty():
            raise DataError(f"CoinGecko has no closed {key.granularity} bar of {key.coin} yet. Choose another coin.")
        return self._store.write(key, history.frame, fetched_at=wall, notes=history.notes)

    def _ageing(self, candles: Candles, wall: datetime, failed: str | None = None) -> CoinBars:
        """Bars whose clock is the wall's."""
        kept = candles if self._now is None else cut(candles, self._now)
        now = self._now or wall
        last = kept.provenance.last
        late = now > stale_after(last, self._granularity, self._config.data.stale_after_bars)
        notice = failed
        if late and failed is None:
            coin = kept.provenance.key.coin
            notice = f"CoinGecko's newest {self._granularity} candle of {coin} closed {last:%Y-%m-%d %H:%M} UTC."
        return CoinBars(kept, now=now, stale=late or failed is not None, notice=notice)

    def _sample_instead(self, coin: str, error: UpstreamError) -> CoinBars:
        fits = coin in SAMPLE_COINS and self._vs == "usd" and self._granularity == "daily"
        if self._source == "auto" and fits:
            sample = load_sample(coin)
            reason = f"{'no network: ' if isinstance(error, Unreachable) else ''}{_first_sentence(error)}"
            notice = f"{reason}: resting on the sample, real Bitstamp prices that end {_day(sample.provenance)}."
            return self._resting(sample, notice)
        hint = suggestion(coin, SAMPLE_COINS)
        here = f" {coin} is not in the store." + (hint if coin not in SAMPLE_COINS else "")
        raise type(error)(f"{error}{here}") from error


def is_fresh(stored: Provenance, wall: datetime, now: datetime | None = None) -> bool:
    """Whether asking upstream could bring no newer closed bar than the stored ones, or was tried just before."""
    granularity = stored.key.granularity
    bar = timedelta(microseconds=BAR_US[granularity])
    asked = min(wall - GRACE[granularity], now or wall)
    due = asked - (asked - datetime(1970, 1, 1, tzinfo=UTC)) % bar
    return stored.last >= due or timedelta(0) <= wall - stored.fetched_at < RETRY[granularity]


def stale_after(last_close: datetime, granularity: Granularity, bars: int) -> datetime:
    """When candles that end at `last_close` become stale: the next bar is due one bar later, and `bars` late then."""
    return last_close + (1 + bars) * timedelta(microseconds=BAR_US[granularity])


def _first_sentence(error: CryptocastError) -> str:
    return str(error).split(". ", 1)[0].rstrip(".")


def _day(provenance: Provenance) -> str:
    return (
        f"{provenance.last:%Y-%m-%d}" if provenance.key.granularity == "daily" else f"{provenance.last:%Y-%m-%d %H:%M}"
    )
