"""Work on a Dask cluster that may lose workers, and gain some, while it lasts.

Dask is an extra (`pip install 'cryptocast[dask]'`) and loaded only when it is asked for. The cluster's own transport
pickles what travels between its processes; nothing of it is ever stored. Who can reach a scheduler can run code on it:
keep it on a network that you trust.

What is lost with a worker is made again: the scheduler gives its jobs to another, and keeps what all jobs need to send
it anew. Each job looks first whether its process is like the client's, whenever that process joined.
"""

import ctypes
import logging
import os
import platform
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

import psutil

from cryptocast.addresses import shown_address, without_logins
from cryptocast.errors import UpstreamError, UsageError
from cryptocast.spread import Job, OtherProcessor, Result, Shared, rounding_notes
from cryptocast.workflows.context import Progress
from cryptocast.workflows.environment import Environment, environment

log = logging.getLogger(__name__)

WORKERS_S: Final = 10.0  # until the first worker is there
ALONE_S: Final = 120.0  # without any worker, until that is given up
LOOK_S: Final = 1.0
OLD_S: Final = 86_400.0
ANSWER_S: Final = 60.0
AHEAD: Final = 2  # jobs under way for each thread
M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h
M_MMAP_THRESHOLD: Final = -3
MB: Final = 1024**2
STORED: Final = 8  # and results that wait on the workers for an earlier one
Pending: TypeAlias = tuple[str, Any]  # the worker that has the job, and Dask's future


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker must be like. token: a file that it must see, in a folder that it has to read."""

    environment: Environment
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What travels as it is: Dask looks into lists and dicts for futures, and not in here."""

    content: Any


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """The result of a job, and by whom."""

    worker: str
    processor: str
    result: Any


@contextmanager
def cluster_at(address: str, *, width: int | None, progress: Progress) -> Iterator["Cluster"]:
    """The cluster of the scheduler, its workers checked. width: jobs at once, None: as many as it has threads.

    Raises UsageError without the extra, UpstreamError if nobody answers, there is no worker, or one is not like this
    process.
    """
    with dask_client(address) as client:
        _wait_for_workers(client, address)
        cluster = Cluster(client, address, width, Terms(environment()))
        cluster.check()
        with suppress(KeyError):  # a scheduler without a dashboard
            progress.say(f"dashboard of the cluster: {shown_address(client.dashboard_link)}")
        try:
            yield cluster
        finally:
            cluster.close()


@contextmanager
def dask_client(address: str) -> Iterator[Any]:
    """A client of the scheduler, closed at the end. Raises UsageError without the extra, UpstreamError without it."""
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise UsageError("--engine dask needs Dask: pip install 'cryptocast[dask]'.") from error
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"})  # what all jobs need is no graph
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


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        at = shown_address(address)
        raise UpstreamError(f"The scheduler at {at} has no worker. Start some: dask worker {at}") from error


