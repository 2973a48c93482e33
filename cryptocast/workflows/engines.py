"""Where work is done: in this process, in several of this machine, or on a Dask cluster. The contract is `spread`."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from cryptocast.errors import UsageError
from cryptocast.spread import InTurn, Job, OtherProcessor, Result, Shared, Spread
from cryptocast.workflows.cluster import cluster_at
from cryptocast.workflows.context import NoProgress, Progress

EngineKind: TypeAlias = Literal["local", "dask"]
T = TypeVar("T")

AHEAD: Final = 2  # jobs under way for each process
# A process that works has one thread for each job: there are as many of them as there are jobs at once.
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
IDLE_S: Final = 300


@dataclass(frozen=True, slots=True)
class Engine:
    """jobs: processes of this machine, 1 is none but this one; on a cluster, jobs at once, 0 and 1 are as many as it
    has threads. address: of the Dask scheduler, such as tcp://10.0.0.5:8786."""

    kind: EngineKind = "local"
    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "dask" and not self.address:
            raise UsageError("--engine dask needs the scheduler: add --address tcp://HOST:8786.")
        if self.kind == "local" and self.address:
            raise UsageError("--address names a Dask scheduler: add --engine dask.")

    @property
    def is_here(self) -> bool:
        """Whether this process alone does the work, with all its threads. Elsewhere each job has one thread, so that
        jobs do not stand in each other's way."""
        return self.kind == "local" and self.jobs <= 1


@contextmanager
def spread_on(engine: Engine, progress: Progress | None = None) -> Iterator[Spread]:
    """The parallel map of the engine; its connections end with the block. progress: hears where a cluster's dashboard
    is.

    Raises UsageError without the extra `dask`, UpstreamError if nobody answers at the address, there is no worker, or
    one is not like this process.
    """
    if engine.kind == "dask":
        width = engine.jobs if engine.jobs > 1 else None
        with cluster_at(engine.address or "", width=width, progress=progress or NoProgress()) as cluster:
            yield cluster
    elif engine.is_here:
        yield InTurn()
    else:
        with _executor(engine.jobs) as executor:
            yield Processes(engine.jobs, executor)


@contextmanager
def _executor(processes: int) -> Iterator[Any]:
    """Of joblib's: an array that jobs share is one file, which the processes map."""
    from joblib.executor import get_memmapping_executor

    executor = get_memmapping_executor(processes, timeout=IDLE_S, env=ONE_THREAD)
    try:
        yield executor
    finally:
        executor.terminate()


@dataclass(frozen=True, slots=True, eq=False)
class Processes:
    """A map over processes of this machine, which have one copy of the arrays in what all jobs need."""

    width: int
    executor: Any
    others: tuple[OtherProcessor, ...] = ()

    def sees(self, folder: Path) -> bool:
        """It is the same machine."""
        return folder.exists()

    def __call__(self, work: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]) -> Iterator[Result]:
        """Results in the order of the jobs. Raises the error of a job as it is."""
        return _in_order((self.executor.submit(work, shared, job) for job in jobs), AHEAD * self.width)


def _in_order(futures: Iterator["Future[T]"], ahead: int) -> Iterator[T]:
    """The results one after the other, so many futures begun before the first of them is fetched."""
    begun: deque[Future[T]] = deque()
    try:
        for future in futures:
            begun.append(future)
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
