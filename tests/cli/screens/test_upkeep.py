"""What choosing, comparing and keeping versions shows."""

from pathlib import Path

import pytest
from rich.console import Console

from cryptocast.cli.screens.upkeep import score_screen
from cryptocast.config import GateConfig
from cryptocast.registry.live import live_score
from cryptocast.workflows.lifecycle.live_scoring import ScoreReport, ScoreRow
from tests.cli.commands import Run, check_fit
from tests.registry.registry_ledger import live


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


def test_live_scores_show_the_coverage_of_each_interval_and_judge_by_the_inner_two() -> None:
    rows, outcomes = live(400, v1=0.012)
    score = live_score(list(zip(rows, outcomes, strict=True)), [], GateConfig(), bar_us=86_400_000_000)
    row = ScoreRow(
        **rows[0].columns,
        name="bitcoin/lightgbm:1",
        number=1,
        aliases=(),
        scores=score.scores,
        drift=(),
        degraded=score.degraded,
    )
    console = Console(width=140, record=True)
    for part in score_screen(ScoreReport(written=0, matured=0, waiting=0, errors=(), rows=(row,))):
        console.print(part)
    text = console.export_text()
    shares = [100 * one.share for one in (*score.scores[0].coverage, *score.scores[0].tails)]
    assert "  ".join(f"{share:.1f}" for share in shares) in " ".join(text.split()).replace(" ", "  ")
    assert text.count("interval") == 2


def test_a_comparison_says_that_nothing_was_compared_and_where_its_page_is(run: Run, own: Path) -> None:
    words = "registry compare bitcoin/lightgbm:2 bitcoin/lightgbm:1 --html page.html"
    ended = run(*words.split(), folder=own, columns=200)
    assert "bitcoin/lightgbm:2 and bitcoin/lightgbm:1 were not compared: " in ended.out
    assert ended.out.count("were not compared") == 1
    assert "Written: page.html." in ended.out
    assert "were not compared: " in (own / "page.html").read_text(encoding="utf-8")
