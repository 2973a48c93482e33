"""Forecasts of all coins in parts: those of single commands, whoever makes them, and a run that goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cryptocast.config import Config, DataConfig, StoreConfig, TrainConfig
from cryptocast.errors import DataError, UsageError
from cryptocast.workflows import forecast_all as module
from cryptocast.workflows.cluster import Cluster
from cryptocast.workflows.context import Context, NoProgress, Progress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.export import forecast_table
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.forecast_all import AllForecasts, AllOrder, forecast_all
from cryptocast.workflows.market_data.fetch import FetchOrder, fetch
from cryptocast.workflows.training.train import Order, train

COINS = ("aaa", "bbb", "ccc", "ddd", "young")
NOW = datetime(2024, 6, 1, 1, tzinfo=UTC)


class BrokenOffError(Exception):
    """The client is gone."""


class Dies(NoProgress):
    """A progress that breaks off after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, note: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise BrokenOffError


def candles(coin: str, bars: int) -> pl.DataFrame:
    days = [NOW.replace(hour=0) - timedelta(days=back) for back in range(bars, 0, -1)]
    steps = np.random.default_rng(sum(coin.encode())).normal(0.0, 0.03, bars)
    return pl.DataFrame({"ds": days, "unique_id": coin, "y": 100.0 * np.exp(np.cumsum(steps))})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four coins of 300 days, and one that is too young for any forecast."""
    folder = tmp_path_factory.mktemp("store")
    frame = pl.concat([candles(coin, 5 if coin == "young" else 300) for coin in COINS])
    fetch(context(folder), FetchOrder(Selection(source="file"), frame=frame))
    train(context(folder), Order(Selection(("aaa",), source="file", stored=True), model="har"))
    return folder


@pytest.fixture(autouse=True)
def two_coins_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BARS", 650)


def context(folder: Path, progress: Progress | None = None) -> Context:
    config = Config(
        store=StoreConfig(path=folder),
        data=DataConfig(coins=COINS, source="file"),
        train=TrainConfig(pretrained="none"),
    )
    return Context(config=config, wall_clock=lambda: NOW, progress=progress or NoProgress())


def written(folder: Path, out: Path, *, progress: Progress | None = None, **changes: Any) -> AllForecasts:
    return forecast_all(context(folder, progress), AllOrder(Request(), out, **changes))


def table(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "*.parquet" if out.is_dir() else out)


def test_forecasts_of_all_coins_are_those_of_single_ones_and_a_coin_that_fails_costs_nothing_else(
    store: Path, tmp_path: Path
) -> None:
    report = written(store, tmp_path / "all")
    assert (report.coins, report.parts, report.kept, report.rows) == (4, 2, 0, 16)
    assert [error.coin for error in report.errors] == ["young"]
    alone = forecast(context(store), Request(Selection(("ccc",), stored=True)))
    own = table(tmp_path / "all").filter(pl.col("coin") == "ccc")
    columns = ["coin", "as_of", "model_used", "horizon", "median", "lower_95", "p_up"]
    assert_frame_equal(own.select(columns), forecast_table(alone).select(columns), check_exact=True)


def test_processes_and_one_file_have_the_same_rows_as_this_process(store: Path, tmp_path: Path) -> None:
    written(store, tmp_path / "all")
    written(store, tmp_path / "all.parquet", engine=Engine(jobs=2))
    assert_frame_equal(table(tmp_path / "all"), table(tmp_path / "all.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "all.parquet"]


def test_a_run_that_was_broken_off_goes_on_and_another_request_is_made_anew(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "all"
    with pytest.raises(BrokenOffError):
        written(store, out, progress=Dies(1))
    (first,) = out.iterdir()
    before = first.stat().st_mtime_ns
    report = written(store, out)
    assert (report.kept, report.parts) == (1, 2)
    assert first.stat().st_mtime_ns == before
    again = forecast_all(context(store), AllOrder(Request(horizons=(1,)), out))
    assert (again.kept, again.rows) == (0, 4)
    assert len(list(out.iterdir())) == 2


def test_the_other_layout_is_that_of_a_single_forecast(store: Path, tmp_path: Path) -> None:
    written(store, tmp_path / "all", layout="nixtla")
    alone = forecast_table(forecast(context(store), Request(Selection(("ccc",), stored=True))), "nixtla")
    assert table(tmp_path / "all").columns == alone.columns


def test_what_cannot_be_written_or_found_is_refused_before_the_work(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a folder"):
        written(store, tmp_path / "all.csv")
    with pytest.raises(DataError, match="The store has no daily bars"):
        written(tmp_path, tmp_path / "all")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process of its own that is started again when it is killed."""
    distributed = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


@pytest.mark.parametrize(
    ("steps", "workers"),
    [(0, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1), (0, 2), (1, 2)))],
)
def test_a_cluster_writes_the_same_rows_though_workers_are_killed(
    store: Path, tmp_path: Path, cluster: Any, steps: int, workers: int
) -> None:
    killed: list[int] = []

    class Kills(NoProgress):
        steps = -1

        def begin(self, task: str, total: int) -> None:
            if task == "forecasts":
                self.step("")

        def step(self, note: str) -> None:
            self.steps += 1
            if self.steps == steps:
                killed.extend([worker.pid for worker in cluster.workers.values() if worker.pid][:workers])
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    written(store, tmp_path / "here")
    engine = Engine("dask", address=cluster.scheduler_address)
    written(store, tmp_path / "there", progress=Kills(), engine=engine)
    assert killed
    assert_frame_equal(table(tmp_path / "here"), table(tmp_path / "there"), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["all", "all.parquet"])
def test_a_client_that_is_killed_goes_on_behind_the_parts_that_were_there(
    store: Path, tmp_path: Path, cluster: Any, place: str
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; import tests.workflows.test_forecast_all as t\n"
        "class Killed(t.NoProgress):\n"
        "    def step(self, note): os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.module.PART_BARS = 650\n"
        "engine = t.Engine('dask', address=sys.argv[3])\n"
        "t.written(Path(sys.argv[1]), Path(sys.argv[2]), progress=Killed(), engine=engine)"
    )
    out = tmp_path / place
    words = [sys.executable, "-c", program, str(store), str(out), cluster.scheduler_address]
    assert subprocess.run(words, cwd=Path(__file__).parents[2], timeout=300).returncode == -signal.SIGKILL
    (first,) = tmp_path.rglob("part-*.parquet")
    before = first.stat().st_mtime_ns
    (token,) = store.glob(".seen-*")
    os.utime(token, (0, 0))  # what was left long ago goes with the next run
    report = written(store, out, engine=Engine("dask", address=cluster.scheduler_address))
    assert (report.kept, report.parts) == (1, 2)
    assert place == "all.parquet" or first.stat().st_mtime_ns == before
    written(store, tmp_path / "here")
    assert_frame_equal(table(out), table(tmp_path / "here"), check_exact=True)
    assert list(store.glob(".seen-*")) == []


def test_workers_that_do_not_see_the_store_are_sent_their_part_of_it(
    store: Path, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "sees", lambda _, folder: False)
    written(store, tmp_path / "here")
    engine = Engine("dask", address=cluster.scheduler_address)
    written(store, tmp_path / "there", engine=engine)
    there = table(tmp_path / "there")
    assert_frame_equal(table(tmp_path / "here"), there, check_exact=True)
    assert there.filter(pl.col("coin") == "aaa")["version"].to_list() == ["1"] * 4
