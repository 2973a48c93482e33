"""Work on a real cluster that loses workers, has unfit ones, or goes away."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptocast.errors import DataError, UpstreamError
from cryptocast.workflows import cluster as module
from cryptocast.workflows.cluster import AHEAD, STORED, Cluster, Parcel, Terms, cluster_at, dask_client
from cryptocast.workflows.context import NoProgress
from cryptocast.workflows.engines import Engine, spread_on
from cryptocast.workflows.environment import environment
from tests.workflows import engine_work

distributed: Any = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")


class Says(NoProgress):
    """A progress that keeps what stays."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """Two workers, each a process of its own that is started again when it is killed."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


@pytest.fixture(scope="module")
def threads() -> Iterator[str]:
    """A worker in this process."""
    options = {"processes": False, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as found:
        yield found.scheduler_address


def engine(address: str) -> Engine:
    return Engine("dask", address=address)


def test_results_come_in_the_order_of_the_jobs_and_few_are_taken_ahead(processes: Any) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(100):
            taken.append(job)
            yield job

    with spread_on(engine(processes.scheduler_address)) as spread:
        results = spread(engine_work.add, np.arange(5.0), jobs())
        assert next(results) == 10.0
        assert len(taken) <= max(AHEAD, STORED) * spread.width + 1
        assert list(results) == [10.0 + job for job in range(1, 100)]


def test_every_worker_has_its_share(processes: Any) -> None:
    with spread_on(engine(processes.scheduler_address)) as spread:
        by = list(spread(engine_work.process, None, range(12)))
    assert len(set(by)) == 2


def test_a_job_whose_worker_is_killed_is_done_by_another(processes: Any, tmp_path: Path) -> None:
    with spread_on(engine(processes.scheduler_address)) as spread:
        assert list(spread(engine_work.die_once, str(tmp_path / "flag"), range(6))) == [0, 10, 20, 30, 40, 50]


def test_what_all_jobs_need_and_what_was_done_is_made_again_where_all_that_had_it_are_killed(processes: Any) -> None:
    with spread_on(engine(processes.scheduler_address)) as spread:
        shared = np.arange(5.0)
        results = spread(engine_work.add, shared, range(60))
        assert next(results) == 10.0
        time.sleep(0.5)  # some results wait on the workers by then
        for worker in processes.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.3)  # and their loss is known
        assert list(results) == [10.0 + job for job in range(1, 60)]


def test_a_result_that_is_not_fetched_in_time_is_waited_for(processes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster_at(processes.scheduler_address, width=None, progress=NoProgress()) as cluster:
        monkeypatch.setattr(module, "ANSWER_S", 0.1)
        _, future = cluster._place(cluster._send(None), Parcel((engine_work.take_time, 7)), deque())
        assert cluster._result(future) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="only there a worker gives memory back with each array")
def test_a_worker_keeps_the_memory_of_arrays_that_come_and_go(processes: Any) -> None:
    with spread_on(engine(processes.scheduler_address)) as spread:
        *_, last = spread(engine_work.page_faults, None, range(8))
    assert last < 10_000, "each of the arrays had 512 new pages"


@pytest.mark.slow
def test_a_scheduler_that_was_killed_is_said_in_one_line() -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as found:
        address = found.scheduler_address
    port = address.rpartition(":")[2]
    with (
        _dask("scheduler", "--host", "127.0.0.1", "--port", port) as scheduler,
        _dask("worker", address, "--nthreads", "1", "--no-nanny"),
        spread_on(engine(address)) as spread,
    ):
        results = spread(engine_work.take_time, None, range(100))
        assert next(results) == 0
        scheduler.kill()
        with pytest.raises(UpstreamError, match=f"The scheduler at {address} no longer answers"):
            list(results)


@contextmanager
def _dask(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of Dask's commands, without a dashboard."""
    command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_an_error_of_the_work_is_raised_as_it_is_and_not_tried_again(processes: Any, tmp_path: Path) -> None:
    path = tmp_path / "tries"
    with (
        spread_on(engine(processes.scheduler_address)) as spread,
        pytest.raises(DataError, match="job 0 cannot be done"),
    ):
        list(spread(engine_work.refuse_and_count, str(path), [0]))
    assert path.read_text(encoding="ascii") == "tried\n"


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_given_up_with_a_sentence(processes: Any) -> None:
    with (
        spread_on(engine(processes.scheduler_address)) as spread,
        pytest.raises(UpstreamError, match="brought down one worker after the other"),
    ):
        list(spread(engine_work.die, None, [0]))


def test_a_worker_of_another_version_is_refused_by_name_and_one_that_joins_later_too(threads: str) -> None:
    other = replace(environment(), code="9.9.9+abc", libraries={**environment().libraries, "polars": "0.1"})
    with dask_client(threads) as client:
        cluster = Cluster(client, threads, None, Terms(other))
        named = (
            r"The worker \S+ is refused: cryptocast \S+ instead of 9\.9\.9\+abc, polars \S+ instead of 0\.1\. Install"
        )
        with pytest.raises(UpstreamError, match=named):
            cluster.check()
        with pytest.raises(UpstreamError, match=named):
            list(cluster(engine_work.add, np.zeros(1), [0]))


def test_a_worker_of_another_processor_is_marked_once(threads: str, caplog: pytest.LogCaptureFixture) -> None:
    with dask_client(threads) as client:
        cluster = Cluster(client, threads, None, Terms(replace(environment(), processor="Z80")))
        cluster.check()
        assert list(cluster(engine_work.add, np.zeros(1), range(3))) == [0.0, 1.0, 2.0]
    (other,) = cluster.others
    assert other.processor == environment().processor
    assert caplog.text.count("has another processor") == 1


def test_a_store_that_all_workers_see_is_seen_and_leaves_nothing_behind(threads: str, tmp_path: Path) -> None:
    with spread_on(engine(threads)) as spread:
        assert spread.sees(tmp_path)
        assert list(spread(engine_work.add, np.zeros(1), [1])) == [1.0]
        assert not spread.sees(tmp_path / "elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_joins_later_and_does_not_see_the_store_is_refused_by_name(threads: str, tmp_path: Path) -> None:
    with dask_client(threads) as client:
        cluster = Cluster(client, threads, None, Terms(environment(), str(tmp_path / "token")))
        with pytest.raises(UpstreamError, match=r"The worker \S+ is refused: it does not see"):
            list(cluster(engine_work.add, np.zeros(1), [0]))


def test_a_cluster_that_lost_all_its_workers_is_given_up_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALONE_S", 0.5)
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    options = {"processes": False, "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as found,
        spread_on(engine(found.scheduler_address)) as spread,
    ):
        assert spread.width == 1
        found.scale(0)
        with pytest.raises(UpstreamError, match=r"has had no worker for .* Start some: dask worker"):
            list(spread(engine_work.add, np.zeros(1), range(10**6)))


def test_the_dashboard_is_named_once() -> None:
    says = Says()
    options = {"processes": False, "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as found,
        cluster_at(found.scheduler_address, width=None, progress=says),
    ):
        pass
    (line,) = says.lines
    assert line.startswith("dashboard of the cluster: http://")
