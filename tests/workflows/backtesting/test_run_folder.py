"""The folder of a run gives back what it kept, and nothing of another question or that is damaged."""

import shutil
from pathlib import Path

from cryptocast.config import TrainConfig
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import WALK, context, numbers


def test_a_damaged_block_is_made_again(whole: tuple[Path, BacktestReport], tmp_path: Path) -> None:
    _, expected = whole
    backtest(context(tmp_path), WALK)
    block = next((tmp_path / "data" / "runs").glob("*/blocks/fold-0001.parquet"))
    block.write_bytes(block.read_bytes()[:-50])
    assert numbers(backtest(context(tmp_path), WALK)) == numbers(expected)


def test_another_question_takes_nothing_from_this_one(whole: tuple[Path, BacktestReport], tmp_path: Path) -> None:
    folder, report = Path(shutil.copytree(whole[0], tmp_path / "own")), whole[1]
    other = backtest(context(folder, train=TrainConfig(blocks=2, threads=1, audit=False, seed=8)), WALK)
    assert other.run != report.run
    assert other.notes == ()
    threads = context(folder, train=TrainConfig(blocks=2, threads=2, audit=False))
    assert backtest(threads, WALK).run == report.run
