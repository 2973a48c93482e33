"""Tables that fit: where the terminal is too narrow, the least important columns go first, and a note names them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cryptocast.number_format import one_line

CellText: TypeAlias = str | Text
R = TypeVar("R")
WIDE: Final = 10_000
FEW_WORDS: Final = 24  # a column that wraps gets at least so many signs


@dataclass(frozen=True, slots=True)
class Column:
    """leaves: 0 never, else the columns with the highest number leave first. wraps: may use several lines."""

    head: str
    justify: Literal["left", "right"] = "left"
    leaves: int = 0
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table. Every cell is plain text or a Text, never markup. What cannot fit at all is folded, not cut."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[CellText]]
    name: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        places = list(range(len(self.columns)))
        hidden: list[int] = []
        tight = False
        while not self._fits(console, options, places):
            leaving = max(places, key=lambda place: (self.columns[place].leaves, place))
            if self.columns[leaving].leaves == 0:
                tight = True
                break
            places.remove(leaving)
            hidden.append(leaving)
        if self.name:
            yield title(self.name)
        yield self._table(places, tight=tight)
        if hidden:
            names = ", ".join(self.columns[place].head.replace("\n", " ") for place in sorted(hidden))
            yield note(f"A wider terminal, or --json, also shows: {names}.")

    def _fits(self, console: Console, options: ConsoleOptions, places: list[int]) -> bool:
        width = Measurement.get(console, options.update(width=WIDE), self._table(places))
        return width.minimum <= options.max_width

    def _table(self, places: list[int], *, tight: bool = False) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            show_header=any(column.head for column in self.columns),
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
        )
        for place in places:
            column = self.columns[place]
            table.add_column(
                Text(column.head),
                justify=column.justify,
                vertical="top",
                overflow="fold",
                no_wrap=not (column.wraps or tight),
                min_width=None if tight else self._least(place),
            )
        for row in self.rows:
            table.add_row(*(_cell(row[place]) for place in places))
        return table

    def _least(self, place: int) -> int:
        """The width without which a column leaves: that of its longest line, or room for a few words if it wraps."""
        column = self.columns[place]
        longest = max((_width(_cell(row[place])) for row in self.rows), default=0)
        return max(min(longest, FEW_WORDS) if column.wraps else longest, _width(Text(column.head)))


Columns: TypeAlias = Sequence[tuple[Column, Callable[[R], CellText]]]


def table(columns: Columns[R], records: Iterable[R], name: str | None = None) -> Sheet:
    """A row for each record; beside each column stands what it shows of one."""
    rows = [[cell(record) for _, cell in columns] for record in records]
    return Sheet([column for column, _ in columns], rows, name)


def facts(pairs: Sequence[tuple[str, CellText]], name: str | None = None) -> Sheet:
    """What is known about one thing, a line each."""
    return Sheet((Column(""), Column("", wraps=True)), pairs, name)


def reasons(of: str, why: Sequence[object]) -> Iterator[RenderableType]:
    """Why something is as it is: one reason beside its subject, several below it. Each is a text, or has one."""
    lines = [one_line(str(reason)) for reason in why]
    if len(lines) == 1:
        yield Text(f"{of}: {lines[0]}")
        return
    yield Text(f"{of}:")
    yield from (Padding(Text(line), (0, 0, 0, 2)) for line in lines)


def title(text: str) -> Text:
    """The line above a table."""
    return Text(f"\n{one_line(text)}", style="bold")


def note(text: str) -> Text:
    """A line that may be skipped."""
    return Text(one_line(text), style="dim")


def _width(text: Text) -> int:
    return max((line.cell_len for line in text.split()), default=0)


def _cell(cell: CellText) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
