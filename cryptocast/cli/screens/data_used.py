"""The bars that a report rests on."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Column, Columns, table
from cryptocast.number_format import when
from cryptocast.workflows.reports import CoinError, DataUsed


def data_sheet(data: Sequence[DataUsed], granularity: str, vs: str) -> Iterator[RenderableType]:
    """The series with their source and last bar, and what must be known about them."""
    midnight, late = granularity == "daily", any(row.stale for row in data)
    columns: Columns[DataUsed] = (
        (Column("coin"), lambda row: row.coin),
        (Column("source"), lambda row: row.source),
        (Column("bars", "right"), lambda row: f"{row.rows:,}"),
        (Column("first bar closed", leaves=1), lambda row: when(row.first, midnight=midnight)),
        (Column("last bar closed"), lambda row: when(row.last, midnight=midnight)),
        *([(Column(""), _stale)] if late else []),
    )
    yield table(columns, data, f"Data: {granularity} bars in {vs.upper()}")
    for notice in dict.fromkeys(row.notice for row in data if row.notice):
        yield Text(f"Note: {notice}", style="yellow")


def left_out_lines(left_out: Iterable[CoinError]) -> Iterator[RenderableType]:
    """The coins that help no training here, and why."""
    for error in left_out:
        yield Text(f"Left out: {error.coin}: {error.error}", style="yellow")


def _stale(row: DataUsed) -> Text:
    return Text("stale" if row.stale else "", style="yellow")
