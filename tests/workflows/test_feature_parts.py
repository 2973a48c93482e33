"""Features on a Dask cluster: the same values to the last bit, whoever computes them."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cryptocast.config import Config, DataConfig, FeaturesConfig, SeriesConfig, StoreConfig
from cryptocast.errors import ModelError, UpstreamError, UsageError
from cryptocast.features.own import FeatureSet
from cryptocast.workflows.coin_pool import CoinPool, feature_table, gather
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import environment
from cryptocast.workflows.feature_parts import Formulas, Part, compute_part, spread_table
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.features import latest_features, save_features

OWN = """
import polars as pl
from cryptocast.features import Feature

FEATURES = (
    Feature("my_gap", "price", (pl.col("close") / pl.col("close").shift(3)).log(), 3, 3, source="mine", unit="log"),
    Feature("my_mood", "market", pl.col("mood").rolling_mean(3), 2, 2, source="mine", unit="share"),
    Feature("my_rank", "market", pl.col("volume").rank(), 0, 0, source="mine", unit="share", scope="moment"),
)
"""


def context(folder: Path) -> Context:
    (folder / "my_features.py").write_text(OWN, encoding="utf-8")
    days = pl.datetime_range(datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC), "1d", eager=True)
    pl.DataFrame({"time": days, "value": range(len(days))}).write_csv(folder / "mood.csv")
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin", "ethereum", "litecoin"), source="sample"),
        features=FeaturesConfig(file=str(folder / "my_features.py")),
        series={"mood": SeriesConfig(file=str(folder / "mood.csv"), known_after="1d")},
    )
    return Context(config=config)


@pytest.fixture
def pool(tmp_path: Path) -> CoinPool:
    used = context(tmp_path)
    (found,) = gather(used, Selection().resolved(used.config), pool=())
    return found


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    return feature_set(context(tmp_path).config)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process of its own that is started again when it is killed."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.scheduler_address)


def test_two_processes_make_the_table_of_one_to_the_last_bit(
    address: str, pool: CoinPool, features: FeatureSet, tmp_path: Path
) -> None:
    for tail, jobs in ((None, 0), (300, 3)):
        here = feature_table(pool, features.features, tail=tail)
        there = table_on(Engine("dask", jobs, address), pool, features, tail)
        assert_frame_equal(here, there, check_exact=True)
    used = context(tmp_path)
    saved = save_features(used, Selection(("ethereum",)), tmp_path / "there.csv", Engine("dask", 2, address))
    assert saved == save_features(used, Selection(("ethereum",)), tmp_path / "there.csv")


def test_a_worker_that_computes_other_features_refuses(pool: CoinPool, features: FeatureSet) -> None:
    candles = pool.bars["ethereum"].candles.frame.tail(50)
    formulas = Formulas(
        ("ret_1",),
        pool.bar_us,
        frozenset(),
        "other",
        features.origin,
        features.text,
        features.series,
    )
    with pytest.raises(ModelError, match="Install the same cryptocast"):
        compute_part(formulas, Part(candles, ("ethereum",)))


def test_a_cluster_without_a_worker_is_said_in_one_line(
    pool: CoinPool, features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("cryptocast.workflows.cluster.WORKERS_S", 0.2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        engine = Engine("dask", 0, empty.scheduler_address)
        with pytest.raises(UpstreamError, match=r"has no worker\. Start some: dask worker tcp://"):
            table_on(engine, pool, features)
    with pytest.raises(UsageError, match="--address"):
        Engine("dask")


def test_features_of_the_market_are_there_for_a_coin_that_is_not_bitcoin(
    address: str, pool: CoinPool, features: FeatureSet
) -> None:
    there = table_on(Engine("dask", 3, address), pool, features)
    last = there.filter(pl.col("coin") == "litecoin").tail(1)
    assert last.select("btc_ret_30", "rank_ret_30", "my_gap", "my_rank").null_count().sum_horizontal().item() == 0


def table_on(engine: Engine, pool: CoinPool, features: FeatureSet, tail: int | None = None) -> pl.DataFrame:
    with spread_on(engine) as spread:
        return spread_table(spread, pool, features, tail=tail, progress=NoProgress())


@pytest.mark.parametrize("steps", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_costs_time_and_no_value(cluster: Any, tmp_path: Path, steps: int) -> None:
    class Kills(NoProgress):
        steps, killed = -1, list[int]()

        def begin(self, task: str, total: int) -> None:
            if task == "features in parts":
                self.step("")

        def step(self, note: str) -> None:
            self.steps += 1
            if self.steps == steps:
                self.killed.append(next(worker.pid for worker in cluster.workers.values() if worker.pid))
                os.kill(self.killed[0], signal.SIGKILL)

    used, coins, kills = context(tmp_path), Selection(("ethereum", "litecoin")), Kills()
    here = save_features(used, coins, tmp_path / "here.parquet")
    engine = Engine("dask", 3, cluster.scheduler_address)
    there = save_features(replace(used, progress=kills), coins, tmp_path / "there.parquet", engine)
    assert len(kills.killed) == 1
    assert there.rows == here.rows
    tables = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert_frame_equal(*tables, check_exact=True)


def test_a_worker_of_another_processor_is_told_in_the_report(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.workflows.cluster.environment", lambda: replace(environment(), processor="Z80"))
    report = latest_features(context(tmp_path), Selection(("ethereum",)), Engine("dask", 2, address))
    (line,) = report.notes
    # One of them may just be starting again, if a test before killed it.
    assert line.startswith(("the worker tcp://", "the workers tcp://"))
    assert f"another processor ({environment().processor})" in line
