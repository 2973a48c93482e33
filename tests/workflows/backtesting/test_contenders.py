"""The models of a backtest by their names."""

from pathlib import Path

from cryptocast.workflows.reports import BacktestReport


def test_the_mix_is_walked_beside_its_members_and_scored(whole: tuple[Path, BacktestReport]) -> None:
    _, report = whole
    pooled = {row.model: row for row in report.rows if row.coin is None}
    assert set(pooled) == {"baseline", "lightgbm", "mix"}
    for score in pooled["mix"].scores:
        assert score.crps["mix"] <= 1.02 * max(score.crps["baseline"], score.crps["lightgbm"])
