"""A picture of characters: what is drawn stands where it belongs, and the frame around it names the places."""

from hypothesis import given
from hypothesis import strategies as st

from cryptocast.cli.canvas import Canvas

finite = st.floats(-1e300, 1e300)


def test_bars_lines_and_names_stand_where_they_belong() -> None:
    canvas = Canvas(5, 3, (0.0, 4.0), (10.0, 12.0))
    canvas.bar(1, 10.0, 12.0, "░")
    canvas.bar(1, 11.0, 11.0, "━")
    canvas.line([(2.0, 12.0), (4.0, 12.0)])
    assert canvas.framed([(0.0, "a"), (4.0, "long")], [(12.0, "12"), (10.0, "x10")]) == [
        "   ┌─────┐",
        " 12┤ ░⠉⠉⠉│",
        "   │ ━   │",
        "x10┤ ░   │",
        "   └┬───┬┘",
        "    a long",
    ]


@given(st.lists(st.tuples(finite, finite), max_size=8), st.integers(1, 60), st.integers(1, 20), finite, finite)
def test_nothing_leaves_the_frame_whatever_is_drawn(
    points: list[tuple[float, float]], columns: int, rows: int, low: float, high: float
) -> None:
    canvas = Canvas(columns, rows, (low, high), (high, low))
    canvas.line(points)
    for x, y in points:
        canvas.bar(canvas.column(x), y, y + 1.0, "▒")
    lines = canvas.framed([], [])
    assert {len(line) for line in lines[:-1]} == {columns + 2}
    assert len(lines) == rows + 3
    assert canvas.column(canvas.middle(columns - 1)) in range(columns)
