"""Where the fits of a walk are made: in this process, in several of this machine, or on a Dask cluster."""

import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast
from uuid import uuid4

from cryptocast.addresses import shown_address, without_logins
from cryptocast.errors import UpstreamError, UsageError
from cryptocast.evaluation.walk_forward import Job
from cryptocast.models.base import J, R, S, Spread, in_turn

EngineKind: TypeAlias = Literal["local", "dask"]
log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
SENDINGS: Final = 3
SENDING_S: Final = 45.0
SENDING_BYTES_A_SECOND: Final = 2e6  # a slow network


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

    def __call__(self, work: Callable[[S, J], R], shared: S, jobs: Iterable[J]) -> Iterator[R]:
        import joblib

        alone = [cast("J", replace(job, threads=1)) if isinstance(job, Job) else job for job in jobs]
        if not alone:
            return iter(())
        # The matrix goes once to each worker of a cluster, and through one shared file to processes of this machine.
        where = self.backend
        if where["backend"] == "dask":
            where = {"backend": _on_cluster(where["client"], shared, 2.0 * len(pickle.dumps(shared)))}
        with joblib.parallel_config(**where):
            results = joblib.Parallel(return_as="generator", batch_size=1)(
                joblib.delayed(work)(shared, job) for job in alone
            )
        return cast("Iterator[R]", results)


def _on_cluster(client: Any, shared: object, size: float, *, patience_s: float = SENDING_S) -> Any:
    """Joblib's Dask backend, once every worker has `shared`, of about so many bytes.

    A worker that is lost at this very moment leaves Dask waiting for it for ever, or fails the sending: it is waited
    for only so long, then the data are sent again to the workers that are there. Raises UpstreamError if they do not
    get them either.
    """
    from distributed import Future
    from joblib._dask import DaskDistributedBackend  # parallel_config takes such a backend, and only joblib makes one

    for _ in range(SENDINGS):
        sent: queue.Queue[Any] = queue.Queue()
        name = f"matrix-{uuid4().hex}"

        def send(sent: "queue.Queue[Any]" = sent, name: str = name) -> None:
            try:
                sent.put(client.scatter({name: shared}, broadcast=True)[name])
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits, not to this thread
                sent.put(error)

        threading.Thread(target=send, daemon=True).start()
        try:
            future = sent.get(timeout=patience_s + size / SENDING_BYTES_A_SECOND)
        except queue.Empty:
            future = TimeoutError("not all workers took them in time")
        if not isinstance(future, Exception):
            backend = DaskDistributedBackend(client=client)
            # What its own argument `scatter` leads to; but that gives no name by which the sending could be given up.
            backend._scatter, backend.data_futures = [shared], {id(shared): future}
            return backend
        log.warning("the cluster did not take the data (%s); they are sent again", without_logins(str(future)))
        # While the scheduler tries to reach the lost worker with them, it sends nothing else.
        give_up: Any = Future
        client.cancel([give_up(name, client)])
        time.sleep(AGAIN_S)  # until the scheduler has noticed which worker is gone
    raise UpstreamError(f"The workers of the cluster did not take the data in {SENDINGS} tries. Look at its dashboard.")


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
        at = shown_address(address)
        raise UpstreamError(
            f"No Dask scheduler answers at {at} ({without_logins(str(error)).replace(address, at)}). Start one:"
            f" dask scheduler; then dask worker {at}"
        ) from error
    with client:
        yield client