@dataclass(slots=True, eq=False)
class Cluster:
    """A map over the workers of a cluster. Not for several threads at once."""

    client: Any
    address: str
    at_once: int | None
    terms: Terms
    _threads: dict[str, int] = field(default_factory=dict)
    _looked_at: float = float("-inf")
    _seen_at: float = float("-inf")  # when there was a worker
    _news: threading.Event = field(default_factory=threading.Event)
    _sent: tuple[object, Any] | None = None
    _others: dict[str, OtherProcessor] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Jobs at once: as many as there are threads, unless a number was asked for."""
        return self.at_once or max(1, sum(self.threads().values()))

    @property
    def others(self) -> tuple[OtherProcessor, ...]:
        """The workers so far whose results may differ in their last bits."""
        return tuple(self._others.values())

    def threads(self) -> dict[str, int]:
        """Of each worker, as the scheduler knew them a moment ago. Raises UpstreamError if there was none for long."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return self._threads
        try:
            self._threads = {worker: int(threads) for worker, threads in self.client.nthreads().items()}
        except (OSError, TimeoutError, ValueError) as error:
            raise self._lost() from error
        self._looked_at = now
        if self._threads or self._seen_at == float("-inf"):
            self._seen_at = now
        elif now - self._seen_at > ALONE_S:
            at = shown_address(self.address)
            raise UpstreamError(
                f"The scheduler at {at} has had no worker for {ALONE_S:g} s. Start some: dask worker {at}"
            )
        return self._threads

    def check(self) -> None:
        """Raises UpstreamError for a worker that is not like this process, by name."""
        for worker, answer in self._ask(processor_of, self.terms).items():
            if isinstance(answer, str):
                self._mark(worker, answer)
            elif isinstance(answer, UpstreamError):
                raise answer
            elif not isinstance(answer, OSError):  # else it was lost at this moment
                raise UpstreamError(f"{_refused(worker)}: {type(answer).__name__}: {answer}")

    def sees(self, folder: Path) -> bool:
        """Whether all workers see this folder under this path. If so, those that join later must too."""
        token = folder.resolve() / f"{_tokens_of_here()}{os.getpid()}-{uuid4().hex}"
        try:
            _forget_killed(folder)
            token.touch()
        except OSError:
            return False
        answers = self._ask(is_there, str(token)).values()
        if answers and all(answer is True or isinstance(answer, OSError) for answer in answers):
            self._forget_token()
            self.terms = Terms(self.terms.environment, str(token))
            return True
        token.unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """Nothing is left in a folder that workers were to see."""
        self._forget_token()

    def __call__(self, work: Callable[[Shared, Job], Result], shared: Shared, jobs: Iterable[Job]) -> Iterator[Result]:
        """Results in the order of the jobs. Raises the error of a job as it is, UpstreamError if the cluster fails."""
        under_way: deque[Pending] = deque()
        source = iter(jobs)
        is_over = False
        while True:
            while not is_over and self._has_room(under_way):
                try:
                    job = next(source)
                except StopIteration:
                    is_over = True
                    break
                under_way.append(self._place(self._send(shared), Parcel((work, job)), under_way))
            if not under_way:
                return
            if under_way[0][1].done():
                yield self._result(under_way.popleft()[1])
            else:
                self._wait()

    def _send(self, shared: object) -> Any:
        """Dask's future of what all jobs need, which is sent once however often it is asked for."""
        if self._sent is None or self._sent[0] is not shared:
            self._sent = (shared, self.client.submit(take, Parcel(shared), pure=False))
        return self._sent[1]

    def _has_room(self, under_way: deque[Pending]) -> bool:
        limit = AHEAD * self.width
        busy = sum(not future.done() for _, future in under_way)
        return busy < (self.at_once or limit) and len(under_way) < STORED * self.width

    def _place(self, sent: Any, parcel: Parcel, under_way: deque[Pending]) -> Pending:
        """On the worker that has least to do: the scheduler would prefer those that have what all jobs need."""
        threads = self.threads()
        while not threads:
            time.sleep(LOOK_S)
            threads = self.threads()
        load = dict.fromkeys(threads, 0)
        for worker, future in under_way:
            if worker in load and not future.done():
                load[worker] += 1
        place = min(threads, key=lambda worker: load[worker] / max(threads[worker], 1))
        future = self.client.submit(
            carry_out, self.terms, sent, parcel, workers=[place], allow_other_workers=True, pure=False
        )
        future.add_done_callback(lambda _: self._news.set())
        return place, future

    def _wait(self) -> None:
        """For any news, and never long without a look at the workers."""
        self.threads()
        if self._news.wait(LOOK_S):
            self._news.clear()

    def _result(self, future: Any) -> Any:
        from distributed import CancelledError, KilledWorker

        try:
            answer: WorkerResult = self._answer(future)
        except KilledWorker as error:
            raise UpstreamError(
                f"A job brought down one worker after the other, {error.last_worker.address} at last. Look at their"
                " logs; most often they need more memory."
            ) from error
        except CancelledError as error:
            raise self._lost() from error
        self._mark(answer.worker, answer.processor)
        return answer.result

    def _answer(self, future: Any) -> Any:
        """However long it takes: a result that is lost with its worker while it is fetched is made anew elsewhere."""
        while True:
            try:
                return future.result(timeout=ANSWER_S)
            except OSError:  # also Python's and Dask's for too long a time
                if future.status == "error":  # the job's own
                    raise
            self.threads()

    def _mark(self, worker: str, processor: str) -> None:
        if processor != self.terms.environment.processor and worker not in self._others:
            self._others[worker] = OtherProcessor(worker, processor)
            log.warning("%s", *rounding_notes([self._others[worker]]))

    def _ask(self, question: Callable[..., object], *arguments: object) -> dict[str, Any]:
        """The answer of each worker at once, whatever it is busy with, or the error there."""
        run = self.client._run  # `run` alone would wait for a worker that hangs for ever
        try:
            answers: dict[str, Any] = self.client.sync(
                run, question, *arguments, on_error="return", callback_timeout=ANSWER_S
            )
        except (OSError, TimeoutError) as error:
            raise self._lost() from error
        return answers

    def _lost(self) -> UpstreamError:
        at = shown_address(self.address)
        return UpstreamError(f"The scheduler at {at} no longer answers, or has dropped the work. Run it again.")

    def _forget_token(self) -> None:
        if self.terms.token is not None:
            Path(self.terms.token).unlink(missing_ok=True)


