"""What a backtest shows."""

from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "backtest bitcoin ethereum --model baseline --walk-forward --from 2019-01-01",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)


def test_it_answers_for_all_coins_first_and_ends_in_a_conclusion(run: Run, own: Path) -> None:
    walk = ["backtest", "bitcoin", "ethereum", "--model", "baseline", "--walk-forward", "--from", "2019-01-01"]
    short, long = run(*walk, folder=own).out, run(*walk, "--verbose", folder=own).out
    lines = short.splitlines()
    title = next(i for i, line in enumerate(lines) if line.startswith("bitcoin, ethereum: walk-forward 2019-01-"))
    rows = [line.split()[:2] for line in lines[title + 4 : title + 7]]
    assert rows == [["all", "2"], ["bitcoin", "baseline"], ["ethereum", "baseline"]]
    box = lines[next(i for i, line in enumerate(lines) if line.startswith("╭")) :]
    assert "answers over 2 coins" in box[0]
    assert "Use baseline for how far the price may move, not which way." in box[1]
    assert box[-1].startswith("╰")
    assert len(box) <= 8, "six lines in a frame"
    assert "MAPE" not in short
    assert "MAPE" in long
    assert len(long.splitlines()) > len(lines) + 15
