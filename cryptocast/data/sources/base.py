"""What a source of candles is: the questions that everything else asks of it.

A new source is one module, its settings in `config.py` and one line in `table.py`. The module has a `Source` with
`name`, `title` and `explain_missing`. One that is asked over the network sets `is_fetched`, and adds `connect` and an
`Upstream` (see `upstream`) with `page`: closed bars in CANDLE_SCHEMA for a span of time. The other methods have an
answer already, and are written only where that answer is wrong: `coin_name` for an exchange that trades pairs, `oldest`
for a history with a limit, `pages` and `days_a_call` for short answers, `volume_unit`, `findings` and `probe` for
`doctor`. A source whose candles are made or read whenever they are needed sets `kept_in_store` to False and writes
`load`, and `holds` if it is sure of some series.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal, TypeAlias

from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.intervals import Span, merged, missing
from cryptocast.data.schema import BAR_US, Candles, Provenance, SeriesKey
from cryptocast.data.sources.upstream import Page, Upstream
from cryptocast.errors import DataError
from cryptocast.net import Breaker, Try

VolumeUnit: TypeAlias = Literal["bar", "rolling_24h"]  # what was traded in the bar, or in the 24 hours up to its close

DAY: Final = timedelta(days=1)
SETTLED: Final = DAY  # prices are revised, and late bars come, for a while; after that a bar is what it is
OVERLAP: Final[dict[Granularity, timedelta]] = {"daily": 3 * DAY, "hourly": DAY}  # asked again behind the last bar
TOLERANCE: Final = 2 * DAY  # a history that starts so little later than was asked is as long as it gets
FIRST: Final = datetime(2009, 1, 1, tzinfo=UTC)  # before the first price of any coin


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """What `doctor` says of a source: what was looked at, how it is, and what to do about it."""

    name: str
    status: Literal["ok", "warn"]
    summary: str
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection is opened with. on_try hears of each request that went out.

    deadline_s: the longest that a call may take with its retries, where somebody waits for the next one.
    """

    config: Config
    wall_clock: Callable[[], datetime]
    api_key: str | None = None
    breaker: Breaker | None = None
    on_try: Callable[[Try], None] | None = None
    deadline_s: float | None = None


class Source(ABC):
    """Where candles come from. It has no state of its own: what changes lies in the store or in the settings.

    name: in keys, settings and commands. title: in sentences. is_fetched: it is asked over the network, and brings new
    bars as time goes by. ages_by_clock: its bars are of a real market and grow old (see `age`); else its clock stands
    at its last bar.
    kept_in_store: else `load` makes the candles whenever they are needed. days_from_hours: its days come as closes
    only, and get their high and low from its hours.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    is_fetched: ClassVar[bool] = False
    ages_by_clock: ClassVar[bool] = True
    kept_in_store: ClassVar[bool] = True
    days_from_hours: ClassVar[bool] = False

    @abstractmethod
    def explain_missing(self, config: Config, key: SeriesKey) -> str:
        """What to say of a series that the store lacks and that cannot be fetched now."""

    def holds(self, key: SeriesKey) -> bool:  # noqa: ARG002 - for sources that know
        """Whether it is sure to have the series, without asking anybody."""
        return False

    def described(self, last: datetime) -> str:
        """In sentences, with its last bar."""
        return f"{self.title}, whose bars end {last:%Y-%m-%d}"

    def volume_unit(self, granularity: Granularity) -> VolumeUnit:  # noqa: ARG002 - for sources where it differs
        """What the volume of a bar is."""
        return "bar"

    def coin_name(self, key: SeriesKey) -> str:
        """How the coin is named there. Raises UnknownCoin for one that is sure to have no name."""
        return key.coin

    def load(self, config: Config, key: SeriesKey) -> Candles:
        """The candles of a source that is not kept in the store. Raises DataError for what it lacks."""
        raise DataError(self.explain_missing(config, key))

    def oldest(self, config: Config, now: datetime) -> datetime:  # noqa: ARG002 - for sources with a bound
        """The first moment whose bars can be had."""
        return FIRST

    def pages(self, key: SeriesKey, spans: Sequence[Span], now: datetime) -> tuple[Page, ...]:
        """The calls that bring these spans, newest first; one for all of them unless the source has shorter answers."""
        joint = merged(spans)
        return (Page(key, joint[0][0], joint[-1][1], ends_now=joint[-1][1] >= now),) if joint else ()

    def days_a_call(self, granularity: Granularity) -> int | None:  # noqa: ARG002 - for sources with a bound
        """How many days one call brings at most; None: any number."""
        return None

    def settled(self, page: Page, now: datetime) -> Span | None:
        """The part of an answered page in which no bar is missing any more that could still come."""
        end = min(page.end, now - SETTLED)
        return (page.start, end) if page.start < end else None

    def connect(self, access: Access) -> Upstream:
        """A connection that fetches pages; whoever opens it closes it. Raises ConfigError for a key that is missing."""
        raise DataError(f"Nothing is fetched from {self.title} (for {access.config.data.vs}).")

    def lists(self, upstream: Upstream, key: SeriesKey, now: datetime) -> bool:  # noqa: ARG002 - for those with a list
        """Whether the coin can be had there in that currency, as far as it says. Raises UpstreamError, DataError."""
        return True

    def findings(self, config: Config, environ: Mapping[str, str]) -> Iterable[SourceFinding]:  # noqa: ARG002 - likewise
        """Whether what a connection needs is there; nobody is asked."""
        return ()

    def probe(self, config: Config, api_key: str | None) -> str:  # noqa: ARG002 - likewise
        """One cheap call: whether it answers and accepts the key, in words. Raises as a page does."""
        return f"{self.title} is not asked"


def missing_spans(
    stored: Provenance | None,
    covered: Sequence[Span],
    now: datetime,
    *,
    start: datetime,
    fresh: bool,
    whole: bool = False,
    refresh: bool = False,
) -> list[Span]:
    """What must be asked for to bring a series up to date; nothing where all is there.

    start: of the whole history. fresh: the newest bar that can be had is stored. whole: go back to the start, else only
    as far as the store does. refresh: all of it, whatever is stored. `covered` is what the upstream has answered for; a
    series without (written by an older layout) counts as covered from its first to its last bar.
    """
    if stored is None or refresh:
        return [(start, now)]
    granularity = stored.key.granularity
    answered = merged(covered) or ((stored.first - timedelta(microseconds=BAR_US[granularity]), stored.last),)
    spans = list(missing((answered[0][0], answered[-1][1]), answered))
    if whole and answered[0][0] - start > TOLERANCE:
        spans.append((start, answered[0][0]))
    if not fresh:
        spans.append((max(start, stored.last - OVERLAP[granularity]), now))
    return spans
