"""The bars that a report rests on."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, note, table
from cryptocast.number_format import count, when
from cryptocast.workflows.reports import CoinError, DataUsed

MOST_SERIES: Final = 20
MOST_LEFT_OUT: Final = 10


def data_sheet(
    data: Sequence[DataUsed], granularity: str, vs: str, *, coins: int | None = None
) -> Iterator[RenderableType]:
    """The first series with their source and last bar, and what must be known about all of them.

    coins: how many there are, where the report has only the first.
    """
    midnight, late = granularity == "daily", any(row.stale for row in data)
    columns: Columns[DataUsed] = (
        (Column("coin"), lambda row: row.coin),
        (Column("source"), lambda row: row.source),
        (Column("bars", "right"), lambda row: f"{row.rows:,}"),
        (Column("first bar closed", leaves=1), lambda row: when(row.first, midnight=midnight)),
        (Column("last bar closed"), lambda row: when(row.last, midnight=midnight)),
        *([(Column(""), _stale)] if late else []),
    )
    yield table(columns, data[:MOST_SERIES], f"Data: {granularity} bars in {vs.upper()}")
    if (more := (coins or len(data)) - len(data[:MOST_SERIES])) > 0:
        yield note(f"and {count(more, 'more coin')}")
    for notice in dict.fromkeys(row.notice for row in data if row.notice):
        yield Text(f"Note: {notice}", style="yellow")


def left_out_lines(left_out: Sequence[CoinError]) -> Iterator[RenderableType]:
    """The first of the coins that help no training here, and why."""
    for error in left_out[:MOST_LEFT_OUT]:
        yield Text(f"Left out: {error.coin}: {error.error}", style="yellow")
    if len(left_out) > MOST_LEFT_OUT:
        yield Text(f"Left out: {len(left_out) - MOST_LEFT_OUT:,} more; --json names all of them", style="yellow")


def _stale(row: DataUsed) -> Text:
    return Text("stale" if row.stale else "", style="yellow")
