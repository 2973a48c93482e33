"""What `forecast --all` wrote, and the coins that it could not answer for."""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import note
from cryptocast.number_format import count
from cryptocast.workflows.forecast_all import AllForecasts

MOST_NAMED: Final = 5


def all_screen(report: AllForecasts) -> Iterator[RenderableType]:
    """Where, how many, and the first of those that failed."""
    earlier = f", {_kept(report)}already there" if report.kept else ""
    yield Text(
        f"{count(report.coins, 'coin')}, {count(report.rows, 'row')} in {count(report.parts, 'part')}{earlier}:"
        f" {report.out}"
    )
    if report.errors:
        yield note(f"{count(len(report.errors), 'coin')} could not be answered for:")
    for error in report.errors[:MOST_NAMED]:
        yield note(f"{error.coin}: {error.error}")
    if len(report.errors) > MOST_NAMED:
        yield note(f"and {len(report.errors) - MOST_NAMED:,} more: add --json to see all of them")
    for line in report.notes:
        yield note(line)


def _kept(report: AllForecasts) -> str:
    if report.kept < report.parts:
        return f"{report.kept:,} of them "
    return "" if report.parts == 1 else "all of them "
