"""Backtests with their folder: an interrupted one goes on, a repeated one says whether it is the same."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cryptocast.errors import UsageError
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.context import NoProgress
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.environment import environment
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import WALK, changed, context, numbers


def test_processes_of_this_machine_give_the_same_numbers(whole: tuple[Path, BacktestReport], tmp_path: Path) -> None:
    _, expected = whole
    order = changed(WALK, engine=Engine(jobs=2))
    assert numbers(backtest(context(tmp_path), order)) == numbers(expected)


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


def test_a_cluster_gives_the_same_numbers_though_one_of_its_workers_is_killed(
    whole: tuple[Path, BacktestReport], tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, expected = whole
    monkeypatch.setattr("cryptocast.workflows.cluster.environment", lambda: replace(environment(), processor="Z80"))
    killed: list[int] = []

    class Kills(NoProgress):
        def step(self, note: str) -> None:
            if note.startswith("refit") and not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

    order = changed(WALK, engine=Engine("dask", address=cluster.scheduler_address))
    report = backtest(context(tmp_path, Kills()), order)
    assert numbers(report) == numbers(expected)
    assert len(killed) == 1
    assert f"have another processor ({environment().processor})" in report.notes[-1]


def test_an_engine_that_cannot_be_reached_says_what_to_start() -> None:
    with pytest.raises(UsageError, match="add --engine dask"):
        Engine("local", address="tcp://127.0.0.1:1")
