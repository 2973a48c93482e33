"""What was forecast live and what came of it."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from cryptocast.cli.tables import CellText, Column, Sheet, note
from cryptocast.number_format import NOTHING, Prices, ahead, count, percent, when
from cryptocast.workflows.lifecycle.forecast_history import ForecastHistory, IntervalCount, PastForecast, PastInterval

SHOWN: Final = 20
INSIDE: Final = {True: ("inside", "green"), False: ("outside", "red"), None: ("", "")}


def history_screen(history: ForecastHistory, out: Path | None = None) -> Iterator[RenderableType]:
    """Coin by coin: the newest forecasts, then how often their intervals held."""
    for name, rows in groupby(history.forecasts, key=_name):
        yield from _forecasts(name, list(rows))
        yield _held([one for one in history.counts if _name(one) == name])
    if out is not None:
        yield note(f"Written to {out}.")


def _name(row: PastForecast | IntervalCount) -> str:
    return f"{row.coin}/{row.kind} ({row.source}, {row.vs}, {row.granularity})"


def _forecasts(name: str, rows: Sequence[PastForecast]) -> Iterator[RenderableType]:
    first = rows[0]
    midnight = first.granularity == "daily"
    prices = Prices([end for row in rows for interval in row.intervals for end in (interval.lower, interval.upper)])
    columns = [
        Column("issued"),
        Column("ahead", "right"),
        Column("due", leaves=2),
        *(Column(f"{interval.level} %\n{prices.named(first.vs)}") for interval in first.intervals),
        Column("outcome\n", "right"),
        *(Column(f"{interval.level} %\nheld", leaves=place) for place, interval in enumerate(first.intervals)),
        Column("version\n", "right", leaves=3),
    ]
    table: list[list[CellText]] = [
        [
            when(row.issued_at, midnight=midnight),
            ahead(row.horizon, row.granularity),
            when(row.target_time, midnight=midnight),
            *(f"{prices(interval.lower)} to {prices(interval.upper)}" for interval in row.intervals),
            prices(row.outcome),
            *map(_inside, row.intervals),
            NOTHING if row.version is None else str(row.version),
        ]
        for row in rows[-SHOWN:]
    ]
    yield Sheet(columns, table, name)
    if len(rows) > SHOWN:
        yield note(f"The newest {SHOWN} of {count(len(rows), 'forecast')}; --json and --out have all.")


def _inside(interval: PastInterval) -> Text:
    word, style = INSIDE[interval.inside]
    return Text(word, style=style)


def _held(counts: Sequence[IntervalCount]) -> RenderableType:
    if not counts:
        return note("No outcome is known yet.")
    levels = list(dict.fromkeys(one.level for one in counts))
    columns = [Column(name, "right") for name in ("ahead", "outcomes", *(f"{level} %" for level in levels))]
    table: list[list[CellText]] = []
    for horizon, group in groupby(counts, key=lambda one: one.horizon):
        ones = list(group)
        shares = [percent(one.inside / one.outcomes) for one in ones]
        table.append([ahead(horizon, ones[0].granularity), f"{ones[0].outcomes:,}", *shares])
    return Sheet(columns, table, "How often the intervals held, in %")
