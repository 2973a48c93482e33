"""A training whose parts and fits are spread over a real cluster, which loses workers meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cryptocast.errors import UpstreamError
from cryptocast.registry import Version, VersionKey
from cryptocast.workflows.cluster import Cluster
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.environment import environment
from cryptocast.workflows.training import in_parts
from cryptocast.workflows.training import train as training
from cryptocast.workflows.training.pretrain import PretrainOrder, pretrain
from cryptocast.workflows.training.train import Order, train
from tests.workflows.training.test_in_parts import BARS, COINS, FILE, LAST, store_of

distributed: Any = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")
REST = ("bars", "training lightgbm", "scores")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process of its own that is started again when it is killed."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if three coins were many, in parts of one coin."""
    monkeypatch.setattr(training, "MOST_TOGETHER", 3)
    monkeypatch.setattr(in_parts, "SURVEYED", 3)
    monkeypatch.setattr(in_parts.parts_of, "__defaults__", (BARS,))


class Killer(NoProgress):
    """Kills a worker at the first step of a phase."""

    def __init__(self, cluster: Any, phase: str) -> None:
        self.cluster, self.phase, self.killed, self.tasks = cluster, phase, list[int](), list[str]()

    def begin(self, task: str, total: int) -> None:
        self.tasks.append(task)
        if task == self.phase:
            pid = next(worker.pid for worker in self.cluster.workers.values() if worker.pid)
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)


def versions(used: Context, engine: Engine, model: str = "lightgbm") -> dict[str, Version]:
    order = Order(Selection(COINS, source="file", now=LAST), model=model, horizons=(1, 7), engine=engine)
    train(used, order)
    registry = used.registry()
    return {coin: registry.versions(**VersionKey(coin, FILE, model).columns)[-1] for coin in COINS}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    """What one process makes of the same coins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "MOST_TOGETHER", 3)
        patch.setattr(in_parts.parts_of, "__defaults__", (BARS,))
        return versions(store_of(tmp_path_factory.mktemp("here")), Engine())


def same(own: dict[str, Version], here: dict[str, Version]) -> None:
    for coin in COINS:
        assert own[coin].manifest.artefacts == here[coin].manifest.artefacts
        assert own[coin].hold_out == here[coin].hold_out


def test_a_cluster_makes_the_versions_of_one_process_to_the_last_bit(
    tmp_path: Path, cluster: Any, here: dict[str, Version]
) -> None:
    same(versions(store_of(tmp_path), Engine("dask", address=cluster.scheduler_address)), here)


def test_workers_that_do_not_see_the_store_are_sent_the_bars(
    tmp_path: Path, cluster: Any, here: dict[str, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "sees", lambda self, folder: False)
    used = store_of(tmp_path)
    same(versions(used, Engine("dask", address=cluster.scheduler_address)), here)


@pytest.mark.parametrize("phase", ["features", *(pytest.param(phase, marks=pytest.mark.slow) for phase in REST)])
def test_a_worker_that_is_killed_costs_time_and_no_result(
    phase: str, tmp_path: Path, cluster: Any, here: dict[str, Version]
) -> None:
    used = store_of(tmp_path)
    killer = Killer(cluster, phase)
    own = versions(replace(used, progress=killer), Engine("dask", address=cluster.scheduler_address))
    assert killer.killed, killer.tasks
    same(own, here)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["features", "training lightgbm", "scores"])
def test_a_client_that_is_killed_leaves_nothing_and_the_next_one_has_it_all(
    tmp_path: Path, cluster: Any, here: dict[str, Version], task: str
) -> None:
    used = store_of(tmp_path)
    program = (
        "import os, signal, sys; from dataclasses import replace; from pathlib import Path\n"
        "import tests.workflows.training.test_on_cluster as t\n"
        "from cryptocast.workflows.context import NoProgress\n"
        "from cryptocast.workflows.engines import Engine\n"
        "from cryptocast.workflows.training import in_parts\n"
        "class Killed(NoProgress):\n"
        "    task = ''\n"
        "    def begin(self, task, total): self.task = task\n"
        "    def step(self, note):\n"
        "        if self.task == sys.argv[3]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "in_parts.parts_of.__defaults__ = (t.BARS,)\n"
        "used = replace(t.context_of(Path(sys.argv[1])), progress=Killed())\n"
        "t.versions(used, Engine('dask', address=sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", program, str(used.config.store.path), cluster.scheduler_address, task]
    client = subprocess.run(words, cwd=Path(__file__).parents[3], timeout=300, check=False)
    assert client.returncode == -signal.SIGKILL
    assert used.registry().versions(kind="lightgbm") == ()
    same(versions(used, Engine("dask", address=cluster.scheduler_address)), here)


def context_of(store: Path) -> Context:
    """The context of a store that `store_of` made."""
    return store_of(store.parent)


def test_pretrain_gives_the_same_bytes_on_a_cluster(tmp_path: Path, cluster: Any) -> None:
    used = store_of(tmp_path)
    coins = Selection(COINS, source="file", now=LAST)
    hashes = set()
    for name, engine in (("here", Engine()), ("there", Engine("dask", address=cluster.scheduler_address))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cryptocast.workflows.training.pretrain.MOST_TOGETHER", 1)
            hashes.add(pretrain(used, PretrainOrder(coins, tmp_path / f"{name}.zip", engine=engine)).sha256)
    assert len(hashes) == 1


def test_a_cluster_without_workers_is_said_to_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptocast.workflows.cluster.WORKERS_S", 0.5)
    used = store_of(tmp_path)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as empty:
        engine = Engine("dask", address=empty.scheduler_address)
        with pytest.raises(UpstreamError, match="has no worker"):
            versions(used, engine)


@pytest.mark.parametrize(
    "changes",
    [{"code": "9.9.9+abc"}, {"libraries": {**environment().libraries, "polars": "0.1"}}],
    ids=("code", "library"),
)
def test_workers_of_another_version_are_refused_by_name_before_anything_is_learned(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    own = replace(environment(), **changes)
    monkeypatch.setattr("cryptocast.workflows.cluster.environment", lambda: own)
    used = store_of(tmp_path)
    named = (
        r"The worker tcp://\S+ is refused: (cryptocast|polars) \S+ instead of (9\.9\.9\+abc|0\.1)\. Install the same"
    )
    with pytest.raises(UpstreamError, match=named):
        versions(used, Engine("dask", address=cluster.scheduler_address))
    assert used.registry().versions() == ()


def test_a_kind_that_no_option_asks_for_is_trained_in_parts_and_forecasts_what_was_asked_for(tmp_path: Path) -> None:
    order = Order(Selection(COINS[:4], source="file", now=LAST), model="har", horizons=(1,))
    report = train(store_of(tmp_path), order)
    answers = {(one.coin, one.model_requested, one.model_used) for one in report.forecast.forecasts}
    assert answers == {(coin, "har", "har") for coin in COINS[:4]}
