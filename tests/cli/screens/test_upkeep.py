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


def test_a_comparison_says_that_nothing_was_compared_and_where_its_page_is(run: Run, own: Path) -> None:
    words = "registry compare bitcoin/lightgbm:2 bitcoin/lightgbm:1 --html page.html"
    ended = run(*words.split(), folder=own, columns=200)
    assert "bitcoin/lightgbm:2 and bitcoin/lightgbm:1 were not compared: " in ended.out
    assert ended.out.count("were not compared") == 1
    assert "Written: page.html." in ended.out
    assert "were not compared: " in (own / "page.html").read_text(encoding="utf-8")
