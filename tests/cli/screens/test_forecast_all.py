"""What the command says of the forecasts of all coins."""

from pathlib import Path

from msgspec.structs import replace

from cryptocast.cli.screens.forecast_all import all_screen
from cryptocast.workflows.forecast_all import AllForecasts
from cryptocast.workflows.reports import CoinError
from tests.cli.commands import Run


def test_the_first_coins_that_failed_are_named_and_the_others_counted() -> None:
    errors = tuple(CoinError(coin=f"coin{number}", error="too young") for number in range(7))
    report = AllForecasts(out="all", coins=3, rows=12, parts=2, kept=1, errors=errors, notes=("a note",), seconds=1.0)
    lines = [str(line) for line in all_screen(report)]
    assert lines[0] == "3 coins, 12 rows in 2 parts, 1 of them already there: all"
    whole = [replace(report, kept=2), replace(report, parts=1)]
    said = [str(next(all_screen(one))).partition(" in ")[2] for one in whole]
    assert said == ["2 parts, all of them already there: all", "1 part, already there: all"]
    assert lines[1] == "7 coins could not be answered for:"
    assert lines[2:-2] == [f"coin{number}: too young" for number in range(5)]
    assert lines[-2:] == ["and 2 more: add --json to see all of them", "a note"]


def test_all_needs_a_place_and_no_names_and_an_engine_needs_all(run: Run, own: Path) -> None:
    assert "add --out FOLDER" in run("forecast", "--all", folder=own).err
    assert "name no coins" in run("forecast", "bitcoin", "--all", "--out", "all", folder=own).err
    assert "add --all" in run("forecast", "bitcoin", "--jobs", "2", folder=own).err
