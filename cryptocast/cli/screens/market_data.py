"""fetch and data: what came in, what is there, what is wrong with it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Sheet, note
from cryptocast.number_format import NOTHING, count, when
from cryptocast.workflows.market_data.fetch import FetchedCoin, FetchReport
from cryptocast.workflows.market_data.inventory import StoreCheck, StoreListing

__all__ = ["check_screen", "fetch_screen", "listing_screen"]

FETCHED: Final = (
    Column("coin"),
    Column("source"),
    Column("bars"),
    Column("new", "right"),
    Column("revised", "right", leaves=2),
    Column("removed", "right", leaves=4),
    Column("refined", "right", leaves=3),
    Column("in store", "right"),
    Column("first bar closed", leaves=1),
    Column("last bar closed"),
)
LISTED: Final = (
    Column("coin"),
    Column("source"),
    Column("in"),
    Column("bars"),
    Column("rows", "right"),
    Column("first bar closed", leaves=3),
    Column("last bar closed"),
    Column("fetched", leaves=2),
    Column("hash", leaves=4),
)


def fetch_screen(report: FetchReport) -> Iterator[RenderableType]:
    """The coins that came, then what is wrong with each, then those that did not come."""
    came = [coin for coin in report.coins if coin.error is None]
    if came:
        yield Sheet(FETCHED, [_fetched(coin) for coin in came], f"Candles in {report.vs.upper()}")
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


def _fetched(coin: FetchedCoin) -> tuple[str, ...]:
    midnight = coin.granularity == "daily"
    return (
        coin.coin,
        coin.source or NOTHING,
        coin.granularity or NOTHING,
        f"{coin.added:,}",
        f"{coin.revised:,}",
        f"{coin.removed:,}",
        f"{coin.refined:,}",
        f"{coin.rows:,}",
        when(coin.first, midnight=midnight) if coin.first else NOTHING,
        when(coin.last, midnight=midnight) if coin.last else NOTHING,
    )


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
    rows = [
        (
            series.coin,
            series.source,
            series.vs,
            series.granularity,
            f"{series.rows:,}",
            when(series.first, midnight=series.granularity == "daily"),
            when(series.last, midnight=series.granularity == "daily"),
            when(series.fetched_at, midnight=False),
            series.content_hash[:12],
        )
        for series in listing.series
    ]
    yield Sheet(LISTED, rows, f"{count(len(rows), 'series')} in {listing.path}")


def check_screen(check: StoreCheck) -> Iterator[RenderableType]:
    """What is wrong, or that nothing is."""
    for finding in check.findings:
        yield Text(finding.problem, style="red")
    if not check.findings:
        yield Text(
            f"All {check.series} series in {check.path} are intact: hash, schema, order and values.", style="green"
        )