def _tokens_of_here() -> str:
    return f".seen-{platform.node()}-"


def _forget_killed(folder: Path) -> None:
    """Take away what clients on this machine left that were killed. Young tokens stay: the process may be one that is
    not to be seen from here, in a container of the same name."""
    for token in folder.glob(".seen-*"):
        own = re.fullmatch(rf"{re.escape(_tokens_of_here())}(\d+)-[0-9a-f]{{32}}", token.name)
        if own is None or psutil.pid_exists(int(own[1])):
            continue
        with suppress(FileNotFoundError):  # another client took it
            if time.time() - token.stat().st_mtime > OLD_S:
                token.unlink()


def take(parcel: Parcel) -> Any:
    """On a worker: what all jobs need. The scheduler keeps the parcel, and has it taken anew where it was lost."""
    return parcel.content


def carry_out(terms: Terms, shared: object, parcel: Parcel) -> WorkerResult:
    """On a worker: one job. Raises UpstreamError unless the worker is like the client."""
    from distributed import get_worker

    _keep_freed_memory()
    here: Any = get_worker
    worker = str(here().address)
    processor = _fit_processor(terms, worker)
    work, job = parcel.content
    return WorkerResult(worker, processor, work(shared, job))


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """As every other process does. Dask starts its workers with a glibc that gives each freed array back to the system,
    which has to clear new pages for the next one: half of the processor time of a training."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_THRESHOLD, 32 * MB)
        mallopt(M_TRIM_THRESHOLD, 64 * MB)


def processor_of(terms: Terms, dask_worker: Any = None) -> str:
    """On a worker, which Dask hands over: its processor. Raises UpstreamError unless it is like the client."""
    return _fit_processor(terms, str(dask_worker.address))


def _fit_processor(terms: Terms, worker: str) -> str:
    own = environment()
    if differences := terms.environment.differences(own):
        raise UpstreamError(
            f"{_refused(worker)}: {', '.join(differences)}. Install the same cryptocast on all of them."
        )
    if terms.token is not None and not is_there(terms.token):
        raise UpstreamError(f"{_refused(worker)}: it does not see {Path(terms.token).parent}, and the others do.")
    return own.processor


def is_there(path: str) -> bool:
    """On a worker: whether it sees a file."""
    return Path(path).exists()


def _refused(worker: str) -> str:
    return f"The worker {shown_address(worker)} is refused"
