"""Backtests of two coins with few trees, and how one is interrupted."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from cryptocast.config import BacktestConfig, Config, DataConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.workflows.backtesting.backtest import BacktestOrder
from cryptocast.workflows.context import Context, NoProgress
from cryptocast.workflows.reports import BacktestReport

NOW = datetime(2026, 1, 1, tzinfo=UTC)


WALK = BacktestOrder(
    walk_forward=True,
    horizons=(1, 7),
    start=datetime(2017, 6, 1, tzinfo=UTC),
    end=datetime(2019, 2, 1, tzinfo=UTC),
    refit_every=182,
)


class StopsAfter(NoProgress):
    """A progress that interrupts the work behind its nth refit, as Ctrl-C would."""

    def __init__(self, refits: int) -> None:
        self._left = refits

    def step(self, note: str) -> None:
        if note.startswith("refit"):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def context(folder: Path, progress: Any = None, **sections: Any) -> Context:
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin", "ethereum"), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
        backtest=BacktestConfig(models=("baseline", "lightgbm", "mix")),
    )
    config = msgspec.structs.replace(config, **sections)
    return Context(config=config, wall_clock=lambda: NOW, who="test", progress=progress or NoProgress())


def numbers(report: BacktestReport) -> BacktestReport:
    """The report without what may differ: how long it took, what was said about kept work, the count of trials, and
    whether the bars were old by the clock of then."""
    data = tuple(msgspec.structs.replace(row, stale=False) for row in report.data)
    return msgspec.structs.replace(report, data=data, seconds=0.0, notes=(), trading=None)


def changed(order: BacktestOrder, **changes: Any) -> BacktestOrder:
    """`dataclasses.replace`, typed loosely for the tests."""
    from dataclasses import replace

    return replace(order, **changes)
