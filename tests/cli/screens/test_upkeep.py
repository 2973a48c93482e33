"""What choosing, comparing and keeping versions shows."""

from pathlib import Path

import pytest

from tests.cli.commands import Run, check_fit


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "words",
    [
        "registry ab start bitcoin lightgbm --challenger 2",
        "registry ab status",
        "registry best bitcoin",
        "registry card bitcoin/lightgbm",
        "registry compare bitcoin/lightgbm:2 bitcoin/lightgbm@production",
        "registry export bitcoin/lightgbm bitcoin.zip",
        "registry gc --keep 1 --dry-run",
        "registry rollback bitcoin lightgbm --to 2",
        "registry score bitcoin",
    ],
)
def test_it_fits_and_cuts_nothing(run: Run, own: Path, words: str, columns: int) -> None:
    check_fit(run(*words.split(), folder=own, columns=columns), columns)
