"""fetch and data: what came in, what is there, what is wrong with it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, facts, note, table
from cryptocast.number_format import NOTHING, Prices, count, when
from cryptocast.workflows.market_data.fetch import FetchedCoin, FetchReport
from cryptocast.workflows.market_data.inventory import SeriesListing, StoreCheck, StoreListing
from cryptocast.workflows.market_data.stored_series import (
    Removal,
    SeriesChange,
    SeriesDetails,
    SeriesDocument,
    SeriesExport,
    SeriesFacts,
    StoredBar,
)

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

SERIES: Final[Columns[SeriesFacts]] = (
    (Column("coin"), lambda series: series.coin),
    (Column("source"), lambda series: series.source),
    (Column("market", leaves=3), lambda series: series.market or NOTHING),
    (Column("in"), lambda series: series.vs),
    (Column("bars"), lambda series: series.granularity),
    (Column("rows", "right"), lambda series: f"{series.rows:,}"),
    (Column("missing", "right", leaves=2), lambda series: f"{series.missing:,}"),
    (Column("revised", "right", leaves=4), lambda series: f"{series.revisions:,}"),
    (Column("first bar closed", leaves=5), lambda series: _closed(series.first, series.granularity)),
    (Column("last bar closed"), lambda series: _closed(series.last, series.granularity)),
    (Column("fetched", leaves=1), lambda series: when(series.fetched_at, midnight=False)),
)
CHANGES: Final[Columns[SeriesChange]] = (
    (Column("at"), lambda change: "not recorded" if change.at is None else when(change.at, midnight=False)),
    (Column("new", "right"), lambda change: f"{change.added:,}"),
    (Column("revised", "right"), lambda change: f"{change.revised:,}"),
)
SHOWN_CHANGES: Final = 10


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


def series_screen(document: SeriesDocument) -> Iterator[RenderableType]:
    """The series that match; one in detail."""
    for finding in document.findings:
        yield Text(finding.problem, style="red")
    if document.details is not None:
        yield from _details(document.series[0], document.details)
    elif document.series:
        yield table(SERIES, document.series, f"{count(len(document.series), 'series')} in {document.path}")
        yield note(
            "One in detail: cryptocast data show COIN, with --source, --vs or --granularity where it has several."
        )
    elif not document.findings:
        yield Text(f"The store {document.path} holds no such candles yet. Fetch some: cryptocast fetch")


def _details(series: SeriesFacts, details: SeriesDetails) -> Iterator[RenderableType]:
    first, last = (_closed(time, series.granularity) for time in (series.first, series.last))
    spans = (
        f"{_closed(start, series.granularity)} to {_closed(end, series.granularity)}" for start, end in series.covered
    )
    yield facts(
        (
            ("source", series.source if series.market is None else f"{series.source}, {series.market}"),
            ("bars", f"{series.rows:,} {series.granularity} in {series.vs.upper()}, {series.missing:,} missing"),
            ("closed", f"{first} to {last}"),
            ("fetched", when(series.fetched_at, midnight=False)),
            ("asked for", "; ".join(spans) or NOTHING),
            ("revisions", f"{series.revisions:,}"),
            ("hash", series.content_hash[:12]),
        ),
        series.coin,
    )
    yield table(CHANGES, details.history[-SHOWN_CHANGES:], "History")
    if len(details.history) > SHOWN_CHANGES:
        yield note(f"{len(details.history) - SHOWN_CHANGES:,} earlier changes: --json.")
    yield table(_bars(details.latest, series), details.latest, f"Latest bars in {series.vs.upper()}")
    yield from (note(line) for line in series.notes)
    yield from (Text(line) for line in details.quality.lines or ("no problems found",))


def _bars(bars: Sequence[StoredBar], series: SeriesFacts) -> Columns[StoredBar]:
    prices = Prices([price for bar in bars for price in (bar.open, bar.high, bar.low, bar.close)], 5)
    unit = "" if prices.unit == 1.0 else f"\n{prices.named(series.vs)}"
    return (
        (Column("closed"), lambda bar: _closed(bar.close_time, series.granularity)),
        (Column(f"open{unit}", "right"), lambda bar: prices(bar.open if bar.range_known else None)),
        (Column(f"high{unit}", "right"), lambda bar: prices(bar.high if bar.range_known else None)),
        (Column(f"low{unit}", "right"), lambda bar: prices(bar.low if bar.range_known else None)),
        (Column(f"close{unit}", "right"), lambda bar: prices(bar.close)),
        (Column("volume", "right", leaves=1), lambda bar: NOTHING if bar.volume is None else f"{bar.volume:,.0f}"),
    )


def removal_screen(removal: Removal) -> Iterator[RenderableType]:
    """What goes, or went, and what rests on it."""
    bars = "a damaged file"
    if removal.rows is not None and removal.revisions is not None:
        first, last = (_closed(time, removal.granularity) for time in (removal.first, removal.last))
        bars = f"{count(removal.rows, 'bar')} from {first} to {last}, {count(removal.revisions, 'revision')}"
    verb = "Removed" if removal.removed else "To be removed"
    yield Text(f"{verb}: {removal.coin} ({removal.source}, {removal.vs}, {removal.granularity}), {bars}.")
    if removal.versions:
        yield Text(f"These versions in production need it to forecast: {', '.join(removal.versions)}.", style="yellow")
    if not removal.removed:
        yield note(f"Nothing has been removed yet. The file is {removal.path}.")


def export_screen(export: SeriesExport) -> Iterator[RenderableType]:
    """Where the bars are now, and how they come back."""
    currency = "" if export.vs == "usd" else f" --vs {export.vs}"
    yield Text(f"Wrote {count(export.rows, 'bar')} of {export.coin} to {export.written}.")
    yield note(f"To read them back: cryptocast fetch {export.coin} --file {export.written}{currency}")


def check_screen(check: StoreCheck) -> Iterator[RenderableType]:
    """What is wrong, or that nothing is."""
    for finding in check.findings:
        yield Text(finding.problem, style="red")
    if not check.findings:
        yield Text(
            f"All {check.series} series in {check.path} are intact: hash, schema, order and values.", style="green"
        )
