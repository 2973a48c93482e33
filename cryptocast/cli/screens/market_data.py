"""fetch and data: what came in, what is there, what is wrong with it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, note, table
from cryptocast.number_format import NOTHING, count, when
from cryptocast.workflows.market_data.fetch import FetchedCoin, FetchReport
from cryptocast.workflows.market_data.inventory import SeriesListing, StoreCheck, StoreListing

FETCHED: Final[Columns[FetchedCoin]] = (
    (Column("coin"), lambda coin: coin.coin),
    (Column("source"), lambda coin: coin.source or NOTHING),
    (Column("bars"), lambda coin: coin.granularity or NOTHING),
    (Column("new", "right"), lambda coin: f"{coin.added:,}"),
    (Column("revised", "right", leaves=2), lambda coin: f"{coin.revised:,}"),
    (Column("removed", "right", leaves=4), lambda coin: f"{coin.removed:,}"),
    (Column("refined", "right", leaves=3), lambda coin: f"{coin.refined:,}"),
    (Column("in store", "right"), lambda coin: f"{coin.rows:,}"),
    (Column("first bar closed", leaves=1), lambda coin: _closed(coin.first, coin.granularity)),
    (Column("last bar closed"), lambda coin: _closed(coin.last, coin.granularity)),
)
REVISED: Final = (
    "1 bar differs from the one stored earlier and was revised",
    "{:,} bars differ from those stored earlier and were revised",
)
REMOVED: Final = (
    "1 bar that was stored earlier did not come again and was removed",
    "{:,} bars that were stored earlier did not come again and were removed",
)
LISTED: Final[Columns[SeriesListing]] = (
    (Column("coin"), lambda series: series.coin),
    (Column("source"), lambda series: series.source),
    (Column("in"), lambda series: series.vs),
    (Column("bars"), lambda series: series.granularity),
    (Column("rows", "right"), lambda series: f"{series.rows:,}"),
    (Column("first bar closed", leaves=3), lambda series: _closed(series.first, series.granularity)),
    (Column("last bar closed"), lambda series: _closed(series.last, series.granularity)),
    (Column("fetched", leaves=2), lambda series: when(series.fetched_at, midnight=False)),
    (Column("hash", leaves=4), lambda series: series.content_hash[:12]),
)


def fetch_screen(report: FetchReport) -> Iterator[RenderableType]:
    """The coins that came, then what is wrong with each, then those that did not come."""
    came = [coin for coin in report.coins if coin.error is None]
    if came:
        yield table(FETCHED, came, f"Candles in {report.vs.upper()}")
    yield from _changes(came)
    yield from _remarks(came)
    yield from (
        Text(f"{coin.coin}: hourly prices could not be fetched: {coin.hours_problem}", style="yellow")
        for coin in came
        if coin.hours_problem is not None
    )
    for coin in report.coins:
        if coin.error is not None:
            yield Text(f"{coin.coin}: {coin.error.message}", style="red")
    if report.summary.calls:
        yield note(report.summary.in_words())


def _changes(coins: Sequence[FetchedCoin]) -> Iterator[RenderableType]:
    """What became of bars that were there before."""
    for coin in coins:
        for bars, (one, many) in ((coin.revised, REVISED), (coin.removed, REMOVED)):
            if bars:
                yield Text(f"{coin.coin}: {(one if bars == 1 else many).format(bars)}", style="yellow")


def _closed(time: datetime | None, granularity: str | None) -> str:
    return when(time, midnight=granularity == "daily")


def _remarks(coins: Sequence[FetchedCoin]) -> Iterator[RenderableType]:
    """What to know about the bars; what is true of several coins is said once."""
    notices: dict[str, list[str]] = defaultdict(list)
    notes: dict[str, list[str]] = defaultdict(list)
    findings: dict[str, list[str]] = defaultdict(list)
    for coin in coins:
        if coin.notice:
            notices[coin.notice].append(coin.coin)
        for line in coin.notes:
            notes[line].append(coin.coin)
        lines = coin.quality.lines if coin.quality else ()
        for line in lines or ("no problems found",):
            findings[line].append(coin.coin)
    yield from (Text(f"{', '.join(names)}: {text}", style="yellow") for text, names in notices.items())
    yield from (note(f"{', '.join(names)}: {text}") for text, names in notes.items())
    yield from (Text(f"{', '.join(names)}: {text}") for text, names in findings.items())


def listing_screen(listing: StoreListing) -> Iterator[RenderableType]:
    """Every series."""
    if not listing.series:
        yield Text(f"The store {listing.path} holds no candles yet. Fetch some: cryptocast fetch")
        return
    yield table(LISTED, listing.series, f"{count(len(listing.series), 'series')} in {listing.path}")


def check_screen(check: StoreCheck) -> Iterator[RenderableType]:
    """What is wrong, or that nothing is."""
    for finding in check.findings:
        yield Text(finding.problem, style="red")
    if not check.findings:
        yield Text(
            f"All {check.series} series in {check.path} are intact: hash, schema, order and values.", style="green"
        )
