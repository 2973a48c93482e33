"""The bars that a report rests on."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import Cell, Column, Sheet
from cryptocast.number_format import when
from cryptocast.workflows.reports import CoinError, DataUsed

__all__ = ["data_sheet", "left_out_lines"]


def data_sheet(data: Sequence[DataUsed], granularity: str, vs: str) -> Iterator[RenderableType]:
    """The series with their source and last bar, and what must be known about them."""
    midnight, late = granularity == "daily", any(used.stale for used in data)
    columns = (
        Column("coin"),
        Column("source"),
        Column("bars", "right"),
        Column("first bar closed", leaves=1),
        Column("last bar closed"),
        *([Column("")] if late else []),
    )
    rows: list[list[Cell]] = [
        [
            used.coin,
            used.source,
            f"{used.rows:,}",
            when(used.first, midnight=midnight),
            when(used.last, midnight=midnight),
            *([Text("stale" if used.stale else "", style="yellow")] if late else []),
        ]
        for used in data
    ]
    yield Sheet(columns, rows, f"Rests on {granularity} bars in {vs.upper()}")
    for notice in dict.fromkeys(used.notice for used in data if used.notice):
        yield Text(f"Note: {notice}", style="yellow")


def left_out_lines(left_out: Iterable[CoinError]) -> Iterator[RenderableType]:
    """The coins that help no training here, and why."""
    for error in left_out:
        yield Text(f"Left out: {error.coin}: {error.error}", style="yellow")
