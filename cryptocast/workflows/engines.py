"""Where the fits of a walk are made: in this process, in several of this machine, or on a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

from cryptocast.errors import UpstreamError, UsageError
from cryptocast.evaluation.walk_forward import Done, Job, Spread, in_turn
from cryptocast.features.matrix import Matrix

__all__ = ["Engine", "EngineKind", "dask_client", "spread_on"]

EngineKind: TypeAlias = Literal["local", "dask"]
Work: TypeAlias = Callable[[Matrix, Job], Done]


@dataclass(frozen=True, slots=True)
class Engine:
    """jobs: processes of this machine, 1 is none but this one; address: of the Dask scheduler, such as
    tcp://10.0.0.5:8786."""

    kind: EngineKind = "local"
    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "dask" and not self.address:
            raise UsageError("--engine dask needs the scheduler: add --address tcp://HOST:8786.")
        if self.kind == "local" and self.address:
            raise UsageError("--address names a Dask scheduler: add --engine dask.")


@contextmanager
def spread_on(engine: Engine) -> Iterator[Spread]:
    """The parallel map of the engine; its connections end with the block.

    Every fit has one thread there, so that its numbers do not depend on where it was made. Raises UsageError without
    the extra `dask`, UpstreamError if nobody answers at the address.
    """
    if engine.kind == "dask":
        with dask_client(engine.address or "") as client:
            yield _Joblib({"backend": "dask", "client": client})
    elif engine.jobs > 1:
        yield _Joblib({"backend": "loky", "n_jobs": engine.jobs})
    else:
        yield in_turn


@dataclass(frozen=True, slots=True)
class _Joblib:
    """A map by joblib: results in the order of the jobs, as they come."""

    backend: dict[str, Any]

    def __call__(self, work: Work, matrix: Matrix, jobs: Sequence[Job]) -> Iterator[Done]:
        import joblib

        if not jobs:
            return iter(())
        # The matrix goes once to each worker of a cluster, and through one shared file to processes of this machine.
        scatter = {"scatter": [matrix]} if self.backend["backend"] == "dask" else {}
        with joblib.parallel_config(**self.backend, **scatter):
            found = joblib.Parallel(return_as="generator", batch_size=1)(
                joblib.delayed(work)(matrix, replace(job, threads=1)) for job in jobs
            )
        return cast("Iterator[Done]", found)


@contextmanager
def dask_client(address: str) -> Iterator[Any]:
    """A client of the scheduler, closed at the end. Raises UsageError without the extra, UpstreamError without it."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--engine dask needs Dask: pip install 'cryptocast[dask]'.") from error
    try:
        connect: Any = Client  # untyped there
        client = connect(address, set_as_default=False, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise UpstreamError(
            f"No Dask scheduler answers at {address} ({error}). Start one: dask scheduler; then dask worker {address}"
        ) from error
    with client:
        yield client
