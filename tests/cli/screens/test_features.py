"""What the catalogue, the latest rows, the audit and the importance show."""

from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "features",
        "features --list",
        "features --list --family volatility",
        "features bitcoin --audit",
        "features --importance",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)
