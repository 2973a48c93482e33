"""Scores as tables: what is not known is a dash."""

from rich.console import Console

from cryptocast.cli.screens.scores import score_sheet
from tests.registry.registry_fits import score


def test_a_row_for_each_horizon() -> None:
    console = Console(width=140, record=True)
    console.print(score_sheet("Hold-out", "lightgbm", [score(1), score(7, mape=None, coverage=())], "daily"))
    lines = console.export_text().splitlines()
    one, seven = (next(line for line in lines if line.startswith(f"{horizon} d")) for horizon in (1, 7))
    assert "+1.0" in one
    assert "79.0±2.0" in one
    assert "79.0±2.0" not in seven
    assert seven.count(" - ") > one.count(" - ")
