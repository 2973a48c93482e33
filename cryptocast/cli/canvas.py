"""A grid of characters for a picture in the terminal: bars, a line of braille dots, and axes around them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

Range: TypeAlias = tuple[float, float]

# The bits of a braille sign's eight dots, by their row and their column in the cell.
DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
NO_DOTS: Final = 0x2800


class Canvas:
    """columns x rows cells that show the ranges x and y, ends included. What is drawn later lies on top."""

    def __init__(self, columns: int, rows: int, x: Range, y: Range) -> None:
        self.columns, self.rows = columns, rows
        self._x, self._y = x, y
        self._cells = [[" "] * columns for _ in range(rows)]

    def column(self, x: float) -> int:
        """The column in which x lies; of what lies outside, the nearest."""
        return _place(x, self._x, self.columns)

    def row(self, y: float) -> int:
        """The row in which y lies, from the top."""
        return self.rows - 1 - _place(y, self._y, self.rows)

    def middle(self, column: int) -> float:
        """The x of a column."""
        low, high = self._x
        return low + (high - low) * column / max(1, self.columns - 1)

    def bar(self, column: int, low: float, high: float, sign: str) -> None:
        """The sign in each row of a column from low to high."""
        for row in range(self.row(high), self.row(low) + 1):
            self._cells[row][column] = sign

    def line(self, points: Sequence[tuple[float, float]]) -> None:
        """A line through the points (x, y), of dots four times as fine as the rows and twice as fine as the columns."""
        wide, tall = 2 * self.columns, 4 * self.rows
        spots = [(_place(x, self._x, wide), tall - 1 - _place(y, self._y, tall)) for x, y in points]
        dots: dict[tuple[int, int], int] = {}
        for (left, top), (right, bottom) in pairwise(spots):
            steps = max(1, abs(right - left), abs(bottom - top))
            for step in range(steps + 1):
                column = round(left + (right - left) * step / steps)
                row = round(top + (bottom - top) * step / steps)
                cell = row // 4, column // 2
                dots[cell] = dots.get(cell, 0) | DOTS[row % 4][column % 2]
        for (row, column), bits in dots.items():
            self._cells[row][column] = chr(NO_DOTS + bits)

    def framed(self, x_names: Sequence[tuple[float, str]], y_names: Sequence[tuple[float, str]]) -> list[str]:
        """The lines of the picture in a frame whose axes name these places; the y names stand left of it."""
        margin = max((len(name) for _, name in y_names), default=0)
        names = {self.row(y): name for y, name in y_names}
        places = {self.column(x): name for x, name in x_names}
        axis = "".join("┬" if column in places else "─" for column in range(self.columns))
        return [
            f"{'':{margin}}┌{'─' * self.columns}┐",
            *(
                f"{names.get(row, ''):>{margin}}{'┤' if row in names else '│'}{''.join(cells)}│"
                for row, cells in enumerate(self._cells)
            ),
            f"{'':{margin}}└{axis}┘",
            _below(places, margin + 1, margin + self.columns + 2),
        ]


def _place(value: float, span: Range, count: int) -> int:
    """Which of so many equal places from the one end of the span to the other."""
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return round(min(1.0, max(0.0, share)) * (count - 1))


def _below(places: dict[int, str], offset: int, width: int) -> str:
    """A line with each name centred below its column, inside the width; what would touch its neighbour is left out."""
    line = ""
    for column, name in sorted(places.items()):
        begin = min(max(0, offset + column - len(name) // 2), width - len(name))
        if begin > len(line) or not line:
            line = f"{line:{begin}}{name}"
    return line
