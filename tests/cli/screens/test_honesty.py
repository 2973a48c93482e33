"""The placebo in a line, and nothing where there was none."""

from cryptocast.cli.screens.honesty import placebo_lines
from cryptocast.workflows.reports import Placebo


def test_a_placebo_is_a_line_and_none_is_nothing() -> None:
    assert list(placebo_lines(None)) == []
    placebo = Placebo(runs=20, block_bars=30, better=1, direction=0, shares=(0.01, 0.24))
    (line,) = map(str, placebo_lines(placebo))
    assert "1 of 20 runs said that a model beats the baseline (1 to 24 % of such runs)" in line
