"""A backtest that went through, for all tests of this room."""

from pathlib import Path

import pytest

from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import WALK, context


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BacktestReport]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, backtest(context(folder), WALK)
